"""EPLF, and what VMS, OS/400 and MVS print. Pure.

Two of them tell sizes in blocks or records only. These stand among the facts: nothing may be compared with
what is not a number of bytes.

Neighbours: `reader`, `dates`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from pooler.ftp.entries import Entry, EntryKind
from pooler.ftp.listing.dates import UNTOLD, Clock, DateOrder, Told, month_number, three_numbers
from pooler.ftp.listing.reader import Reader, Taken, size_of, words_of
from pooler.ftp.times import SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_EPOCH_S = 253_402_300_799  # the end of 9999


class EplfReader(Reader):
    """``+i8388621.29609,m824255902,r,s10376,<tab>name``: Bernstein's Easily Parsed LIST Format."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        facts, tab, name = line.partition(b"\t")
        if not (facts.startswith(b"+") and tab and name):
            return None
        told = facts[1:].split(b",")
        modified, precision = self._time(self._value(told, b"m"))
        unique = self._value(told, b"i")
        folder = b"/" in told
        return [
            Entry(
                name=name,
                kind=EntryKind.FOLDER if folder else EntryKind.FILE if b"r" in told else EntryKind.OTHER,
                size_bytes=None if folder else size_of(self._value(told, b"s")),
                modified=modified,
                precision=precision,
                unique=unique.decode("latin-1") or None,
            )
        ]

    @staticmethod
    def _value(told: list[bytes], letter: bytes) -> bytes:
        return next((fact[1:] for fact in told if fact.startswith(letter)), b"")

    @staticmethod
    def _time(digits: bytes) -> Told:
        seconds = size_of(digits)
        if seconds is None or seconds > _MAX_EPOCH_S:
            return UNTOLD
        return _EPOCH + timedelta(seconds=seconds), SECOND


_VMS_NAME = re.compile(rb"((?:\^.|[^ \t;^])++);([0-9]{1,5})(?:[ \t]++(.*+))?", re.DOTALL)
_VMS_HEADING = re.compile(rb"(?:directory .*|(?:grand )?total (?:of )?.*)", re.IGNORECASE | re.DOTALL)
_VMS_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_VMS_BLOCKS = re.compile(rb"([0-9]{1,18})(?:/[0-9]++)?[A-Za-z]{0,2}")
_VMS_ERROR = re.compile(rb"%[A-Z]|(?:no|insufficient) privilege", re.IGNORECASE)
_VMS_FOLDER = b".DIR"


class VmsReader(Reader):
    """``NAME.TXT;3   5/6  23-NOV-2026 09:30:12.45  [ANNA]  (RWED,RWED,RE,)``.

    A long name stands on a line of its own. Of a file's versions the first counts, which is the newest.
    """

    def __init__(self, clock: Clock, order: DateOrder) -> None:
        super().__init__(clock, order)
        self._waiting: re.Match[bytes] | None = None
        self._last = b""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        if line[:1] in b" \t" and self._waiting is not None:
            told = self._told(line)
            if told is not None:
                named, self._waiting = self._waiting, None
                return self._entries(named, *told)
        named_here = _VMS_NAME.fullmatch(line)
        before = self.end()
        if named_here is None:
            return before if before or _VMS_HEADING.fullmatch(line) else None
        if not named_here[3]:
            self._waiting = named_here
            return before
        told = self._told(named_here[3])
        if told is None:
            return before or None
        return before + self._entries(named_here, *told)

    def end(self) -> list[Entry]:
        """Give a name whose line never went on."""
        named, self._waiting = self._waiting, None
        return [] if named is None else self._entries(named, b"", UNTOLD)

    def _told(self, columns: bytes) -> tuple[bytes, Told] | None:
        """Give blocks and time; nothing of both where there is an error in their place."""
        words = [match[0] for match in words_of(columns)]
        for index, word in enumerate(words):
            date = _VMS_DATE.fullmatch(word)
            month = month_number(date[2]) if date else None
            if date and month:
                blocks = _VMS_BLOCKS.fullmatch(words[index - 1]) if index else None
                clock = words[index + 1] if index + 1 < len(words) else None
                told = self.clock.tell(int(date[3]), month, int(date[1]), clock)
                return blocks[1] if blocks else b"", told
        return (b"", UNTOLD) if _VMS_ERROR.match(columns.lstrip()) else None

    def _entries(self, named: re.Match[bytes], blocks: bytes, told: Told) -> list[Entry]:
        name = named[1]
        if name == self._last:
            return []
        self._last = name
        folder = name.upper().endswith(_VMS_FOLDER) and len(name) > len(_VMS_FOLDER)
        facts = {"version": named[2].decode("ascii")}
        if blocks:
            facts["blocks"] = blocks.decode("ascii")
        modified, precision = told
        return [
            Entry(
                name=name[: -len(_VMS_FOLDER)] if folder else name,
                kind=EntryKind.FOLDER if folder else EntryKind.FILE,
                modified=modified,
                precision=precision,
                facts=MappingProxyType(facts),
            )
        ]


_OS400 = re.compile(
    rb"[^ ]*+ ++(?:([0-9]++) ++)?(?:([0-9./,-]{6,10}) ++([0-9]{2}[:.,][0-9]{2}[:.,][0-9]{2}) ++)?"
    rb"\*([A-Z]{2,9})( .++)",
    re.DOTALL,
)
_OS400_TYPE_COLUMNS = 10
_OS400_KINDS = {
    **dict.fromkeys((b"DIR", b"DDIR", b"LIB", b"FLR"), EntryKind.FOLDER),
    **dict.fromkeys((b"STMF", b"DSTMF", b"FILE", b"MEM", b"DOC", b"USRSPC"), EntryKind.FILE),
    b"SYMLNK": EntryKind.LINK,
}


class Os400Reader(Reader):
    """``ANNA   42 11/23/26 09:30:12 *STMF      name``: size, date and owner may each be missing."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        match = _OS400.fullmatch(line)
        if match is None:
            return None
        gap = min(_OS400_TYPE_COLUMNS - 1 - len(match[4]), len(match[5]) - len(match[5].lstrip(b" ")))
        name = match[5][max(gap, 1) :]
        kind = _OS400_KINDS.get(match[4], EntryKind.OTHER)
        if len(name) > 1 and name.endswith(b"/"):
            name, kind = name[:-1], EntryKind.FOLDER
        if not name:
            return None
        modified, precision = UNTOLD
        numbers = three_numbers(match[2]) if match[2] else None
        if numbers:
            clock = match[3].translate(bytes.maketrans(b".,", b"::"))
            modified, precision = self.clock.tell(*self.order.sort(numbers), clock)
        return [
            Entry(
                name=name,
                kind=kind,
                size_bytes=size_of(match[1] or b"") if kind is EntryKind.FILE else None,
                modified=modified,
                precision=precision,
                facts=MappingProxyType({"type": match[4].decode("ascii")}),
            )
        ]


_MVS_DATASETS = re.compile(rb" *Volume +Unit +Referred .*Dsname *")
_MVS_MEMBERS = re.compile(rb" *Name +(?:VV\.MM|Size +TTR) .*")
_MVS_DATASET = re.compile(
    rb" *+[^ ]++ ++[^ ]++ ++([0-9]{4}/[0-9]{2}/[0-9]{2}|\*\*NONE\*\*) ++[0-9]++ ++[0-9]++ ++"
    rb"([A-Z?]++) ++[0-9]++ ++[0-9]++ ++([A-Z?-]++) ++([^ ]++) *+"
)
_MVS_ELSEWHERE = re.compile(
    rb" *+(?:(Migrated)|(Pseudo Directory)|[^ ]++ Not Direct Access Device|Error determining attributes)"
    rb" ++([^ ]++) *+"
)
_MVS_MEMBER = re.compile(rb" ?([A-Z0-9@#$]{1,8})(?: ++(.*+))?")
_MVS_STATISTICS = re.compile(
    rb"([0-9.]++) ++[0-9/]++ ++([0-9]{4})/([0-9]{2})/([0-9]{2}) ++([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    rb" ++([0-9]++) .*+"
)
_MVS_FOLDERS = ("PO", "PO-E")


class MvsReader(Reader):
    """Datasets, or the members of a partitioned one, which the heading tells apart."""

    def __init__(self, clock: Clock, order: DateOrder) -> None:
        super().__init__(clock, order)
        self._read: Callable[[bytes], Taken] = self._dataset

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        if _MVS_MEMBERS.fullmatch(line):
            self._read = self._member
            return []
        if _MVS_DATASETS.fullmatch(line):
            self._read = self._dataset
            return []
        return self._read(line)

    @staticmethod
    def _dataset(line: bytes) -> Taken:
        match = _MVS_DATASET.fullmatch(line)
        if match:
            organisation = match[3].decode("ascii")
            kind = EntryKind.FILE if organisation == "PS" else EntryKind.OTHER
            facts = {
                "dsorg": organisation,
                "recfm": match[2].decode("ascii"),
                "referred": match[1].decode("ascii"),
            }
            return [
                Entry(
                    name=match[4].removeprefix(b"'").removesuffix(b"'"),
                    kind=EntryKind.FOLDER if organisation in _MVS_FOLDERS else kind,
                    facts=MappingProxyType(facts),
                )
            ]
        match = _MVS_ELSEWHERE.fullmatch(line)
        if match is None:
            return None
        # A migrated dataset comes back when it is asked for.
        kind = EntryKind.FILE if match[1] else EntryKind.FOLDER if match[2] else EntryKind.OTHER
        return [Entry(name=match[3].removeprefix(b"'").removesuffix(b"'"), kind=kind)]

    def _member(self, line: bytes) -> Taken:
        match = _MVS_MEMBER.fullmatch(line)
        if match is None:
            return None
        statistics = _MVS_STATISTICS.fullmatch(match[2] or b"")
        if statistics is None:
            return [Entry(name=match[1], kind=EntryKind.FILE)]
        modified, precision = self.clock.tell(
            int(statistics[2]), int(statistics[3]), int(statistics[4]), statistics[5]
        )
        facts = {"version": statistics[1].decode("ascii"), "records": statistics[6].decode("ascii")}
        return [
            Entry(
                name=match[1],
                kind=EntryKind.FILE,
                modified=modified,
                precision=precision,
                facts=MappingProxyType(facts),
            )
        ]
