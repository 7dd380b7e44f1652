"""What the replies to PASV (RFC 959 §4.1.2) and EPSV (RFC 2428 §3) say: where to connect. Pure.

Neighbour: `session` asks, `data` connects.
"""

import re
from typing import NamedTuple

from pooler.errors import PeerProtocolError

# RFC 1123 §4.1.2.6: neither the parentheses nor anything else may be counted on but six numbers and commas.
_SIX_NUMBERS = re.compile(r"(?<!\d)(\d{1,3})" + r"\s*,\s*(\d{1,3})" * 5 + r"(?!\d)", re.ASCII)
# The delimiter is any printable character; protocol and address between the first two are to be empty, and
# are passed over where they are not.
_EXTENDED = re.compile(r"\(([!-~])([^()]*?)\1([^()]*?)\1(\d{1,5})\1\)", re.ASCII)
# A reply may have 64 KiB, and the second pattern takes the square of that in time.
_SEARCHED = 1000
_MAX_BYTE = 255
_MAX_PORT = 65535


class PassiveAddress(NamedTuple):
    """Where the server listens.

    Attributes:
        host: as told by a 227; None with a 229, which means the host of the control connection.
        port: 1 to 65535.
    """

    host: str | None
    port: int


def parse_pasv(text: str) -> PassiveAddress:
    """Read the text of a 227.

    Raises:
        PeerProtocolError: there are no six numbers in it, or they are no address and port.
    """
    match = _SIX_NUMBERS.search(text[:_SEARCHED])
    if match is None:
        raise PeerProtocolError(f"no address in the reply to PASV: {text[:80]!r}")
    numbers = [int(number) for number in match.groups()]
    if max(numbers) > _MAX_BYTE:
        raise PeerProtocolError(f"no address in the reply to PASV: {text[:80]!r}")
    return PassiveAddress(".".join(map(str, numbers[:4])), _checked_port(numbers[4] * 256 + numbers[5], text))


def parse_epsv(text: str) -> PassiveAddress:
    """Read the text of a 229.

    Raises:
        PeerProtocolError: there is no port in it.
    """
    match = _EXTENDED.search(text[:_SEARCHED])
    if match is None:
        raise PeerProtocolError(f"no port in the reply to EPSV: {text[:80]!r}")
    return PassiveAddress(None, _checked_port(int(match[4]), text))


def _checked_port(port: int, text: str) -> int:
    if not 1 <= port <= _MAX_PORT:
        raise PeerProtocolError(f"port {port} cannot be connected to: {text[:80]!r}")
    return port
