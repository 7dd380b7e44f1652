"""Point 24: folders entered by their whole path, or name by name where a server takes no paths."""

import gc

import pytest

from pooler.errors import ErrorCode, ReplyError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.answers import connect, sends, working_folder
from tests.support.cancelling import at_every_wait, descriptors
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, Script, scripted_server


def no_paths(*, root: bool, refusal: bytes = b"501 Names only.") -> Script:
    """A server whose CWD takes one name, and ``/`` if it takes that; the login is in ``/``."""
    here: dict[Connection, list[bytes]] = {}

    async def cwd(connection: Connection, argument: bytes) -> None:
        names = here.setdefault(connection, [])
        if argument == b"/" and root:
            names.clear()
            await connection.say(b"250 At the top.")
        elif b"/" in argument:
            await connection.say(refusal)
        elif "/" + b"/".join([*names, argument]).decode() in connection.server.folders:
            names.append(argument)
            await connection.say(b"250 Changed.")
        else:
            await connection.say(b"550 No such folder.")

    async def cdup(connection: Connection, _: bytes) -> None:
        names = here.setdefault(connection, [])
        await connection.say(b"250 Up." if names else b"550 This is the top.")
        del names[-1:]

    def bare(verb: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a Handler
        async def answer(connection: Connection, argument: bytes) -> None:
            if b"/" in argument:
                await connection.say(b"501 Names only.")
            else:
                names = here.setdefault(connection, [])
                await connection.normally(verb, b"/" + b"/".join([*names, argument]))

        return answer

    verbs = ("RETR", "STOR", "SIZE", "DELE", "MKD", "RNFR", "RNTO")
    return {"CWD": cwd, "CDUP": cdup, **{verb: bare(verb) for verb in verbs}}


async def test_point_24_a_path_that_is_taken_is_all_that_is_sent() -> None:
    async with scripted_server(working_folder()) as server:
        server.folders |= {"/a", "/a/b"}
        session = await connect(server, path_style="cwd")
        await store(session, "/a/b/f", b"one")
        assert session.learnt["folders_entered"] == "by its whole path"
        server.commands.clear()
        with pytest.raises(ReplyError):
            await fetch(session, "/a/none/f")
        assert server.commands == ["CWD /a/none"]  # no name by name any more
        await session.aclose()


@pytest.mark.parametrize("refusal", [b"501 Names only.", b"550 No such folder.", b"504 No.", b"553 No."])
async def test_point_24_name_by_name_from_the_root(refusal: bytes) -> None:
    async with scripted_server(no_paths(root=True, refusal=refusal)) as server:
        server.folders |= {"/a", "/a/b c", "/d"}
        connector = FtpConnector(server.profile(path_style="cwd"))
        session = await connector.connect()
        server.commands.clear()
        await store(session, "/a/b c/f", b"one")
        await store(session, "/a/b c/g", b"two")
        assert server.files == {"/a/b c/f": b"one", "/a/b c/g": b"two"}
        by_names = ["CWD /", "CWD a", "CWD b c"]
        assert server.commands == ["CWD /a/b c", *by_names, "EPSV", "STOR f", "EPSV", "STOR g"]
        assert connector.learnt["folders_entered"] == "name by name, from /"
        await session.aclose()
        session = await connector.connect()
        server.commands.clear()
        assert await session.size("/a/b c/f") == 3
        assert server.commands == [*by_names, "SIZE f"]
        with pytest.raises(ReplyError) as caught:
            await session.size("/d/none")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert await session.size("/a/b c/f") == 3
        await session.aclose()


async def test_point_24_name_by_name_from_the_login_where_not_even_the_root_is_taken() -> None:
    async with scripted_server(no_paths(root=False)) as server:
        server.folders |= {"/a", "/a/b", "/a/c"}
        connector = FtpConnector(server.profile(path_style="cwd"))
        session = await connector.connect()
        server.commands.clear()
        await store(session, "/a/b/f", b"one")
        assert server.commands == ["CWD /a/b", "CWD /", "CWD a", "CWD b", "EPSV", "STOR f"]
        assert connector.learnt["folders_entered"] == "name by name, from the folder of the login"
        server.commands.clear()
        await store(session, "/a/c/f", b"two")
        await store(session, "/top", b"three")
        assert server.commands == [
            *("CDUP", "CWD c", "EPSV", "STOR f"),
            *("CDUP", "CDUP", "EPSV", "STOR top"),
        ]
        # A refusal moves nobody: the way goes on from where it ended.
        with pytest.raises(ReplyError):
            await session.size("/a/none/f")
        assert await session.size("/a/b/f") == 3
        assert server.files == {"/a/b/f": b"one", "/a/c/f": b"two", "/top": b"three"}
        await session.aclose()


@pytest.mark.parametrize("root", [True, False])
async def test_point_24_missing_parents_are_made_name_by_name(*, root: bool) -> None:
    async with scripted_server(no_paths(root=root)) as server:
        connector = FtpConnector(server.profile(path_style="cwd"))
        session = await connector.connect()
        server.folders.add("/a")
        await store(session, "/a/f", b"one")
        await store(session, "/a/b/c/f", b"two")
        await session.rename("/a/b/c/f", "/a/b/c/g")
        assert server.files == {"/a/f": b"one", "/a/b/c/g": b"two"}
        await session.aclose()


async def test_point_24_where_nothing_leads_into_a_folder_its_path_was_refused() -> None:
    for root in (True, False):
        async with scripted_server(no_paths(root=root)) as server:
            session = await connect(server, path_style="cwd")
            with pytest.raises(ReplyError, match="CWD /none: 501"):
                await session.size("/none/f")
            assert session.learnt["folders_entered"] is None
            assert session.usable
            await session.aclose()


async def test_point_24_without_any_cwd_the_folder_of_the_login_is_all_there_is() -> None:
    script = {**no_paths(root=False), "CWD": b"502 No folders here."}
    async with scripted_server(script) as server:
        session = await connect(server, path_style="cwd")
        await store(session, "/f", b"one")
        assert server.files == {"/f": b"one"}
        with pytest.raises(ReplyError):
            await store(session, "/a/f", b"two")
        await session.aclose()


async def test_a_root_that_may_not_be_entered_is_not_the_folder_of_the_login() -> None:
    async with scripted_server({**no_paths(root=False), "CWD": b"550 Permission denied."}) as server:
        session = await connect(server, path_style="cwd")
        with pytest.raises(ReplyError):
            await store(session, "/f", b"one")
        assert server.files == {}
        await session.aclose()


async def test_whole_paths_are_never_tried_name_by_name_where_they_are_wanted() -> None:
    async with scripted_server({**no_paths(root=True), "LIST": sends(b"")}) as server:
        server.folders.add("/a")
        session = await connect(server)
        with pytest.raises(ReplyError):
            async with session.listing("/a"):
                pass
        assert server.commands == ["CWD /a"]
        await session.aclose()


async def test_cancelled_at_any_wait_a_way_leaves_a_dead_session_and_no_socket() -> None:
    async with scripted_server(no_paths(root=False)) as server:
        server.folders |= {"/a", "/a/b"}
        server.files["/a/b/f"] = b"one"
        sessions: list[FtpSession] = []
        gc.collect()
        before = descriptors()

        async def life() -> None:
            sessions.append(await FtpConnector(server.profile(path_style="cwd")).connect())
            assert await sessions[-1].size("/a/b/f") == 3

        async for _ in at_every_wait(life):
            if sessions:
                session = sessions.pop()
                if session.usable:
                    await session.keep_alive()
                await session.aclose()
            await server.all_left()
            assert descriptors() == before
        await sessions[-1].aclose()
