"""What ``pooler ftp`` shows a person: facts, entries of a listing, how far a file is.

A server's names and words never reach the terminal as commands: whatever is no plain text is escaped.
"""

import json
import sys
from datetime import datetime
from typing import Any, Final

import trio

from pooler.cli.text import plain
from pooler.transfer.session import Entry, EntryKind

_SHOW_S: Final = 0.1
_SHOWN_LETTERS: Final = 40


class Meter:
    """Shows how far a file is, where the standard error is a terminal.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = _name(name, sys.stderr.encoding)[:_SHOWN_LETTERS]
        self._is_on = sys.stderr.isatty()
        self._bytes = 0
        self._began = self._shown_at = trio.current_time()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if self._is_on and self._bytes:
            self._show(end="\n")

    def moved(self, count: int) -> None:
        """Count some bytes."""
        self._bytes += count
        if self._is_on and trio.current_time() - self._shown_at >= _SHOW_S:
            self._shown_at = trio.current_time()
            self._show(end="")

    def _show(self, end: str) -> None:
        megabytes = self._bytes / 1e6
        rate = megabytes / max(trio.current_time() - self._began, 1e-9)
        line = f"\r{self._name}  {megabytes:.1f} MB  {rate:.1f} MB/s\x1b[K"
        print(line, end=end, file=sys.stderr, flush=True)


def in_words(facts: dict[str, Any], output: str) -> str:
    """Write what was found out, as a table or as JSON."""
    if output == "json":
        return _json(facts)
    width = max(map(len, facts))
    encoding = sys.stdout.encoding
    return "\n".join(f"{key:<{width}}  {plain(_value(value), encoding)}" for key, value in facts.items())


def _value(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(str, value))
        case datetime():
            return _time(value)
    return str(value)


def _json(facts: dict[str, Any]) -> str:
    # ASCII goes through every terminal; a byte that is no text is a lone surrogate, as in a job's record.
    return json.dumps(facts, default=_value).replace("\x7f", "\\u007f")


def entry_short(entry: Entry) -> str:
    """Write the name of an entry."""
    return _name(entry.name, sys.stdout.encoding)


def entry_long(entry: Entry) -> str:
    """Write an entry as a line: kind, size, time, name."""
    size = "-" if entry.size_bytes is None or entry.kind is EntryKind.FOLDER else entry.size_bytes
    time = "-" if entry.modified is None else _time(entry.modified)
    return f"{entry.kind.value:<6} {size:>15} {time:<20} {entry_short(entry)}"


def entry_json(entry: Entry) -> str:
    """Write an entry as a JSON object."""
    return _json(
        {
            "name": entry.name,
            "kind": entry.kind.value,
            "size_bytes": entry.size_bytes,
            "modified": entry.modified,
            "precision_s": entry.precision_s,
        }
    )


def _time(moment: datetime) -> str:
    """Write a time; one without a zone is by the server's own clock."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _name(name: str, encoding: str) -> str:
    """Write a name so that another one never looks the same."""
    return plain(name.replace("\\", "\\\\"), encoding)
