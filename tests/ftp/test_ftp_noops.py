"""Point 23: NOOP beside a long transfer, whatever the server makes of it."""

import gc
from collections import deque
from math import inf

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pooler.errors import DataConnectionError, ErrorCode, ReplyError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.dialogue import Dialogue, Final
from pooler.ftp.session import FtpSession
from pooler.ftp.wire import Command
from tests.support.answers import connect
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Handler, scripted_server

PIECES = (b"one", b"two", b"three")
WHOLE = b"".join(PIECES)


async def noop(connection: Connection) -> None:
    assert await connection._line() == b"NOOP"
    connection.server.commands.append("NOOP")


async def store_in_pieces(session: FtpSession, count: int) -> None:
    async with session.storing("/f") as stream:
        for _ in range(count):
            await stream.send_all(memoryview(b"x"))


def in_pieces(*, at_once: bytes | None = None, later: bytes | None = None) -> Handler:
    """Send a file in pieces, each behind the NOOP that the one before has brought about."""

    async def answer(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        for piece in PIECES:
            await data.send(piece)
            await noop(connection)
            if at_once is not None:
                await connection.say(at_once)
        await data.close()
        await connection.say(b"226 Done.", *([later] * len(PIECES) if later is not None else []))

    return answer


@pytest.mark.parametrize("where", ["at_once", "later"])
@pytest.mark.parametrize("reply", [b"200 Fine.", b"500 What?", b"502 No.", b"503 Not now."])
async def test_point_23_an_answer_is_taken_at_once_or_later(reply: bytes, where: str) -> None:
    liked = reply.startswith(b"200")
    async with scripted_server({"RETR": in_pieces(**{where: reply})}) as server:
        server.files["/f"] = b"four"
        connector = FtpConnector(server.profile(noop_after_s=0.0))
        session = await connector.connect()
        server.commands.clear()
        assert await fetch(session, "/f") == WHOLE
        assert server.commands == ["EPSV", "RETR /f", "NOOP", "NOOP", "NOOP"]
        assert session.last_reply == "226 Done."
        assert session.usable
        assert await session.size("/f") == 4
        assert connector.learnt["noop_beside_transfer"] is liked
        if not liked:
            server.script = {}
            assert await fetch(session, "/f") == b"four"
            assert server.commands[-1] == "RETR /f"
        await session.aclose()


async def test_point_23_an_answer_that_never_comes_costs_the_session_and_not_the_file() -> None:
    async with scripted_server({"RETR": in_pieces()}) as server:
        connector = FtpConnector(server.profile(noop_after_s=0.0, close_s=0.05))
        session = await connector.connect()
        assert await fetch(session, "/f") == WHOLE
        assert not session.usable
        await server.all_left()
        server.script, server.files["/f"] = {}, b"four"
        server.commands.clear()
        session = await connector.connect()
        assert await fetch(session, "/f") == b"four"
        assert "NOOP" not in server.commands
        assert session.usable
        await session.aclose()


async def test_point_23_the_first_goes_out_after_a_time_and_the_others_between(mock_clock: MockClock) -> None:
    """Twenty seconds for a piece, and a NOOP after each minute."""

    async with scripted_server() as server:
        session = await connect(server, exchange_s=10_000.0, stall_s=10_000.0)
        async with session.storing("/f") as stream:
            for _ in range(7):
                mock_clock.jump(20)
                await stream.send_all(memoryview(b"x"))
        assert server.commands == ["EPSV", "STOR /f", "NOOP", "NOOP"]
        assert server.files == {"/f": b"xxxxxxx"}
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize(
    ("greeting", "after_s"),
    [(b"220 Microsoft FTP Service", 0.0), (b"220 Welcome to Pure-FTPd [TLS]", 0.0), (b"220 Hello.", inf)],
)
async def test_point_23_who_dislikes_it_is_sent_none(greeting: bytes, after_s: float) -> None:
    async with scripted_server({"GREETING": greeting}) as server:
        server.files["/f"] = b"four"
        session = await connect(server, noop_after_s=after_s)
        assert await fetch(session, "/f") == b"four"
        await store(session, "/g", b"five")
        assert "NOOP" not in server.commands
        assert session.learnt["noop_beside_transfer"] is None
        await session.aclose()


async def test_point_23_replies_owed_are_bounded_and_the_final_one_says_why() -> None:
    many = 40

    async def full(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        assert await data.receive_all() == b"x" * many
        await connection.say(b"552 Disk full.")
        while True:
            await noop(connection)
            await connection.say(b"200 Fine.")

    async with scripted_server({"STOR": full}) as server:
        session = await connect(server, noop_after_s=0.0)
        with pytest.raises(ReplyError) as caught:
            await store_in_pieces(session, many)
        assert caught.value.code is ErrorCode.DISK_FULL
        assert server.commands.count("NOOP") == 16
        assert session.usable
        assert session.learnt["noop_beside_transfer"] is True
        await session.aclose()


async def test_point_23_a_transfer_that_breaks_with_an_answer_owed_was_the_last_with_one() -> None:
    async def broken(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(b"one")
        await noop(connection)
        await data.reset()
        await connection.until_left()

    async with scripted_server({"RETR": broken}) as server:
        connector = FtpConnector(server.profile(noop_after_s=0.0, exchange_s=0.05))
        session = await connector.connect()
        with pytest.raises(DataConnectionError):
            await fetch(session, "/f")
        assert not session.usable
        assert connector.learnt["noop_beside_transfer"] is False
        await server.all_left()


async def test_point_2_a_download_of_the_right_size_is_whole_though_a_noop_found_nobody() -> None:
    async def forgotten(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(b"o")
        await noop(connection)
        await trio.aclose_forcefully(connection.stream)
        for byte in b"ne":
            await data.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await data.close()

    async with scripted_server({"RETR": forgotten}) as server:
        server.files["/f"] = b"one"
        session = await connect(server, noop_after_s=0.0)
        assert await session.size("/f") == 3
        assert await fetch(session, "/f") == b"one"
        assert not session.usable


async def test_cancelled_at_any_wait_a_noop_leaves_a_dead_session_and_no_socket() -> None:
    async with scripted_server({"RETR": in_pieces(later=b"200 Fine.")}) as server:
        connector = FtpConnector(server.profile(noop_after_s=0.0))
        await (await connector.connect()).aclose()
        await server.all_left()
        sessions: list[FtpSession] = []
        gc.collect()
        before = descriptors()

        async def life() -> None:
            with trio.CancelScope(shield=True):
                sessions.append(await connector.connect())
            assert await fetch(sessions[-1], "/f") == WHOLE

        async for _ in at_every_wait(life):
            session = sessions.pop()
            if session.usable:  # it was not in use yet
                await session.keep_alive()
            await session.aclose()
            await server.all_left()
            assert descriptors() == before
        assert sessions[-1].usable
        assert connector.learnt["noop_beside_transfer"] is True
        await sessions[-1].aclose()


@given(
    st.lists(st.tuples(st.sampled_from([200, 202, 500, 502, 504]), st.booleans()), max_size=8),
    st.sampled_from([226, 250, 425, 426, 451, 552]),
)
def test_point_23_no_order_of_replies_confuses_them(noops: list[tuple[int, bool]], end: int) -> None:
    """Each is a code and whether it comes before the final reply."""
    dialogue = Dialogue(max_beside=8)
    dialogue.receive(b"220 Hello\r\n")
    dialogue.send(Command("USER", b"u"))
    dialogue.receive(b"230 In\r\n")
    dialogue.send(Command("RETR", b"/f"))
    dialogue.receive(b"150 Go\r\n")
    for _ in noops:
        dialogue.send(Command("NOOP"))
    said = deque(
        [code for code, before in noops if before] + [end] + [code for code, before in noops if not before]
    )
    events = dialogue.receive(b"".join(b"%d x\r\n" % code for code in said))
    ends = [
        event.reply.code for event in events if isinstance(event, Final) and event.command != Command("NOOP")
    ]
    assert ends == [end]
    assert len(events) == len(noops) + 1
    assert dialogue.idle
