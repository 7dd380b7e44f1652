"""``pooler job import``: the files around the translation."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pooler.cli import exits
from pooler.cli.imports.gathered import Gathered, Translated, gather, jobs_text
from pooler.cli.imports.reading import lines
from pooler.cli.text import plain

CONNECTIONS = "connections.ini"
CRONTAB = "crontab"
_SYSTEM = ("/etc/crontab", "/etc/cron.d/")


def import_(
    source: Annotated[str, Parameter(allow_leading_hyphen=True)],
    folder: Path,
    /,
    *,
    check: Annotated[bool, Parameter(negative="")] = False,
    system: Annotated[bool, Parameter(negative="")] = False,
    rclone_config: Path | None = None,
    home: Path | None = None,
) -> int:
    """Make jobs of command lines of rclone and lftp, or of a crontab; what cannot be translated is named.

    Writes connections.ini, a list of jobs for each line, and for a crontab a crontab with the schedules, all
    of them new, and readable by nobody else. Nothing is run, and no server asked.

    Exits with 0 where all was translated, 2 where something cannot be read or written, 6 where some was not
    translated.

    Args:
        source: a crontab, or a file with command lines; ``-`` for the standard input.
        folder: where the files go; made where it is missing.
        check: the jobs only compare: what differs on the two sides is told, and nothing is copied.
        system: the crontab names a user in each line, as /etc/crontab does; known of that and /etc/cron.d.
        rclone_config: the rclone.conf of lines that name none.
        home: the folder that relative local paths, and ``~``, begin at; otherwise what HOME is set to in the
            text.
    """
    variables = {} if home is None else {"HOME": str(home.absolute())}
    if rclone_config is not None:
        variables["RCLONE_CONFIG"] = str(rclone_config.absolute())
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(f"{source}: {getattr(error, 'strerror', None) or 'is not UTF-8'}", file=sys.stderr)
        return exits.USAGE
    system = system or source.startswith(_SYSTEM)
    gathered = gather(lines(text, system=system), _read, variables, check=check)
    for line in gathered.lines:
        _tell(line)
    done = sum(1 for line in gathered.lines if line.jobs)
    if done:
        try:
            _write(gathered, folder)
        except OSError as error:
            print(f"{error.filename}: {error.strerror}", file=sys.stderr)
            return exits.USAGE
    jobs = sum(len(line.jobs) for line in gathered.lines)
    print(f"{done} of {len(gathered.lines)} lines have {jobs} jobs")
    return exits.JOBS_FAILED if any(line.untranslated for line in gathered.lines) else exits.OK


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise OSError(0, "is not UTF-8", path) from error


def _tell(line: Translated) -> None:
    words = [f"line {line.line.number}: {len(line.jobs)} jobs"] if line.jobs else []
    words += [f"line {line.line.number}: not translated: {why}" for why in line.untranslated]
    if not words:
        words = [f"line {line.line.number}: nothing to copy"]
    words += [f"line {line.line.number}: note: {note}" for note in line.notes]
    for one in words:
        print(plain(one, sys.stderr.encoding), file=sys.stderr)


def _write(gathered: Gathered, folder: Path) -> None:
    """Write the files, each of them new.

    Raises:
        OSError: one of them is there already, or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    where = folder.absolute()
    files = {CONNECTIONS: gathered.connections()}
    entries = []
    for line in gathered.lines:
        if not line.jobs:
            continue
        name = f"line-{line.line.number}"
        files[f"{name}.jsonl"] = jobs_text(line.jobs)
        if line.line.schedule is not None:
            entries.append(f"{line.line.schedule} {_cron_command(where, name)}\n")
    if entries:
        files[CRONTAB] = "".join(entries)
    taken = [name for name in files if (where / name).exists()]
    if taken:
        raise FileExistsError(17, "is there already: expected a new folder", str(folder / taken[0]))
    for name, text in files.items():
        with os.fdopen(os.open(where / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def program() -> str:
    """Name this program for cron, which looks for it in few folders."""
    installed = Path(sys.executable).with_name("pooler")
    return shlex.quote(str(installed)) if installed.exists() else "pooler"


def _cron_command(where: Path, name: str) -> str:
    paths = {
        suffix: shlex.quote(str(where / f"{name}{suffix}")) for suffix in (".lock", ".jsonl", ".answers")
    }
    command = (
        f"flock -n {paths['.lock']} {program()} copy --connections {shlex.quote(str(where / CONNECTIONS))} "
        f"{paths['.jsonl']} >> {paths['.answers']}"
    )
    return command.replace("%", "\\%")
