"""From the bytes of a LIST to entries: its dialect is settled once, by its first lines. Pure.

Line by line nothing could be told for sure: ``01-02-03`` is a date in three orders, and an error message amid
a listing may look like an entry of another dialect. So the first lines are held back, read in every dialect,
and the one that makes the most of them reads the whole listing.

Neighbours: the readers in `unix`, `windows` and `hosts`; `pooler.ftp.facts` for servers with MLSD.
"""

import enum
from collections.abc import Mapping
from datetime import datetime, tzinfo

from pooler.ftp.entries import Entry, LineSplitter
from pooler.ftp.listing.dates import Clock, DateOrder, order_of, three_numbers
from pooler.ftp.listing.hosts import EplfReader, MvsReader, Os400Reader, VmsReader
from pooler.ftp.listing.reader import Reader, words_of
from pooler.ftp.listing.unix import NetwareReader, UnixReader
from pooler.ftp.listing.windows import DosReader, Os2Reader

SAMPLE_LINES = 64
"""So many lines settle the dialect, and the order of numbers in dates."""

_DATE_WITHIN_WORDS = 5
_DOTS = frozenset({b".", b".."})


class Dialect(enum.Enum):
    """A form of listing. Of two that read a listing equally well the one further up is taken."""

    UNIX = "unix"
    DOS = "dos"
    EPLF = "eplf"
    VMS = "vms"
    NETWARE = "netware"
    OS400 = "os400"
    MVS = "mvs"
    OS2 = "os2"


READERS: Mapping[Dialect, type[Reader]] = {
    Dialect.UNIX: UnixReader,
    Dialect.DOS: DosReader,
    Dialect.EPLF: EplfReader,
    Dialect.VMS: VmsReader,
    Dialect.NETWARE: NetwareReader,
    Dialect.OS400: Os400Reader,
    Dialect.MVS: MvsReader,
    Dialect.OS2: Os2Reader,
}


class ListParser:
    """Makes entries of the bytes of a LIST, in whatever pieces they come.

    It holds `SAMPLE_LINES` lines at most. Entries come in the order of the listing, without the folder itself
    and its parent.

    Args:
        now: the time of the listing, with a zone: for years that are left out.
        zone: of the times in it; None where it is not known, and times are then without one.
        dialect: where it is known from an earlier listing of the same server; None to find out.

    Raises:
        ValueError: ``now`` has no zone.
    """

    def __init__(self, now: datetime, zone: tzinfo | None = None, dialect: Dialect | None = None) -> None:
        if now.tzinfo is None:
            raise ValueError("the time of a listing needs a zone")
        self._clock = Clock(now, zone)
        self._lines = LineSplitter()
        self._sample: list[bytes] = []
        self._dialect = dialect
        self._reader: Reader | None = None
        self._unread = 0
        self._first_unread: bytes | None = None

    def __repr__(self) -> str:
        return f"<ListParser {self._dialect and self._dialect.value} unread={self._unread}>"

    @property
    def dialect(self) -> Dialect | None:
        """What the listing is in; None while that is open, or where no line made sense."""
        return self._dialect

    @property
    def unread(self) -> int:
        """How many lines made no sense: errors, or words to say that a folder is empty."""
        return self._unread

    @property
    def first_unread(self) -> bytes | None:
        """The first of them; with no entry at all it says why (an empty listing may be a missing folder)."""
        return self._first_unread

    def feed(self, data: bytes | bytearray | memoryview) -> list[Entry]:
        """Take more bytes and give the entries that are whole now.

        Raises:
            PeerProtocolError: a line is too long.
        """
        return self._take(self._lines.feed(data))

    def finish(self) -> list[Entry]:
        """Give what was held back, because the listing has ended. Nothing may be fed afterwards."""
        entries = self._take(self._lines.finish())
        if self._reader is None:
            entries += self._settle()
        if self._reader is not None:
            entries += self._reader.end()
        return _without_dots(entries)

    def _take(self, lines: list[bytes]) -> list[Entry]:
        entries: list[Entry] = []
        for line in lines:
            if not line.strip():
                continue
            if self._reader is not None:
                entries += self._read(self._reader, line)
            else:
                self._sample.append(line)
                if len(self._sample) == SAMPLE_LINES:
                    entries += self._settle()
        return _without_dots(entries)

    def _settle(self) -> list[Entry]:
        """Choose a reader by the sample, and have it read the sample."""
        sample, self._sample = self._sample, []
        order = order_of([date for line in sample if (date := _date_in(line)) is not None])
        if self._dialect is None:
            self._dialect = self._best(sample, order)
        if self._dialect is None:
            for line in sample:
                self._note_unread(line)
            return []
        self._reader = reader = READERS[self._dialect](self._clock, order)
        return [entry for line in sample for entry in self._read(reader, line)]

    def _best(self, sample: list[bytes], order: DateOrder) -> Dialect | None:
        """Give the dialect with the most entries, then the most headings; None where all find nothing."""
        best, most = None, (0, 0)
        for dialect, kind in READERS.items():
            reader = kind(self._clock, order)
            taken = [reader.take(line) for line in sample]
            count = sum(len(entries) for entries in taken if entries), sum(entries == [] for entries in taken)
            if count > most:
                best, most = dialect, count
        return best

    def _read(self, reader: Reader, line: bytes) -> list[Entry]:
        entries = reader.take(line)
        if entries is None:
            self._note_unread(line)
            return []
        return entries

    def _note_unread(self, line: bytes) -> None:
        self._unread += 1
        if self._first_unread is None:
            self._first_unread = line


def _date_in(line: bytes) -> tuple[int, int, int] | None:
    """Give the numbers of the first date of a line, if it has one in its columns."""
    words = words_of(line)[:_DATE_WITHIN_WORDS]
    return next((date for word in words if (date := three_numbers(word[0])) is not None), None)


def _without_dots(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.name not in _DOTS]
