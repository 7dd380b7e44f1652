"""What a listing tells of one file or folder, whichever command asked, and the lines it comes in. Pure.

Neighbours: `facts` reads the lines of MLST and MLSD, `listing` those of LIST.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from pooler.errors import PeerProtocolError

MAX_LINE_BYTES = 16384
"""A line of a listing: a name and a link's target, of PATH_MAX each, and what stands before them."""


def _no_facts() -> Mapping[str, str]:
    return MappingProxyType({})


class EntryKind(enum.Enum):
    """What a name stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or other thing on a server.

    Attributes:
        name: its bytes as they came, spaces at either end included; with MLST it may be a whole path.
        kind: what it is.
        size_bytes: of a file; None where it was not told, or told in blocks or records.
        modified: when it changed last. With a zone it is in UTC; without one it is the server's wall clock,
            of a zone that nobody told (LIST). None where it was not told.
        precision: how exact ``modified`` is: a microsecond, a second, a minute or a day; None without it.
        target: where a link leads to, where that was told.
        unique: what is equal for two names of one file, from MLSx or EPLF; None where it was not told.
        perm: what may be done with it, the letters of RFC 3659 §7.5.5; None where they were not told.
        facts: all that was told beyond these, by names in small letters.
    """

    name: bytes
    kind: EntryKind
    size_bytes: int | None = None
    modified: datetime | None = None
    precision: timedelta | None = None
    target: bytes | None = None
    unique: str | None = None
    perm: str | None = None
    facts: Mapping[str, str] = field(default_factory=_no_facts, hash=False)


class LineSplitter:
    """Makes lines of bytes, in whatever pieces they come, and holds no more than one line.

    A line ends at LF, with or without a CR before it. Where the bytes were cut never matters.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def __repr__(self) -> str:
        return f"<LineSplitter buffered={len(self._rest)}>"

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take more bytes and give the lines that are whole now, without their ends.

        Raises:
            PeerProtocolError: a line is longer than `MAX_LINE_BYTES`.
        """
        scanned = len(self._rest)
        self._rest += data
        if self._rest.find(b"\n", scanned) < 0:
            self._check(len(self._rest))
            return []
        *whole, rest = self._rest.split(b"\n")
        self._rest = rest
        for line in (*whole, rest):
            self._check(len(line))
        return [bytes(line).removesuffix(b"\r") for line in whole]

    def finish(self) -> list[bytes]:
        """Give the last line where it has no end. Nothing may be fed afterwards."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [rest.removesuffix(b"\r")] if rest else []

    @staticmethod
    def _check(length: int) -> None:
        if length > MAX_LINE_BYTES:
            raise PeerProtocolError(f"a line of a listing is longer than {MAX_LINE_BYTES} bytes")
