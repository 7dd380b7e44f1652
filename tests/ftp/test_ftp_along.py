"""Size and time asked for in the write that fetches the file, while its connection is on its way."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    PeerProtocolError,
    RemoteError,
    ReplyError,
    SessionLost,
)
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.transfer.session import Stat
from tests.support import descriptors
from tests.support.answers import MLST_LINE, feat, mlst
from tests.support.cancelling import at_every_wait
from tests.support.cut_lives import HANG_S, VERSIONS, patient, positions, served
from tests.support.cutting import Cut, Flow, cutting
from tests.support.scripted import Connection, Script, scripted_server

VSFTPD = b"220 (vsFTPd 3.0.3)"
TIME = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SCRIPT: Script = {"GREETING": VSFTPD, "MDTM": b"213 20261123093000"}
FILES = {"/a": b"first", "/b": b"the second one", "/c": b"third"}
ALONG = ["SIZE", "MDTM", "RETR", "."]
BEHIND = ["SIZE", "MDTM", "EPSV", "."]
APART = ["SIZE", "MDTM", ".", "RETR", "."]
PROFTPD = b"220 ProFTPD Server ready."


async def fetch(session: FtpSession, path: str) -> tuple[Stat | None, bytes]:
    """Fetch a file as one after another is fetched: the end of it asks for the next port."""
    content, buffer = bytearray(), memoryview(bytearray(65536))
    session.foresee()
    async with session.retrieving(path, asking=True) as stream:
        told = stream.told
        while count := await stream.receive_into(buffer):
            content += buffer[:count]
        session.foresee()
    if stream.told_again is None:
        session.foresee()
        await session.stat(path)
    else:
        assert stream.told_again == told
    return told, bytes(content)


def turns(session: FtpSession) -> list[str]:
    """Tell the verbs of the dialogue, and ``.`` where a reply was waited for; then begin it anew."""
    words = [line.split()[1] if line.startswith(">") else "." for line in session.transcript]
    session.turn_page()
    return [word for word, before in zip(words, [None, *words], strict=False) if (word, before) != (".", ".")]


async def learn(session: FtpSession) -> None:
    """Fetch what it takes for a server to be known."""
    await fetch(session, "/a")
    await fetch(session, "/a")
    turns(session)


@pytest.mark.parametrize("security", VERSIONS)
async def test_a_file_is_asked_about_and_fetched_in_one_write(tmp_path: Path, security: str) -> None:
    async with served(tmp_path, security, SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        said: list[list[str]] = []
        for path, content in FILES.items():
            turns(session)
            assert await fetch(session, path) == (Stat(len(content), TIME, 1.0), content)
            said.append(turns(session))
            assert session.usable
        # The first file shows that SIZE and MDTM work, its end that they go together, and brings a port.
        assert said[1:] == [[*ALONG, *BEHIND], [*ALONG, *BEHIND]]
        assert said[0][: len(ALONG)] != ALONG
        assert session.learnt["asked_along"] is True
        await session.aclose()


async def test_what_is_asked_behind_waits_for_the_final_reply_where_commands_do_not_wait_for_it() -> None:
    """To tell the two apart: the server says nothing but its final reply before it is asked."""

    async def ends_late(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()
        await trio.testing.wait_all_tasks_blocked(0.02)
        came_early.append(b"SIZE" in await connection.peek())
        await connection.say(b"226 Done.")

    for greeting, waits in ((VSFTPD, True), (PROFTPD, False)):
        came_early: list[bool] = []
        async with scripted_server({**SCRIPT, "GREETING": greeting, "RETR": ends_late}) as server:
            server.files |= FILES
            session = await FtpConnector(server.profile()).connect()
            for path, content in FILES.items():
                assert (await fetch(session, path))[1] == content
            assert came_early == [False, waits, waits]
            assert session.learnt["asked_along"] is True
            await session.aclose()


async def test_a_refusal_at_the_end_costs_no_session_and_no_answer() -> None:
    async def breaks_off(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)][:3])
        await data.close()
        await connection.say(b"451 Disk error.")

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        server.script = {**SCRIPT, "RETR": breaks_off}
        with pytest.raises(ReplyError, match="451 Disk error"):
            await fetch(session, "/b")
        assert session.usable
        server.script = SCRIPT
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        await session.aclose()


async def test_a_file_that_is_gone_once_it_was_fetched_is_whole() -> None:
    async def fetches_once(connection: Connection, argument: bytes) -> None:
        await connection.on_retr(argument)
        del connection.server.files[connection.path(argument)]

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        server.script = {**SCRIPT, "RETR": fetches_once}
        with pytest.raises(ReplyError) as caught:  # by the question that is asked apart
            await fetch(session, "/b")
        assert (caught.value.code, caught.value.command) == (ErrorCode.FILE_NOT_FOUND, "SIZE /b")
        assert session.usable
        await session.aclose()


async def test_a_server_that_answers_before_the_end_is_not_asked_so_again() -> None:
    async def answers_before(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()
        await trio.testing.wait_all_tasks_blocked(0.02)
        await connection.say(b"213 14", b"226 Done.")

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await learn(session)
        server.script = {**SCRIPT, "RETR": answers_before}
        with pytest.raises(PeerProtocolError, match="answered before RETR /b"):
            await fetch(session, "/b")
        assert not session.usable
        assert connector.learnt["asked_along"] is False


async def test_beside_a_noop_nothing_else_is_owed() -> None:
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile(noop_after_s=0.0)).connect()
        await learn(session)
        await fetch(session, "/b")
        said = turns(session)
        assert said[: len(ALONG)] == ALONG
        assert said[len(ALONG) :] == ["NOOP", ".", *BEHIND]
        assert session.usable
        await session.aclose()


async def test_where_the_final_reply_never_comes_the_size_tells() -> None:
    async def says_no_more(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()
        await connection.cut()

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        server.script = {**SCRIPT, "RETR": says_no_more}
        content = bytearray()
        async with session.retrieving("/b", asking=True) as stream:
            while count := await stream.receive_into(buffer := memoryview(bytearray(99))):
                content += buffer[:count]
        assert content == FILES["/b"]
        assert stream.told_again is None
        assert not session.usable


async def test_facts_serve_as_well(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    async with scripted_server({**SCRIPT, "FEAT": feat(MLST_LINE), "MLST": mlst}) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        assert turns(session)[:3] == ["MLST", "RETR", "."]

        async def a_folder(connection: Connection, argument: bytes) -> None:
            await connection.say(b"250-Begin", b" type=dir; " + argument, b"250 End")

        server.script = {"MLST": a_folder, "RETR": b"550 Not a plain file."}
        with pytest.raises(ReplyError, match="a folder") as caught:
            await fetch(session, "/folder")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize(
    ("greeting", "changes"),
    [(b"220 Welcome.", {}), (VSFTPD, {"disable_epsv": True}), (VSFTPD, {"passive": False})],
)
async def test_not_to_a_server_that_is_not_known_to_bear_it(greeting: bytes, changes: dict[str, Any]) -> None:
    async with scripted_server({**SCRIPT, "GREETING": greeting}) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile(**changes)).connect()
        await learn(session)
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        assert turns(session)[:3] != ALONG[:3]
        assert session.learnt["asked_along"] is None
        await session.aclose()


async def test_a_file_that_is_missing_costs_no_session() -> None:
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/missing")
        assert (caught.value.code, caught.value.command) == (ErrorCode.FILE_NOT_FOUND, "SIZE /missing")
        assert session.usable
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        await session.aclose()


async def test_a_file_that_may_not_be_read_is_told_from_one_that_is_missing() -> None:
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        server.script = {**SCRIPT, "RETR": b"550 Failed to open file."}
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/b")
        assert (caught.value.code, caught.value.command) == (ErrorCode.PERMISSION_DENIED, "RETR /b")
        assert session.usable
        await session.aclose()


async def test_a_file_that_comes_though_it_is_missing_ends_the_session_and_is_not_asked_for_so_again() -> (
    None
):
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await learn(session)
        server.script = {**SCRIPT, "SIZE": b"550 No such file."}
        with pytest.raises(PeerProtocolError, match="and yet RETR /b"):
            await fetch(session, "/b")
        assert not session.usable
        assert connector.learnt["asked_along"] is False
        session = await connector.connect()
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/b")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        server.script = SCRIPT
        await learn(session)
        await fetch(session, "/b")
        assert turns(session)[: len(APART)] == APART
        await session.aclose()


async def test_a_server_that_loses_its_way_is_not_asked_so_again() -> None:
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await learn(session)
        server.script = {**SCRIPT, "MDTM": b"503 Bad sequence of commands."}
        with pytest.raises(PeerProtocolError, match="not answered as it was"):
            await fetch(session, "/b")
        assert not session.usable
        assert connector.learnt["asked_along"] is False
        assert connector.learnt["commands_together"] is False


@pytest.mark.parametrize("has_worked", [False, True])
async def test_a_first_try_that_breaks_is_the_last_one(has_worked: bool) -> None:  # noqa: FBT001 - a parameter
    async def breaks(connection: Connection, _: bytes) -> None:
        await connection.cut()

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await fetch(session, "/a")
        if has_worked:
            await fetch(session, "/a")
        assert connector.learnt["asked_along"] is (True if has_worked else None)
        server.script = {**SCRIPT, "RETR": breaks}
        with pytest.raises(RemoteError):
            await fetch(session, "/b")
        assert not session.usable
        # A network that breaks says nothing about what has been borne before.
        assert connector.learnt["asked_along"] is has_worked


async def test_a_port_that_nobody_answers_at_ends_the_session_and_is_the_last_one_ahead() -> None:
    async def listens_no_more(connection: Connection, _: bytes) -> None:
        port = await connection.listen()
        await connection.close_listener()
        await connection.say(b"229 Listening (|||%d|)" % port)

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await fetch(session, "/a")
        server.script = {**SCRIPT, "EPSV": listens_no_more}
        await fetch(session, "/a")  # by the port of before; the next one is no good
        with pytest.raises(DataConnectionError) as caught:
            await fetch(session, "/b")
        assert not caught.value.session_survives
        assert not session.usable
        assert connector.learnt["port_ahead"] is False
        server.script = SCRIPT
        session = await connector.connect()
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        await session.aclose()


async def test_what_cannot_be_sent_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise SessionLost("broken")

    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        before = descriptors.count()
        monkeypatch.setattr(session._control, "send", refuse)
        with pytest.raises(SessionLost):
            await fetch(session, "/b")
        assert descriptors.count() == before - 1  # of ours: the control connection
        assert not session.usable


async def test_a_restart_that_the_server_may_remember_is_taken_back_first() -> None:
    script = {**SCRIPT, "REST": b"350 Go on."}
    async with scripted_server(script) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        async with session.retrieving("/b", offset=4) as stream:
            while await stream.receive_into(memoryview(bytearray(99))):
                pass
        session.foresee()
        await session.stat("/b")
        turns(session)
        await fetch(session, "/c")
        assert turns(session)[:6] == ["SIZE", "MDTM", ".", "REST", ".", "RETR"]
        await session.aclose()


async def test_whom_nobody_comes_to_is_let_go() -> None:
    """A connection that was begun for a transfer that does not follow is not kept beside an idle session."""
    async with scripted_server(SCRIPT) as server:
        server.files |= FILES
        session = await FtpConnector(server.profile()).connect()
        await learn(session)
        before = descriptors.count()
        session.foresee()
        assert descriptors.count() == before + 1
        await session.keep_alive()
        assert descriptors.count() == before
        assert await fetch(session, "/b") == (Stat(len(FILES["/b"]), TIME, 1.0), FILES["/b"])
        await session.aclose()


@pytest.mark.parametrize("security", VERSIONS)
async def test_cancelled_at_any_wait_nothing_is_left_on_either_side(tmp_path: Path, security: str) -> None:
    cancelled = 0
    sessions: list[FtpSession] = []
    async with served(tmp_path, security, SCRIPT) as server:
        server.files |= FILES
        connector = FtpConnector(server.profile(connect_s=60.0))
        session = await connector.connect()
        await learn(session)
        await session.aclose()
        await server.all_left()
        before = descriptors.count()

        async def life() -> None:
            session = await connector.connect()
            sessions.append(session)
            for path, content in FILES.items():
                assert (await fetch(session, path))[1] == content
            await session.aclose()

        async for cancelled in at_every_wait(life):
            for session in sessions:
                await session.aclose()
            sessions.clear()
            await server.all_left()
            assert descriptors.count() == before, cancelled
            # What was cancelled may have been the first try of something.
            for ability in connector._learnt._abilities:
                connector._learnt.found(ability, works=True)
    assert cancelled > 25


@pytest.mark.parametrize("flow", [Flow("control", "down"), Flow("control", "up"), Flow("data 2", "down")])
async def test_a_cut_at_any_byte_gives_no_part_for_the_whole(tmp_path: Path, flow: Flow) -> None:
    whole, cuts = b"the second one", 0

    async def live(cut: Cut | None) -> tuple[int, int]:
        """Fetch twice, the second time along; give the flow's length before the second and behind it."""
        before = descriptors.count()
        with trio.fail_after(HANG_S):
            async with cutting(server, cut) as relay:
                session = await patient(server, relay.port).connect()
                try:
                    await fetch(session, "/a")
                    begun = relay.passed[flow]
                    told, content = await fetch(session, "/b")
                    assert told is not None
                    # Nothing on the wire tells the end of the data from a cut; the size does.
                    assert content == whole or told.size_bytes != len(content)
                except RemoteError:
                    begun = -1
                    assert cut is not None
                await session.aclose()
                await server.all_left()
        assert descriptors.count() == before, cut
        return begun, relay.passed[flow]

    async with served(tmp_path, "plain", SCRIPT) as server:
        server.files |= FILES
        await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
        first, last = await live(None)
        for after in positions(first, last, 1):
            for how in ("FIN", "RST"):
                cuts += 1
                await live(Cut(flow, after, how))
    assert cuts >= 2 * len(whole)
