"""Names between text and a server's bytes: charset, Unicode form, length. Pure.

A name on the wire is bytes. As text it is what those bytes say in the remote's charset; bytes that say
nothing there become lone surrogates (PEP 383), and go back to the same bytes. So a file can be read, renamed
and removed whatever its name is.

Nothing is normalised on the way, since a server may hold both forms of a name. Only names that we create are
put into the form that the remote wants, and a missing source may be looked for once in the other form.

Neighbours: `encoding` writes characters that a remote refuses in another way, `session` sends names,
`entries` has them as they came.
"""

import codecs
import enum
import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from pooler.ftp.encoding import RAW, Encoding

NAME_MAX_BYTES = 255
"""What ext4, XFS, NTFS and most others take for one name."""

_ESCAPE = "surrogateescape"
_MAX_CODE_BYTES = 4
# In NFD one character can become four, of three bytes each.
_MAX_WIRE_BYTES = 16
# Each would be text of its own in ASCII, and means something else in a charset with escapes.
_PROBES = (b"+AGE-", b"~{!!~}", b"\\u0041", b"\\x41", b"a-b", b"xn--a")


@functools.cache
def check_charset(charset: str) -> str:
    """Give the canonical name of a charset that can be used for names.

    Raises:
        ValueError: there is no such charset, or one in which ASCII is not ASCII.
    """
    try:
        name = codecs.lookup(charset).name
        ascii_only = [(bytes([byte]), chr(byte)) for byte in range(128)]
        plain = all(raw.decode(name) == text and text.encode(name) == raw for raw, text in ascii_only)
        usable = plain and all(probe.decode(name) == probe.decode("ascii") for probe in _PROBES)
    except (LookupError, ValueError) as error:
        raise ValueError(f"{charset!r} is no charset for names") from error
    if not usable:
        raise ValueError(f"{charset!r} is no charset for names: it writes ASCII in another way")
    return name


def decode(raw: bytes, charset: str) -> str:
    """Make text of a name; `encode` makes the same bytes of it again, whatever they are.

    The East Asian charsets have characters with two codes. The code that would not come back is kept as
    surrogates.

    Raises:
        ValueError: see `check_charset`.
    """
    name = check_charset(charset)
    text = raw.decode(name, _ESCAPE)
    if raw.isascii() or text.encode(name, _ESCAPE) == raw:
        return text
    text = "".join(_pieces(raw, name))
    # Where two characters in a row have a code of their own (Big5-HKSCS), no piece tells.
    return text if text.encode(name, _ESCAPE) == raw else raw.decode("ascii", _ESCAPE)


def _pieces(raw: bytes, charset: str) -> Iterable[str]:
    at = 0
    while at < len(raw):
        for end in range(at + 1, min(at + _MAX_CODE_BYTES, len(raw)) + 1):
            piece = raw[at:end]
            try:
                text = piece.decode(charset)
            except UnicodeDecodeError:
                continue
            if text and text.encode(charset) == piece:
                yield text
                at = end
                break
        else:
            yield raw[at : at + 1].decode("ascii", _ESCAPE)
            at += 1


def encode(text: str, charset: str) -> bytes:
    """Make the bytes of a name.

    Raises:
        ValueError: it has characters that the charset lacks, or see `check_charset`.
    """
    name = check_charset(charset)
    try:
        return text.encode(name, _ESCAPE)
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r} has characters that {name} lacks") from error


class Form(enum.Enum):
    """The Unicode form of names that we create."""

    KEEP = "keep"
    NFC = "nfc"
    NFD = "nfd"

    def apply(self, text: str) -> str:
        """Put a text into this form."""
        return (
            text
            if self is Form.KEEP or text.isascii()
            else unicodedata.normalize("NFC" if self is Form.NFC else "NFD", text)
        )


def other_form(text: str) -> str | None:
    """Give the one other form under which a missing name may be looked for; None where there is none.

    That is the composed form, or for a name that is composed already the decomposed one.
    """
    return next((other for form in (Form.NFC, Form.NFD) if (other := form.apply(text)) != text), None)


@dataclass(frozen=True, slots=True)
class NameCodec:
    """How one remote's paths go onto the wire and come back.

    Attributes:
        charset: of names on the wire.
        form: of names that we create.
        encoding: for characters that the remote refuses. With it, paths are in rclone's standard encoding.

    Raises:
        ValueError: see `check_charset`.
    """

    charset: str = "utf-8"
    form: Form = Form.KEEP
    encoding: Encoding = RAW

    def __post_init__(self) -> None:
        check_charset(self.charset)

    def to_wire(self, path: str, *, creating: bool = False) -> bytes:
        """Make the bytes of a path.

        Args:
            path: parts with slashes between them.
            creating: whether we make what it names, and so may choose the Unicode form.

        Raises:
            ValueError: it has characters that the charset lacks.
        """
        there = self.encoding.from_standard(path)
        return encode(self.form.apply(there) if creating else there, self.charset)

    def from_wire(self, raw: bytes) -> str:
        """Make a path of its bytes; `to_wire` makes the same bytes of it where ``encoding`` is `RAW`."""
        return self.encoding.to_standard(decode(raw, self.charset))

    def other_form(self, path: str) -> bytes | None:
        """Give the bytes of a path in its other Unicode form, for one look for a missing source.

        Returns:
            None where there is no other form, or none in this charset.
        """
        other = other_form(self.encoding.from_standard(path))
        if other is None:
            return None
        try:
            return encode(other, self.charset)
        except ValueError:
            return None

    def fit(self, stem: str, *, before: str = "", after: str = "", limit_bytes: int = NAME_MAX_BYTES) -> str:
        """Make a name of three parts, its middle cut so that the whole has at most so many bytes on the wire.

        No character is cut in two, and none is parted from the accents behind it.

        Args:
            stem: what may be cut, at its end.
            before: goes in front, uncut.
            after: goes behind, uncut.
            limit_bytes: for the whole.

        Raises:
            ValueError: the uncut parts alone are too long, or a part has characters that the charset lacks.
        """
        if self._length(before + after) > limit_bytes:
            raise ValueError(f"{before!r} and {after!r} have more than {limit_bytes} bytes")
        kept = len(stem)
        excess = self._length(before + stem + after) - limit_bytes
        while kept and (excess > 0 or _parts_an_accent(stem, kept)):
            # No character frees more bytes than that, so none goes that could stay.
            kept -= max(1, excess // _MAX_WIRE_BYTES)
            excess = self._length(before + stem[:kept] + after) - limit_bytes
        return before + stem[:kept] + after

    def _length(self, name: str) -> int:
        return len(self.to_wire(name, creating=True))


def _parts_an_accent(text: str, at: int) -> bool:
    return at < len(text) and unicodedata.combining(text[at]) != 0
