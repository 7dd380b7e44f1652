"""Listings over a session: which command, what is empty, what is missing, and what a broken one costs."""

import gc
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio

from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    LocalProtocolError,
    PeerProtocolError,
    ReplyError,
    SessionLost,
)
from pooler.ftp.browsing import Listing
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.transfer.session import Entry, EntryKind
from tests.support.answers import MLST_LINE, connect, feat, sends
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.scripted import Connection, Script, scripted_server

FACTS = (
    b"type=cdir;modify=20261123093000; .\r\n"
    b"type=file;size=42;modify=20261123093000;unique=8U1; a b \r\n"
    b"type=dir;modify=20261123093000; \xed\x95\x9c\xea\xb8\x80\r\n"
)
LINES = (
    b"total 2\r\n"
    b"drwxr-xr-x 2 ftp ftp 4096 Nov 22 09:30 .\r\n"
    b"-rw-r--r-- 1 ftp ftp   42 Nov 22  2025 a b\r\n"
    b"lrwxrwxrwx 1 ftp ftp    3 Nov 22  2025 link -> a b\r\n"
)
MOMENT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
MLSD = feat(MLST_LINE)


async def names(session: FtpSession, path: str) -> list[str]:
    async with session.listing(path) as entries:
        return [entry.name async for entry in entries]


async def test_mlsd_where_it_is_listed() -> None:
    async with scripted_server({"FEAT": MLSD, "MLSD": sends(FACTS)}) as server:
        session = await connect(server)
        async with session.listing("/d e") as entries:
            found = [entry async for entry in entries]
        assert found == [
            Entry("a b ", EntryKind.FILE, 42, MOMENT, 1.0, "8U1"),
            Entry("한글", EntryKind.FOLDER, None, MOMENT, 1.0),
        ]
        assert server.commands == ["EPSV", "MLSD /d e"]
        assert session.learnt["mlsd"] is True
        assert session.usable
        await session.aclose()


async def test_list_where_there_is_no_mlsd_goes_into_the_folder_first() -> None:
    async with scripted_server({"LIST": sends(LINES)}) as server:
        server.folders.add("/d e")
        session = await connect(server)
        async with session.listing("/d e") as entries:
            found = [entry async for entry in entries]
        assert [(entry.name, entry.kind, entry.size_bytes) for entry in found] == [
            ("a b", EntryKind.FILE, 42),
            ("link", EntryKind.LINK, None),
        ]
        assert found[0].modified == datetime(2025, 11, 22)  # noqa: DTZ001 - nobody knows its zone
        assert found[0].precision_s == timedelta(days=1).total_seconds()
        assert server.commands == ["CWD /d e", "EPSV", "LIST"]
        assert session.usable
        await session.aclose()


async def test_a_known_zone_makes_times_of_a_list_utc() -> None:
    zone = timezone(timedelta(hours=9))
    async with scripted_server({"LIST": sends(LINES)}) as server:
        session = await connect(server, timezone=zone)
        async with session.listing("/") as entries:
            found = [entry async for entry in entries]
        assert found[0].modified == datetime(2025, 11, 21, 15, tzinfo=UTC)
        await session.aclose()


async def test_hidden_names_are_asked_for_by_list_alone() -> None:
    script: Script = {"FEAT": MLSD, "MLSD": sends(FACTS), "LIST": sends(LINES)}
    async with scripted_server(script) as server:
        session = await connect(server, force_list_hidden=True)
        assert await names(session, "/") == ["a b", "link"]
        assert server.commands == ["CWD /", "EPSV", "LIST -a"]
        await session.aclose()
        session = await connect(server, disable_mlsd=True)
        assert await names(session, "/") == ["a b", "link"]
        assert server.commands == ["CWD /", "EPSV", "LIST"]
        await session.aclose()


@pytest.mark.parametrize("answer", [b"500 What?", b"502 Not here.", sends(b"drwxr-xr-x 2 ftp a\r\n" * 9999)])
async def test_point_8_an_mlsd_that_is_listed_and_broken_is_asked_once(answer: bytes) -> None:
    async with scripted_server({"FEAT": MLSD, "MLSD": answer, "LIST": sends(LINES)}) as server:
        connector = FtpConnector(server.profile())
        for _ in range(2):
            session = await connector.connect()
            assert await names(session, "/") == ["a b", "link"]
            assert session.usable
            await session.aclose()
        assert server.verbs().count("MLSD") == 1
        assert server.verbs().count("LIST") == 2
        assert connector.learnt["mlsd"] is False


async def test_an_mlsd_that_breaks_in_the_middle_is_an_error_and_the_next_goes_by_list() -> None:
    broken = b"type=file;size=1; x\r\n" * 9000 + b"rubbish\r\n"
    async with scripted_server({"FEAT": MLSD, "MLSD": sends(broken), "LIST": sends(LINES)}) as server:
        connector = FtpConnector(server.profile())
        session = await connector.connect()
        with pytest.raises(PeerProtocolError):
            await names(session, "/")
        assert not session.usable
        session = await connector.connect()
        assert await names(session, "/") == ["a b", "link"]
        await session.aclose()


@pytest.mark.parametrize("features", [b" SIZE", MLST_LINE])
@pytest.mark.parametrize("answer", [b"550 No files found.", b"450 No files.", None, b"226 Nothing."])
async def test_point_7_empty_and_missing_are_told_apart_by_cwd(features: bytes, answer: bytes | None) -> None:
    reply = sends(b"") if answer is None else answer
    async with scripted_server({"FEAT": feat(features), "LIST": reply, "MLSD": reply}) as server:
        server.folders.add("/empty")
        session = await connect(server, close_s=0.05)
        with trio.fail_after(2):  # not after the whole of stall_s
            assert await names(session, "/empty") == []
        with pytest.raises(ReplyError) as caught:
            await names(session, "/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable
        await session.aclose()


async def test_a_list_refused_for_want_of_a_right_is_not_empty() -> None:
    async with scripted_server({"LIST": b"550 Permission denied."}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await names(session, "/")
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
        assert session.usable
        await session.aclose()


async def test_lines_that_make_no_sense_are_no_empty_folder() -> None:
    async with scripted_server({"LIST": sends(b"ls: cannot open directory\r\n")}) as server:
        session = await connect(server)
        with pytest.raises(PeerProtocolError):
            await names(session, "/")
        assert session.usable
        server.script = {"LIST": sends(b"No files found.\r\n")}
        assert await names(session, "/") == []
        await session.aclose()


async def test_a_listing_refused_at_its_end_is_an_error() -> None:
    script: Script = {"LIST": sends(LINES, last=b"451 Trouble.")}
    async with scripted_server(script) as server:
        session = await connect(server)
        with pytest.raises(ReplyError):
            await names(session, "/")
        assert session.usable
        await session.aclose()


async def test_names_cannot_lead_out_of_the_folder() -> None:
    lines = b"type=file; ../../etc/passwd\r\ntype=dir; /d/sub/\r\ntype=dir; ..\r\ntype=dir; /d/..\r\n"
    async with scripted_server({"FEAT": MLSD, "MLSD": sends(lines)}) as server:
        session = await connect(server)
        assert await names(session, "/d") == ["passwd", "sub"]
        await session.aclose()


@pytest.mark.parametrize("verb", ["MLSD", "LIST"])
async def test_a_hundred_thousand_entries_pass_in_bounded_memory(verb: str) -> None:
    count = 100_000
    line = {
        "MLSD": b"type=file;size=1;modify=20261123093000; %06d\r\n",
        "LIST": b"-rw-r--r-- 1 ftp ftp 1 Nov 22  2025 %06d\r\n",
    }[verb]

    async def long(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        for first in range(0, count, 500):
            await data.send(b"".join(line % number for number in range(first, first + 500)))
        await data.close()
        await connection.say(b"226 Done.")

    async with scripted_server({"FEAT": MLSD if verb == "MLSD" else feat(), verb: long}) as server:
        session = await connect(server)
        async with session.listing("/") as entries:
            assert isinstance(entries, Listing)
            seen = most = 0
            async for entry in entries:
                assert entry.name == f"{seen:06}"
                seen += 1
                most = max(most, len(entries._waiting))
        assert seen == count
        assert most < 3000
        assert session.usable
        await session.aclose()


async def test_leaving_early_ends_the_session() -> None:
    async with scripted_server({"FEAT": MLSD, "MLSD": sends(FACTS * 5000)}) as server:
        session = await connect(server)
        async with session.listing("/") as entries:
            assert (await anext(aiter(entries))).name == "a b "
        assert not session.usable
        with pytest.raises(SessionLost):
            await session.keep_alive()
        await server.all_left()


async def test_a_body_that_fails_ends_the_session() -> None:
    async with scripted_server({"FEAT": MLSD, "MLSD": sends(FACTS)}) as server:
        session = await connect(server)
        with pytest.raises(ZeroDivisionError):
            async with session.listing("/"):
                raise ZeroDivisionError
        assert not session.usable
        await server.all_left()


async def test_a_listing_that_stalls_ends() -> None:
    async def stall(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(FACTS)
        await connection.until_left()

    async with scripted_server({"FEAT": MLSD, "MLSD": stall}) as server:
        session = await connect(server, stall_s=0.05)
        with pytest.raises(DataConnectionError):
            await names(session, "/")
        assert not session.usable
        await server.all_left()


async def test_a_folder_with_a_line_end_is_refused_before_anything_is_sent() -> None:
    for features in (b" SIZE", MLST_LINE):
        async with scripted_server({"FEAT": feat(features)}) as server:
            session = await connect(server)
            with pytest.raises(LocalProtocolError):
                await names(session, "/d\r\nDELE /f")
            assert server.commands == []
            await session.aclose()


@pytest.mark.parametrize("script", [{"FEAT": MLSD, "MLSD": sends(FACTS)}, {"LIST": sends(LINES)}])
async def test_cancelled_at_any_wait_a_listing_leaves_a_dead_session_and_no_socket(script: Script) -> None:
    async with scripted_server(script) as server:
        connector = FtpConnector(server.profile())
        await (await connector.connect()).aclose()
        await server.all_left()
        sessions: list[FtpSession] = []
        gc.collect()
        before = descriptors()

        async def life() -> None:
            with trio.CancelScope(shield=True):
                sessions.append(await connector.connect())
            await names(sessions[-1], "/")

        async for _ in at_every_wait(life):
            assert not sessions[-1].usable or server.verbs()[-1] == "FEAT"
            await sessions.pop().aclose()
            await server.all_left()
            assert descriptors() == before
        assert sessions[-1].usable
        await sessions[-1].aclose()
