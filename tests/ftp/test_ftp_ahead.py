"""The data of an upload that goes out before the server has agreed: when, and what comes of a refusal."""

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from pooler.errors import ErrorCode, RemoteError, ReplyError, StoredTooSoon
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.scripted import Connection, Handler, scripted_server

VSFTPD = b"220 (vsFTPd 3.0.3)"
LARGE = bytes(1_000_000)


def known(session: FtpSession) -> object:
    return session.learnt["data_ahead"]


async def store(
    session: FtpSession, path: str, content: bytes, *, offset: int = 0, ahead: bool = True
) -> None:
    async with session.storing(path, offset=offset, ahead=ahead) as stream:
        await stream.send_all(memoryview(content))


def looking(found: list[bool]) -> Handler:
    """Note whether data is there before the server has agreed."""

    async def answer(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await trio.testing.wait_all_tasks_blocked(0.02)
        with socket.socket(fileno=os.dup(data._raw.socket.fileno())) as waiting:
            try:
                found.append(bool(waiting.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)))
            except BlockingIOError:
                found.append(False)
        await connection.say(b"150 Go on.")
        connection.server.files[connection.path(argument)] = await data.receive_all()
        await data.close()
        await connection.say(b"226 Stored.")

    return answer


async def test_it_goes_out_at_once_into_a_folder_that_is_known() -> None:
    found: list[bool] = []
    async with scripted_server({"GREETING": VSFTPD, "STOR": looking(found)}) as server:
        session = await FtpConnector(server.profile()).connect()
        server.folders.add("/in")
        await store(session, "/in/a", b"first")
        assert known(session) is None
        await store(session, "/in/b", b"second")
        await store(session, "/in/c", LARGE)
        await store(session, "/in/d", b"strictly", ahead=False)
        assert found == [False, True, True, False]
        assert server.files == {"/in/a": b"first", "/in/b": b"second", "/in/c": LARGE, "/in/d": b"strictly"}
        assert known(session) is True
        assert session.last_reply == "226 Stored."
        await session.aclose()


async def test_of_nothing_the_end_goes_out_at_once() -> None:
    async def agrees_late(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        connection.server.files[connection.path(argument)] = await data.receive_all()
        await data.close()
        await connection.say(b"150 Go on.", b"226 Stored.")

    async with scripted_server({"GREETING": VSFTPD, "STOR": agrees_late}) as server:
        session = await FtpConnector(server.profile()).connect()
        for path, content in (("/a", b""), ("/b", b"content")):
            await store(session, path, content)
        assert server.files == {"/a": b"", "/b": b"content"}
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize("greeting", [b"220 Welcome.", b"220 Microsoft FTP Service"])
async def test_not_to_a_server_that_is_not_known_to_bear_it(greeting: bytes) -> None:
    found: list[bool] = []
    async with scripted_server({"GREETING": greeting, "STOR": looking(found)}) as server:
        session = await FtpConnector(server.profile()).connect()
        for name in ("/a", "/b"):
            await store(session, name, b"content")
        assert found == [False, False]
        assert known(session) is None
        await session.aclose()


async def test_not_in_the_middle_of_a_file() -> None:
    found: list[bool] = []
    script: dict[str, bytes | Handler] = {"GREETING": VSFTPD, "STOR": looking(found), "REST": b"350 Go on."}
    async with scripted_server(script) as server:
        session = await FtpConnector(server.profile()).connect()
        await store(session, "/a", b"content", offset=3)
        await session.aclose()
    assert found == [False]


async def test_not_under_tls(tmp_path: Path) -> None:
    async with scripted_server({"GREETING": VSFTPD}, tls_folder=tmp_path) as server:
        session = await FtpConnector(server.profile()).connect()
        for name in ("/a", "/b"):
            await store(session, name, b"content")
        assert known(session) is None
        assert server.files == {"/a": b"content", "/b": b"content"}
        await session.aclose()


@pytest.mark.parametrize("content", [b"little", LARGE])
async def test_a_folder_that_has_gone_is_told_and_made_the_next_time(content: bytes) -> None:
    async with scripted_server({"GREETING": VSFTPD}) as server:
        session = await FtpConnector(server.profile()).connect()
        server.folders.add("/in")
        await store(session, "/in/a", b"first")
        server.folders.remove("/in")
        server.commands.clear()
        with pytest.raises(StoredTooSoon):
            await store(session, "/in/b", content)
        assert session.usable
        await store(session, "/in/b", content, ahead=False)
        assert server.files["/in/b"] == content
        assert [verb for verb in server.verbs() if verb != "EPSV"] == ["STOR", "STOR", "MKD", "STOR"]
        await session.aclose()


@pytest.mark.parametrize("content", [b"little", LARGE])
@pytest.mark.parametrize(
    ("reply", "code"),
    [(b"550 Permission denied.", ErrorCode.PERMISSION_DENIED), (b"552 Quota exceeded.", ErrorCode.DISK_FULL)],
)
async def test_another_refusal_is_what_it_is(reply: bytes, code: ErrorCode, content: bytes) -> None:
    async with scripted_server({"GREETING": VSFTPD}) as server:
        session = await FtpConnector(server.profile()).connect()
        await store(session, "/a", b"first")
        server.script = {"STOR": reply}
        with pytest.raises(ReplyError) as caught:
            await store(session, "/b", content)
        assert (type(caught.value), caught.value.code) == (ReplyError, code)
        assert session.usable
        server.script = {}
        await store(session, "/b", content)
        assert server.files["/b"] == content
        await session.aclose()


async def test_a_refusal_at_the_end_of_a_file_is_none_of_the_folder() -> None:
    async def refuses(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Go on.")
        await data.receive_all()
        await data.close()
        await connection.say(b"550 Failed.")

    async with scripted_server({"GREETING": VSFTPD}) as server:
        session = await FtpConnector(server.profile()).connect()
        server.folders.add("/in")
        await store(session, "/in/a", b"first")
        server.script = {"STOR": refuses}
        with pytest.raises(ReplyError) as caught:
            await store(session, "/in/b", b"second")
        assert type(caught.value) is ReplyError
        assert session.usable
        await session.aclose()


async def test_a_first_try_that_breaks_is_the_last_one() -> None:
    found: list[bool] = []

    async def breaks(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await data.reset()
        await connection.cut()

    async with scripted_server({"GREETING": VSFTPD, "STOR": breaks}) as server:
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        with pytest.raises(RemoteError):
            await store(session, "/a", LARGE)
        assert not session.usable
        assert connector.learnt["data_ahead"] is False
        server.script = {"STOR": looking(found)}
        session = await connector.connect()
        await store(session, "/a", b"content")
        assert found == [False]
        await session.aclose()


@pytest.mark.parametrize("reply", [b"425 No data connection.", b"503 PASV first."])
async def test_a_refusal_that_may_be_about_what_was_ahead_is_the_last_one(reply: bytes) -> None:
    async with scripted_server({"GREETING": VSFTPD}) as server:
        server.files |= {"/a": b"a", "/t": b"t", "/x": b"x"}
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        await store(session, "/b", b"first")
        await session.rename("/x", "/y")
        session.foresee()
        await session.rename("/t", "/u")  # which asks for a port ahead
        server.script = {"STOR": reply}
        with pytest.raises(ReplyError):
            await store(session, "/c", b"second")
        assert session.usable
        assert (connector.learnt["port_ahead"], connector.learnt["data_ahead"]) == (False, False)
        server.script = {}
        await store(session, "/c", b"second")
        assert server.files["/c"] == b"second"
        await session.aclose()
