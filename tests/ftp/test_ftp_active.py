"""Active mode: what is offered, who may connect, and that no listener outlives its transfer."""

import os
import socket
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import DataConnectionError, ErrorCode, RemoteError, ReplyError, SessionLost
from pooler.ftp.active import Listener, eprt_command, port_command
from pooler.ftp.connector import FtpConnector
from pooler.ftp.learnt import Learnt
from pooler.ftp.passive import parse_pasv
from pooler.ftp.profile import Profile, Proxy
from pooler.ftp.session import FtpSession
from pooler.ftp.tcp import TcpConnection
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.moving import fetch, store
from tests.support.process import free_port
from tests.support.scripted import Connection, ScriptedServer, scripted_server

CONTENT = bytes(range(256)) * 1000


async def connect(server: ScriptedServer, **changes: object) -> FtpSession:
    return await FtpConnector(server.profile(passive=False, **changes)).connect()


def listening() -> int:
    """Count the sockets of this process that listen."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and str(link.readlink()).startswith("socket:"):
            sock = socket.socket(fileno=int(link.name))
            count += sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            sock.detach()
    return count


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_port_says_what_pasv_would_be_read_as(address: object, port: int) -> None:
    argument = (port_command(str(address), port).argument or b"").decode()
    assert parse_pasv(argument) == (str(address), port)


@pytest.mark.parametrize(
    ("address", "argument"),
    [
        ("132.235.1.2", b"|1|132.235.1.2|6275|"),
        ("1080::8:800:200C:417A", b"|2|1080::8:800:200C:417A|6275|"),
        ("fe80::1%eth0", b"|2|fe80::1|6275|"),
    ],
)
def test_eprt_is_written_as_rfc_2428_has_it(address: str, argument: bytes) -> None:
    assert eprt_command(address, 6275).argument == argument


@pytest.mark.parametrize("tls", [False, True])
async def test_files_go_up_and_down_while_the_server_connects(tmp_path: Path, tls: bool) -> None:  # noqa: FBT001 - a parameter of the table
    async with scripted_server(tls_folder=tmp_path if tls else None) as server:
        session = await connect(server)
        server.commands.clear()
        before = listening()
        async with session.storing("/f") as up:
            assert listening() == before
            await up.send_all(memoryview(CONTENT))
        assert server.files["/f"] == CONTENT
        assert await fetch(session, "/f") == CONTENT
        await store(session, "/empty", b"")
        assert await fetch(session, "/empty") == b""
        assert server.verbs() == ["EPRT", "STOR", "EPRT", "RETR", "EPRT", "STOR", "EPRT", "RETR"]
        assert up.tls_resumed is (True if tls else None)
        await session.aclose()


async def test_ipv6_has_eprt() -> None:
    async with scripted_server(host="::1") as server:
        session = await connect(server)
        await store(session, "/f", CONTENT)
        assert await fetch(session, "/f") == CONTENT
        (first, _) = (line for line in server.commands if line.startswith("EPRT"))
        assert first.startswith("EPRT |2|::1|")
        await session.aclose()


async def test_ipv6_without_eprt_is_told() -> None:
    async with scripted_server({"EPRT": b"500 What?"}, host="::1") as server:
        session = await connect(server)
        with pytest.raises(DataConnectionError, match=r"active mode refused: EPRT .*: 500"):
            await store(session, "/f", b"x")
        assert session.usable
        assert "PORT" not in server.verbs()
        await session.aclose()


@pytest.mark.parametrize("refusal", [b"500 What?", b"502 No.", b"522 Use (2)."])
async def test_eprt_refused_means_port_for_this_session_and_the_next(refusal: bytes) -> None:
    async with scripted_server({"EPRT": refusal}) as server:
        connector = FtpConnector(server.profile(passive=False))
        for _ in range(2):
            session = await connector.connect()
            await store(session, "/f", b"x")
            await session.aclose()
        assert server.verbs().count("EPRT") == 1
        assert server.verbs().count("PORT") == 2


async def test_epsv_disabled_means_port_as_well() -> None:
    async with scripted_server() as server:
        session = await connect(server, disable_epsv=True)
        await store(session, "/f", b"x")
        assert "EPRT" not in server.verbs()
        await session.aclose()


async def test_active_mode_refused_is_no_word_on_the_file() -> None:
    async with scripted_server({"EPRT": b"550 Permission denied."}) as server:
        session = await connect(server)
        with pytest.raises(DataConnectionError) as caught:
            await fetch(session, "/f")
        assert caught.value.code is ErrorCode.CONNECTION_ERROR
        assert session.usable
        assert "RETR" not in server.verbs()
        await session.aclose()


@pytest.mark.parametrize("farewell", [b"421 Timeout.", b"530 Who are you?"])
async def test_a_session_that_is_over_is_told_as_such(farewell: bytes) -> None:
    async with scripted_server({"EPRT": farewell}) as server:
        session = await connect(server)
        with pytest.raises(SessionLost):
            await fetch(session, "/f")
        assert not session.usable


async def test_the_address_from_outside_is_offered_behind_a_nat() -> None:
    async with scripted_server({"RETR": b"425 Cannot connect."}) as server:
        session = await connect(server, active_address="203.0.113.9")
        with pytest.raises(ReplyError, match="425"):
            await fetch(session, "/f")
        assert next(line for line in server.commands if "EPRT" in line).startswith("EPRT |1|203.0.113.9|")
        assert session.usable
        await session.aclose()
        session = await connect(server, active_address="2001:db8::9")
        with pytest.raises(ReplyError, match="425"):
            await fetch(session, "/f")
        assert server.commands[-2].startswith("EPRT |2|2001:db8::9|")
        await session.aclose()


async def test_ports_of_the_range_take_turns() -> None:
    async with scripted_server() as server:
        first = free_port()
        connector = FtpConnector(server.profile(passive=False, active_ports=(first, first + 2)))
        session = await connector.connect()
        for _ in range(4):
            await store(session, "/f", b"x")
        ports = [int(line.split("|")[3]) for line in server.commands if line.startswith("EPRT")]
        assert len(set(ports)) > 1
        assert set(ports) <= set(range(first, first + 3))
        assert all(one != other for one, other in pairwise(ports))
        await session.aclose()


async def test_no_free_port_is_an_error_that_the_session_survives() -> None:
    async with scripted_server() as server:
        taken = [socket.create_server(("127.0.0.1", 0))]
        first = taken[0].getsockname()[1]
        session = await connect(server, active_ports=(first, first))
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted
        try:
            with pytest.raises(
                DataConnectionError, match=f"cannot listen on a port of {first}-{first}: .*in use"
            ):
                await store(session, "/f", b"x")
        finally:
            taken[0].close()
        assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208 - counted
        await store(session, "/f", b"x")
        assert server.files == {"/f": b"x"}
        await session.aclose()


async def _stranger_first(connection: Connection, argument: bytes) -> None:
    """Let two on another address be faster than the server, then do what a good server does."""
    assert connection.active is not None
    thieves = [await trio.open_tcp_stream(*connection.active, local_address="127.0.0.2") for _ in range(2)]
    await thieves[0].send_all(b"forged")
    await connection.normally("STOR", argument)
    for thief in thieves:
        with pytest.raises(trio.BrokenResourceError):
            await thief.receive_some(100)
        await thief.aclose()


async def test_whoever_is_not_the_server_is_reset_and_waited_past() -> None:
    async with scripted_server({"STOR": _stranger_first}) as server:
        session = await connect(server)
        await store(session, "/f", CONTENT)
        assert server.files == {"/f": CONTENT}
        assert session.usable
        await session.aclose()


async def test_a_server_that_connects_from_elsewhere_is_a_stranger(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with scripted_server() as server:
        server.connects_from = "127.0.0.2"
        server.files["/f"] = CONTENT
        session = await connect(server)
        with pytest.raises(RemoteError):
            await fetch(session, "/f")
        assert not session.usable


async def _promises_only(connection: Connection, _: bytes) -> None:
    await connection.say(b"150 I am coming.")
    await connection.until_left()


async def _gives_up(connection: Connection, _: bytes) -> None:
    await connection.say(b"150 I am coming.", b"425 Cannot come.")


async def test_a_server_that_does_not_connect_is_waited_for_no_longer_than_allowed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with scripted_server({"RETR": _promises_only}) as server:
        session = await connect(server)
        began = trio.current_time()
        with pytest.raises(DataConnectionError, match="did not connect in 5 s"):
            await fetch(session, "/f")
        # The second more is for the server's reason.
        assert trio.current_time() - began == pytest.approx(6, abs=0.5)
        assert not session.usable


async def test_a_server_that_cannot_connect_says_why(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with scripted_server({"RETR": _gives_up}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError, match="425 Cannot come") as caught:
            await fetch(session, "/f")
        assert caught.value.code is ErrorCode.CONNECTION_ERROR
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize(("verb", "line"), [("EPRT", b""), ("RETR", b""), ("RETR", b"150 I am coming.\r\n")])
async def test_cancelled_while_waiting_no_listener_is_left(verb: str, line: bytes) -> None:
    async def stall(connection: Connection, _: bytes) -> None:
        await connection.raw(line)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert listening() == before + 1
        scope.cancel()
        await connection.until_left()

    async with scripted_server({verb: stall}) as server:
        session = await connect(server)
        before = listening()
        with trio.CancelScope() as scope:
            await fetch(session, "/f")
        assert scope.cancelled_caught
        assert listening() == before
        assert not session.usable
        await server.all_left()


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelled_at_any_wait_nothing_is_left_on_either_side(tmp_path: Path, tls: bool) -> None:  # noqa: FBT001 - a parameter of the table
    async with scripted_server(tls_folder=tmp_path if tls else None) as server:
        profile = server.profile(passive=False)

        async def life() -> None:
            session = await FtpConnector(profile).connect()
            await store(session, "/f", CONTENT)
            await fetch(session, "/f")
            await session.aclose()

        await trio.to_thread.run_sync(lambda: None)
        await life()
        await server.all_left()
        before = descriptors()
        cancelled = 0
        async for cancelled in at_every_wait(life):
            await server.all_left()
            assert descriptors() == before, cancelled
        assert cancelled > 10


async def test_a_refused_command_closes_the_listener() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        before = listening()
        with pytest.raises(ReplyError):
            await fetch(session, "/missing")
        assert listening() == before
        assert session.usable
        await session.aclose()


async def test_the_listener_stands_on_the_address_of_the_control_connection() -> None:
    async with scripted_server() as server:
        control = await TcpConnection.open("127.0.0.1", server.port, source="127.0.0.3")
        with Listener.open(control, server.profile(), Learnt()) as listener:
            (command, _) = listener.commands(eprt_refused=False)
            assert (command.argument or b"").startswith(b"|1|127.0.0.3|")
            assert "for 127.0.0.1" in repr(listener)
        control.reset()


@pytest.mark.parametrize("passive", [True, False])
async def test_both_connections_go_out_from_the_address_that_was_bound(passive: bool) -> None:  # noqa: FBT001 - a parameter of the table
    peers: list[str] = []

    async def retr(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        peers.append(data.peer)
        await connection.say(b"150 Here.")
        await data.send(b"x")
        await data.close()
        await connection.say(b"226 Done.")

    async with scripted_server({"RETR": retr}) as server:
        session = await FtpConnector(server.profile(passive=passive, bind_address="127.0.0.4")).connect()
        assert await fetch(session, "/f") == b"x"
        await session.aclose()
        assert server.clients == ["127.0.0.4"]
        assert peers == ["127.0.0.4"]


def test_active_mode_through_a_proxy_is_refused() -> None:
    with pytest.raises(ValueError, match="proxy"):
        Profile("h", "u", lambda: "", passive=False, proxy=Proxy("http", "p", 1))
