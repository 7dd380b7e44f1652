"""Through SOCKS5 and HTTP CONNECT proxies, good ones and others."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import ConnectError, DataConnectionError, TlsError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Proxy
from pooler.ftp.proxy import connect_through
from pooler.ftp.tcp import TcpConnection
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.moving import fetch, store
from tests.support.process import free_port
from tests.support.proxies import TestProxy, http_proxy, socks5_proxy
from tests.support.scripted import scripted_server

CONTENT = bytes(range(256)) * 1000
LOGIN = ("anna", "pa:ss wörd")
Run = Callable[..., AbstractAsyncContextManager[TestProxy]]
both = pytest.mark.parametrize("run", [socks5_proxy, http_proxy])


@both
@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("tls", [False, True])
async def test_both_connections_go_through(
    run: Run,
    login: tuple[str, str] | None,
    tls: bool,  # noqa: FBT001 - a parameter of the table
    tmp_path: Path,
) -> None:
    async with run(login=login) as proxy, scripted_server(tls_folder=tmp_path if tls else None) as server:
        proxy.eager = True
        session = await FtpConnector(server.profile(proxy=proxy.profile)).connect()
        assert proxy.asked == [("127.0.0.1", server.port)]
        assert session.peer.address == f"127.0.0.1:{server.port}"
        async with session.storing("/f") as up:
            await up.send_all(memoryview(CONTENT))
        assert server.files["/f"] == CONTENT
        assert await fetch(session, "/f") == CONTENT
        assert up.tls_resumed is (True if tls else None)
        assert [host for host, _ in proxy.asked] == ["127.0.0.1"] * 3
        await session.aclose()
        await server.all_left()


@both
async def test_names_are_looked_up_by_the_proxy_and_data_goes_to_the_same_name(run: Run) -> None:
    async with run() as proxy, scripted_server() as server:
        session = await FtpConnector(server.profile(host="localhost", proxy=proxy.profile)).connect()
        await store(session, "/f", b"x")
        assert [host for host, _ in proxy.asked] == ["localhost"] * 2
        await session.aclose()


@both
async def test_ipv6_addresses_are_written_as_they_should(run: Run) -> None:
    async with run() as proxy, scripted_server(host="::1") as server:
        session = await FtpConnector(server.profile(proxy=proxy.profile)).connect()
        await store(session, "/f", b"x")
        assert [host for host, _ in proxy.asked] == ["::1"] * 2
        await session.aclose()


@both
async def test_names_in_other_scripts_are_written_in_ascii(run: Run) -> None:
    async with run(answer=b"no\r\n\r\n") as proxy:
        with pytest.raises(OSError, match="not a"):
            await _through(proxy.profile, "bücher.example", 21)
        assert proxy.asked == [("xn--bcher-kva.example", 21)]


async def _through(proxy: Proxy, host: str, port: int) -> None:
    connection = await TcpConnection.open(proxy.host, proxy.port)
    try:
        await connect_through(connection, proxy, host, port)
    finally:
        connection.reset()


@both
@pytest.mark.parametrize("host", ["a b", "a\r\nX: y", "a" * 300, ""])
async def test_a_name_that_is_none_is_not_sent(run: Run, host: str) -> None:
    async with run() as proxy:
        with pytest.raises(OSError, match=r"name of (a|the) server|failed|closed|cannot connect"):
            await _through(proxy.profile, host, 21)
        assert not any("\n" in asked or " " in asked for asked, _ in proxy.asked)


@both
@pytest.mark.parametrize("given", [None, ("anna", "wrong")])
async def test_a_wrong_login_is_told_with_the_proxy_and_without_the_password(
    run: Run, given: tuple[str, str] | None
) -> None:
    async with run(login=LOGIN) as proxy, scripted_server() as server:
        user, password = given or (None, "")
        wrong = Proxy(proxy.profile.kind, proxy.profile.host, proxy.profile.port, user, password)
        with pytest.raises(ConnectError) as caught:
            await FtpConnector(server.profile(proxy=wrong)).connect()
        assert f"through {'SOCKS5' if wrong.kind == 'socks5' else 'HTTP'} proxy 127.0.0.1:" in str(
            caught.value
        )
        assert "wrong" not in str(caught.value)
        assert "wrong" not in repr(wrong)
        assert server.logins == 0


@both
async def test_no_proxy_there_is_told(run: Run) -> None:
    async with run() as proxy, scripted_server() as server:
        nobody = Proxy(proxy.profile.kind, "127.0.0.1", free_port())
        with pytest.raises(ConnectError, match=f"proxy 127.0.0.1:{nobody.port}"):
            await FtpConnector(server.profile(proxy=nobody)).connect()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\x05\x05\x00\x01\0\0\0\0\0\0", "connection refused"),
        (b"\x05\x63\x00\x01\0\0\0\0\0\0", "code 99"),
        (b"\x04\x00\x00\x01\0\0\0\0\0\0", "not a SOCKS5 proxy"),
        (b"\x05\x00\x00\x09\0\0\0\0\0\0", "not a SOCKS5 proxy"),
    ],
)
async def test_what_a_socks5_proxy_may_say_instead(answer: bytes, message: str) -> None:
    async with socks5_proxy(answer=answer) as proxy, scripted_server() as server:
        with pytest.raises(ConnectError, match=f"SOCKS5 proxy .*{message}"):
            await FtpConnector(server.profile(proxy=proxy.profile)).connect()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 403 pa:ss\r\n\r\n", "it refuses: 403 Forbidden$"),
        (b"HTTP/1.0 599\r\n\r\n", "it refuses: 599$"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "it refuses: 302 Found$"),
        (b"220 FTP server ready\r\n\r\n", "not an HTTP proxy"),
        (b"HTTP/1.1 2000 Odd\r\n\r\n", "not an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000, "more than 16384 bytes without an end"),
    ],
)
async def test_what_an_http_proxy_may_say_instead(answer: bytes, message: str) -> None:
    async with http_proxy(answer=answer) as proxy, scripted_server() as server:
        with pytest.raises(ConnectError, match=f"HTTP proxy .*{message}"):
            await FtpConnector(server.profile(proxy=proxy.profile)).connect()


@both
async def test_a_proxy_that_says_nothing_is_waited_for_no_longer_than_allowed(
    run: Run, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with run(answer=b"") as proxy, scripted_server() as server:
        with pytest.raises(ConnectError, match=r"through .* proxy .*: no greeting within 5 s"):
            await FtpConnector(server.profile(proxy=proxy.profile)).connect()


@asynccontextmanager
async def _hanging_up(said: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a local helper
    """Read a little, say something, and end."""

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(3)
            await stream.send_all(said)
            await stream.send_eof()
            await stream.receive_some(4096)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", ["socks5", "http"])
@pytest.mark.parametrize("said", [b"", b"\x05", b"HTTP/1.1 200 OK\r\n"])
async def test_a_proxy_that_hangs_up_is_told(kind: str, said: bytes) -> None:
    async with _hanging_up(said) as port, scripted_server() as server:
        proxy = Proxy("socks5" if kind == "socks5" else "http", "127.0.0.1", port)
        with pytest.raises(ConnectError, match=r"it closed the connection|not a SOCKS5 proxy"):
            await FtpConnector(server.profile(proxy=proxy)).connect()


@both
async def test_a_refused_data_connection_leaves_the_session(run: Run) -> None:
    async with run() as proxy, scripted_server() as server:
        session = await FtpConnector(server.profile(proxy=proxy.profile)).connect()
        proxy.answer = b"\x05\x02\x00\x01" if run is socks5_proxy else b"HTTP/1.1 502 No\r\n\r\n"
        with pytest.raises(DataConnectionError, match=r"data port \d+ through .* proxy .*: it ") as caught:
            await store(session, "/f", b"x")
        assert caught.value.session_survives
        proxy.answer = None
        await store(session, "/f", b"x")
        await session.aclose()
        await server.all_left()


@both
async def test_cancelled_at_any_wait_nothing_is_left_on_our_side(run: Run) -> None:
    async with run() as proxy, scripted_server() as server:
        profile = server.profile(proxy=proxy.profile)

        async def life() -> None:
            session = await FtpConnector(profile).connect()
            await store(session, "/f", CONTENT)
            await fetch(session, "/f")
            await session.aclose()

        await trio.to_thread.run_sync(lambda: None)
        await life()
        await server.all_left()
        await proxy.all_left()
        before = descriptors()
        cancelled = 0
        async for cancelled in at_every_wait(life):
            await server.all_left()
            await proxy.all_left()
            assert descriptors() == before, cancelled
        assert cancelled > 10


@both
async def test_a_certificate_is_checked_against_the_server_not_the_proxy(run: Run, tmp_path: Path) -> None:
    async with run() as proxy, scripted_server(tls_folder=tmp_path) as server:
        with pytest.raises(TlsError, match="CERTIFICATE_VERIFY_FAILED"):
            await FtpConnector(server.profile(host="localhost", proxy=proxy.profile)).connect()


async def test_a_login_too_long_for_socks5_is_not_cut() -> None:
    async with socks5_proxy(login=("anna", "x" * 256)) as proxy:
        with pytest.raises(OSError, match="password: longer than 255 bytes"):
            await _through(proxy.profile, "h", 21)


@given(st.binary(max_size=600), st.booleans(), st.booleans())
def test_any_answer_is_taken_or_refused(answer: bytes, good: bool, socks: bool) -> None:  # noqa: FBT001 - parameters of the table
    """Whatever comes ends in an error of the network's, or in a connection that lost not a byte too many."""

    async def main() -> None:
        start = (
            (b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0" if socks else b"HTTP/1.1 200 OK\r\n\r\n")
            if good
            else b""
        )

        async def serve(stream: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(start + answer)
                await stream.send_eof()
                while await stream.receive_some(4096):
                    pass

        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await nursery.start(trio.serve_listeners, serve, [listener])
            port = listener.socket.getsockname()[1]
            connection = await TcpConnection.open("127.0.0.1", port)
            try:
                await connect_through(
                    connection, Proxy("socks5" if socks else "http", "127.0.0.1", port), "h", 1
                )
            except OSError:
                assert not good
            else:
                left = bytearray()
                buffer = memoryview(bytearray(1000))
                while count := await connection.receive_into(buffer):
                    left += buffer[:count]
                assert answer.endswith(left)
                assert not good or bytes(left) == answer
            finally:
                connection.reset()
                nursery.cancel_scope.cancel()

    trio.run(main)
