"""Attacks by those who know the client: words that would leak or crash, and servers that answer by chance.

`test_ftp_adversaries` has silence, floods and lies; here is what they did not find.
"""

import random
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from pooler.errors import ConnectError, LoginRefused, RemoteError, SessionLost
from pooler.ftp.certificate import Certificate
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support import descriptors
from tests.support.adversaries import WORK, bounded_memory
from tests.support.answers import connect, sends
from tests.support.chance import PATIENCE, by_chance
from tests.support.moving import fetch, store
from tests.support.scripted import PASSWORD, Connection, Left, Script, ScriptedServer, scripted_server

DEEP = 1000
"""More folders in one path than Python has frames."""


# Words.


@pytest.mark.parametrize(
    "said",
    [
        b"500 'PASS s3cret': command not understood.",
        b"500 'PASS S3CRET': COMMAND NOT UNDERSTOOD.",
        b"530-Login incorrect.\r\n s3cret is wrong.\r\n530 End of s3cret.",
        b"530-s3cret\r\n150 s3cret",
        b"334 s3cret",
        b"PASS s3cret",
    ],
)
async def test_a_password_that_a_server_repeats_is_not_told(said: bytes) -> None:
    async with scripted_server({"PASS": said}) as server:
        with pytest.raises((ConnectError, LoginRefused)) as caught:
            await FtpConnector(server.profile()).connect()
        told = "".join((str(caught.value), *caught.value.__notes__, str(caught.value.__cause__)))
        assert PASSWORD not in told.lower()
        assert "PASS ****" in told


async def test_a_secret_is_masked_in_the_answer_to_it_alone() -> None:
    """A password of one letter does not spoil what the server says afterwards, nor the code of its answer."""
    async with scripted_server({"PASS": b"230 2 is welcome.", "NOOP": b"200 230 of 2 here."}) as server:
        session = await FtpConnector(server.profile(password=lambda: "2")).connect()
        assert "< 230 **** is welcome." in session.transcript
        await session.keep_alive()
        assert session.last_reply == "200 230 of 2 here."
        await session.aclose()


async def test_an_account_that_a_server_repeats_is_not_told() -> None:
    script = {"PASS": b"332 Account?", "ACCT": b"530 No account 4711 here."}
    async with scripted_server(script) as server:
        with pytest.raises(LoginRefused, match="No account ") as caught:
            await FtpConnector(server.profile(account="4711")).connect()
        assert "4711" not in "".join((str(caught.value), *caught.value.__notes__))


async def test_nobody_is_told_more_than_can_be_read() -> None:
    many = b"".join(b"450-%s\r\n" % (b"x" * 1000) for _ in range(60)) + b"450 x"
    async with scripted_server({"DELE": many, "SIZE": many.replace(b"450", b"213")}) as server:
        session = await connect(server)
        for work in (session.remove, session.size):
            with pytest.raises(RemoteError) as caught:
                await work("/f")
            assert len(str(caught.value)) < 1200
            assert len(session.last_reply or "") < 1200
        await session.aclose()


# What would come out as somebody else's error, and end the service with it.


async def test_a_path_of_very_many_folders_is_made() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        await store(session, "/a" * DEEP + "/f", b"x")
        assert len(server.folders) == 1 + DEEP
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize("version", [1, 3, 200])
def test_a_certificate_of_a_version_that_there_is_not_has_no_end(version: int) -> None:
    pem = trustme.CA().issue_cert("ftp.example.org").cert_chain_pems[0].bytes().decode()
    good = ssl.PEM_cert_to_DER_cert(pem)
    assert Certificate(good).not_after is not None
    third = b"\xa0\x03\x02\x01\x02"
    assert Certificate(good.replace(third, third[:-1] + bytes([version]), 1)).not_after is None


@pytest.mark.parametrize("passive", [True, False])
async def test_a_server_gone_between_two_commands_is_a_lost_session(passive: bool) -> None:  # noqa: FBT001 - a parameter of the table
    async def answer_and_reset(connection: Connection, _: bytes) -> None:
        """Do both before the client has its turn, so that it reads the answer on a dead connection."""
        with socket.socket(fileno=connection._raw.socket.detach()) as bare:
            bare.send(b"250 Changed.\r\n")
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Left

    async with scripted_server({"CWD": answer_and_reset}) as server:
        session = await connect(server, path_style="cwd", passive=passive)
        before = descriptors.count()
        with pytest.raises(SessionLost):
            await fetch(session, "/a/f")
        assert not session.usable
        # Both ends of the control connection are closed, and no listener is left.
        assert descriptors.count() == before - 2
        await server.all_left()


@pytest.mark.parametrize("name", [b"a\rb", b"a\0b"])
async def test_a_name_that_no_command_can_say_spoils_no_listing(name: bytes) -> None:
    lines = b"-rw-r--r--   1 anna staff  42 Nov 20 09:30 " + name + b"\r\n"
    async with scripted_server({"LIST": sends(lines), "MDTM": b"213 20261120083000"}) as server:
        session = await connect(server)
        async with session.listing("/") as entries:
            assert [entry.name async for entry in entries] == [name.decode()]
        assert session.usable
        await session.aclose()


async def test_a_server_that_is_for_ever_about_to_send_fills_no_memory_beside_a_transfer() -> None:
    pieces = 20

    async def talk(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        for _number in range(pieces):
            await connection.raw(b"150 \r\n" * 600)
            await data.send(b"x")
            await trio.testing.wait_all_tasks_blocked()
        await data.close()
        await connection.say(b"226 Done.")

    async with scripted_server({"RETR": talk}) as server:
        session = await connect(server, noop_after_s=0.0)
        with bounded_memory(1_000_000):
            assert await fetch(session, "/f") == b"x" * pieces
        await session.aclose()


# Chance.


async def have_it_out(server: ScriptedServer, chance: random.Random, changes: dict[str, Any]) -> list[str]:
    """Ask a server for this and that, on three sessions; tell how it went."""
    connector = FtpConnector(server.profile(**changes))
    ends: list[str] = []
    for _ in range(3):
        session: FtpSession | None = None
        try:
            session = await connector.connect()
            while session.usable and len(ends) % 5 < 4:
                await WORK[chance.choice(list(WORK))](session)
                ends.append("well")
        except RemoteError as error:
            ends.append(type(error).__name__)
        finally:
            if session is not None:
                assert len("".join(session.transcript)) < 40 * 300
                await session.aclose()
    return ends


@pytest.mark.parametrize("passive", [True, False])
@pytest.mark.parametrize("tls", [False, True])
async def test_servers_that_answer_by_chance_bring_out_our_errors_and_leave_nothing(
    tmp_path: Path,
    tls: bool,  # noqa: FBT001 - a parameter of the table
    passive: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
    before = descriptors.count()
    ends: list[str] = []
    for seed in range(20):
        chance = random.Random(seed)
        script: Script = by_chance(chance)
        changes = {"passive": passive, "path_style": chance.choice(["absolute", "cwd"]), **PATIENCE}
        async with scripted_server(script, tls_folder=tmp_path if tls else None) as server:
            server.files = {"/f": b"ten bytes."}
            with trio.fail_after(60):
                ends += await have_it_out(server, chance, changes)
                await server.all_left()
        assert descriptors.count() == before, seed
    assert {"well", "ReplyError"} <= set(ends)
