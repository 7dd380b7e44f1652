"""The ``pooler`` command: its groups, and how an error becomes an exit code.

This module imports next to nothing of the pooler: a command's own module is imported when it is given.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from cyclopts import App, Parameter

from pooler.cli import exits
from pooler.errors import BusError, ConfigError, PoolerError, leaves
from pooler.ops import garbage
from pooler.version import version

# One line a group: its name, where its App is, and what `pooler --help` says of it without importing it.
GROUPS = (
    ("run", "pooler.cli.run:run", "Run the service."),
    ("copy", "pooler.cli.copy:copy", "Copy a list of jobs, without Kafka."),
    ("demo", "pooler.cli.demo:demo", "Show the whole service on made-up files."),
    ("ftp", "pooler.cli.ftp:app", "Look at a server, by hand."),
    ("job", "pooler.cli.job:app", "Submit jobs; see and cancel those that are in hand."),
    ("dlq", "pooler.cli.dlq:app", "See dead letters, and submit them anew."),
    ("remote", "pooler.cli.admin.remote:app", "See and steer the remotes of a running service."),
    ("top", "pooler.cli.admin.top:top", "Watch the remotes of a running service."),
    ("openapi", "pooler.cli.admin.openapi:openapi", "Print the document of the admin API."),
    ("schema", "pooler.cli.schema:schema", "Make the schemas of records, configuration and API."),
    ("doctor", "pooler.cli.doctor:doctor", "Check all that the service needs."),
    ("debug", "pooler.cli.admin.debug:app", "Gather what others need who are to find a fault."),
    ("config", "pooler.cli.config:app", "Look at the configuration."),
)


_HELP = frozenset({"--help", "-h"})

app = App(
    name="pooler",
    help="Copy very many files over FTP and FTPS on the word of a Kafka topic.",
    version=version,
    backend="trio",
    result_action="return_value",
)
for _name, _group, _help in GROUPS:
    app.command(_group, name=_name, help=_help)


@app.command(name="version")
def show_version(
    *, output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table"
) -> None:
    """Print the version.

    Args:
        output: ``json`` for one object.
    """
    print(json.dumps({"version": version()}) if output == "json" else f"pooler {version()}")


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print what makes a shell complete the words of this command.

    Args:
        shell: for which.
    """
    print(app.generate_completion(shell=shell))


@contextmanager
def _helpful(words: list[str]) -> Iterator[None]:
    """Have the help of a command say all that its docstring says, and with what it exits.

    What `GROUPS` say of a command, for it not to be imported, would stand in its place.
    """
    if _HELP.isdisjoint(words):
        yield
        return
    names, apps, _ = app.parse_commands([word for word in words if word not in _HELP])
    command, name = apps[-1], " ".join(names)
    if command.default_command is None or name not in exits.CODES:
        yield
        return
    before = command.help
    command.help, command.help_epilogue = command.default_command.__doc__, exits.told(name)
    try:
        yield
    finally:
        command.help, command.help_epilogue = before, None


def main(tokens: Iterable[str] | None = None) -> int:
    """Run one command.

    Args:
        tokens: the words of the command line, without the program's name; None for the process's own.

    Returns:
        One of the codes of `pooler.cli.exits`. A command line that is not understood, ``--help`` and the
        like end in ``SystemExit`` instead, with the code in it.
    """
    garbage.be_sparing()
    words = sys.argv[1:] if tokens is None else list(tokens)
    try:
        with _helpful(words):
            result = app(words)
        # Here rather than at the end of the process: a reader that is gone is noticed while it can be said.
        print(end="", flush=True)
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer would raise again when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OTHER
    except PoolerError as error:
        return _tell([error])
    except BaseExceptionGroup as group:
        # What a nursery raises: a group, even where there is only one thing in it.
        known, rest = group.split((PoolerError, KeyboardInterrupt))
        if known is None or rest is not None:
            raise
        return _tell(leaves(known))
    return exits.OK if result is None else int(result)


def _tell(found: list[BaseException]) -> int:
    """Show what went wrong, each line once, and choose the code of the worst."""
    for line in dict.fromkeys(line for error in found for line in str(error).splitlines()):
        print(line, file=sys.stderr)
    if any(isinstance(error, ConfigError | BusError) for error in found):
        return exits.FATAL
    if any(isinstance(error, PoolerError) for error in found):
        return exits.OTHER
    return exits.INTERRUPTED
