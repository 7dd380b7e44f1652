"""Transfers that begin in the middle of a file (REST, RFC 3659 §5)."""

import pytest

from pooler.errors import DataConnectionError, ErrorCode, LocalProtocolError, ReplyError, SessionLost
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.answers import connect, says
from tests.support.scripted import Connection, Handler, Script, scripted_server

CONTENT = b"0123456789"


class _Restarts:
    """A server that keeps an offset until a transfer has ended well, as some do."""

    def __init__(self) -> None:
        self.offset = 0

    def script(self) -> dict[str, Handler]:
        return {"REST": self.rest, "RETR": self.retr, "STOR": self.stor}

    async def rest(self, connection: Connection, argument: bytes) -> None:
        self.offset = int(argument)
        await connection.say(b"350 Restarting.")

    async def retr(self, connection: Connection, argument: bytes) -> None:
        content = connection.server.files.get(connection.path(argument))
        if content is None:
            await connection.say(b"550 No such file.")
            return
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(content[self.offset :])
        await data.close()
        await connection.say(b"226 Done.")

    async def stor(self, connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        path = connection.path(argument)
        kept = connection.server.files.get(path, b"")[: self.offset]
        connection.server.files[path] = kept + await data.receive_all()
        await data.close()
        await connection.say(b"226 Stored.")


async def fetch(session: FtpSession, path: str, offset: int = 0) -> bytes:
    content, buffer = bytearray(), memoryview(bytearray(4096))
    async with session.retrieving(path, offset=offset) as stream:
        while count := await stream.receive_into(buffer):
            content += buffer[:count]
    assert stream.received_bytes == len(content)
    return bytes(content)


async def store(session: FtpSession, path: str, content: bytes, offset: int = 0) -> None:
    async with session.storing(path, offset=offset) as stream:
        await stream.send_all(memoryview(content))


@pytest.mark.parametrize("passive", [True, False])
async def test_a_download_and_an_upload_begin_in_the_middle(passive: bool) -> None:  # noqa: FBT001 - a parameter of the table
    async with scripted_server(_Restarts().script()) as server:
        server.files["/f"] = CONTENT
        session = await connect(server, passive=passive)
        assert await fetch(session, "/f", 4) == CONTENT[4:]
        await store(session, "/f", b"abc", 8)
        assert server.files["/f"] == b"01234567abc"
        opening = "EPSV" if passive else "EPRT"
        assert server.verbs() == [opening, "REST", "RETR", opening, "REST", "STOR"]
        assert session.learnt["rest"] is True
        await session.aclose()


async def test_no_offset_is_left_over_for_the_next_transfer() -> None:
    async with scripted_server(_Restarts().script()) as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/missing", 4)
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert await session.size("/f") == 10
        server.commands.clear()
        assert await fetch(session, "/f") == CONTENT
        assert server.commands == ["EPSV", "REST 0", "RETR /f"]
        assert await fetch(session, "/f") == CONTENT
        assert server.commands[3:] == ["EPSV", "RETR /f"]
        await fetch(session, "/f", 4)
        await store(session, "/f", b"new")
        assert server.files["/f"] == b"new"
        await session.aclose()


@pytest.mark.parametrize("refusal", [b"502 Not here.", b"500 What?"])
async def test_a_server_that_cannot_begin_in_the_middle_is_asked_once(refusal: bytes) -> None:
    async with scripted_server({"REST": refusal}) as server:
        server.files["/f"] = CONTENT
        connector = FtpConnector(server.profile())
        for _ in range(2):
            session = await connector.connect()
            for attempt in (fetch(session, "/f", 4), store(session, "/f", b"x", 4)):
                with pytest.raises(ReplyError):
                    await attempt
            assert session.usable
            assert await fetch(session, "/f") == CONTENT
            await session.aclose()
        assert server.verbs().count("REST") == 1
        assert connector.learnt["rest"] is False


async def test_an_offset_refused_for_now_says_nothing_of_the_next() -> None:
    retr = _Restarts().script()
    async with scripted_server({**retr, "REST": says(b"501 Bad number.", b"350 Restarting.")}) as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        with pytest.raises(ReplyError):
            await fetch(session, "/f", 4)
        assert session.learnt["rest"] is None
        await fetch(session, "/f", 4)
        assert server.verbs().count("REST") == 2
        await session.aclose()


async def test_a_resumed_download_without_its_226_is_held_against_the_whole_size() -> None:
    async def no_226(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)][4:])
        await data.close()
        await connection.until_left()

    script: Script = {"REST": b"350 Restarting.", "RETR": no_226}
    async with scripted_server(script) as server:
        server.files["/f"] = CONTENT
        for offset, whole in ((4, True), (3, False)):
            session = await connect(server, exchange_s=0.1)
            await session.size("/f")
            if whole:
                assert await fetch(session, "/f", offset) == CONTENT[4:]
            else:
                with pytest.raises(SessionLost):
                    await fetch(session, "/f", offset)
            assert not session.usable


async def test_line_ends_and_offsets_do_not_go_together() -> None:
    async with scripted_server() as server:
        session = await connect(server, transfer_type="ascii")
        with pytest.raises(LocalProtocolError):
            await fetch(session, "/f", 4)
        assert server.commands == []
        with pytest.raises(LocalProtocolError):
            await fetch(session, "/f", -1)
        assert session.usable
        await session.aclose()


async def test_a_refused_offset_leaves_no_data_connection() -> None:
    ended: list[bool] = []

    async def rest(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"504 Not here.")
        try:
            await data.receive_all()
        except Exception:  # noqa: BLE001 - whatever it is, the client has gone
            ended.append(True)

    async with scripted_server({"REST": rest}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/f", 4)
        assert not isinstance(caught.value, DataConnectionError)
        await session.keep_alive()
        assert ended == [True]
        await session.aclose()
