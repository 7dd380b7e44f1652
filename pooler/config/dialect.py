"""How one server wants its names, its paths and its commands, as connections.ini writes it.

Neighbours: `pooler.config.ftp_section`, which has the keys, and the FTP client, which does what they say.
"""

import re
import zoneinfo
from datetime import tzinfo
from typing import Literal

from pooler.model.job import Verify

UnicodeForm = Literal["keep", "nfc", "nfd"]
PathStyle = Literal["absolute", "cwd"]
TransferType = Literal["image", "ascii"]

RAW_ENCODING = "Raw"
"""Names as they are."""
RCLONE_ENCODING = "Slash,Del,Ctl,RightSpace,Dot"
"""What rclone's ``encoding`` is for FTP, where nothing else is said."""
ENCODING_FLAGS = (
    "None", "Raw", "Slash", "LtGt", "DoubleQuote", "SingleQuote", "BackQuote", "Dollar", "Colon", "Question",
    "Asterisk", "Pipe", "Hash", "Percent", "BackSlash", "CrLf", "Del", "Ctl", "LeftSpace", "LeftPeriod",
    "LeftTilde", "LeftCrLfHtVt", "RightSpace", "RightPeriod", "RightCrLfHtVt", "InvalidUtf8", "Dot",
    "SquareBracket", "Semicolon", "Exclamation",
)  # fmt: skip
"""What ``encoding`` may list. rclone counts the bits of a number in this order, from the second on."""

_VERB = re.compile(r"[A-Z][A-Z0-9]{2,15}", re.IGNORECASE | re.ASCII)
# The client's own: one more of these would change what it believes of the session.
_OWN_VERBS = frozenset(
    {
        "USER", "PASS", "AUTH", "PBSZ", "PROT", "CCC", "REIN", "QUIT", "HOST", "TYPE", "MODE", "STRU", "PORT",
        "EPRT", "PASV", "EPSV", "REST", "RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD", "ABOR",
        "RNFR", "RNTO", "CWD", "CDUP", "XCWD", "XCUP",
    }
)  # fmt: skip


def unicode_form(text: str) -> UnicodeForm:
    """Read ``keep``, ``nfc`` or ``nfd``.

    Raises:
        ValueError: with what was expected.
    """
    match text.lower():
        case "keep" | "nfc" | "nfd" as form:
            return form
        case _:
            raise ValueError(f"expected keep, nfc or nfd, got {text!r}")


def verify(text: str) -> Verify:
    """Read ``none``, ``size``, ``checksum`` or ``read_back``.

    Raises:
        ValueError: with what was expected.
    """
    try:
        return Verify(text.lower())
    except ValueError:
        raise ValueError(f"expected none, size, checksum or read_back, got {text!r}") from None


def path_style(text: str) -> PathStyle:
    """Read ``absolute`` or ``cwd``.

    Raises:
        ValueError: with what was expected.
    """
    match text.lower():
        case "absolute" | "cwd" as style:
            return style
        case _:
            raise ValueError(f"expected absolute or cwd, got {text!r}")


def transfer_type(text: str) -> TransferType:
    """Read ``image`` or ``ascii``.

    Raises:
        ValueError: with what was expected.
    """
    match text.lower():
        case "image" | "ascii" as kind:
            return kind
        case _:
            raise ValueError(f"expected image or ascii, got {text!r}")


def encoding(text: str) -> str:
    """Read rclone's option ``encoding``, flags or numbers with commas between them; it stays as it stands.

    Raises:
        ValueError: with what was expected.
    """
    for flag in map(str.strip, text.split(",")):
        if flag not in ENCODING_FLAGS and not _is_sum_of_flags(flag):
            expected = f"flags of rclone's such as {RCLONE_ENCODING}, or {RAW_ENCODING}"
            raise ValueError(f"expected {expected}, got {flag!r}")
    return text


def _is_sum_of_flags(text: str) -> bool:
    try:
        return 0 <= int(text, 0) < 1 << (len(ENCODING_FLAGS) - 1)
    except ValueError:
        return False


def commands(text: str) -> tuple[str, ...]:
    """Read commands with ``;`` between them, such as ``SITE UMASK 002; SITE CHMOD``.

    Blanks around a command go; what is left of it is sent as it stands.

    Raises:
        ValueError: with what was expected.
    """
    found = tuple(filter(None, map(str.strip, text.split(";"))))
    for line in found:
        verb, _, argument = line.partition(" ")
        if not _VERB.fullmatch(verb) or any(sign in argument for sign in "\r\n\0"):
            raise ValueError(f"expected commands such as SITE UMASK 002, with ; between them, got {line!r}")
        if verb.upper() in _OWN_VERBS:
            raise ValueError(f"{verb.upper()}: expected no command for logins, folders and transfers")
    return found


def timezone(text: str) -> tzinfo:
    """Read the name of a time zone.

    Raises:
        ValueError: with what was expected.
    """
    try:
        return zoneinfo.ZoneInfo(text)
    except (LookupError, OSError, ValueError):  # no such zone, a folder of zones, no such name at all
        raise ValueError(f"expected the IANA name of a time zone, such as Asia/Seoul, got {text!r}") from None
