"""Proxies for tests, in the test's own Trio loop: SOCKS5 and HTTP CONNECT, which really hand on.

``async with socks5_proxy() as proxy:`` gives one on a free loopback port. With ``answer`` a proxy says
that in place of its last word, whatever was asked, and hands nothing on. An eager one sends the server's
first words in the packet of its own: no client may lose them.
"""

import base64
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from pooler.ftp.profile import Proxy
from tests.support.cutting import reset_on_close

HOST = "127.0.0.1"


class TestProxy:
    """What a test sees of a proxy.

    Attributes:
        profile: how to reach it.
        asked: host and port of every connection asked for, in order, as they were written.
        login: user and password that must be shown; None for none.
        answer: said in place of the last word.
        eager: whether the server's first words, on the first connection, come in one packet with the proxy's.
    """

    __test__ = False

    def __init__(self, profile: Proxy, login: tuple[str, str] | None, answer: bytes | None) -> None:
        self.profile = profile
        self.login = login
        self.answer = answer
        self.eager = False
        self._inside = 0
        self._changed = trio.Event()
        self.asked: list[tuple[str, int]] = []

    async def all_left(self) -> None:
        """Wait until no connection goes through any more, five seconds at most."""
        with trio.fail_after(5):
            while self._inside:
                await self._changed.wait()

    def count(self, change: int) -> None:
        """Count who comes and goes."""
        self._inside += change
        self._changed.set()
        self._changed = trio.Event()


Greet = Callable[[TestProxy, trio.SocketStream], Awaitable[tuple[str, int] | None]]


class _Left(Exception):
    pass


@asynccontextmanager
async def socks5_proxy(
    *, login: tuple[str, str] | None = None, answer: bytes | None = None
) -> AsyncIterator[TestProxy]:
    """Run a SOCKS5 proxy until the block ends."""
    async with _proxy("socks5", _socks5, b"\x05\x00\x00\x03\x05local\x00\x00", login, answer) as proxy:
        yield proxy


@asynccontextmanager
async def http_proxy(
    *, login: tuple[str, str] | None = None, answer: bytes | None = None
) -> AsyncIterator[TestProxy]:
    """Run an HTTP proxy until the block ends; it knows nothing but CONNECT."""
    good = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"
    async with _proxy("http", _http, good, login, answer) as proxy:
        yield proxy


@asynccontextmanager
async def _proxy(
    kind: str, greet: Greet, good: bytes, login: tuple[str, str] | None, answer: bytes | None
) -> AsyncIterator[TestProxy]:
    async def serve(stream: trio.SocketStream) -> None:
        proxy.count(1)
        try:
            where = await greet(proxy, stream)
            if where is None:
                return
            proxy.asked.append(where)
            if proxy.answer is not None:
                await stream.send_all(proxy.answer)
                await _to_the_end(stream)
                return
            async with await trio.open_tcp_stream(*where) as onward:
                first = await onward.receive_some(65536) if proxy.eager and len(proxy.asked) == 1 else b""
                await stream.send_all(good + first)
                await _relay(stream, onward)
        except (_Left, trio.BrokenResourceError, OSError):
            pass
        finally:
            await trio.aclose_forcefully(stream)
            proxy.count(-1)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        port = listeners[0].socket.getsockname()[1]
        user, password = login or (None, "")
        profile = Proxy("socks5" if kind == "socks5" else "http", HOST, port, user, password)
        proxy = TestProxy(profile, login, answer)
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()


async def _relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Hand on both ways; what ends or breaks on one side ends or breaks on the other."""

    async def hand_on(source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(65536):
                await target.send_all(data)
            await target.send_eof()
        except trio.BrokenResourceError:
            for stream in (one, other):  # an end in order would make a whole file of a part
                reset_on_close(stream.socket)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hand_on, one, other)
        nursery.start_soon(hand_on, other, one)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise _Left
        data += more
    return data


async def _to_the_end(stream: trio.SocketStream) -> None:
    while await stream.receive_some(4096):
        pass


async def _socks5(proxy: TestProxy, stream: trio.SocketStream) -> tuple[str, int] | None:
    version, count = await _exactly(stream, 2)
    methods = await _exactly(stream, count)
    wanted = 2 if proxy.login else 0
    if version != 5 or wanted not in methods:
        await stream.send_all(b"\x05\xff")
        return None
    await stream.send_all(bytes((5, wanted)))
    if proxy.login and not await _socks5_login(proxy.login, stream):
        return None
    version, command, _, kind = await _exactly(stream, 4)
    assert (version, command) == (5, 1)
    if kind == 3:
        host = (await _exactly(stream, (await _exactly(stream, 1))[0])).decode("ascii")
    else:
        host = str(ipaddress.ip_address(await _exactly(stream, {1: 4, 4: 16}[kind])))
    return host, int.from_bytes(await _exactly(stream, 2), "big")


async def _socks5_login(login: tuple[str, str], stream: trio.SocketStream) -> bool:
    version, length = await _exactly(stream, 2)
    user = await _exactly(stream, length)
    password = await _exactly(stream, (await _exactly(stream, 1))[0])
    good = version == 1 and (user.decode(), password.decode()) == login
    await stream.send_all(b"\x01\x00" if good else b"\x01\x01")
    return good


async def _http(proxy: TestProxy, stream: trio.SocketStream) -> tuple[str, int] | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await _exactly(stream, 1)
    first, *fields = head.decode("ascii").split("\r\n")[:-2]
    verb, where, version = first.split(" ")
    assert (verb, version) == ("CONNECT", "HTTP/1.1")
    assert f"Host: {where}" in fields
    if proxy.login is not None:
        credentials = base64.b64encode(":".join(proxy.login).encode()).decode()
        if f"Proxy-Authorization: Basic {credentials}" not in fields:
            await stream.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return None
    host, _, port = where.rpartition(":")
    return host.strip("[]"), int(port)
