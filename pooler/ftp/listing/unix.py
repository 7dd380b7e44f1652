"""What ``ls -l`` prints, and NetWare's likeness of it. Pure.

Owner, group and the number of links may be missing, or of more than one word. So it is the date that is
looked for, with a size in front; behind it one space, and all the rest is the name.

Neighbours: `reader`, `dates`.
"""

import re

from pooler.ftp.entries import Entry, EntryKind
from pooler.ftp.listing.dates import Told, read_words
from pooler.ftp.listing.reader import Reader, Taken, size_of, words_of

# The type, three times three rights, and a sign for an ACL or a label.
_MODE = re.compile(rb"([-a-zA-Z?])[-rwxsStTlL?]{9}[+.@*]?")
_KINDS = {b"-": EntryKind.FILE, b"d": EntryKind.FOLDER, b"l": EntryKind.LINK}
_ARROW = b" -> "
# "total 42", in any language.
_TOTAL = re.compile(rb"[^ \t]+:? +[0-9.,]+[KMGT]?")
_DEVICE = re.compile(rb"[0-9]+,[0-9]+")
_DATE_WORDS = 4

_NETWARE = re.compile(rb"([-d]) ?(\[[-A-Z]{1,16}\]) ")


def _date_in(reader: Reader, line: bytes, start: int) -> tuple[bytes, Told, int] | None:
    """Find a size with a date behind it, from the word ``start`` on.

    Returns:
        The size, the date, and where the date ends.
    """
    found = words_of(line)
    words = [match[0] for match in found]
    for index in range(start, len(words) - 1):
        if words[index].isdigit() or _DEVICE.fullmatch(words[index]):
            date = read_words(words[index + 1 : index + 1 + _DATE_WORDS], reader.clock)
            if date is not None:
                return words[index], date[1], found[index + date[0]].end()
    return None


def _link(name: bytes, size: bytes) -> tuple[bytes, bytes | None]:
    """Part a link from its target. An arrow may be part of either: a link's size is its target's length."""
    if _ARROW not in name:
        return name, None
    length = size_of(size)
    if length and name[:-length].endswith(_ARROW):
        return name[: -length - len(_ARROW)], name[-length:]
    link, _, target = name.partition(_ARROW)
    return link, target


class UnixReader(Reader):
    """``-rw-r--r--   1 anna staff  42 Nov 23 09:30 name``."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        if _TOTAL.fullmatch(line):
            return []
        bare = line.lstrip(b" ")
        mode = _MODE.match(bare)
        found = _date_in(self, bare, 1) if mode else None
        if mode is None or found is None:
            return None
        size, (modified, precision), end = found
        name, target = bare[end + 1 :], None
        kind = _KINDS.get(mode[1], EntryKind.OTHER)
        if kind is EntryKind.LINK:
            name, target = _link(name, size)
        if not name:
            return None
        return [
            Entry(
                name=name,
                kind=kind,
                size_bytes=size_of(size) if kind is EntryKind.FILE else None,
                modified=modified,
                precision=precision,
                target=target,
            )
        ]


class NetwareReader(Reader):
    """``- [RWCEAFMS] anna    42 Nov 23 09:30    name``."""

    def take(self, line: bytes) -> Taken:
        """Read a line; see `Reader`."""
        if _TOTAL.fullmatch(line):
            return []
        rights = _NETWARE.match(line)
        found = _date_in(self, line[rights.end() :], 0) if rights else None
        if rights is None or found is None:
            return None
        size, (modified, precision), end = found
        name = line[rights.end() + end :].lstrip(b" ")
        if not name:
            return None
        folder = rights[1] == b"d"
        return [
            Entry(
                name=name,
                kind=EntryKind.FOLDER if folder else EntryKind.FILE,
                size_bytes=None if folder else size_of(size),
                modified=modified,
                precision=precision,
            )
        ]
