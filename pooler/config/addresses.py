"""Where things are in the network, as connections.ini writes it: hosts, addresses, ports, proxies.

Neighbour: `pooler.config.remotes`.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from pooler.config.values import whole

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+):([0-9]+)")
_SOCKS_FIELD_BYTES = 255  # RFC 1929


@dataclass(frozen=True, slots=True)
class ProxyServer:
    """A proxy on the way to an FTP server.

    Attributes:
        kind: SOCKS5, or HTTP with CONNECT.
        host: a name or an address.
        port: where it listens.
        user: the account there; None for none.
        password: of that account.
    """

    kind: Literal["socks5", "http"]
    host: str
    port: int
    user: str | None = None
    password: SecretStr = field(default_factory=lambda: SecretStr(""))


def host(text: str) -> str:
    """Read a name or an address; one of IPv6 may stand in brackets, and loses them.

    Raises:
        ValueError: with what was expected.
    """
    name = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not name or not name.isprintable() or any(sign in name for sign in " /@[]") or name.count(":") == 1:
        raise ValueError(f"expected a name or an address, without a port, got {text!r}")
    return name


def ip_address(text: str) -> str:
    """Read a numeric address, and write it the usual way.

    Raises:
        ValueError: with what was expected.
    """
    try:
        return str(ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text))
    except ValueError:
        raise ValueError(f"expected an IPv4 or IPv6 address, got {text!r}") from None


def ports(text: str) -> tuple[int, int]:
    """Read a range of ports, or a single one, as the first and the last.

    Raises:
        ValueError: with what was expected.
    """
    first, dash, last = text.partition("-")
    try:
        found = whole(first.strip(), 1, 65535), whole((last if dash else first).strip(), 1, 65535)
    except ValueError:
        found = (1, 0)
    if found[0] > found[1]:
        raise ValueError(f"expected a range of ports such as 40000-40100, got {text!r}")
    return found


def socks_proxy(text: str) -> ProxyServer:
    """Read ``[user[:pass]@]host:port``; the text may hold a password, and is not in a message.

    Raises:
        ValueError: with what was expected.
    """
    login, at, server = text.rpartition("@")
    user, _, password = login.partition(":")
    match = _HOST_AND_PORT.fullmatch(server)
    try:
        if match is None or (at and not user) or max(map(_size_bytes, (user, password))) > _SOCKS_FIELD_BYTES:
            raise ValueError  # noqa: TRY301 - the same as from what follows
        name, port = host(match[1]), whole(match[2], 1, 65535)
    except ValueError:
        raise ValueError("expected [user[:pass]@]host:port") from None
    return ProxyServer("socks5", name, port, user if at else None, SecretStr(password))


def http_proxy(text: str) -> ProxyServer:
    """Read ``http://[user[:pass]@]host[:port]``; the text may hold a password, and is not in a message.

    Raises:
        ValueError: with what was expected.
    """
    try:
        url = urlsplit(text)
        name, port = host(url.hostname or ""), url.port or 80
    except ValueError:
        raise ValueError("expected http://[user[:pass]@]host:port") from None
    if url.scheme == "https":
        raise ValueError("TLS to the proxy itself is not supported: expected http://[user[:pass]@]host:port")
    if url.scheme != "http" or url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError("expected http://[user[:pass]@]host:port")
    user = None if url.username is None else unquote(url.username)
    return ProxyServer("http", name, port, user, SecretStr(unquote(url.password or "")))


def _size_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
