"""The lines of a script or a crontab: which of them are commands, and when they run. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_FIELD = r"(?:[\d*][\d*,/~-]*|[A-Za-z]{3}(?:[,-][A-Za-z]{3})*)"
_SCHEDULE = re.compile(rf"\s*-?((?:{_FIELD}[ \t]+){{5}}|@[a-z]+[ \t]+)(?=\S)")
_USER = re.compile(r"([A-Za-z_][\w.-]*\$?)[ \t]+(?=\S)")
_VARIABLE = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_HERE = re.compile(r"<<(-?)[ \t]*(['\"]?)([A-Za-z_]\w*)\2")
_QUOTED = re.compile(r"(['\"])(.*)\1")


class Line(NamedTuple):
    """A command and where it stands.

    Attributes:
        number: of its line, counted from 1; of the first one where it goes over several.
        schedule: when cron runs it; None where no crontab says so.
        command: the command.
        stdin: what cron gives it to read; None for nothing.
    """

    number: int
    schedule: str | None
    command: str
    stdin: str | None = None


class Variable(NamedTuple):
    """A line of a crontab that sets a variable for those behind it."""

    name: str
    value: str


def lines(text: str, *, system: bool) -> Iterator[Line | Variable]:
    """Give the commands of a text, and the variables that are set between them.

    A line that begins as a crontab's does is one. Any other is a line of a shell, which may go on behind a
    backslash.

    Args:
        text: the file.
        system: whether the lines of the crontab name a user, as those of /etc/crontab do.
    """
    numbered = iter(enumerate(text.split("\n"), start=1))
    for number, raw in numbered:
        line = raw.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        schedule = _SCHEDULE.match(line)
        if schedule is not None:
            yield _entry(number, schedule[1].strip(), line[schedule.end() :], system=system)
            continue
        variable = _VARIABLE.fullmatch(line)
        if variable is not None and _is_value(variable[2]):
            quoted = _QUOTED.fullmatch(variable[2])
            yield Variable(variable[1], variable[2] if quoted is None else quoted[2])
            continue
        while line.endswith("\\"):
            line = line[:-1] + next(numbered, (0, ""))[1].rstrip("\r")
        yield _with_here(number, line, numbered)


def _with_here(number: int, line: str, numbered: Iterator[tuple[int, str]]) -> Line:
    """Take the lines of a here-document for the standard input, where the shell changes nothing in them."""
    here = _HERE.search(line)
    if here is None:
        return Line(number, None, line)
    tabs, quote, end = here.groups()
    body: list[str] = []
    for _, raw in numbered:
        text = raw.rstrip("\r")
        text = text.lstrip("\t") if tabs else text
        if text == end:
            break
        body.append(text)
    stdin = "\n".join(body)
    if not quote and re.search(r"[$`\\]", stdin):
        return Line(number, None, line)  # what the shell would make of it nobody knows
    return Line(number, None, line[: here.start()] + line[here.end() :], stdin)


def _is_value(text: str) -> bool:
    """Tell ``NAME=value`` from ``NAME=value command``, which is for that command alone."""
    return _QUOTED.fullmatch(text) is not None or not re.search(r"[\s$`;&|]", text)


def _entry(number: int, schedule: str, rest: str, *, system: bool) -> Line:
    user = _USER.match(rest) if system else None
    command = rest if user is None else rest[user.end() :]
    # crontab(5): an unescaped % ends a line, and what is behind the first one is the standard input.
    first, *others = (part.replace("\\%", "%") for part in re.split(r"(?<!\\)%", command))
    return Line(number, schedule, first, "\n".join(others) if others else None)
