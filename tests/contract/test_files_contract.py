"""The rest of the contract: what servers tell of files and folders, resumption, and bare names."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from pooler.errors import ErrorCode, ReplyError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.transfer.checksum import hasher as hasher_of
from pooler.transfer.session import EntryKind
from tests.contract.test_session_contract import REMOTES, SUMMING, Remote, content, run
from tests.support.moving import fetch, store

MOMENT = datetime(2020, 2, 29, 12, 34, 56, tzinfo=UTC)
NAMES = ["a b", " c", "d*[e]", "한글", "-rf"]


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"))


async def names(session: FtpSession, path: str) -> list[str]:
    async with session.listing(path) as entries:
        return sorted([entry.name async for entry in entries])


async def test_size_and_time_are_told(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/stat/f", b"four")
        os.utime(remote.server.root / "stat/f", (0, MOMENT.timestamp()))
        assert await session.stat("/stat/f") == (4, MOMENT, 1.0)
        with pytest.raises(ReplyError) as caught:
            await session.stat("/stat/g")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable


async def test_a_time_is_set(remote: Remote) -> None:
    async with remote.session(writing_mdtm=remote.kind == "vsftpd") as session:
        await store(session, "/time/a b", b"four")
        assert await session.set_modified("/time/a b", MOMENT)
        assert (remote.server.root / "time/a b").stat().st_mtime == MOMENT.timestamp()
        assert await fetch(session, "/time/a b") == b"four"


@pytest.mark.parametrize("style", ["absolute", "cwd"])
@pytest.mark.parametrize("disable_mlsd", [True, False])
async def test_folders_are_listed(remote: Remote, disable_mlsd: bool, style: str) -> None:  # noqa: FBT001 - a parameter of the table
    folder = f"/list {style} {disable_mlsd}"
    async with remote.session(disable_mlsd=disable_mlsd, path_style=style) as session:
        # pure-ftpd itself writes an underscore for a space at the beginning of a bare name.
        created = [name for name in NAMES if remote.kind != "pure-ftpd" or not name.startswith(" ")]
        for name in created:
            await store(session, f"{folder}/{name}", name.encode())
        await store(session, f"{folder}/sub/x", b"")
        (remote.server.root / folder[1:] / "empty").mkdir()
        (remote.server.root / folder[1:] / "empty").chmod(0o777)
        async with session.listing(folder) as entries:
            found = {entry.name: entry async for entry in entries}
        assert sorted(found) == sorted([*created, "sub", "empty"])
        assert {name: found[name].size_bytes for name in created} == {
            name: len(name.encode()) for name in created
        }
        assert found["sub"].kind is EntryKind.FOLDER
        assert await names(session, f"{folder}/empty") == []
        with pytest.raises(ReplyError) as caught:
            await names(session, f"{folder}/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert session.usable


async def test_hidden_names_are_listed_where_that_is_forced(remote: Remote) -> None:
    async with remote.session(force_list_hidden=True) as session:
        await store(session, "/hidden/.f", b"x")
        assert await names(session, "/hidden") == [".f"]


async def test_transfers_begin_in_the_middle(remote: Remote) -> None:
    data, buffer = content(300_000), memoryview(bytearray(1 << 18))
    async with remote.session() as session:
        for _ in range(2):
            await store(session, "/resume", data[:200_000])
            async with session.storing("/resume", offset=100_000) as up:
                await up.send_all(memoryview(data)[100_000:])
            received = bytearray()
            async with session.retrieving("/resume", offset=123_456) as down:
                while count := await down.receive_into(buffer):
                    received += buffer[:count]
            assert received == data[123_456:]
            assert await fetch(session, "/resume") == data
        with pytest.raises(ReplyError):
            async with session.retrieving("/missing", offset=5):
                raise AssertionError
        assert await fetch(session, "/resume") == data


async def test_bare_names_serve_as_well(remote: Remote) -> None:
    async with remote.session(path_style="cwd") as session:
        for path in ("/bare/a b/f", "/bare/c/g", "/top"):
            await store(session, path, path.encode())
            assert await session.size(path) == len(path)
            assert await fetch(session, path) == path.encode()
        await session.rename("/bare/a b/f", "/bare/a b/h")
        await session.rename("/bare/a b/h", "/bare/c/i")
        assert (await session.stat("/bare/c/i")).size_bytes == len("/bare/a b/f")
        await session.remove("/bare/c/i")
        assert await names(session, "/bare/c") == ["g"]


async def test_a_rename_without_replacing(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/keep/new", b"new")
        await store(session, "/keep/old", b"old")
        with pytest.raises(ReplyError) as caught:
            await session.rename("/keep/new", "/keep/old", replace=False)
        assert caught.value.code is ErrorCode.DESTINATION_EXISTS
        await session.rename("/keep/new", "/keep/newer", replace=False)
        assert await fetch(session, "/keep/old") == b"old"


async def test_checksums_are_those_of_the_file_or_none(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/sum", b"four")
        for name in ("sha512", "sha256", "sha1", "md5", "crc32"):
            hasher = hasher_of(name)
            hasher.update(memoryview(b"four"))
            found = await session.checksum("/sum", ["unknown", name])
            assert found == ((name, hasher.hexdigest()) if remote.kind in SUMMING else None)
        assert session.usable


async def test_point_23_a_noop_beside_a_transfer_does_no_harm(remote: Remote) -> None:
    async with remote.session(noop_after_s=0.0) as session:
        whole = content(5_000_000)
        await store(session, "/noop", whole)
        assert await fetch(session, "/noop") == whole
        assert session.usable
        assert await session.size("/noop") == len(whole)
        # pure-ftpd would answer with 500, and is sent none.
        expected = None if remote.kind == "pure-ftpd" else True
        assert session.learnt["noop_beside_transfer"] is expected
        assert ("> NOOP" in session.transcript) is bool(expected)


async def test_what_was_learnt_is_told(remote: Remote) -> None:
    connector = FtpConnector(remote.profile())
    session = await connector.connect()
    await store(session, "/learnt", b"x")
    await session.stat("/learnt")
    await session.aclose()
    learnt = connector.learnt
    assert learnt["epsv"] is True
    assert learnt["features"]
    assert learnt["mlst" if remote.kind != "vsftpd" else "size"] is True


async def test_a_rename_makes_the_folder_of_the_new_name(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/from/f", b"four")
        await session.rename("/from/f", "/to/a new/folder/f", replace=False)
        assert await fetch(session, "/to/a new/folder/f") == b"four"
        with pytest.raises(ReplyError) as caught:
            await session.rename("/from/f", "/never/made/f")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert not (remote.server.root / "never").exists()
