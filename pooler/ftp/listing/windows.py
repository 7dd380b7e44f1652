"""What ``dir`` prints on Windows (IIS in its own style) and on OS/2. Pure.

Neighbours: `reader`, `dates`.
"""

import re

from pooler.ftp.entries import Entry, EntryKind
from pooler.ftp.listing.dates import three_numbers
from pooler.ftp.listing.reader import Reader, Taken, size_of

_DOS = re.compile(
    rb" *+([0-9][-0-9./]{5,9}) ++([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)(?: *+([AaPp])[Mm]?)? ++"
    rb"(<[A-Z]{3,10}>|[0-9][0-9,.]*+)( .++)",
    re.DOTALL,
)
_TAG_COLUMNS = 15  # "<DIR>" and what fills its column
_LINK = re.compile(rb"(.+) \[(.*)\]", re.DOTALL)
_OS2 = re.compile(
    rb" *+([0-9]++) ++((?:[A-Z]{1,5} ++)*+)([0-9]{1,2}-[0-9]{1,2}-[0-9]{2,4}) ++([0-9]{1,2}:[0-9]{2})( .++)",
    re.DOTALL,
)
_OS2_GAP = 2


def _behind(rest: bytes, columns: int) -> bytes:
    """Give the name behind a gap of that many columns; where there are fewer, the gap was no column."""
    gap = min(columns, len(rest) - len(rest.lstrip(b" ")))
    return rest[gap:]


class DosReader(Reader):
    """``11-23-26  09:30AM       <DIR>          name``."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        match = _DOS.fullmatch(line)
        numbers = three_numbers(match[1]) if match else None
        if match is None or numbers is None:
            return None
        tag = match[4]
        is_tag = tag.startswith(b"<")
        name = _behind(match[5], _TAG_COLUMNS - len(tag) if is_tag else 1)
        kind, target = EntryKind.FILE, None
        if tag == b"<DIR>":
            kind = EntryKind.FOLDER
        elif is_tag:
            kind = EntryKind.LINK
            link = _LINK.fullmatch(name)
            name, target = (link[1], link[2]) if link else (name, None)
        if not name:
            return None
        modified, precision = self.clock.tell(*self.order.sort(numbers), match[2], match[3] or b"")
        return [
            Entry(
                name=name,
                kind=kind,
                size_bytes=None if is_tag else size_of(tag.translate(None, b",.")),
                modified=modified,
                precision=precision,
                target=target,
            )
        ]


class Os2Reader(Reader):
    """``     42      A    11-23-126  09:30  name``: years count from 1900 where they have three digits."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        match = _OS2.fullmatch(line)
        numbers = three_numbers(match[3]) if match else None
        name = _behind(match[5], _OS2_GAP) if match else b""
        if match is None or numbers is None or not name:
            return None
        folder = b"DIR" in match[2].split()
        modified, precision = self.clock.tell(*self.order.sort(numbers), match[4])
        return [
            Entry(
                name=name,
                kind=EntryKind.FOLDER if folder else EntryKind.FILE,
                size_bytes=None if folder else size_of(match[1]),
                modified=modified,
                precision=precision,
            )
        ]
