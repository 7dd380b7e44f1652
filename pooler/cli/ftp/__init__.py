"""``pooler ftp``: look at a server by hand, on the client and the configuration that the service uses.

Each command is one session. Data goes to the standard output and words for people to the standard error,
where a server's names and words never reach the terminal as commands. The exit codes are those of
`pooler.cli.exits`: 2 for a remote or path that cannot be meant, 6 for a missing file or right and a refused
login, 5 for what may pass, 1 for the rest.

Here is what a person types. What it does is in `looking`, `copying` and `probing`; `hand` has the session and
the exit codes, `files` the names and paths, `streams` the standard ones, `view` what is shown.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from pooler.cli.ftp import copying, looking, probing, view
from pooler.cli.ftp.hand import by_hand
from pooler.cli.options import HERE, Files

app = App(name="ftp")

Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]
Local = Annotated[str, Parameter(allow_leading_hyphen=True)]


@app.command
async def ls(
    folder: str,
    /,
    *,
    long: Annotated[bool, Parameter(name=["--long", "-l"], negative="")] = False,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """List a folder: a name a line, as they come.

    Args:
        folder: REMOTE:PATH; ``site:`` is the base path itself.
        long: kind, size in bytes and time of change before each name.
        output: ``json`` gives one object a line, names as they are.
        files: where the configuration stands.
    """
    show = view.entry_json if output == "json" else view.entry_long if long else view.entry_short
    return await by_hand(files, folder, partial(looking.ls, show), folder=True)


@app.command
async def stat(file: str, /, *, output: Output = "table", files: Files = HERE) -> int:
    """Show the size and the time of change of a file.

    Args:
        file: REMOTE:PATH.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    return await by_hand(files, file, partial(looking.stat, output))


@app.command
async def get(source: str, local: Local = ".", /, *, files: Files = HERE) -> int:
    """Fetch a file: under a temporary name, its size is checked, and it gets its own name.

    What is there under that name is replaced. Missing folders are made.

    Args:
        source: REMOTE:PATH.
        local: a file, or a folder, which gets a file of the same name; ``-`` for the standard output.
        files: where the configuration stands.
    """
    return await by_hand(files, source, copying.get_stdout if local == "-" else partial(copying.get, local))


@app.command
async def put(local: Local, destination: str, /, *, files: Files = HERE) -> int:
    """Send a file: under a temporary name, its size is checked, and it gets its own name.

    What is there under that name is replaced. Missing folders are made.

    Args:
        local: a file, or ``-`` for the standard input.
        destination: REMOTE:PATH; one that ends in ``/`` is a folder, which gets a file of the same name.
        files: where the configuration stands.
    """
    if local == "-":
        return await by_hand(files, destination, copying.put_stdin)
    if destination.endswith((":", "/")):
        destination += Path(local).name
    return await by_hand(files, destination, partial(copying.put, local))


@app.command
async def rm(file: str, /, *, files: Files = HERE) -> int:
    """Remove a file.

    Args:
        file: REMOTE:PATH.
        files: where the configuration stands.
    """
    return await by_hand(files, file, looking.rm)


@app.command
async def probe(
    remote: str, /, *, write: str | None = None, output: Output = "table", files: Files = HERE
) -> int:
    """Log in, list a folder, and show what the server is and can do.

    Args:
        remote: REMOTE, or REMOTE:PATH for another folder than the base path.
        write: a folder, below the base path, in which a small file is written, renamed and removed too.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    word = remote if ":" in remote else f"{remote}:"
    return await by_hand(files, word, partial(probing.probe, write, output), folder=True)
