"""What partners' servers want to be spoken to like: logins, paths, names, renames."""

import unicodedata
from typing import Any

import pytest
import trio

from pooler.errors import ConnectError, ErrorCode, LocalProtocolError, ReplyError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.encoding import parse_encoding
from pooler.ftp.names import Form
from pooler.ftp.profile import Profile
from tests.support.answers import MLST_LINE, connect, feat, mlst, sends, working_folder
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Script, scripted_server

NFC, NFD = "/é.txt", unicodedata.normalize("NFD", "/é.txt")


async def _log_in(connector: FtpConnector) -> None:
    await (await connector.connect()).aclose()


async def test_features_are_asked_for_once_also_by_many_logins_at_a_time() -> None:
    async with scripted_server({"FEAT": feat(b" SIZE", b" UTF8"), "OPTS": b"202 Always on."}) as server:
        connector = FtpConnector(server.profile())
        before = connector.learnt
        assert before["features"] is None
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(_log_in, connector)
        assert server.verbs().count("FEAT") == 1
        assert server.commands.count("OPTS UTF8 ON") == 4
        assert connector.learnt["features"] == ["SIZE", "UTF8"]
        assert connector.learnt["utf8"] is True


async def test_a_server_that_falls_over_feat_each_time_is_not_asked_again() -> None:
    async def cut(connection: Connection, _: bytes) -> None:
        await connection.cut()

    async with scripted_server({"FEAT": cut}) as server:
        connector = FtpConnector(server.profile())
        for _ in range(3):
            with pytest.raises(ConnectError):
                await connector.connect()
        for _ in range(2):
            await _log_in(connector)
        assert server.verbs().count("FEAT") == 3


async def test_features_that_the_network_has_swallowed_are_asked_for_again() -> None:
    async def cut(connection: Connection, _: bytes) -> None:
        connection.server.script = {"FEAT": feat(b" UTF8"), "OPTS": b"200 On."}
        await connection.cut()

    async with scripted_server({"FEAT": cut}) as server:
        connector = FtpConnector(server.profile())
        with pytest.raises(ConnectError):
            await connector.connect()
        await _log_in(connector)
        assert connector.learnt["utf8"] is True


@pytest.mark.parametrize("answer", [b"501 What?", b"504 No.", b"502 No.", b"550 Never."])
async def test_utf8_need_not_be_agreed_to(answer: bytes) -> None:
    async with scripted_server({"FEAT": feat(b" UTF8"), "OPTS": answer}) as server:
        connector = FtpConnector(server.profile())
        await _log_in(connector)
        assert connector.learnt["utf8"] is False


@pytest.mark.parametrize("changes", [{"disable_utf8": True}, {"charset": "cp949"}])
async def test_utf8_is_not_asked_for_where_it_is_not_wanted(changes: dict[str, Any]) -> None:
    async with scripted_server({"FEAT": feat(b" UTF8")}) as server:
        await _log_in(FtpConnector(server.profile(**changes)))
        assert "OPTS" not in server.verbs()


async def test_commands_after_the_login_are_sent_and_must_be_taken() -> None:
    async with scripted_server({"SITE": b"200 Yes."}) as server:
        await _log_in(FtpConnector(server.profile(after_login=("site UMASK 002", "NOOP"))))
        assert server.commands[-3:] == ["SITE UMASK 002", "NOOP", "QUIT"]
    async with scripted_server({"SITE": b"500 No."}) as server:
        with pytest.raises(ConnectError, match="SITE UMASK 002: 500 No"):
            await _log_in(FtpConnector(server.profile(after_login=("SITE UMASK 002",))))
        await server.all_left()


@pytest.mark.parametrize(
    "bad", [{"after_login": ("SITE a\r\nDELE f",)}, {"before_store": ("?",)}, {"charset": "x"}]
)
def test_a_profile_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"CR, LF|verb|charset"):
        Profile(host="h", user="u", password=str, **bad)


async def test_commands_before_each_store() -> None:
    async with scripted_server({"SITE": b"200 Yes."}) as server:
        session = await connect(server, before_store=("SITE RECFM=VB", "SITE LRECL=80"))
        for _ in range(2):
            await store(session, "/f", b"x")
        assert server.commands == ["SITE RECFM=VB", "SITE LRECL=80", "EPSV", "STOR /f"] * 2
        server.script = {"SITE": b"501 No."}
        with pytest.raises(ReplyError):
            await store(session, "/f", b"x")
        assert session.usable
        await session.aclose()


async def test_point_21_translated_line_ends_have_no_sizes_and_no_checksums() -> None:
    script: Script = {"FEAT": feat(MLST_LINE, b" XMD5"), "MLST": mlst}
    async with scripted_server(script) as server:
        connector = FtpConnector(server.profile(transfer_type="ascii"))
        session = await connector.connect()
        assert "TYPE A" in server.commands
        assert "TYPE I" not in server.commands
        server.files["/f"] = b"four"
        assert await session.size("/f") is None
        assert (await session.stat("/f")).size_bytes is None
        assert await session.checksum("/f", ["md5"]) is None
        assert {"SIZE", "XMD5"}.isdisjoint(server.verbs())
        await session.aclose()


async def test_bare_names_in_the_folder_that_cwd_went_to() -> None:
    async with scripted_server(working_folder()) as server:
        server.folders |= {"/a", "/a/b"}
        session = await connect(server, path_style="cwd")
        await store(session, "/a/f", b"one")
        await store(session, "/a/g", b"two")
        assert await session.size("/a/f") == 3
        assert await fetch(session, "/a/g") == b"two"
        await session.rename("/a/f", "/a/h")
        await session.remove("/a/g")
        assert server.files == {"/a/h": b"one"}
        assert server.commands == [
            *("CWD /a", "EPSV", "STOR f", "EPSV", "STOR g", "SIZE f", "EPSV", "RETR g"),
            *("RNFR f", "RNTO h", "DELE g"),
        ]
        await store(session, "/top", b"top")
        assert server.files["/top"] == b"top"
        assert server.commands[-3:] == ["CWD /", "EPSV", "STOR top"]
        await session.aclose()


async def test_with_bare_names_an_error_is_followed_by_cwd_again() -> None:
    async with scripted_server(working_folder()) as server:
        server.folders.add("/a")
        session = await connect(server, path_style="cwd")
        await store(session, "/a/f", b"one")
        for missing in ("/a/none", "/none/f"):
            with pytest.raises(ReplyError) as caught:
                await fetch(session, missing)
            assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        server.commands.clear()
        assert await session.size("/a/f") == 3
        assert server.commands == ["CWD /a", "SIZE f"]
        await session.remove("/none/f")
        assert session.usable
        await session.aclose()


async def test_with_bare_names_missing_parents_are_made() -> None:
    async with scripted_server(working_folder()) as server:
        session = await connect(server, path_style="cwd")
        await store(session, "/a/b c/d/f", b"x")
        assert server.files == {"/a/b c/d/f": b"x"}
        await store(session, "/a/b c/e/f", b"y")
        assert server.files["/a/b c/e/f"] == b"y"
        await session.aclose()


@pytest.mark.parametrize("verb", ["LIST", "MLSD"])
async def test_with_bare_names_a_listing_has_none(verb: str) -> None:
    lines = {"LIST": b"-rw-r--r-- 1 ftp ftp 1 Nov 22  2025 x\r\n", "MLSD": b"type=file; x\r\n"}
    script: Script = {"FEAT": feat(MLST_LINE if verb == "MLSD" else b" SIZE"), verb: sends(lines[verb])}
    async with scripted_server({**working_folder(), **script}) as server:
        server.folders.add("/a")
        session = await connect(server, path_style="cwd")
        async with session.listing("/a") as entries:
            assert [entry.name async for entry in entries] == ["x"]
        assert server.commands == ["CWD /a", "EPSV", verb]
        await session.aclose()


async def test_names_that_we_create_have_the_form_and_our_own_are_found_again() -> None:
    async with scripted_server() as server:
        session = await connect(server, form=Form.NFC)
        await store(session, NFD, b"x")
        assert server.files == {NFC: b"x"}
        assert await session.size(NFD) == 1
        await session.rename(NFD, NFD + "2")
        assert server.files == {NFC + "2": b"x"}
        await session.remove(NFD + "2")
        assert server.files == {}
        await store(session, f"/é{NFD}", b"x")
        assert server.folders == {"/", "/é"}
        await session.aclose()


@pytest.mark.parametrize(("there", "asked"), [(NFC, NFD), (NFD, NFC)])
async def test_a_missing_source_is_looked_for_once_in_its_other_form(there: str, asked: str) -> None:
    async with scripted_server() as server:
        server.files[there] = b"four"
        session = await connect(server)
        assert await session.size(asked) == 4
        assert (await session.stat(asked)).size_bytes == 4
        assert await fetch(session, asked) == b"four"
        server.files.clear()
        server.commands.clear()
        with pytest.raises(ReplyError) as caught:
            await session.size(asked)
        assert caught.value.command == f"SIZE {asked}"
        assert len(server.commands) == 2
        server.commands.clear()
        with pytest.raises(ReplyError):
            await session.size("/ascii")
        await session.remove(asked)
        assert [line for line in server.commands if "ascii" in line] == ["SIZE /ascii"]
        assert f"DELE {there}" not in server.commands
        await session.aclose()


async def test_names_go_through_the_encoding_both_ways() -> None:
    lines = b"type=file; a\xe2\x90\xa0\r\n"  # the symbol for a space
    async with scripted_server({"FEAT": feat(MLST_LINE), "MLSD": sends(lines)}) as server:
        session = await connect(server, encoding=parse_encoding("Slash,Del,Ctl,RightSpace,Dot"))
        await store(session, "/a ", b"x")
        assert server.files == {"/a␠": b"x"}
        async with session.listing("/") as entries:
            assert [entry.name async for entry in entries] == ["a "]
        await session.aclose()


async def test_names_of_another_charset_come_back_as_they_were() -> None:
    lines = b"type=file; " + "한글".encode("cp949") + b"\r\ntype=file; \xff\xff\r\n"
    async with scripted_server({"FEAT": feat(MLST_LINE), "MLSD": sends(lines)}) as server:
        session = await connect(server, charset="cp949")
        async with session.listing("/") as entries:
            found = [entry.name async for entry in entries]
        assert found[0] == "한글"
        server.files[b"/\xff\xff".decode("utf-8", "surrogateescape")] = b"x"
        assert await session.size(f"/{found[1]}") == 1
        with pytest.raises(LocalProtocolError):
            await session.size("/é")
        assert session.usable
        await session.aclose()


def _no_rename_over(text: bytes) -> Script:
    async def rnto(connection: Connection, argument: bytes) -> None:
        if connection.path(argument) in connection.server.files:
            await connection.say(text)
        else:
            await connection.normally("RNTO", argument)

    return {"RNTO": rnto}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (b"550 Cannot create a file when that file already exists.", []),
        (b"550 Access is denied.", ["SIZE /new"]),
        (b"553 Rename failed.", ["SIZE /new"]),
    ],
)
async def test_point_10_where_rename_does_not_go_over_a_file_that_is_removed_first(
    text: bytes, asked: list[str]
) -> None:
    async with scripted_server(_no_rename_over(text)) as server:
        session = await connect(server)
        server.files |= {"/tmp": b"new", "/new": b"old"}
        await session.rename("/tmp", "/new")
        assert server.files == {"/new": b"new"}
        rename = ["RNFR /tmp", "RNTO /new"]
        assert server.commands == [*rename, *asked, "SIZE /tmp", "DELE /new", *rename]
        assert session.learnt["rename_over"] is False
        server.files["/tmp"] = b"newer"
        server.commands.clear()
        await session.rename("/tmp", "/new")
        assert server.commands == [*rename, "SIZE /tmp", "DELE /new", *rename]
        assert server.files == {"/new": b"newer"}
        await session.aclose()


@pytest.mark.parametrize("known", [False, True])
async def test_what_another_session_has_renamed_meanwhile_is_not_in_the_way_of_itself(*, known: bool) -> None:
    async def too_late(connection: Connection, argument: bytes) -> None:
        connection.server.files[connection.path(argument)] = connection.server.files.pop("/tmp")
        await connection.say(b"550 Rename failed.")

    async with scripted_server(_no_rename_over(b"550 File exists.")) as server:
        session = await connect(server)
        if known:
            server.files |= {"/tmp": b"older", "/new": b"oldest"}
            await session.rename("/tmp", "/new")
        server.script = {"RNTO": too_late}
        server.files |= {"/tmp": b"new", "/new": b"old"}
        server.commands.clear()
        with pytest.raises(ReplyError) as caught:
            await session.rename("/tmp", "/new")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert server.files == {"/new": b"new"}
        assert "DELE" not in server.verbs()
        await session.aclose()


async def test_a_rename_refused_for_another_reason_removes_nothing() -> None:
    for text in (
        b"550 Permission denied.",
        b"552 Quota exceeded.",
        b"550 No such folder.",
        b"550 Timed out.",
    ):
        async with scripted_server({"RNTO": text}) as server:
            session = await connect(server)
            server.files["/tmp"] = b"new"
            with pytest.raises(ReplyError):
                await session.rename("/tmp", "/new")
            assert "DELE" not in server.verbs()
            assert session.usable
            if b"Timed out" in text or b"Quota" in text:  # that has nothing to do with what is there
                server.files["/new"] = b"old"
                with pytest.raises(ReplyError):
                    await session.rename("/tmp", "/new")
                assert server.files["/new"] == b"old"
            await session.aclose()


async def test_without_replace_no_file_is_renamed_over() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        server.files |= {"/tmp": b"new", "/new": b"old"}
        with pytest.raises(ReplyError) as caught:
            await session.rename("/tmp", "/new", replace=False)
        assert caught.value.code is ErrorCode.DESTINATION_EXISTS
        assert server.files == {"/tmp": b"new", "/new": b"old"}
        assert server.commands == ["SIZE /new"]
        await session.rename("/tmp", "/other", replace=False)
        assert server.files == {"/other": b"new", "/new": b"old"}
        await session.aclose()


async def test_without_replace_a_server_that_refuses_is_left_alone() -> None:
    script: Script = {"SIZE": b"502 No.", "RNTO": b"550 File exists."}
    async with scripted_server(script) as server:
        session = await connect(server)
        server.files["/tmp"] = b"new"
        with pytest.raises(ReplyError) as caught:
            await session.rename("/tmp", "/new", replace=False)
        assert caught.value.code is ErrorCode.DESTINATION_EXISTS
        assert "DELE" not in server.verbs()
        await session.aclose()
