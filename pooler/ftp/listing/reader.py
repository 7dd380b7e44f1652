"""What the eight dialects have in common: a reader takes lines and says what they mean. Pure.

Neighbours: `unix`, `windows` and `hosts` have the readers, `parser` chooses one for a listing.
"""

import re
from itertools import islice

from pooler.ftp.entries import Entry
from pooler.ftp.listing.dates import Clock, DateOrder

_WORD = re.compile(rb"[^ \t]+")
_MAX_WORDS = 24
_MAX_SIZE_DIGITS = 20

Taken = list[Entry] | None
"""What a line gave: entries, none because it is a heading, or None because it is no line of this dialect."""


class Reader:
    """Reads one listing, line by line; a subclass for each dialect.

    Args:
        clock: what its dates are to be read by.
        order: of the numbers in its dates.
    """

    def __init__(self, clock: Clock, order: DateOrder) -> None:
        self.clock = clock
        self.order = order

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def take(self, line: bytes) -> Taken:
        """Read a line, without its end and not empty."""
        raise NotImplementedError

    def end(self) -> list[Entry]:
        """Give what was held back, because nothing follows."""
        return []


def words_of(line: bytes) -> list[re.Match[bytes]]:
    """Give the first words of a line, with their places. Columns are few, a name may be long."""
    return list(islice(_WORD.finditer(line), _MAX_WORDS))


def size_of(digits: bytes) -> int | None:
    """Read a size; None where it is none."""
    return int(digits) if digits.isdigit() and len(digits) <= _MAX_SIZE_DIGITS else None
