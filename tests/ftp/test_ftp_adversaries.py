"""Servers that mean ill, or are broken past recognition: a clear error, in time and in bounded memory.

And then no session. Time is virtual where waiting is the matter, and real where a server never lets us wait.
What stands elsewhere is not repeated: replies in odd order, and what ends a login (test_ftp_session), proxies
(test_ftp_proxy), parsers alone.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from pooler.errors import (
    ConnectError,
    DataConnectionError,
    LocalProtocolError,
    PeerProtocolError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.adversaries import (
    CONTENT,
    FLOOD,
    MEMORY_BYTES,
    Case,
    bounded_memory,
    data_then,
    meet,
    no_final_reply,
    nobody_reads,
    port_where_nobody_answers,
    says_on,
    says_on_behind_data,
    sends_on,
    silent,
    silent_handshake,
    slow_data,
    trickle,
    trickling_data,
    trickling_handshake,
)
from tests.support.answers import MLST_LINE, feat, sends
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Handler, Script, scripted_server

FOREVER_S = 1e6
HANG_S = 120.0


def table(*cases: Case) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@pytest.fixture
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read passwords in the loop: a thread's time is not virtual."""

    async def inline(function: Callable[[], str], *, limiter: object) -> str:
        assert limiter
        await trio.lowlevel.checkpoint()
        return function()

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)


# Silence, and what is almost silence.


ASKED: Script = {"FEAT": feat(MLST_LINE, b" HASH SHA-256*")}
SILENT = [
    *(
        Case(f"silent at {verb}", "log in", {verb: silent}, ConnectError, "5 s", tls=True)
        for verb in ("GREETING", "AUTH", "USER", "PASS", "PBSZ", "PROT", "TYPE", "FEAT")
    ),
    Case("silent in the handshake", "log in", {"AUTH": silent_handshake}, TlsError, "5 s", tls=True),
    *(
        Case(f"silent at {verb}", work, {verb: silent, **more}, SessionLost, "5 s")
        for work, verb, more in (
            ("size", "SIZE", {}),
            ("stat", "MLST", ASKED),
            ("stat", "MDTM", {}),
            ("fetch", "EPSV", {}),
            ("fetch", "PASV", {"EPSV": b"500 What?"}),
            ("fetch", "RETR", {}),
            ("store", "STOR", {}),
            ("store", "MKD", {}),
            ("rename", "RNFR", {}),
            ("rename", "RNTO", {}),
            ("remove", "DELE", {}),
            ("list", "CWD", {}),
            ("list", "LIST", {}),
            ("list", "MLSD", ASKED),
            ("wait", "NOOP", {}),
        )
    ),
    Case(
        "silent at HASH",
        "checksum",
        {**ASKED, "HASH": silent},
        SessionLost,
        "5 s",
        changes={"checksum_s": 5.0},
    ),
    Case("no data", "fetch", {"RETR": data_then(b"")}, DataConnectionError, "nothing moved for 5 s"),
    Case("no end of the data", "fetch", {"RETR": data_then(b"ten")}, DataConnectionError, "nothing moved"),
    Case("no end of a listing", "list", {"LIST": data_then(b"-rw")}, DataConnectionError, "nothing moved"),
    Case("no reply behind a download", "fetch", {"RETR": no_final_reply}, SessionLost, "5 s"),
    Case(
        "no reply behind an upload", "store", {"STOR": nobody_reads, "MKD": b"257 Made."}, SessionLost, "5 s"
    ),
    Case(
        "no handshake for the data",
        "fetch",
        {"RETR": data_then(b"")},
        DataConnectionError,
        "in time",
        tls=True,
    ),
    Case(
        "nobody at the data port",
        "fetch",
        {"EPSV": port_where_nobody_answers},
        DataConnectionError,
        "no answer in 5 s",
        survives=True,
    ),
    Case("a byte a second for a greeting", "log in", {"GREETING": trickle}, ConnectError, "within 5 s"),
    Case("a byte a second for a password", "log in", {"PASS": trickle}, ConnectError, "within 5 s"),
    Case("a byte a second for a 150", "fetch", {"RETR": trickle}, SessionLost, "within 5 s"),
    Case(
        "a byte a second in the data's handshake",
        "fetch",
        {"RETR": trickling_data},
        DataConnectionError,
        "in time",
        tls=True,
    ),
    Case(
        "a byte a second in the handshake", "log in", {"AUTH": trickling_handshake}, TlsError, "5 s", tls=True
    ),
]


@table(*SILENT)
@pytest.mark.usefixtures("_no_threads")
async def test_whoever_is_silent_is_left_in_time(
    tmp_path: Path, case: Case, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with scripted_server(case.script, tls_folder=tmp_path if case.tls else None) as server:
        began = trio.current_time()
        with trio.fail_after(FOREVER_S):
            await meet(server, case)
        # One limit, and where the data failed one more second for the server's reason; a first port that
        # nobody answers at is asked for in both ways.
        assert trio.current_time() - began < (12 if "EPSV" in case.script else 7)


@pytest.mark.usefixtures("_no_threads")
async def test_a_byte_a_second_of_data_is_for_the_caller_to_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with scripted_server({"RETR": slow_data}) as server:
        server.files["/f"] = CONTENT
        session = await FtpConnector(server.profile()).connect()
        began = trio.current_time()
        assert await fetch(session, "/f") == CONTENT
        assert trio.current_time() - began >= len(CONTENT)
        with trio.move_on_after(3.5) as patience:
            await fetch(session, "/f")
        assert patience.cancelled_caught
        assert not session.usable
        await server.all_left()


# Too much.


NOT_FOR_LONG = {"final_s": 0.3}
TOO_MUCH = [
    *(
        Case(f"no line end in {verb}", work, {verb: says_on(code, FLOOD)}, error, "longer than 8192 bytes")
        for verb, code, work, error in (
            ("GREETING", b"220 ", "log in", ConnectError),
            ("PASS", b"230 ", "log in", ConnectError),
            ("FEAT", b"211-", "log in", ConnectError),
            ("SIZE", b"213 ", "size", PeerProtocolError),
            ("EPSV", b"229 ", "fetch", PeerProtocolError),
            ("RETR", b"150 ", "fetch", PeerProtocolError),
            ("NOOP", b"", "wait", PeerProtocolError),
        )
    ),
    *(
        Case(f"no last line in {verb}", work, {verb: says_on(code + b"-\r\n", again)}, error, "a reply")
        for verb, code, again, work, error in (
            ("GREETING", b"220", b"220-welcome\r\n", "log in", ConnectError),
            ("FEAT", b"211", b" MLST type*;\r\n", "log in", ConnectError),
            ("NOOP", b"200", b"\n", "wait", PeerProtocolError),
            ("NOOP", b"200", b"550 Or not.\r\n", "wait", PeerProtocolError),
            ("RETR", b"150", b"x" * 8000 + b"\r\n", "fetch", PeerProtocolError),
        )
    ),
    Case(
        "no line end behind a download",
        "fetch",
        {"RETR": says_on_behind_data(FLOOD)},
        PeerProtocolError,
        "longer than 8192 bytes",
    ),
    Case(
        "for ever about to send",
        "fetch",
        {"RETR": says_on_behind_data(b"150 Here it comes.\r\n")},
        SessionLost,
        "0.3 s",
        changes=NOT_FOR_LONG,
    ),
    Case(
        "for ever about to receive",
        "store",
        {"STOR": says_on(b"", b"150 Send it.\r\n"), "MKD": b"257 Made."},
        SessionLost,
        "0.3 s",
        changes=NOT_FOR_LONG,
    ),
    Case("for ever about to log in", "log in", {"PASS": says_on(b"", b"120 Soon.\r\n")}, ConnectError),
    Case("replies without end", "wait", {"NOOP": says_on(b"", b"200 Yes.\r\n")}, PeerProtocolError, "nobody"),
    Case("no line end in LIST", "list", {"LIST": sends_on(FLOOD)}, PeerProtocolError, "listing"),
    Case("no line end in MLSD", "list", {**ASKED, "MLSD": sends_on(FLOOD)}, PeerProtocolError),
    Case("no sense in LIST", "list", {"LIST": sends_on(b"no sense at all\r\n")}, PeerProtocolError),
    Case("no sense in MLSD", "list", {**ASKED, "MLSD": sends_on(b"no sense at all\r\n")}, PeerProtocolError),
    Case(
        "nothing but itself in MLSD",
        "list",
        {**ASKED, "MLSD": sends_on(b"type=cdir; .\r\n")},
        PeerProtocolError,
    ),
]


@table(*TOO_MUCH)
async def test_whoever_says_too_much_is_not_heard_out(tmp_path: Path, case: Case) -> None:
    async with scripted_server(case.script, tls_folder=tmp_path if case.tls else None) as server:
        await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
        with trio.fail_after(HANG_S):
            await meet(server, case)


# Lies.


def by_pasv(reply: bytes) -> Script:
    return {"EPSV": b"500 What?", "PASV": reply}


def both_at_once(*lines: bytes) -> Handler:
    async def answer(connection: Connection, _: bytes) -> None:
        await connection.say(*lines)

    return answer


LIES = [
    *(
        Case(f"a size of {shown}", "size", {"SIZE": b"213 " + told}, PeerProtocolError, "no size")
        for shown, told in (
            ("less than nothing", b"-1"),
            ("more digits than a number may have", b"9" * 5000),
            ("a fraction", b"1.5"),
            ("a power", b"1e3"),
            ("foreign digits", "٣".encode()),
            ("nothing", b""),
            ("two", b"1 2"),
        )
    ),
    *(
        Case(f"where it listens: {said.decode()}", "fetch", {"EPSV": b"229 " + said}, PeerProtocolError)
        for said in (b"", b"(|||)", b"(|||0|)", b"(|||65536|)", b"(|||-1|)", b"(|||21", b"127,0,0,1,4,1")
    ),
    *(
        Case(f"where it listens: {said.decode()}", "fetch", by_pasv(b"227 " + said), PeerProtocolError)
        for said in (b"here", b"(127,0,0,1)", b"(127,0,0,1,0,0)", b"(127,0,0,1,256,1)", b"(|||2121|)")
    ),
    Case(
        "234 before AUTH",
        "log in",
        {"GREETING": both_at_once(b"220 Hello.", b"234 Go on.")},
        ConnectError,
        "nobody asked",
        tls=True,
    ),
    Case(
        "a login in place of AUTH",
        "log in",
        {"AUTH": b"230 You are logged in."},
        ConnectError,
        "AUTH",
        tls=True,
    ),
    Case("a second greeting", "log in", {"GREETING": both_at_once(b"220 One.", b"220 Two.")}, ConnectError),
    Case(
        "two answers to one question", "wait", {"NOOP": both_at_once(b"200 A.", b"250 B.")}, PeerProtocolError
    ),
    Case("yes to a rename not asked for", "rename", {"RNFR": b"250 Renamed."}, PeerProtocolError, "RNFR"),
    Case("a login as a size", "size", {"SIZE": b"331 Password?"}, PeerProtocolError, "SIZE"),
]


@table(*LIES)
async def test_whoever_lies_is_found_out(tmp_path: Path, case: Case) -> None:
    async with scripted_server(case.script, tls_folder=tmp_path if case.tls else None) as server:
        await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
        with trio.fail_after(HANG_S):
            await meet(server, case)
        assert not case.tls or "USER" not in server.verbs()


@pytest.mark.parametrize("told", [0, len(CONTENT) - 1, len(CONTENT) + 1, 10**19])
async def test_a_size_that_is_a_lie_makes_no_part_whole(told: int) -> None:
    async def cut_for_226(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()
        await connection.cut()

    async with scripted_server({"SIZE": b"213 %d" % told, "RETR": cut_for_226}) as server:
        server.files["/f"] = CONTENT
        session = await FtpConnector(server.profile()).connect()
        assert await session.size("/f") == told
        with pytest.raises(SessionLost):
            await fetch(session, "/f")
        assert not session.usable
        await server.all_left()


async def take_some(session: FtpSession) -> None:
    """Receive for a while, and leave."""
    buffer = memoryview(bytearray(65536))
    async with session.retrieving("/f") as stream:
        while stream.received_bytes < 4 * MEMORY_BYTES:
            await stream.receive_into(buffer)


async def test_a_download_without_end_passes_in_bounded_memory_until_its_reader_leaves() -> None:
    async with scripted_server({"RETR": sends_on(FLOOD)}) as server:
        server.files["/f"] = CONTENT
        session = await FtpConnector(server.profile()).connect()
        assert await session.size("/f") == len(CONTENT)
        with pytest.raises(LocalProtocolError, match="before the end"), bounded_memory():
            await take_some(session)
        assert not session.usable
        await server.all_left()


async def test_another_host_in_a_229_is_not_gone_to() -> None:
    async def redirected(connection: Connection, _: bytes) -> None:
        await connection.say(b"229 Over there (|1|127.0.0.2|%d|)" % await connection.listen())

    async with scripted_server({"EPSV": redirected}) as server:
        session = await FtpConnector(server.profile()).connect()
        await store(session, "/f", CONTENT)  # nobody listens there: it came to us
        assert server.files == {"/f": CONTENT}
        await session.aclose()


async def test_others_have_their_turn_while_a_server_is_for_ever_about_to_send() -> None:
    turns = 0

    async def talk(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.raw(b"150 Here it comes.\r\n" * 5000 + b"226 Done.\r\n")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with scripted_server({"RETR": talk}) as server, trio.open_nursery() as nursery:
        server.files["/f"] = CONTENT
        session = await FtpConnector(server.profile()).connect()
        async with session.retrieving("/f") as stream:
            while await stream.receive_into(memoryview(bytearray(100))):
                pass
            nursery.start_soon(other)
        assert turns > 4000  # nothing made us wait
        nursery.cancel_scope.cancel()
        await session.aclose()


# 421, anywhere.

GOODBYES = [
    *(
        Case(f"421 to {verb}", "log in", {verb: b"421 Bye."}, ConnectError, "421 Bye", tls=True)
        for verb in ("GREETING", "AUTH", "USER", "PASS", "PBSZ", "PROT", "TYPE", "FEAT")
    ),
    Case("421 too many", "log in", {"PASS": b"421 Too many connections."}, TooManySessions, "421"),
    *(
        Case(f"421 to {verb}", work, {verb: b"421 Bye.", **more}, SessionLost, "421 Bye")
        for work, verb, more in (
            ("size", "SIZE", {}),
            ("stat", "MLST", ASKED),
            ("stat", "MDTM", {}),
            ("checksum", "HASH", ASKED),
            ("fetch", "EPSV", {}),
            ("fetch", "PASV", {"EPSV": b"500 What?"}),
            ("fetch", "RETR", {}),
            ("store", "STOR", {}),
            ("store", "MKD", {}),
            ("rename", "RNFR", {}),
            ("rename", "RNTO", {}),
            ("remove", "DELE", {}),
            ("list", "CWD", {}),
            ("list", "LIST", {}),
            ("list", "MLSD", ASKED),
            ("wait", "NOOP", {}),
            ("list", "LIST", {"LIST": sends(b"", last=b"421 Bye.")}),
            ("fetch", "RETR", {"RETR": sends(CONTENT, last=b"421 Bye.")}),
        )
    ),
]


@table(*GOODBYES)
async def test_421_ends_the_session_wherever_it_comes(tmp_path: Path, case: Case) -> None:
    async with scripted_server(case.script, tls_folder=tmp_path if case.tls else None) as server:
        await trio.to_thread.run_sync(lambda: None)  # the thread that reads passwords stays
        with trio.fail_after(HANG_S):
            await meet(server, case)
