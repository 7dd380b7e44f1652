"""Sizes, times and checksums as servers tell them."""

import gc
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio

from pooler.errors import ErrorCode, LocalProtocolError, ReplyError, SessionLost
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.answers import MLST_LINE, connect, feat, mlst, says, sends
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.moving import fetch
from tests.support.scripted import Connection, Script, scripted_server

MOMENT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SHA256 = "0123456789abcdef" * 4


async def _mdtm(connection: Connection, argument: bytes) -> None:
    known = connection.path(argument) in connection.server.files
    await connection.say(b"213 20261123093000.250" if known else b"550 No such file.")


async def test_stat_goes_by_mlst_where_that_is_listed() -> None:
    async with scripted_server({"FEAT": feat(MLST_LINE), "MLST": mlst}) as server:
        server.files["/f"] = b"four"
        session = await connect(server)
        assert await session.stat("/f") == (4, MOMENT, 1.0)
        assert server.commands == ["MLST /f"]
        assert session.learnt["mlst"] is True
        with pytest.raises(ReplyError) as caught:
            await session.stat("/g")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert server.commands == ["MLST /f", "MLST /g"]
        assert session.usable
        await session.aclose()


async def test_facts_are_selected_once_where_they_are_not_told_anyway() -> None:
    script: Script = {
        "FEAT": feat(b" MLST type*;size;modify;unix.mode;"),
        "OPTS": b"200 MLST OPTS type;size;modify;",
        "MLST": mlst,
    }
    async with scripted_server(script) as server:
        server.files["/f"] = b"four"
        session = await connect(server)
        for _ in range(2):
            await session.stat("/f")
        assert server.commands == ["OPTS MLST type;size;modify;", "MLST /f", "MLST /f"]
        await session.aclose()


async def test_without_mlst_stat_is_size_and_mdtm() -> None:
    async with scripted_server({"MDTM": _mdtm}) as server:
        server.files["/f"] = b"four"
        session = await connect(server)
        assert await session.stat("/f") == (4, MOMENT.replace(microsecond=250_000), 1e-6)
        with pytest.raises(ReplyError) as caught:
            await session.stat("/g")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert server.verbs() == ["SIZE", "MDTM", "SIZE"]
        await session.aclose()


@pytest.mark.parametrize(
    "answer", [b"500 What?", b"502 Not here.", b"250 /f", b"550 Not a directory.", b"550 No such file."]
)
async def test_an_mlst_that_is_listed_and_broken_is_asked_once(answer: bytes) -> None:
    script: Script = {"FEAT": feat(MLST_LINE), "MLST": answer, "MDTM": _mdtm}
    async with scripted_server(script) as server:
        server.files["/f"] = b"four"
        connector = FtpConnector(server.profile())
        for _ in range(2):
            session = await connector.connect()
            assert (await session.stat("/f")).size_bytes == 4
            await session.aclose()
        assert server.verbs().count("MLST") == 1
        assert connector.learnt["mlst"] is False


async def test_a_server_that_knows_nothing_of_files_is_asked_each_thing_once() -> None:
    async with scripted_server({"SIZE": b"502 No.", "MDTM": b"500 No."}) as server:
        session = await connect(server)
        for _ in range(2):
            assert await session.stat("/f") == (None, None, 0.0)
        assert server.verbs() == ["SIZE", "MDTM"]
        assert (session.learnt["size"], session.learnt["mdtm"]) == (False, False)
        await session.aclose()


async def test_a_time_that_cannot_be_told_leaves_the_size() -> None:
    for answer in (b"550 Not for you.", b"213 yesterday", b"501 What?"):
        async with scripted_server({"MDTM": answer}) as server:
            server.files["/f"] = b"four"
            session = await connect(server)
            assert await session.stat("/f") == (4, None, 0.0)
            await session.aclose()


async def test_a_folder_is_no_file() -> None:
    async def folder(connection: Connection, argument: bytes) -> None:
        await connection.say(b"250-Begin", b" type=dir;modify=20261123093000; " + argument, b"250 End")

    async with scripted_server({"FEAT": feat(MLST_LINE), "MLST": folder}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await session.stat("/d")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        await session.aclose()


async def test_a_download_of_the_size_that_stat_has_told_needs_no_226() -> None:
    async def no_226(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[argument.decode()])
        await data.close()
        await connection.until_left()

    async with scripted_server({"FEAT": feat(MLST_LINE), "MLST": mlst, "RETR": no_226}) as server:
        server.files["/f"] = b"four"
        session = await connect(server, exchange_s=0.2)
        await session.stat("/f")
        assert await fetch(session, "/f") == b"four"
        assert not session.usable


async def test_mfmt_sets_a_time() -> None:
    async with scripted_server({"MFMT": b"213 Modify=20261123093000; /a b"}) as server:
        session = await connect(server)
        assert await session.set_modified("/a b", MOMENT)
        assert server.commands == ["MFMT 20261123093000 /a b"]
        assert session.learnt["mfmt"] is True
        assert session.learnt["time_setting"] == "MFMT"
        await session.aclose()


async def test_where_mfmt_is_unknown_site_utime_is_next_and_is_remembered() -> None:
    script: Script = {"MFMT": b"500 What?", "SITE": says(b"501 Usage.", b"200 Set.")}
    async with scripted_server(script) as server:
        session = await connect(server)
        for _ in range(2):
            assert await session.set_modified("/f", MOMENT)
        old = "SITE UTIME /f 20261123093000 20261123093000 20261123093000 UTC"
        assert server.commands == ["MFMT 20261123093000 /f", "SITE UTIME 20261123093000 /f", old, old]
        await session.aclose()


@pytest.mark.parametrize("known", ["profile", "feature", "family"])
async def test_mdtm_sets_a_time_where_that_is_known(known: str) -> None:
    script: dict[str, object] = {"MDTM": b"213 File modification time set."}
    if known == "feature":
        script["FEAT"] = feat(b" MDTM YYYYMMDDHHMMSS[+-TZ];filename")
    elif known == "family":
        script["GREETING"] = b"220 (vsFTPd 3.0.5)"
    async with scripted_server(script) as server:  # type: ignore[arg-type]  # lines and handlers
        session = await connect(server, writing_mdtm=known == "profile")
        assert await session.set_modified("/f", MOMENT)
        assert server.commands == ["MFMT 20261123093000 /f", "MDTM 20261123093000 /f"]
        await session.aclose()


async def test_a_server_that_does_not_keep_to_utc_is_spoken_to_in_its_zone() -> None:
    """As vsftpd with use_localtime, or pyftpdlib without use_gmt_times, whose MFMT is told UTC even so."""
    facts = b"type=file;size=4;modify=20261123183000; f"
    script: Script = {
        "FEAT": feat(MLST_LINE),
        "MLST": says(b"250-Facts\r\n " + facts + b"\r\n250 End", b"500 What?"),
        "MLSD": sends(facts + b"\r\n"),
        "MDTM": b"213 20261123183000",
        "MFMT": says(b"213 Modify=20261123183000; /f", b"500 What?"),
    }
    async with scripted_server(script) as server:
        server.files["/f"] = b"four"
        zone = timezone(timedelta(hours=9))
        session = await connect(server, mdtm_timezone=zone, writing_mdtm=True)
        assert await session.stat("/f") == (4, MOMENT, 1.0)
        assert await session.stat("/f") == (4, MOMENT, 1.0)
        assert server.verbs() == ["MLST", "MLST", "SIZE", "MDTM"]
        async with session.listing("/") as entries:
            assert [entry.modified async for entry in entries] == [MOMENT]
        server.commands.clear()
        assert await session.set_modified("/f", MOMENT)
        assert server.commands == ["MFMT 20261123093000 /f"]
        await session.aclose()
        session = await connect(server, mdtm_timezone=zone, writing_mdtm=True)
        assert await session.set_modified("/f", MOMENT)
        assert server.commands == ["MFMT 20261123093000 /f", "MDTM 20261123183000 /f"]
        await session.aclose()


async def test_a_server_that_sets_no_times_is_asked_once() -> None:
    async with scripted_server({"SITE": b"202 Superfluous.", "MDTM": b"550 No such file."}) as server:
        session = await connect(server, writing_mdtm=True)
        assert not await session.set_modified("/f", MOMENT)
        assert server.verbs() == ["MFMT", "MDTM", "SITE", "SITE"]
        assert not await session.set_modified("/f", MOMENT)
        assert server.verbs() == ["MFMT", "MDTM", "SITE", "SITE"]
        await session.aclose()


@pytest.mark.parametrize(
    ("reply", "works"),
    [
        (b"213 Modify=20261123093000; /f", True),
        (b"213 Modify=20261123092958; /f", True),  # FAT has even seconds only
        (b"213 Modify=soon; /f", True),
        (b"213 Date changed.", True),
        (b"213 Modify=20261123183000; /f", False),
    ],
)
async def test_mfmt_has_worked_only_where_its_reply_does_not_deny_it(reply: bytes, *, works: bool) -> None:
    async with scripted_server({"MFMT": reply, "SITE": b"200 Set."}) as server:
        session = await connect(server)
        for _ in range(2):
            assert await session.set_modified("/f", MOMENT)
        assert server.verbs() == ["MFMT", "MFMT"] if works else ["MFMT", "SITE", "SITE"]
        assert session.learnt["mfmt"] is works
        await session.aclose()


async def test_a_time_that_was_set_by_no_way_is_not_set() -> None:
    script: Script = {
        "MFMT": says(b"213 Modify=20261123093000; /f", b"213 Modify=19700101000000; /f"),
        "SITE": b"500 No.",
    }
    async with scripted_server(script) as server:
        session = await connect(server)
        assert [await session.set_modified("/f", MOMENT) for _ in range(3)] == [True, False, False]
        assert server.verbs() == ["MFMT", "MFMT", "SITE", "SITE"]
        await session.aclose()


async def test_a_time_refused_for_this_file_is_an_error() -> None:
    script: Script = {"MFMT": says(b"550 No such file.", b"550 Permission denied.")}
    async with scripted_server(script) as server:
        session = await connect(server)
        for code in (ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_DENIED):
            with pytest.raises(ReplyError) as caught:
                await session.set_modified("/f", MOMENT)
            assert caught.value.code is code
        with pytest.raises(LocalProtocolError):
            await session.set_modified("/f", MOMENT.replace(tzinfo=None))
        assert session.usable
        await session.aclose()


HASH = b" HASH SHA-256;SHA-1*;MD5"


async def test_hash_is_selected_once_and_read() -> None:
    async def compute(connection: Connection, _: bytes) -> None:  # as proftpd does
        sum_line = f"213 SHA-256 0-4 {SHA256.upper()} /a b".encode()
        await connection.say(b"213-Computing SHA-256 digest", sum_line)

    script: Script = {"FEAT": feat(HASH, b" XCRC filename"), "OPTS": b"200 SHA-256", "HASH": compute}
    async with scripted_server(script) as server:
        server.files["/a b"] = b"four"
        session = await connect(server)
        assert await session.checksum("/a b", ["blake3", "sha256", "crc32"]) == ("sha256", SHA256)
        # The range says nothing without the size; one that was asked for right before will do.
        assert server.commands == ["OPTS HASH SHA-256", "HASH /a b", "SIZE /a b"]
        assert await session.size("/a b") == 4
        assert await session.checksum("/a b", ["sha256"]) == ("sha256", SHA256)
        assert server.commands[3:] == ["SIZE /a b", "HASH /a b"]
        assert session.learnt["hash"] is True
        await session.aclose()


async def test_what_the_server_has_selected_already_is_not_selected() -> None:
    script: Script = {"FEAT": feat(HASH), "HASH": b"213 SHA-1 0-3 " + b"ab" * 20 + b" f"}
    async with scripted_server(script) as server:
        session = await connect(server)
        assert await session.checksum("/f", ["sha1"]) == ("sha1", "ab" * 20)
        assert server.commands == ["HASH /f", "SIZE /f"]
        await session.aclose()


@pytest.mark.parametrize("said", [b"0-2 %s f", b"1-3 %s f", b"0-3 %s g", b"%s /in/g"])
async def test_a_hash_of_a_part_or_of_another_file_does_not_count(said: bytes) -> None:
    reply = b"213 SHA-1 " + said % (b"ab" * 20)
    async with scripted_server({"FEAT": feat(b" HASH SHA-1*"), "HASH": reply}) as server:
        server.files["/f"] = b"fourfour"
        session = await connect(server)
        assert await session.checksum("/f", ["sha1"]) is None
        assert session.usable
        await session.aclose()


@pytest.mark.parametrize(
    ("verb", "name", "reply", "found"),
    [
        ("XSHA256", "sha256", b"250 " + SHA256.upper().encode(), SHA256),
        ("XSHA1", "sha1", b'250 "/f" ' + b"ab" * 20, "ab" * 20),
        ("XMD5", "md5", b"250 " + b"ab" * 16, "ab" * 16),
        ("MD5", "md5", b"251 /f " + b"AB" * 16, "ab" * 16),
        ("XCRC", "crc32", b"250 1ABCDEF", "01abcdef"),
    ],
)
async def test_the_older_commands(verb: str, name: str, reply: bytes, found: str) -> None:
    async with scripted_server({"FEAT": feat(f" {verb}".encode()), verb: reply}) as server:
        session = await connect(server)
        assert await session.checksum("/f", [name]) == (name, found)
        assert server.commands == [f"{verb} /f"]
        await session.aclose()


async def test_what_is_not_listed_is_not_asked() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        assert await session.checksum("/f", ["sha256", "md5"]) is None
        assert server.commands == []
        await session.aclose()


@pytest.mark.parametrize("answer", [b"500 What?", b"213 nothing"])
async def test_what_is_listed_and_does_not_work_is_asked_once(answer: bytes) -> None:
    script: Script = {
        "FEAT": feat(b" XSHA256", b" XMD5"),
        "XSHA256": answer,
        "XMD5": b"250 " + b"ab" * 16,
    }
    async with scripted_server(script) as server:
        session = await connect(server)
        for _ in range(2):
            assert await session.checksum("/f", ["sha256", "md5"]) == ("md5", "ab" * 16)
        assert server.verbs() == ["XSHA256", "XMD5", "XMD5"]
        await session.aclose()


async def test_a_checksum_of_a_missing_file_is_an_error_and_a_strange_name_none() -> None:
    async with scripted_server({"FEAT": feat(b" XMD5"), "XMD5": b"550 No such file."}) as server:
        session = await connect(server)
        with pytest.raises(ReplyError) as caught:
            await session.checksum("/f", ["md5"])
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert await session.checksum('/a "b', ["md5"]) is None
        assert server.commands == ["XMD5 /f"]
        await session.aclose()


async def test_a_long_computation_has_a_limit_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock

    async def slow(connection: Connection, _: bytes) -> None:
        await connection.say(b"150 Computing.")
        await trio.sleep(100)
        await connection.say(b"250 " + b"ab" * 16)

    async with scripted_server({"FEAT": feat(b" XMD5"), "XMD5": slow}) as server:
        session = await connect(server)
        assert await session.checksum("/f", ["md5"]) == ("md5", "ab" * 16)
        await session.aclose()
        session = await connect(server, checksum_s=50.0)
        with pytest.raises(SessionLost):
            await session.checksum("/f", ["md5"])
        assert not session.usable


async def test_cancelled_at_any_wait_a_question_leaves_a_dead_session_and_no_socket() -> None:
    script: Script = {
        "FEAT": feat(b" MLST type*;size*;modify;", HASH),
        "OPTS": b"200 Yes.",
        "MLST": mlst,
        "MFMT": b"213 Modify=20261123093000; /f",
        "HASH": b"213 SHA-256 0-3 " + SHA256.encode() + b" f",
    }
    async with scripted_server(script) as server:
        server.files["/f"] = b"four"
        connector = FtpConnector(server.profile())
        await (await connector.connect()).aclose()
        await server.all_left()
        sessions: list[FtpSession] = []
        gc.collect()
        before = descriptors()

        async def life() -> None:
            with trio.CancelScope(shield=True):
                sessions.append(await connector.connect())
                server.commands.clear()
            session = sessions[-1]
            server.files = {"/f": b"four"}
            await session.stat("/f")
            await session.set_modified("/f", MOMENT)
            await session.checksum("/f", ["sha256"])
            await session.rename("/f", "/g", replace=False)
            await session.remove("/g")

        async for _ in at_every_wait(life):
            session = sessions.pop()
            # Between two of them nothing is owed.
            if session.usable:
                await session.keep_alive()
            await session.aclose()
            await server.all_left()
            assert descriptors() == before
        assert sessions[-1].usable
        await sessions[-1].aclose()
