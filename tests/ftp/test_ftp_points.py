"""Points of docs/ftp.md that no other test is about; the list there says where the others are."""

from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

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
