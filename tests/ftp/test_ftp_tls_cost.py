"""What TLS costs: no round trip for the group of the keys, and no copy of the ticket for each file."""

import functools
import inspect
import select
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import DataConnectionError, ReplyError, TlsError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from pooler.ftp.tls import group_asked_for
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Script, ScriptedServer, scripted_server
from tests.support.servers import TlsVersion, running_server

CONTENT = bytes(range(256)) * 1000
GROUPS = ["prime256v1", "secp384r1", "secp521r1"]


@functools.cache
def leaf() -> trustme.LeafCert:
    return trustme.CA().issue_cert("a.example")


@functools.cache
def answer_of(group: str | None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """What a server that takes one group alone, or any, answers to OpenSSL's first words."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), incoming, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    leaf().configure_cert(context)
    if group is not None:
        context.set_ecdh_curve(group)
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("group", GROUPS)
def test_the_group_that_is_asked_for_is_read(group: str) -> None:
    answer = answer_of(group)
    assert group_asked_for(answer) == group
    # However it is cut, it is read as it stands or not at all.
    assert {group_asked_for(answer[:size]) for size in range(len(answer))} <= {group, None}


def test_who_takes_what_is_offered_asks_for_nothing() -> None:
    assert group_asked_for(answer_of(None)) is None
    assert group_asked_for(answer_of("prime256v1", version=ssl.TLSVersion.TLSv1_2)) is None
    assert group_asked_for(b"") is None


@given(st.binary(max_size=600), st.integers(0, 100))
def test_no_answer_breaks_it(noise: bytes, keep: int) -> None:
    assert group_asked_for(noise) is None
    assert group_asked_for(answer_of("prime256v1")[:keep] + noise) in {*GROUPS, None}


class Recorded(trio.abc.Stream):
    """A stream, and what the server sends on it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.sent = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


class Picky:
    """Takes keys of one group alone, and keeps what it answered on each data connection.

    Args:
        mute: whether it says nothing where there is no group in common, and goes on listening.
    """

    def __init__(self, *, mute: bool = False) -> None:
        self.asked: list[str | None] = []
        self.mute = mute

    async def stor(self, connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        assert connection.server.context is not None
        recorded = Recorded(data._raw)
        stream = trio.SSLStream(recorded, connection.server.context, server_side=True)
        try:
            await stream.do_handshake()
            content = b""
            while piece := await stream.receive_some():
                content += piece
            await stream.aclose()
        except trio.BrokenResourceError:
            if not self.mute:
                await data.cut()
            await connection.say(b"426 No TLS.")
            return
        finally:
            self.asked.append(group_asked_for(recorded.sent))
        connection.server.files[argument.decode()] = content
        await connection.say(b"226 Stored.")

    @property
    def script(self) -> Script:
        return {"STOR": self.stor}


def takes(server: ScriptedServer, group: str) -> None:
    assert server.context is not None
    server.context.set_ecdh_curve(group)


@pytest.mark.parametrize("group", GROUPS)
async def test_a_server_asks_for_its_group_once(tmp_path: Path, group: str) -> None:
    picky = Picky()
    async with scripted_server(picky.script, tls_folder=tmp_path) as server:
        takes(server, group)
        connector = FtpConnector(server.profile())
        for _ in range(2):
            session = await connector.connect()
            await store(session, "/f", CONTENT)
            await store(session, "/g", b"")
            assert await fetch(session, "/f") == CONTENT
            assert connector.learnt["tls_resumption"] is True
            await session.aclose()
        assert picky.asked == [None] * 4
        assert connector.learnt["tls_group"] == group


async def test_where_nothing_is_asked_for_openssl_offers_what_it_likes(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await store(session, "/f", CONTENT)
        await session.aclose()
        assert connector.learnt["tls_group"] is None


@pytest.mark.parametrize("mute", [False, True])
async def test_a_data_connection_that_takes_another_group_fails_once(tmp_path: Path, mute: bool) -> None:  # noqa: FBT001 - of the table
    picky = Picky(mute=mute)
    async with scripted_server(picky.script, tls_folder=tmp_path) as server:
        takes(server, "prime256v1")
        connector = FtpConnector(server.profile(connect_s=1.0))
        session = await connector.connect()
        takes(server, "secp384r1")  # as another machine would, behind one name
        with pytest.raises((TlsError, DataConnectionError, ReplyError)):
            await store(session, "/f", CONTENT)
        await session.aclose()
        assert connector.learnt["tls_group"] is None
        for group in ("secp384r1", "prime256v1"):
            takes(server, group)
            session = await connector.connect()
            await store(session, "/f", CONTENT)
            await session.aclose()
        assert picky.asked[1:] == ["secp384r1", "prime256v1"]


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_login_that_takes_another_group_fails_once(tmp_path: Path, implicit: bool) -> None:  # noqa: FBT001 - of the table
    async with scripted_server(tls_folder=tmp_path, implicit=implicit) as server:
        takes(server, "prime256v1")
        connector = FtpConnector(server.profile())
        await (await connector.connect()).aclose()
        takes(server, "secp384r1")
        with pytest.raises(TlsError):
            await connector.connect()
        for _ in range(2):
            session = await connector.connect()
            await store(session, "/f", CONTENT)
            await session.aclose()


@pytest.fixture
def takings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was taken for another connection to resume, from whatever connection."""
    found: list[Any] = []
    real: Any = inspect.getattr_static(ssl.SSLSocket, "session")

    def take(sock: ssl.SSLSocket) -> Any:
        found.append(real.fget(sock))
        return found[-1]

    monkeypatch.setattr(ssl.SSLSocket, "session", property(take, real.fset))
    return found


async def test_point_16_the_ticket_is_taken_anew_after_a_minute(
    tmp_path: Path, takings: list[Any], autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with scripted_server(tls_folder=tmp_path) as server:
        session = await FtpConnector(server.profile()).connect()
        for _ in range(3):
            await store(session, "/f", CONTENT)
            assert session.lifetime_s > 0
        assert [taken.has_ticket for taken in takings] == [True]
        await trio.sleep(61)
        await store(session, "/f", CONTENT)
        assert len(takings) == 2
        await session.aclose()


async def test_point_16_a_ticket_that_has_not_come_yet_is_looked_for_again(
    tmp_path: Path, takings: list[Any]
) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.num_tickets = 0
        session = await FtpConnector(server.profile()).connect()
        for _ in range(2):
            await store(session, "/f", CONTENT)
        assert [taken.has_ticket for taken in takings] == [False, False]
        await session.aclose()


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_an_answer_that_comes_before_anybody_waits_for_it_is_no_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: TlsVersion
) -> None:
    real = ssl.SSLSocket.do_handshake

    def at_once(sock: ssl.SSLSocket) -> None:
        while True:
            try:
                return real(sock)
            except ssl.SSLWantReadError:
                select.select([sock], [], [], 5)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", at_once)
    # A process of its own: it answers while nobody else does anything.
    with running_server("own", tmp_path, tls=True, tls_version=version) as server:
        profile = Profile(
            host=server.host,
            port=server.port,
            user=server.user,
            password=lambda: server.password,
            tls="explicit",
            ca_file=str(server.ca_file),
            connect_s=5.0,
        )
        session = await FtpConnector(profile).connect()
        await session.keep_alive()
        await session.aclose()
