"""How rclone writes the values of connections.ini: switches, durations, sizes; and what FTP can take."""

import codecs
import math
import re

from pooler.config.passwords import fits_line

_SWITCHES = {
    **dict.fromkeys(("true", "t", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "f", "0", "no", "off"), False),
}
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "M": 30 * 86400.0,
    "y": 365 * 86400.0,
}
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_STEP = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h|d|w|M|y)", re.ASCII)
_DURATION = re.compile(rf"(?:{_STEP.pattern})+", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER})(?:([kmgtp])(?:i?b)?|b)", re.ASCII | re.IGNORECASE)
_SIZE_UNITS = {letter: 1024**power for power, letter in enumerate("kmgtp", 1)}
_PLAIN = re.compile(_NUMBER, re.ASCII)
# Text of its own in ASCII, each of them; in a charset with escapes some mean something else, or nothing yet.
_PROBES = (
    *(bytes([byte]) for byte in range(0x80)),
    b"+AGE-",
    b"~{!!~}",
    b"\\u0041",
    b"\\x41",
    b"a-b",
    b"xn--a",
)
_DIGITS = re.compile(r"[0-9]{1,18}")


def switch(text: str) -> bool:
    """Read ``true`` or ``false``, in any of the ways in which rclone writes them.

    Raises:
        ValueError: with what was expected.
    """
    value = _SWITCHES.get(text.lower())
    if value is None:
        raise ValueError(f"expected true or false, got {text!r}")
    return value


def duration(text: str) -> float:
    """Read a duration such as ``1m30s``, ``90`` (seconds) or ``off``.

    Returns:
        Seconds; infinity for ``off``.

    Raises:
        ValueError: with what was expected.
    """
    if text.lower() == "off":
        return math.inf
    if _PLAIN.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected a duration such as 1m30s, or off, got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _STEP.findall(text))


def size(text: str) -> float:
    """Read a size such as ``10M``, ``1.5GiB`` or ``500B``, by powers of 1024, or ``off``.

    A number alone is refused: rclone counts it in KiB, and nobody expects that.

    Returns:
        Bytes, above 0; infinity for ``off``.

    Raises:
        ValueError: with what was expected.
    """
    if text.lower() == "off":
        return math.inf
    match = _SIZE.fullmatch(text)
    value = 0.0 if match is None else float(match[1]) * (_SIZE_UNITS[match[2].lower()] if match[2] else 1)
    if not 1 <= value < math.inf:
        raise ValueError(f"expected a size with its unit, such as 10M or 500B, or off, got {text!r}")
    return value


def whole(text: str, least: int, most: int) -> int:
    """Read a whole number between two bounds, both allowed.

    Raises:
        ValueError: with what was expected.
    """
    if not _DIGITS.fullmatch(text) or not least <= int(text) <= most:
        raise ValueError(f"expected a whole number from {least} to {most}, got {text!r}")
    return int(text)


def charset(text: str) -> str:
    """Read a charset in which a command line can be written: one that has ASCII in its place.

    Returns:
        The name that Python gives it.

    Raises:
        ValueError: with what was expected.
    """
    try:
        name = codecs.lookup(text).name
        usable = all(_is_ascii_there(probe, name) for probe in _PROBES)
    except (LookupError, UnicodeError, ValueError):
        usable = False
    if not usable:
        raise ValueError(f"expected a charset that contains ASCII, such as utf-8 or cp949, got {text!r}")
    return name


def _is_ascii_there(probe: bytes, name: str) -> bool:
    text = probe.decode("ascii")
    return text.encode(name) == probe and probe.decode(name) == text


def line(text: str) -> str:
    """Refuse what would end a command line; the text may be a password, and is not in the message.

    Raises:
        ValueError: with what was expected.
    """
    if not fits_line(text):
        raise ValueError("expected no CR, LF or NUL")
    return text
