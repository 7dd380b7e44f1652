"""rclone's way to write characters that a remote refuses: a look-alike each, a wide slash for a slash. Pure.

A look-alike that was in the name already gets a quoting rune in front, and so does that rune itself.
Which characters a remote refuses is a list of flags, rclone's option ``encoding``. Paths of users are in the
standard encoding, with flags of their own: a slash within a name is written wide there too.

Neighbour: `names`.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping


class Flag(enum.IntFlag):
    """What rclone's option ``encoding`` may list; the values are rclone's too."""

    NONE = 0
    RAW = enum.auto()
    SLASH = enum.auto()
    LT_GT = enum.auto()
    DOUBLE_QUOTE = enum.auto()
    SINGLE_QUOTE = enum.auto()
    BACK_QUOTE = enum.auto()
    DOLLAR = enum.auto()
    COLON = enum.auto()
    QUESTION = enum.auto()
    ASTERISK = enum.auto()
    PIPE = enum.auto()
    HASH = enum.auto()
    PERCENT = enum.auto()
    BACK_SLASH = enum.auto()
    CR_LF = enum.auto()
    DEL = enum.auto()
    CTL = enum.auto()
    LEFT_SPACE = enum.auto()
    LEFT_PERIOD = enum.auto()
    LEFT_TILDE = enum.auto()
    LEFT_CR_LF_HT_VT = enum.auto()
    RIGHT_SPACE = enum.auto()
    RIGHT_PERIOD = enum.auto()
    RIGHT_CR_LF_HT_VT = enum.auto()
    INVALID_UTF8 = enum.auto()
    DOT = enum.auto()
    SQUARE_BRACKET = enum.auto()
    SEMICOLON = enum.auto()
    EXCLAMATION = enum.auto()


_SPELLINGS = {
    "".join(word.capitalize() for word in flag.name.split("_")): flag
    for flag in (Flag.NONE, *Flag)
    if flag.name is not None
}
"""``LeftCrLfHtVt`` and the like → flag, as rclone spells them."""

_QUOTE = "\u201b"
_FULL_WIDTH = 0xFEE0
_SYMBOL = 0x2400
_SYMBOL_FOR_SPACE = "\u2420"
_SYMBOL_FOR_DELETE = "\u2421"
_FULL_STOP = "\uff0e"
_LINE_BREAKS = "\t\n\v\r"
_PRINTED = {
    Flag.SLASH: "/",
    Flag.LT_GT: "<>",
    Flag.DOUBLE_QUOTE: '"',
    Flag.SINGLE_QUOTE: "'",
    Flag.BACK_QUOTE: "`",
    Flag.DOLLAR: "$",
    Flag.COLON: ":",
    Flag.QUESTION: "?",
    Flag.ASTERISK: "*",
    Flag.PIPE: "|",
    Flag.HASH: "#",
    Flag.PERCENT: "%",
    Flag.BACK_SLASH: "\\",
    Flag.SQUARE_BRACKET: "[]",
    Flag.SEMICOLON: ";",
    Flag.EXCLAMATION: "!",
}


def _full_width(characters: str) -> dict[str, str]:
    return {character: chr(ord(character) + _FULL_WIDTH) for character in characters}


def _symbols(characters: Iterable[str]) -> dict[str, str]:
    return {character: chr(ord(character) + _SYMBOL) for character in characters}


_ANYWHERE: dict[Flag, dict[str, str]] = {
    **{flag: _full_width(characters) for flag, characters in _PRINTED.items()},
    Flag.CR_LF: _symbols("\r\n"),
    Flag.DEL: {"\x7f": _SYMBOL_FOR_DELETE},
    Flag.CTL: _symbols(map(chr, range(1, 32))),
}
# Of these only the first that fits a name's end is done, as rclone does it.
_LEFT: dict[Flag, dict[str, str]] = {
    Flag.LEFT_SPACE: {" ": _SYMBOL_FOR_SPACE},
    Flag.LEFT_PERIOD: {".": _FULL_STOP},
    Flag.LEFT_TILDE: _full_width("~"),
    Flag.LEFT_CR_LF_HT_VT: _symbols(_LINE_BREAKS),
}
_RIGHT: dict[Flag, dict[str, str]] = {
    Flag.RIGHT_SPACE: {" ": _SYMBOL_FOR_SPACE},
    Flag.RIGHT_PERIOD: {".": _FULL_STOP},
    Flag.RIGHT_CR_LF_HT_VT: _symbols(_LINE_BREAKS),
}
# Names that are no names of files, and with Dot their look-alikes, which other flags leave alone.
_DOTS = {
    ".": _FULL_STOP,
    "..": _FULL_STOP * 2,
    _FULL_STOP: _QUOTE + _FULL_STOP,
    _FULL_STOP * 2: (_QUOTE + _FULL_STOP) * 2,
}
# rclone writes both of these as the look-alike of "..", where a remote wants Dot and one period's flag.
_HALF_DOTS = {"." + _FULL_STOP: _FULL_STOP + _QUOTE + _FULL_STOP, _FULL_STOP + ".": _QUOTE + _FULL_STOP * 2}
_FIRST_SURROGATE = 0xDC00
_HEX = frozenset("0123456789abcdefABCDEF")


def _chosen(flags: Flag, table: Mapping[Flag, Mapping[str, str]]) -> dict[str, str]:
    return {plain: twin for flag, pairs in table.items() if flag & flags for plain, twin in pairs.items()}


def _turned(pairs: Mapping[str, str]) -> dict[str, str]:
    return {twin: plain for plain, twin in pairs.items()}


class Encoding:
    """One remote's way to write names.

    Encoded names are rclone's to the letter, with one exception: `_HALF_DOTS`. Decoding is its exact reverse.

    Args:
        flags: what to write in another way. NUL is written in another way always, unless it is RAW alone.
    """

    def __init__(self, flags: Flag) -> None:
        self.flags = flags
        self._anywhere = {"\0": chr(_SYMBOL), **_chosen(flags, _ANYWHERE)}
        self._left = _chosen(flags, _LEFT)
        self._right = _chosen(flags, _RIGHT)
        self._plain = _turned(self._anywhere)
        self._plain_left = _turned(self._left)
        self._plain_right = _turned(self._right)
        self._periods = Flag.DOT in flags and bool(flags & (Flag.LEFT_PERIOD | Flag.RIGHT_PERIOD))

    def __repr__(self) -> str:
        return f"<Encoding {self}>"

    def __str__(self) -> str:
        return ",".join(name for name, flag in _SPELLINGS.items() if flag & self.flags) or "None"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoding) and self.flags == other.flags

    def __hash__(self) -> int:
        return hash(self.flags)

    def encode(self, name: str) -> str:
        """Write a plain name, one part of a path, as the remote has it."""
        if self.flags == Flag.RAW or not name:
            return name
        if Flag.DOT in self.flags and name in _DOTS:
            return _DOTS[name]
        first = last = ""
        middle = name
        if middle[0] in self._left or middle[0] in self._plain_left:
            first, middle = self._left.get(middle[0], _QUOTE + middle[0]), middle[1:]
        if middle and (middle[-1] in self._right or middle[-1] in self._plain_right):
            last, middle = self._right.get(middle[-1], _QUOTE + middle[-1]), middle[:-1]
        encoded = first + "".join(map(self._twin, middle)) + last
        return _HALF_DOTS[name] if self._periods and encoded == _DOTS[".."] else encoded

    def _twin(self, character: str) -> str:
        if character in self._anywhere:
            return self._anywhere[character]
        if character == _QUOTE or character in self._plain:
            return _QUOTE + character
        byte = ord(character) - _FIRST_SURROGATE
        if Flag.INVALID_UTF8 in self.flags and 0x80 <= byte <= 0xFF:  # noqa: PLR2004 - what PEP 383 escapes
            return f"{_QUOTE}{byte:02X}"
        return character

    def decode(self, name: str) -> str:
        """Read a name of the remote's. What comes of it may have a slash in it, and is no part of a path."""
        if self.flags == Flag.RAW or not name:
            return name
        if Flag.DOT in self.flags and name in _TURNED_DOTS:
            return _TURNED_DOTS[name]
        if self._periods and name in _TURNED_HALF_DOTS:
            return _TURNED_HALF_DOTS[name]
        first = last = ""
        if name[0] in self._plain_left:
            first, name = self._plain_left[name[0]], name[1:]
        elif name[0] == _QUOTE and name[1:2] in self._plain_left:
            first, name = name[1], name[2:]
        if name and name[-1] in self._plain_right:
            bare = name[:-1]
            # Quoting runes of the name itself come in pairs.
            quoted = (len(bare) - len(bare.rstrip(_QUOTE))) % 2
            last, name = (name[-1], bare[:-1]) if quoted else (self._plain_right[name[-1]], bare)
        return first + "".join(self._plain_characters(name)) + last

    def _plain_characters(self, name: str) -> Iterator[str]:
        at = 0
        while at < len(name):
            character, following = name[at], name[at + 1 : at + 2]
            at += 1
            if character != _QUOTE:
                yield self._plain.get(character, character)
            elif following and (following == _QUOTE or following in self._plain):
                at += 1
                yield following
            elif (byte := self._escaped(name[at : at + 2])) is not None:
                at += 2
                yield chr(_FIRST_SURROGATE + byte)
            else:
                yield character

    def _escaped(self, digits: str) -> int | None:
        """Give the byte that is no text. One below 0x80 would be text, a slash even, and is none of ours."""
        if Flag.INVALID_UTF8 not in self.flags or len(digits) != 2 or not _HEX.issuperset(digits):  # noqa: PLR2004
            return None
        byte = int(digits, 16)
        return byte if byte >= 0x80 else None  # noqa: PLR2004 - the first that is no text

    def from_standard(self, path: str) -> str:
        """Write a path in the standard encoding as the remote has it, part by part."""
        if self.flags in {Flag.RAW, STANDARD.flags}:
            return path
        return "/".join(self.encode(STANDARD.decode(part)) for part in path.split("/"))

    def to_standard(self, path: str) -> str:
        """Write a path of the remote's in the standard encoding, part by part."""
        if self.flags in {Flag.RAW, STANDARD.flags}:
            return path
        return "/".join(STANDARD.encode(self.decode(part)) for part in path.split("/"))


_TURNED_DOTS = _turned(_DOTS)
_TURNED_HALF_DOTS = _turned(_HALF_DOTS)

RAW = Encoding(Flag.RAW)
"""Names as they are."""
STANDARD = Encoding(Flag.SLASH | Flag.CTL | Flag.DEL | Flag.DOT)
"""How rclone's users write paths."""


def parse_encoding(text: str) -> Encoding:
    """Read rclone's option ``encoding``: flags with commas between them, ``Slash,Del,Ctl,RightSpace,Dot``.

    A number stands for the flags whose bits it has, as with rclone.

    Raises:
        ValueError: there is no such flag.
    """
    flags = Flag.NONE
    for part in map(str.strip, text.split(",")):
        flags |= _SPELLINGS[part] if part in _SPELLINGS else _by_number(part)
    return Encoding(flags)


def _by_number(text: str) -> Flag:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0 or number & ~sum(Flag):
        raise ValueError(f"bad encoding {text!r}: possible values are {', '.join(_SPELLINGS)}")
    return Flag(number)
