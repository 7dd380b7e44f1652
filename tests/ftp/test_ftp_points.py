"""Points of docs/ftp.md that no other test is about; the list there says where the others are."""

import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pooler.errors import DataConnectionError
from pooler.ftp.connector import FtpConnector
from tests.support.answers import connect
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, scripted_server

CONTENT = bytes(range(256)) * 1600


@pytest.mark.parametrize("code", [b"521", b"550", b"553"])
async def test_point_13_cwd_decides_whether_a_folder_is_there(code: bytes) -> None:
    async def faster(connection: Connection, argument: bytes) -> None:
        connection.server.folders.add(argument.decode())
        await connection.say(code + b" Not made.")

    async with scripted_server({"MKD": faster}) as server:
        session = await connect(server)
        await store(session, "/a/f", b"x")
        assert [verb for verb in server.verbs() if verb != "EPSV"] == ["STOR", "MKD", "CWD", "STOR"]
        await session.aclose()


async def test_point_15_hands_are_shaken_behind_stor_even_for_nothing(tmp_path: Path) -> None:
    async def stor(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.shake_hands()
        connection.server.files[argument.decode()] = await data.receive_all()
        await data.close()
        await connection.say(b"226 Stored.")

    async with scripted_server({"STOR": stor}, tls_folder=tmp_path) as server:
        session = await connect(server)
        await store(session, "/empty", b"")
        await store(session, "/f", b"x")
        assert server.files == {"/empty": b"", "/f": b"x"}
        assert session.usable
        await session.aclose()


async def test_point_17_the_end_of_an_upload_is_not_lost_to_what_nobody_read(tmp_path: Path) -> None:
    async def slow(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.shake_hands()
        await wait_all_tasks_blocked(0.05)  # the client has sent all it has, and its end
        await data.stream.send_all(b"a late ticket")
        connection.server.files[argument.decode()] = await data.receive_all()
        await connection.say(b"226 Stored.")

    async with scripted_server({"STOR": slow}, tls_folder=tmp_path) as server:
        session = await connect(server)
        assert session.tls_version == "TLSv1.3"
        await store(session, "/f", CONTENT)
        assert server.files == {"/f": CONTENT}
        await session.aclose()


async def refused_port(connection: Connection, _: bytes) -> None:
    """Tell a port by EPSV at which nobody listens any more: behind a firewall that lets only PASV's in."""
    with socket.create_server((connection.server.host, 0)) as closed:
        port = closed.getsockname()[1]
    await connection.say(b"229 Listening (|||%d|)" % port)


async def test_a_port_that_epsv_tells_and_nobody_reaches_is_asked_for_by_pasv_from_then_on() -> None:
    async with scripted_server({"EPSV": refused_port}) as server:
        server.files["/f"] = CONTENT
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        assert await fetch(session, "/f") == CONTENT
        assert await fetch(session, "/f") == CONTENT
        assert server.verbs()[-5:] == ["EPSV", "PASV", "RETR", "PASV", "RETR"]
        assert connector.learnt["epsv"] is False
        await session.aclose()


@pytest.mark.parametrize("refusal", [b"500 What?", b"550 No."])
async def test_a_port_that_neither_way_reaches_is_the_data_connections_failure(refusal: bytes) -> None:
    async with scripted_server({"EPSV": refused_port, "PASV": refusal}) as server:
        server.files["/f"] = CONTENT
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        with pytest.raises(DataConnectionError):
            await fetch(session, "/f")
        assert connector.learnt["epsv"] is None  # it need not be to blame
        await session.aclose()


async def test_where_epsv_has_worked_one_port_that_is_not_reached_does_not_change_that() -> None:
    async with scripted_server() as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        assert await fetch(session, "/f") == CONTENT
        server.script = {"EPSV": refused_port}
        with pytest.raises(DataConnectionError):
            await fetch(session, "/f")
        assert "PASV" not in server.verbs()
        server.script = {}
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()


async def test_point_22_a_cancelled_transfer_throws_its_session_away_without_abor() -> None:
    async def endless(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(b"some")  # and no more; whatever is said meanwhile is heard

    async with scripted_server({"RETR": endless}) as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        with trio.CancelScope() as scope:
            async with session.retrieving("/f") as stream:
                while True:
                    await stream.receive_into(memoryview(bytearray(10)))
                    scope.cancel()
        assert not session.usable
        await server.all_left()
        assert server.verbs() == ["EPSV", "RETR"]
        server.script = {}
        session = await connect(server)
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()
