"""The lines of MLST and MLSD: facts about a file, and its name (RFC 3659 §7). Pure.

``type=file;size=42;modify=20261123093000; name``: facts, one space, and all the rest is the name. This is the
one form of a listing that needs no guessing.

Neighbours: `entries` has what a line becomes, `listing` reads LIST where a server has no MLSD.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType

from pooler.errors import PeerProtocolError
from pooler.ftp.entries import Entry, EntryKind, LineSplitter
from pooler.ftp.times import parse_time_val

MAX_FACTS = 64

# A value may have spaces: proftpd puts a link's target into "type". A name may have semicolons, but no fact
# begins with a space.
_FACT = re.compile(rb"([^=; ]+)=([^;]*);")
_LINK_TYPE = re.compile(rb"os\.unix=s(?:ym)?link(?::(.*))?", re.IGNORECASE | re.DOTALL)
_KINDS = {
    "file": EntryKind.FILE,
    "dir": EntryKind.FOLDER,
    "cdir": EntryKind.FOLDER,
    "pdir": EntryKind.FOLDER,
}
# The folder itself and the one above it have a place in every listing and are no part of the folder.
_SELF_AND_PARENT = frozenset({"cdir", "pdir"})
_DOTS = frozenset({b".", b".."})
_MAX_SIZE_DIGITS = 20
_SHOWN = 80


def parse_facts(line: bytes, zone: tzinfo = UTC) -> Entry:
    """Read one line of an MLSD, or of an MLST without the space in front, with times in a zone.

    A fact that makes no sense counts as not told, except for its place in ``facts``.

    Raises:
        PeerProtocolError: there are no facts and a name in it.
    """
    found, end = _split(line)
    if line[end : end + 1] != b" " or len(line) == end + 1:
        raise PeerProtocolError(f"not facts and a name: {line[:_SHOWN]!r}")
    facts = {name.lower().decode("latin-1"): _text(value) for name, value in found}
    link = next(
        (match for name, value in found if _is_type(name) and (match := _LINK_TYPE.fullmatch(value))), None
    )
    modified, precision = _time(facts.get("modify", ""), zone)
    return Entry(
        name=line[end + 1 :],
        kind=EntryKind.LINK if link else _KINDS.get(facts.get("type", "").lower(), EntryKind.OTHER),
        size_bytes=_size(facts.get("size", "")),
        modified=modified,
        precision=precision,
        target=(link[1] or None) if link else None,
        unique=facts.get("unique"),
        perm=facts.get("perm"),
        facts=MappingProxyType(facts),
    )


def _split(line: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """Give the facts and where they end."""
    found: list[tuple[bytes, bytes]] = []
    end = 0
    while match := _FACT.match(line, end):
        if len(found) == MAX_FACTS:
            raise PeerProtocolError(f"more than {MAX_FACTS} facts about a file")
        found.append((match[1], match[2]))
        end = match.end()
    if line[end : end + 1] != b" ":
        # The last fact's semicolon is missing.
        last, space, _ = line[end:].partition(b" ")
        name, equals, value = last.partition(b"=")
        if space and equals and name and b";" not in last:
            found.append((name, value))
            end += len(last)
    return found, end


def _is_type(name: bytes) -> bool:
    return name.lower() == b"type"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _size(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_SIZE_DIGITS else None


def _time(text: str, zone: tzinfo) -> tuple[datetime, timedelta] | tuple[None, None]:
    try:
        return parse_time_val(text, zone)
    except PeerProtocolError:
        return None, None


def parse_mlst(lines: Sequence[bytes], zone: tzinfo = UTC) -> Entry:
    """Read the lines of a 250 to MLST, as `wire.Reply` has them, with times in a zone.

    To the letter the facts stand in the one line between the first and the last, behind one space; some
    servers put the code in front of that line too, and leave out the space.

    Raises:
        PeerProtocolError: no line of it has facts and a name.
    """
    for line in lines[1:-1] if len(lines) > 2 else lines:  # noqa: PLR2004 - the first line and the last
        bare = line.lstrip(b" ")
        if _FACT.match(bare):
            return parse_facts(bare, zone)
    shown = b" ".join(lines)[:_SHOWN]
    raise PeerProtocolError(f"no facts in the reply to MLST: {shown!r}")


class FactsParser:
    """Makes entries of the bytes of an MLSD, in whatever pieces they come. Holds one line.

    Args:
        zone: of the times in them.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._lines = LineSplitter()
        self._zone = zone

    def __repr__(self) -> str:
        return f"<FactsParser {self._lines!r}>"

    def feed(self, data: bytes | bytearray | memoryview) -> list[Entry]:
        """Take more bytes and give the entries that are whole now, without the folder itself and its parent.

        Raises:
            PeerProtocolError: a line is too long, or has no facts and a name. The listing is worth nothing
                then, and neither may MLSD be on this server: there is LIST (rclone#8368).
        """
        return self._entries(self._lines.feed(data))

    def finish(self) -> list[Entry]:
        """Give the last entry where its line has no end.

        Raises:
            PeerProtocolError: as `feed`.
        """
        return self._entries(self._lines.finish())

    def _entries(self, lines: list[bytes]) -> list[Entry]:
        entries = [parse_facts(line, self._zone) for line in lines if line]
        return [
            entry
            for entry in entries
            if entry.facts.get("type", "").lower() not in _SELF_AND_PARENT and entry.name not in _DOTS
        ]
