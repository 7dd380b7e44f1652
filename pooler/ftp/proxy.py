"""Through a proxy: SOCKS5 (RFC 1928, RFC 1929) and HTTP CONNECT (RFC 9110 §9.3.6).

Asked on a connection that stands, the proxy connects on; from then on the connection is the server's. Not a
byte more is received than the proxy's answer has, since the next one is the server's greeting. Names are
looked up by the proxy. A proxy's own words are never repeated in an error: it has seen the password.

Neighbours: `control` and `data` ask; `profile` says which proxy.
"""

import base64
import http.client
import ipaddress
import re

from pooler.ftp.profile import Proxy
from pooler.ftp.tcp import TcpConnection

_MAX_ANSWER_BYTES = 16384
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_GOOD = 2
_HOST = re.compile(r"[!-~]+")

_SOCKS5 = 5
_NO_AUTHENTICATION, _USER_AND_PASSWORD = 0, 2
_NEGOTIATION = 1  # the version of RFC 1929's
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_MAX_FIELD_BYTES = 255
_REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}


class ProxyError(OSError):
    """The proxy refuses, or is none. To whoever opens a connection it is the network's trouble."""


async def connect_through(connection: TcpConnection, proxy: Proxy, host: str, port: int) -> None:
    """Let a proxy connect on.

    Args:
        connection: to the proxy, nothing sent yet. Afterwards it is as good as one to ``host``.
        proxy: how to speak to it.
        host: name or address, looked up over there.
        port: where to.

    Raises:
        ProxyError: it refuses.
        OSError: the network's own errors.

    Cancellation: the connection is of no further use.
    """
    host = host.partition("%")[0]  # a zone is ours alone
    if proxy.kind == "socks5":
        await _socks5(connection, proxy, host, port)
    else:
        await _http(connection, proxy, host, port)


async def _socks5(connection: TcpConnection, proxy: Proxy, host: str, port: int) -> None:
    method = _NO_AUTHENTICATION if proxy.user is None else _USER_AND_PASSWORD
    request = bytes((_SOCKS5, _CONNECT, 0)) + _address(host) + port.to_bytes(2, "big")
    await connection.send_all(memoryview(bytes((_SOCKS5, 1, method))))
    version, chosen = await _exactly(connection, 2)
    if version != _SOCKS5:
        raise ProxyError("not a SOCKS5 proxy")
    if chosen != method:
        wanted = "a login" if proxy.user is None else "another kind of login"
        raise ProxyError(f"it wants {wanted}")
    if proxy.user is not None:
        login = bytes((_NEGOTIATION,)) + _field(proxy.user, "user") + _field(proxy.password, "password")
        await connection.send_all(memoryview(login))
        _, status = await _exactly(connection, 2)
        if status:
            raise ProxyError("it refuses the login")
    await connection.send_all(memoryview(request))
    version, code, _, kind = await _exactly(connection, 4)
    if version != _SOCKS5:
        raise ProxyError("not a SOCKS5 proxy")
    if code:
        raise ProxyError(f"it cannot connect: {_REFUSALS.get(code, f'code {code}')}")
    await _exactly(connection, await _bound_length(connection, kind) + 2)


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bytes((_NAME,)) + _field(_name(host), "name of the server")
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed  # noqa: PLR2004 - the protocol's own names


async def _bound_length(connection: TcpConnection, kind: int) -> int:
    """Give the length of the address that the proxy connects from, which nobody needs."""
    if kind == _NAME:
        (length,) = await _exactly(connection, 1)
        return length
    try:
        return {_IPV4: 4, _IPV6: 16}[kind]
    except KeyError:
        raise ProxyError("not a SOCKS5 proxy") from None


async def _http(connection: TcpConnection, proxy: Proxy, host: str, port: int) -> None:
    name = _name(host)
    where = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    request = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
    if proxy.user is not None:
        login = f"{proxy.user}:{proxy.password}".encode("utf-8", "surrogateescape")
        credentials = base64.b64encode(login).decode("ascii")
        request += f"Proxy-Authorization: Basic {credentials}\r\n"
    await connection.send_all(memoryview(f"{request}\r\n".encode("ascii")))
    answer = await connection.receive_through(b"\r\n\r\n", _MAX_ANSWER_BYTES)
    status = _STATUS_LINE.match(answer)
    if status is None:
        raise ProxyError("not an HTTP proxy" if answer else "it closed the connection")
    code = int(status[1])
    if code // 100 != _GOOD:
        raise ProxyError(f"it refuses: {code} {http.client.responses.get(code, '')}".rstrip())


def _name(host: str) -> str:
    """Write a name as the wire has it, in ASCII and without anything that could end a line."""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ProxyError(f"not the name of a server: {error}") from error
    if not _HOST.fullmatch(name):
        raise ProxyError("not the name of a server")
    return name


def _field(text: str, what: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > _MAX_FIELD_BYTES:
        raise ProxyError(f"{what}: longer than {_MAX_FIELD_BYTES} bytes")
    return bytes((len(data),)) + data


async def _exactly(connection: TcpConnection, count: int) -> bytes:
    received = bytearray(count)
    left = memoryview(received)
    while left:
        taken = await connection.receive_into(left)
        if not taken:
            raise ProxyError("it closed the connection")
        left = left[taken:]
    return bytes(received)
