"""The session against a server that does what real ones were seen to do."""

import gc
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from pooler.errors import (
    ConnectError,
    DataConnectionError,
    ErrorCode,
    LocalProtocolError,
    LoginRefused,
    NoPassword,
    PeerProtocolError,
    Remedy,
    RemoteError,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.ftp.connector import FtpConnector
from pooler.ftp.control import ControlConnection
from pooler.ftp.folders import KnownFolders
from pooler.ftp.session import FtpSession
from pooler.ftp.tcp import TcpConnection
from pooler.ftp.wire import Command
from pooler.model.outcome import Peer
from pooler.transfer.session import Connector, Session
from tests.support.scripted import Connection, Handler, Script, ScriptedServer, scripted_server

CONTENT = bytes(range(256)) * 1000


async def fetch(session: Session, path: str) -> bytes:
    content, buffer = bytearray(), memoryview(bytearray(65536))
    async with session.retrieving(path) as stream:
        while count := await stream.receive_into(buffer):
            content += buffer[:count]
    return bytes(content)


async def store(session: Session, path: str, content: bytes) -> None:
    async with session.storing(path) as stream:
        await stream.send_all(memoryview(content))


async def pour(session: Session, path: str) -> None:
    """Store without end."""
    async with session.storing(path) as stream:
        while True:
            await stream.send_all(memoryview(CONTENT))


async def connect(server: ScriptedServer, **changes: object) -> FtpSession:
    return await FtpConnector(server.profile(**changes)).connect()


def test_session_and_connector_have_the_shape_that_transfers_ask_for() -> None:
    connector: type[Connector] = FtpConnector
    session: type[Session] = FtpSession
    assert connector
    assert session


async def test_login_says_no_more_than_it_must() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        assert server.commands == ["USER tester", "PASS s3cret", "TYPE I", "FEAT"]
        assert session.peer == Peer(f"127.0.0.1:{server.port}", account="tester")
        assert session.last_reply == "502 Unknown command."
        await session.aclose()
        assert server.commands[-1] == "QUIT"
        assert not session.usable
        await server.all_left()


async def test_passwords_are_in_no_repr_and_no_transcript() -> None:
    async with scripted_server() as server:
        connector = FtpConnector(server.profile(account="acct-secret"))
        session = await connector.connect()
        shown = repr([connector, session, session.transcript, server.profile(account="acct-secret")])
        assert "PASS ****" in shown
        assert "s3cret" not in shown
        assert "acct-secret" not in shown
        await session.aclose()


async def test_the_dialogue_begins_anew_where_it_is_told_to() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        session.turn_page()
        await session.keep_alive()
        assert session.transcript[:1] == ("> NOOP",)
        await session.aclose()


async def test_point_14_tls_login_sends_auth_alone_and_protects_the_data(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        session = await connect(server)
        assert server.verbs() == ["AUTH", "USER", "PASS", "PBSZ", "PROT", "TYPE", "FEAT"]
        assert session.peer.tls_version == "TLSv1.3"
        assert len(session.peer.certificate_sha256 or "") == 64
        await store(session, "/f", CONTENT)
        assert server.files["/f"] == CONTENT
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()


async def test_a_transfer_takes_three_commands_with_none_in_vain() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        server.commands.clear()
        await store(session, "/f", CONTENT)
        assert await fetch(session, "/f") == CONTENT
        assert server.verbs() == ["EPSV", "STOR", "EPSV", "RETR"]
        await session.aclose()


async def test_epsv_refused_means_pasv_for_this_session_and_the_next() -> None:
    async with scripted_server({"EPSV": b"500 What?"}) as server:
        connector = FtpConnector(server.profile())
        for _ in range(2):
            session = await connector.connect()
            await store(session, "/f", b"x")
            await session.aclose()
        assert server.verbs().count("EPSV") == 1
        assert server.verbs().count("PASV") == 2


async def _elsewhere(connection: Connection, _: bytes) -> None:
    port = await connection.listen()
    await connection.say(b"227 Try (127,0,0,2,%d,%d)." % divmod(port, 256))


async def test_the_address_in_a_pasv_reply_is_ignored_unless_trusted() -> None:
    async with scripted_server({"PASV": _elsewhere}) as server:
        session = await connect(server, disable_epsv=True)
        await store(session, "/f", b"x")
        await session.aclose()
        session = await connect(server, disable_epsv=True, trust_pasv_address=True)
        with pytest.raises(DataConnectionError):
            await store(session, "/f", b"x")
        assert session.usable  # no command was running
        await session.aclose()


async def test_a_missing_folder_is_made_once_it_was_refused() -> None:
    async with scripted_server() as server:
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        server.commands.clear()
        await store(session, "/a/b/f", b"x")
        assert server.verbs() == [*("EPSV", "STOR", "MKD", "CWD", "MKD", "MKD", "EPSV", "STOR")]
        await store(session, "/a/b/c/f", b"x")
        assert server.verbs()[8:] == ["EPSV", "STOR", "MKD", "EPSV", "STOR"]
        server.folders = {"/"}  # a partner's job tidied up
        await store(session, "/a/b/c/g", b"x")
        assert server.files["/a/b/c/g"] == b"x"
        await session.aclose()


async def test_point_13_a_folder_that_another_worker_was_faster_to_make_is_tried_once_more() -> None:
    async def faster(connection: Connection, argument: bytes) -> None:
        connection.server.folders.add(argument.decode())
        await connection.say(b"550 File exists.")

    async with scripted_server({"MKD": faster}) as server:
        session = await connect(server)
        await store(session, "/a/f", b"x")
        assert server.files["/a/f"] == b"x"
        await session.aclose()


async def test_a_store_refused_in_a_folder_that_exists_is_an_error_after_one_more_try() -> None:
    async with scripted_server({"STOR": b"553 Could not create file."}) as server:
        server.folders.add("/a")
        session = await connect(server)
        for stores in (2, 3):  # by the second time the folder is known
            with pytest.raises(ReplyError) as caught:
                await store(session, "/a/f", b"x")
            assert caught.value.code is ErrorCode.PERMISSION_DENIED
            assert server.verbs().count("STOR") == stores
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize("refused", [b"553 Permission denied.", b"552 Quota exceeded.", b"501 Bad name."])
async def test_a_store_refused_for_another_reason_makes_no_folder(refused: bytes) -> None:
    async with scripted_server({"STOR": refused}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError):
            await store(session, "/a/f", b"x")
        assert "MKD" not in server.verbs()
        await session.aclose()


async def test_a_folder_that_cannot_be_made_is_the_error() -> None:
    async with scripted_server({"MKD": b"550 Permission denied."}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await store(session, "/a/b/f", b"x")
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
        assert caught.value.command == "MKD /a"
        assert session.usable
        await session.aclose()


async def _done_before_data(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.", b"226 Done.")
    await data.send(connection.server.files[argument.decode()])
    await data.close()


async def _done_without_150(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"250 Done.")
    await data.send(connection.server.files[argument.decode()])
    await data.close()


async def _two_150(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    await data.send(connection.server.files[argument.decode()])
    await connection.say(b"150 Here it comes.")
    await data.close()
    await connection.say(b"226 Done.")


@pytest.mark.parametrize("retr", [_done_before_data, _done_without_150, _two_150])
async def test_points_1_3_4_replies_in_odd_order_are_borne(retr: Handler) -> None:
    async with scripted_server({"RETR": retr}) as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        assert await fetch(session, "/f") == CONTENT
        assert await fetch(session, "/f") == CONTENT
        assert session.usable
        await session.aclose()


async def _no_226(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    await data.send(connection.server.files[argument.decode()])
    await data.close()
    await connection.until_left()


async def _cut_for_226(connection: Connection, argument: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    await data.send(connection.server.files[argument.decode()])
    await data.close()
    await connection.cut()


@pytest.mark.parametrize("retr", [_no_226, _cut_for_226])
async def test_point_2_a_download_of_the_right_size_needs_no_226(retr: Handler) -> None:
    async with scripted_server({"RETR": retr}) as server:
        server.files["/f"] = CONTENT
        session = await connect(server, exchange_s=0.2)
        assert await session.size("/f") == len(CONTENT)
        assert await fetch(session, "/f") == CONTENT
        assert not session.usable
        with pytest.raises(SessionLost):
            await session.keep_alive()
        await server.all_left()


async def test_a_download_of_unknown_or_another_size_needs_its_226() -> None:
    async with scripted_server({"RETR": _no_226}) as server:
        server.files.update({"/f": CONTENT, "/g": CONTENT})
        session = await connect(server, exchange_s=0.05)
        with pytest.raises(SessionLost):
            await fetch(session, "/f")
        session = await connect(server, exchange_s=0.05)
        await session.size("/f")
        with pytest.raises(SessionLost):
            await fetch(session, "/g")
        session = await connect(server, exchange_s=0.05)
        await session.size("/f")
        server.files["/f"] += b"more"
        with pytest.raises(SessionLost):
            await fetch(session, "/f")


async def test_point_2_an_upload_without_its_226_is_unknown() -> None:
    async def no_226(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.receive_all()
        await connection.until_left()

    async with scripted_server({"STOR": no_226}) as server:
        session = await connect(server, exchange_s=0.05)
        with pytest.raises(SessionLost):
            await store(session, "/f", CONTENT)
        assert not session.usable
        await server.all_left()


@pytest.mark.parametrize("tls", [False, True])
async def test_point_3_a_broken_upload_is_explained_by_its_final_reply(tmp_path: Path, tls: bool) -> None:  # noqa: FBT001 - a parameter of the table
    async def full(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.shake_hands()
        await data.reset()
        await connection.say(b"452 No space left.")

    async with scripted_server({"STOR": full}, tls_folder=tmp_path if tls else None) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await pour(session, "/f")
        assert caught.value.code is ErrorCode.DISK_FULL
        assert caught.value.remedy is Remedy.MORE_ROOM
        assert session.usable
        await session.keep_alive()
        await session.aclose()


async def test_a_broken_upload_that_nobody_explains_ends_the_session() -> None:
    async def silent(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.reset()
        await connection.until_left()

    async with scripted_server({"STOR": silent}) as server:
        session = await connect(server, exchange_s=0.05)
        with pytest.raises(DataConnectionError):
            await pour(session, "/f")
        assert not session.usable
        await server.all_left()


async def test_an_upload_refused_at_its_end_is_an_error_of_the_reply() -> None:
    async def quota(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.receive_all()
        await connection.say(b"552 Quota exceeded.")

    async with scripted_server({"STOR": quota}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await store(session, "/f", CONTENT)
        assert caught.value.code is ErrorCode.DISK_FULL
        assert session.usable
        await session.aclose()


async def test_a_download_that_the_server_breaks_off_is_explained_by_its_final_reply() -> None:
    async def broken(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(b"part")
        await data.close()
        await connection.say(b"451 Read error.")

    async with scripted_server({"RETR": broken}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/f")
        assert caught.value.reply_code == 451
        assert caught.value.remedy is Remedy.LATER
        assert session.usable
        await session.aclose()


async def test_a_data_connection_that_stalls_ends_the_session() -> None:
    async def stall(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(b"part")
        await connection.until_left()

    async with scripted_server({"RETR": stall, "STOR": stall}) as server:
        session = await connect(server, stall_s=0.05, close_s=0.05)
        # Then the server is given a moment to say why, not the time of an exchange.
        with trio.fail_after(2), pytest.raises(DataConnectionError, match="nothing moved"):
            await fetch(session, "/f")
        assert not session.usable
        session = await connect(server, stall_s=0.05, close_s=0.05)
        with pytest.raises(DataConnectionError, match="nothing moved"):
            await pour(session, "/f")
        await server.all_left()


async def _fail_half_way(session: Session) -> None:
    async with session.storing("/f") as stream:
        await stream.send_all(memoryview(b"part"))
        raise ZeroDivisionError


async def test_point_11_a_body_that_fails_resets_the_data_and_ends_the_session_without_waiting() -> None:
    seen: list[bool] = []

    async def watch(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        try:
            await data.receive_all()
        except trio.BrokenResourceError:
            seen.append(True)
        await connection.until_left()

    async with scripted_server({"STOR": watch}) as server:
        session = await connect(server)
        with pytest.raises(ZeroDivisionError):
            await _fail_half_way(session)
        assert not session.usable
        await server.all_left()
        assert seen == [True]


async def test_leaving_a_download_before_its_end_is_refused() -> None:
    async with scripted_server() as server:
        server.files["/f"] = CONTENT
        session = await connect(server)
        with pytest.raises(LocalProtocolError, match="before the end"):
            async with session.retrieving("/f") as stream:
                await stream.receive_into(memoryview(bytearray(10)))
        assert not session.usable
        await server.all_left()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"421 Timeout.\r\n", SessionLost),
        (b"421 Too many connections.\r\n", TooManySessions),
        (b"150 Opening data connection.\r\n", SessionLost),
        (b"", SessionLost),
    ],
)
async def test_point_4_what_comes_while_idle_ends_the_session_before_anything_is_sent(
    said: bytes, error: type[RemoteError]
) -> None:
    go = trio.Event()

    async def feat(connection: Connection, _: bytes) -> None:
        await connection.say(b"502 What?")
        await go.wait()
        await connection.raw(said)
        await connection.cut()

    async with scripted_server({"FEAT": feat}) as server:
        session = await connect(server)
        go.set()
        await server.all_left()
        with pytest.raises(error):
            await session.size("/f")
        assert server.verbs()[-1] == "FEAT"
        assert not session.usable


async def test_point_19_a_malformed_reply_is_taken_and_the_session_given_up() -> None:
    async def odd(connection: Connection, _: bytes) -> None:
        await connection.say(b"553-Disk is", b"150 full.")

    async with scripted_server({"STOR": odd}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await store(session, "/f", b"x")
        assert caught.value.reply_code == 553
        assert not session.usable
        await server.all_left()


async def test_a_reply_without_end_is_refused_in_bounded_memory() -> None:
    sent = 0

    async def endless(connection: Connection, _: bytes) -> None:
        nonlocal sent
        for _chunk in range(1600):
            await connection.raw(b"2" * 65536)
            sent += 65536

    async with scripted_server({"NOOP": endless}) as server:
        session = await connect(server)
        with pytest.raises(PeerProtocolError, match="longer"):
            await session.keep_alive()
        await server.all_left()
        assert sent < 20_000_000  # what the kernel holds, not what was read


async def test_a_reply_that_trickles_does_not_outlive_the_exchange() -> None:
    async def trickle(connection: Connection, _: bytes) -> None:
        for byte in b"200 " + b"." * 8000:
            await connection.raw(bytes([byte]))
            with trio.move_on_after(0.01):
                await connection.until_left()

    async with scripted_server({"NOOP": trickle}) as server:
        session = await connect(server, exchange_s=0.1)
        with pytest.raises(SessionLost, match=r"0\.1 s"):
            await session.keep_alive()
        await server.all_left()


async def test_point_14_plain_text_injected_before_the_handshake_is_thrown_away(tmp_path: Path) -> None:
    async def auth(connection: Connection, _: bytes) -> None:
        await connection.say(b"234 Go on.", b"230 You are logged in, trust me.", b"200 Whatever.")
        await connection.secure()

    async with scripted_server({"AUTH": auth}, tls_folder=tmp_path) as server:
        session = await connect(server)
        assert server.verbs() == ["AUTH", "USER", "PASS", "PBSZ", "PROT", "TYPE", "FEAT"]
        assert not any("trust me" in line for line in session.transcript)
        await session.aclose()


async def _cut(connection: Connection, _: bytes) -> None:
    await connection.cut()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"GREETING": b"421 Too many users."}, TooManySessions),
        ({"GREETING": b"421 Maintenance."}, ConnectError),
        ({"GREETING": b"SSH-2.0-OpenSSH_9.2"}, ConnectError),
        ({"GREETING": _cut}, ConnectError),
        ({"USER": b"530 No."}, LoginRefused),
        ({"USER": b"421 Bye."}, ConnectError),
        ({"PASS": b"530 Login incorrect."}, LoginRefused),
        (
            {"PASS": b"530 Sorry, the maximum number of allowed clients (5) already connected."},
            TooManySessions,
        ),
        ({"PASS": b"331 Again?"}, LoginRefused),
        ({"PASS": b"332 Account?"}, LoginRefused),
        ({"USER": b"530 Non-anonymous sessions must use encryption."}, TlsError),
        ({"TYPE": b"451 Not now."}, ReplyError),
        ({"TYPE": _cut}, ConnectError),
    ],
)
async def test_what_ends_a_login(script: Script, error: type[RemoteError]) -> None:
    async with scripted_server(script) as server:
        with pytest.raises(error) as caught:
            await connect(server)
        assert type(caught.value) is error
        await server.all_left()


async def test_nobody_answers_or_nobody_speaks() -> None:
    async def silent(connection: Connection, _: bytes) -> None:
        await connection.until_left()

    async with scripted_server({"GREETING": silent}) as server:
        with pytest.raises(ConnectError, match="no greeting"):
            await connect(server, connect_s=0.05)
        await server.all_left()
        profile = server.profile()
    with pytest.raises(ConnectError):
        await FtpConnector(profile).connect()


async def test_without_a_password_nobody_is_asked(tmp_path: Path) -> None:
    async with scripted_server() as server:
        with pytest.raises(NoPassword, match="no password"):
            await connect(server, password=(tmp_path / "missing").read_text)
        assert server.logins == 0


async def test_an_account_is_given_where_one_is_asked_for() -> None:
    async with scripted_server({"PASS": b"332 Account?", "ACCT": b"230 Fine."}) as server:
        session = await connect(server, account="sales")
        assert "ACCT sales" in server.commands
        await session.aclose()


@pytest.mark.parametrize(
    "script", [{"AUTH": b"502 No."}, {"PROT": b"536 No."}, {"AUTH": lambda c, _: c.say(b"234 Go.", b"junk")}]
)
async def test_a_server_that_does_no_tls_is_left(tmp_path: Path, script: Script) -> None:
    async with scripted_server(script, tls_folder=tmp_path) as server:
        with pytest.raises(TlsError):
            await connect(server, connect_s=0.2)
        assert ("USER" in server.verbs()) == ("PROT" in script)
        await server.all_left()


async def test_point_18_a_missing_close_notify_is_borne_at_the_right_size_alone(tmp_path: Path) -> None:
    async def ragged(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[argument.decode()][:1000])
        await data.cut()
        await connection.say(b"226 Done.")

    async with scripted_server({"RETR": ragged}, tls_folder=tmp_path) as server:
        server.files.update({"/whole": b"x" * 1000, "/cut": b"x" * 1001})
        session = await connect(server)
        assert await fetch(session, "/whole") == b"x" * 1000
        with pytest.raises(DataConnectionError, match="close_notify"):
            await fetch(session, "/cut")
        assert not session.usable


async def test_point_16_a_data_connection_that_may_not_resume_wants_a_new_session(tmp_path: Path) -> None:
    async def reuse(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.cut()
        await connection.say(b"522 SSL connection failed; session reuse required")

    async with scripted_server({"RETR": reuse, "STOR": reuse}, tls_folder=tmp_path) as server:
        for transfer in (
            fetch(session := await connect(server), "/f"),
            store(await connect(server), "/f", b""),
        ):
            with pytest.raises(TlsError) as caught:
                await transfer
            assert caught.value.remedy is Remedy.ANOTHER_SESSION
        assert not session.usable
        await server.all_left()


async def test_size_rename_remove() -> None:
    async with scripted_server() as server:
        server.files["/f"] = b"12345"
        session = await connect(server)
        assert await session.size("/f") == 5
        with pytest.raises(ReplyError) as caught:
            await session.size("/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        await session.rename("/f", "/g")
        assert server.files == {"/g": b"12345"}
        with pytest.raises(ReplyError) as caught:
            await session.rename("/f", "/g")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        await session.remove("/g")
        await session.remove("/g")
        assert server.files == {}
        await session.aclose()


async def test_a_removal_refused_for_a_file_that_is_there_is_an_error() -> None:
    async with scripted_server({"DELE": b"550 Delete operation failed."}) as server:
        server.files["/f"] = b"x"
        session = await connect(server)
        with pytest.raises(ReplyError):
            await session.remove("/f")
        await session.remove("/gone")
        await session.aclose()
    async with scripted_server({"DELE": b"550 Failed.", "SIZE": b"500 What?"}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError):  # it cannot be told, so it is not said to be gone
            await session.remove("/gone")
        await session.aclose()


async def test_a_vague_refusal_to_read_is_made_out_by_the_size() -> None:
    async with scripted_server({"RETR": b"550 Failed to open file."}) as server:
        server.files["/f"] = b"x"
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/f")
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable
        await session.aclose()


async def test_a_server_without_size_is_asked_once() -> None:
    async with scripted_server({"SIZE": b"502 No."}) as server:
        session = await connect(server)
        assert await session.size("/f") is None
        assert await session.size("/f") is None
        assert server.verbs().count("SIZE") == 1
        await session.aclose()


async def test_a_size_that_is_none_breaks_the_protocol() -> None:
    async with scripted_server({"SIZE": b"213 plenty"}) as server:
        session = await connect(server)
        with pytest.raises(PeerProtocolError):
            await session.size("/f")
        assert not session.usable


@pytest.mark.parametrize("path", ["/a\rb", "/a\nDELE b", "/a\0b"])
async def test_point_9_a_path_with_a_line_end_is_refused_before_anything_is_sent(path: str) -> None:
    async with scripted_server() as server:
        session = await connect(server)
        server.commands.clear()
        for call in (session.size, session.remove):
            with pytest.raises(LocalProtocolError):
                await call(path)
        with pytest.raises(LocalProtocolError):
            await session.rename("/f", path)
        with pytest.raises(LocalProtocolError):
            await store(session, path, b"")
        with pytest.raises(LocalProtocolError):
            await fetch(session, path)
        assert server.commands == []
        assert session.usable
        await session.aclose()


async def test_names_go_over_the_wire_in_the_charset_of_the_remote() -> None:
    async with scripted_server() as server:
        session = await connect(server, charset="cp949")
        await store(session, "/한글", b"x")
        assert server.commands[-1].encode("utf-8", "surrogateescape") == b"STOR /" + "한글".encode("cp949")
        with pytest.raises(LocalProtocolError, match="cp949"):
            await session.size("/\N{GRINNING FACE}")
        await session.aclose()
        session = await connect(server)
        assert await session.size("/" + "한글".encode("cp949").decode("utf-8", "surrogateescape")) == 1
        await session.aclose()


async def test_two_tasks_at_once_are_told_apart_from_the_networks_errors() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        async with session.storing("/f") as stream:
            with pytest.raises(LocalProtocolError, match="in use"):
                await session.keep_alive()
            await stream.send_all(memoryview(b"x"))
        assert session.usable
        assert server.files["/f"] == b"x"
        await session.aclose()


async def test_goodbye_has_an_end_even_when_nobody_answers_and_the_scope_is_cancelled() -> None:
    async def silent(connection: Connection, _: bytes) -> None:
        await connection.until_left()

    async with scripted_server({"QUIT": silent}) as server:
        session = await connect(server, close_s=0.05)
        with trio.fail_after(2), trio.CancelScope() as scope:
            scope.cancel()
            await session.aclose()
        assert server.verbs()[-1] == "QUIT"
        await server.all_left()
        await session.aclose()


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when the task has waited so many times."""

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, waits: int) -> None:
        self._scope, self._task, self._left = scope, task, waits

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def _whole_life(server: ScriptedServer, sessions: list[FtpSession]) -> None:
    session = await connect(server)
    sessions.append(session)
    await store(session, "/new/f", CONTENT)
    await session.size("/new/f")
    await fetch(session, "/new/f")
    await session.rename("/new/f", "/new/g")
    await session.remove("/new/g")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not used as paths


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelled_at_any_wait_a_session_is_gone_on_both_sides(tmp_path: Path, tls: bool) -> None:  # noqa: FBT001 - a parameter of the table
    cancelled = 0
    async with scripted_server(tls_folder=tmp_path if tls else None) as server:
        await trio.to_thread.run_sync(lambda: None)
        for waits in range(1, 1000):
            server.folders = {"/"}
            before = _descriptors()
            sessions: list[FtpSession] = []
            with trio.CancelScope() as scope:
                instrument = CancelAt(scope, trio.lowlevel.current_task(), waits)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await _whole_life(server, sessions)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            if not scope.cancelled_caught:
                await sessions[0].aclose()
                break
            cancelled += 1
            assert not any(session.usable for session in sessions)
            await server.all_left()
            assert _descriptors() == before, waits
    assert cancelled > 20
    gc.collect()  # a socket left to the collector would warn, and a warning is an error


async def test_a_control_connection_that_nobody_answers_any_more_is_found_out_by_keepalive() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        with socket.socket(fileno=os.dup(session._control.connection._sock.fileno())) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle_s, between_s, count = (
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
        assert idle_s + between_s * count <= 120
        await session.aclose()


async def test_plain_bytes_go_through_a_pipe_and_a_full_one_is_no_quiet_server(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40 * 256
    pieces: list[int] = []

    async def note() -> None:
        pieces.append(1)

    async with scripted_server() as server:
        server.files["/f"] = content
        session = await connect(server)
        with _pipe() as (reading, writing):
            arrived = bytearray()
            async with session.retrieving("/f") as stream:
                assert stream.plain
                stream.meanwhile = note
                while (count := await stream.splice_into(writing, len(content))) != 0:
                    if count is None:
                        arrived += os.read(reading, len(content))
            with suppress(BlockingIOError):
                arrived += os.read(reading, len(content))
            assert (bytes(arrived), stream.received_bytes) == (content, len(content))
            assert os.write(writing, b"12345") == 5
            assert len(pieces) > 2, "a NOOP may go between them"
            pieces.clear()
            async with session.storing("/g") as stream:
                stream.meanwhile = note
                for size_bytes in (2, 3):
                    await stream.splice_from(reading, size_bytes)
        assert (server.files["/g"], len(pieces)) == (b"12345", 1)
        await session.aclose()
    async with scripted_server(tls_folder=tmp_path) as server:
        session = await connect(server)
        async with session.storing("/f") as stream:
            assert not stream.plain
        await session.aclose()


async def test_a_pipe_is_not_waited_for_longer_than_a_buffer_is() -> None:
    async def quiet(connection: Connection, _: bytes) -> None:
        await connection.accept()
        await connection.say(b"150 Soon.")
        await connection.until_left()

    async with scripted_server({"RETR": quiet, "STOR": quiet}) as server:
        for mode in ("retrieving", "storing"):
            session = await connect(server, stall_s=0.1)
            with pytest.raises(DataConnectionError, match="nothing moved"):
                await _move_for_ever(session, mode)
            assert not session.usable
            await session.aclose()


async def _move_for_ever(session: FtpSession, mode: str) -> None:
    with _pipe() as (reading, writing):
        async with getattr(session, mode)("/f") as stream:
            if mode == "retrieving":
                await stream.splice_into(writing, 10)
            while True:
                await stream.splice_from(reading, os.write(writing, bytes(1 << 14)))


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


async def test_implicit_tls_shakes_hands_before_the_greeting(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path, implicit=True) as server:
        session = await connect(server)
        assert server.verbs() == ["USER", "PASS", "PBSZ", "PROT", "TYPE", "FEAT"]
        await store(session, "/f", CONTENT)
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()


async def test_certificates_are_checked_unless_told_otherwise(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        with pytest.raises(TlsError, match="CERTIFICATE_VERIFY_FAILED"):
            await connect(server, ca_file=None)
        with pytest.raises(TlsError, match="CERTIFICATE_VERIFY_FAILED"):
            await connect(server, host="localhost")
        with pytest.raises(TlsError, match="certificates of"):
            await connect(server, ca_file=str(tmp_path / "missing"))
        with pytest.raises(TlsError, match="certificates of"):
            await connect(server, client_certificate=str(tmp_path / "missing"))
        await server.all_left()
        session = await connect(server, ca_file=None, verify_certificate=False)
        assert session.peer.certificate_sha256
        await session.aclose()


async def test_the_tls_version_has_bounds_on_either_side(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        session = await connect(server, disable_tls13=True)
        assert session.peer.tls_version == "TLSv1.2"
        await session.aclose()
        assert server.context is not None
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(TlsError):
            await connect(server, minimum_tls=ssl.TLSVersion.TLSv1_3)


async def test_a_client_certificate_is_shown_where_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("anna@example.org")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(server.context)
        session = await connect(server, client_certificate=str(tmp_path / "own.pem"))
        await store(session, "/f", b"x")
        await session.aclose()
        with pytest.raises((TlsError, ConnectError)):
            await connect(server)


async def test_a_421_to_a_noop_is_an_error_and_a_500_is_none() -> None:
    async with scripted_server({"NOOP": b"500 What?"}) as server:
        session = await connect(server)
        await session.keep_alive()
        await session.aclose()
    async with scripted_server({"NOOP": b"421 Timeout."}) as server:
        session = await connect(server)
        with pytest.raises(SessionLost, match="Timeout"):
            await session.keep_alive()
        await server.all_left()


async def test_a_session_does_not_begin_with_malformed_replies() -> None:
    async def odd(connection: Connection, _: bytes) -> None:
        await connection.say(b"220-Welcome", b"230 to this server.")

    async with scripted_server({"GREETING": odd}) as server:
        with pytest.raises(ConnectError, match="malformed"):
            await connect(server)
        await server.all_left()


async def test_an_upload_that_broke_is_broken_whatever_the_server_says() -> None:
    async def content(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        await data.reset()
        await connection.say(b"226 Very well.")

    async def hasty(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"226 Very well.")
        await data.reset()

    for script in (content, hasty):
        async with scripted_server({"STOR": script}) as server:
            session = await connect(server)
            with pytest.raises(DataConnectionError):
                await pour(session, "/f")
            assert not session.usable
            await server.all_left()


async def test_a_data_handshake_that_fails_or_never_comes(tmp_path: Path) -> None:
    async def plain(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.raw(b"no TLS at all, sorry")
        await connection.until_left()

    async def never(connection: Connection, _: bytes) -> None:
        await connection.accept()
        await connection.say(b"150 Here it comes.")
        await connection.until_left()

    async def dropped(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await data.reset()
        await connection.say(b"150 Here it comes.", b"425 Cannot open data connection.")

    for script, error in ((plain, TlsError), (never, DataConnectionError), (dropped, ReplyError)):
        async with scripted_server({"RETR": script}, tls_folder=tmp_path) as server:
            session = await connect(server, connect_s=0.5, close_s=0.05)
            with pytest.raises(error):
                await fetch(session, "/f")
            assert session.usable is (error is ReplyError)
            await session.aclose()


async def test_epsv_refused_for_now_is_an_error_not_a_reason_for_pasv() -> None:
    async with scripted_server({"EPSV": b"421 Too many connections."}) as server:
        session = await connect(server)
        with pytest.raises(TooManySessions):
            await fetch(session, "/f")
        assert "PASV" not in server.verbs()


@pytest.mark.parametrize(("mkd", "cwd"), [(b"452 Full.", b"250 Yes."), (b"550 No.", b"451 Trouble.")])
async def test_trouble_while_making_a_folder_is_told(mkd: bytes, cwd: bytes) -> None:
    async with scripted_server({"MKD": mkd, "CWD": cwd}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await store(session, "/a/f", b"x")
        assert caught.value.reply_code in {451, 452}
        assert session.usable
        await session.aclose()


def test_folders_known_are_bounded_and_forgotten_with_those_above() -> None:
    known = KnownFolders()
    for number in range(5000):
        known.add(f"/{number}")
    assert len(known) == 4096
    assert "/0" not in known
    assert "/4999" in known
    known.add("/4999/a")
    known.forget("/4999/a")
    assert "/4999" not in known
    assert "/" in known


async def test_closing_from_another_task_wakes_whoever_waits() -> None:
    async def silent(connection: Connection, _: bytes) -> None:
        await connection.until_left()

    async def wait(session: FtpSession) -> None:
        with pytest.raises(SessionLost):
            await session.keep_alive()

    async with scripted_server({"NOOP": silent}) as server, trio.open_nursery() as nursery:
        session = await connect(server)
        nursery.start_soon(wait, session)
        await trio.testing.wait_all_tasks_blocked()
        await session.aclose()
        await server.all_left()


async def test_a_refusal_counts_even_if_the_data_connection_is_gone_before_we_shake_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: TcpConnection) -> None:
        raise ConnectionResetError

    async with scripted_server(tls_folder=tmp_path) as server:
        session = await connect(server)
        monkeypatch.setattr(TcpConnection, "begin_tls", gone)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable
        await session.aclose()


async def test_a_cancelled_exchange_resets_its_control_connection() -> None:
    async def silent(connection: Connection, _: bytes) -> None:
        await connection.until_left()

    async with scripted_server({"FEAT": silent}) as server:
        control = await ControlConnection.open(server.profile(), None)
        assert control.usable
        with trio.move_on_after(0.01):
            await control.exchange(Command("FEAT"))
        assert not control.alive
        await server.all_left()
