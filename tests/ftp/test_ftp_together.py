"""Commands in one write, and the next transfer's EPSV behind them: what is sent when, and when no more."""

import pytest
import trio

from pooler.errors import ErrorCode, ReplyError, SessionLost
from pooler.ftp.connector import FtpConnector
from tests.support.answers import says
from tests.support.cancelling import descriptors
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Handler, Script, scripted_server

VSFTPD = b"220 (vsFTPd 3.0.3)"
TIME = b"213 20261123093000"


class Writes:
    """Notes which commands have come in one write, and answers as a good server does."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def script(self, **answers: bytes | Handler) -> Script:
        script: dict[str, bytes | Handler] = {"GREETING": VSFTPD, "MDTM": TIME, **answers}
        return {verb: self._noting(verb, script.get(verb)) for verb in {*script, *self._VERBS}}

    _VERBS = ("SIZE", "EPSV", "RETR", "STOR", "RNFR", "RNTO", "DELE")

    def _noting(self, verb: str, answer: bytes | Handler | None) -> Handler:
        async def note(connection: Connection, argument: bytes) -> None:
            if verb in (*self._VERBS, "MDTM"):
                # What came in the same write is in the server's buffer already.
                if self._last_waits:
                    self.seen[-1].append(verb)
                else:
                    self.seen.append([verb])
                self._last_waits = bool(connection._buffer)
            if answer is None:
                await connection.normally(verb, argument)
            elif isinstance(answer, bytes):
                await connection.say(answer)
            else:
                await answer(connection, argument)

        return note

    _last_waits = False


def _server_with_files() -> dict[str, bytes]:
    return {f"/{name}": name.encode() * 5 for name in "abcd"}


async def _warm(connector: FtpConnector, writes: Writes) -> None:
    """Have every command answered once, alone, on a session of its own."""
    session = await connector.connect()
    await session.stat("/a")
    await fetch(session, "/a")
    await session.rename("/d", "/e")
    await session.aclose()
    assert writes.seen == [["SIZE"], ["MDTM"], ["EPSV"], ["RETR"], ["RNFR"], ["RNTO"]]
    writes.seen.clear()


async def test_what_was_answered_before_goes_together_with_the_next_epsv_behind_it() -> None:
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        session.foresee()
        assert (await session.stat("/a")).size_bytes == 5
        assert await fetch(session, "/a") == b"aaaaa"
        session.foresee()
        await session.stat("/a")
        session.foresee()  # connects beside the next stat
        await session.stat("/b")
        assert await fetch(session, "/b") == b"bbbbb"
        assert writes.seen == [
            ["SIZE", "MDTM", "EPSV"],
            ["RETR"],
            ["SIZE", "MDTM", "EPSV"],
            ["SIZE", "MDTM"],
            ["RETR"],
        ]
        await store(session, "/t", b"up")
        session.foresee()
        await session.rename("/t", "/u")
        await store(session, "/v", b"up")
        assert writes.seen[5:] == [["EPSV"], ["STOR"], ["RNFR", "RNTO", "EPSV"], ["STOR"]]
        assert session.learnt["commands_together"] is True
        assert server.files["/u"] == b"up"
        assert session.last_reply == "226 Stored."
        await session.aclose()


@pytest.mark.parametrize("greeting", [b"220 Welcome.", b"220 Microsoft FTP Service"])
async def test_a_server_that_is_not_known_to_bear_it_gets_one_at_a_time(greeting: bytes) -> None:
    writes = Writes()
    async with scripted_server(writes.script(GREETING=greeting)) as server:
        server.files |= _server_with_files()
        session = await FtpConnector(server.profile()).connect()
        for _ in range(3):
            session.foresee()
            await session.stat("/a")
            assert await fetch(session, "/a") == b"aaaaa"
        assert all(len(write) == 1 for write in writes.seen)
        assert session.learnt["commands_together"] is None
        await session.aclose()


async def test_a_refusal_says_nothing_against_it_and_is_what_it_was() -> None:
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        refusals = {"RNTO": b"503 RNFR required first.", "MDTM": b"550 No such file."}
        server.script = {**server.script, **refusals}
        for ask in (lambda: session.rename("/nothing", "/x"), lambda: session.stat("/nothing")):
            with pytest.raises(ReplyError) as caught:
                await ask()
            assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.learnt["commands_together"] is True
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize("answer", [b"500 What?", b"502 Not now.", b"503 Bad sequence."])
async def test_an_answer_that_makes_no_sense_ends_it_and_is_asked_again(answer: bytes) -> None:
    writes = Writes()
    # Alone it is answered; in one write with another, not.
    async with scripted_server(writes.script(MDTM=says(TIME, answer, TIME))) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        stat = await session.stat("/b")
        assert stat.size_bytes == 5
        assert stat.modified is not None
        assert writes.seen == [["SIZE", "MDTM"], ["SIZE"], ["MDTM"]]
        await session.stat("/b")
        assert writes.seen[3:] == [["SIZE"], ["MDTM"]]
        assert connector.learnt["commands_together"] is False
        assert connector.learnt["mdtm"] is True
        await session.aclose()


async def test_a_server_that_swallows_a_command_is_sent_one_at_a_time_from_then_on() -> None:
    async def swallow(connection: Connection, _: bytes) -> None:
        connection._buffer.clear()
        await connection.say(b"213 5")

    writes = Writes()
    async with scripted_server(writes.script(SIZE=swallow)) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile(exchange_s=0.3))
        await _warm(connector, writes)
        session = await connector.connect()
        with pytest.raises(SessionLost):
            await session.stat("/b")
        assert connector.learnt["commands_together"] is False
        session = await connector.connect()
        assert (await session.stat("/b")).size_bytes == 5
        await session.aclose()


@pytest.mark.parametrize("answer", [b"421 Too slow.", b"229 Nothing of that kind.", b"425 No port free."])
async def test_an_epsv_ahead_that_is_not_answered_as_it_should_does_the_job_no_harm(answer: bytes) -> None:
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        normal = server.script
        server.script = {**normal, "EPSV": answer}
        session.foresee()
        assert (await session.stat("/a")).size_bytes == 5
        assert session.learnt["port_ahead"] is False
        if not answer.startswith(b"421"):
            server.script = normal
            assert await fetch(session, "/a") == b"aaaaa"
        await session.aclose()


async def test_a_rename_is_done_though_the_server_leaves_instead_of_answering_what_rode_on_it() -> None:
    async def leave(connection: Connection, _: bytes) -> None:
        await connection.cut()

    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        server.script = {**server.script, "EPSV": leave}
        session.foresee()
        await session.rename("/a", "/z")
        assert "/z" in server.files
        assert not session.usable
        assert session.learnt["commands_together"] is True
        await session.aclose()


async def test_a_port_that_is_not_there_any_more_is_asked_for_anew() -> None:
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        (listener,) = await trio.open_tcp_listeners(0, host=server.host)
        free = listener.socket.getsockname()[1]
        await listener.aclose()
        session = await connector.connect()
        normal = server.script
        server.script = {**normal, "EPSV": b"229 Listening (|||%d|)" % free}
        session.foresee()
        await session.stat("/a")
        server.script = normal
        assert await fetch(session, "/a") == b"aaaaa"
        assert session.learnt["port_ahead"] is False
        await session.aclose()


async def test_a_port_that_has_waited_too_long_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooler.ftp.together._KEPT_S", -1.0)
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        session = await connector.connect()
        session.foresee()
        await session.stat("/a")
        assert await fetch(session, "/a") == b"aaaaa"
        assert writes.seen == [["SIZE", "MDTM", "EPSV"], ["EPSV"], ["RETR"]]
        assert session.learnt["port_ahead"] is None
        await session.aclose()


async def test_a_connection_on_its_way_is_let_go_of_with_its_session() -> None:
    writes = Writes()
    async with scripted_server(writes.script()) as server:
        server.files |= _server_with_files()
        connector = FtpConnector(server.profile())
        await _warm(connector, writes)
        await server.all_left()
        before = descriptors()
        session = await connector.connect()
        session.foresee()
        await session.stat("/a")
        session.foresee()
        assert "connecting" in repr(session._transfers)
        await session.aclose()
        await server.all_left()
        assert descriptors() == before
