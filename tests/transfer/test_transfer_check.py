"""Jobs that are only checked: what would happen is told, and nothing does."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, JobError, LocalFileError, PoolerError, ReplyError
from pooler.model.job import After, Direction, Options, Overwrite
from pooler.transfer.attempt import Transferred
from pooler.transfer.check import check
from tests.support import cancel_points, descriptors
from tests.support.attempts import Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
CHECK = Options(check=True)
LOOKS = ("stat", "size", "list", "checksum")


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, ServerDouble())


def told(
    source_bytes: int | None, destination: str, folder: str, differs: str
) -> dict[str, str | int | None]:
    return {"source_bytes": source_bytes, "destination": destination, "folder": folder, "differs": differs}


def put(bench: Bench, data: bytes = DATA) -> None:
    (bench.folder / "in").mkdir(exist_ok=True)
    (bench.folder / "in" / "f").write_bytes(data)


async def look(bench: Bench, direction: Direction, options: Options = CHECK) -> Transferred:
    """Check a job, and see that nothing has changed."""
    local, there = bench.local(), dict(bench.server.files)
    folders = sorted(bench.folder.rglob("*"))
    try:
        found = await check(bench.attempt(direction, options))
        assert found.bytes_transferred == 0
        assert found.part is None
        return found
    finally:
        assert (bench.local(), bench.server.files) == (local, there)
        assert sorted(bench.folder.rglob("*")) == folders
        assert all(call.startswith(LOOKS) for call in bench.server.calls), bench.server.calls


async def refused(bench: Bench, direction: Direction, options: Options = CHECK) -> ErrorCode:
    with pytest.raises(PoolerError) as caught:
        await look(bench, direction, options)
    return caught.value.code


@pytest.mark.parametrize(
    ("files", "destination", "folder"),
    [
        ({}, "new", "missing"),
        ({"/out/other": b""}, "new", "there"),
        ({"/out/folder/f": b""}, "new", "there"),
        ({"/out/f": b"old"}, "replaced", "there"),
    ],
)
async def test_an_upload(bench: Bench, files: dict[str, bytes], destination: str, folder: str) -> None:
    put(bench)
    bench.server.files = files
    found = await look(bench, Direction.UPLOAD)
    differs = "size" if destination == "replaced" else "missing"
    assert found.check == told(10, destination, folder, differs)
    assert not found.skipped


@pytest.mark.parametrize(("there", "folder"), [(None, "missing"), ("folder", "there"), ("file", "there")])
async def test_a_download(bench: Bench, there: str | None, folder: str) -> None:
    bench.server.files["/out/f"] = DATA
    if there == "folder":
        (bench.folder / "in").mkdir()
    elif there == "file":
        put(bench, b"old")
    found = await look(bench, Direction.DOWNLOAD)
    destination = "replaced" if there == "file" else "new"
    differs = "size" if there == "file" else "missing"
    assert found.check == told(10, destination, folder, differs)


@pytest.mark.parametrize("direction", Direction)
async def test_what_would_be_skipped(bench: Bench, direction: Direction) -> None:
    put(bench)
    bench.server.files["/out/f"] = DATA
    found = await look(bench, direction, Options(check=True, overwrite=Overwrite.NEVER))
    assert found.skipped
    assert found.check == told(10, "kept", "there", "time")


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("overwrite", [Overwrite.ALWAYS, Overwrite.IF_DIFFERENT])
@pytest.mark.parametrize(
    "found",
    [(DATA, 0, "nothing"), (DATA, 3600, "time"), (b"old", 0, "size"), (DATA, None, "unknown")],
)
async def test_in_what_they_differ(
    bench: Bench, direction: Direction, overwrite: Overwrite, found: tuple[bytes, int | None, str]
) -> None:
    there, apart_s, differs = found
    put(bench)
    moment = dt.datetime(2026, 11, 23, 9, 30, tzinfo=dt.UTC)
    os.utime(bench.folder / "in" / "f", (moment.timestamp(), moment.timestamp()))
    bench.server.files["/out/f"] = there
    bench.server.tells_time = None
    if apart_s is not None:
        bench.server.times["/out/f"] = moment + dt.timedelta(seconds=apart_s)
    checked = await look(bench, direction, Options(check=True, overwrite=overwrite))
    assert checked.check is not None
    assert checked.check["differs"] == differs


async def test_one_checksum_differs_in_nothing(bench: Bench) -> None:
    put(bench)
    bench.server.files["/out/f"] = DATA
    bench.server.sums = ("sha256",)
    different = Options(check=True, overwrite=Overwrite.IF_DIFFERENT)
    found = await look(bench, Direction.DOWNLOAD, different)
    assert found.verified == "checksum"
    assert found.check is not None
    assert found.check["differs"] == "nothing"


@pytest.mark.parametrize("direction", Direction)
async def test_what_would_not_be_overwritten(bench: Bench, direction: Direction) -> None:
    put(bench)
    bench.server.files["/out/f"] = b"another"
    never = Options(check=True, overwrite=Overwrite.NEVER)
    assert await refused(bench, direction, never) is ErrorCode.DESTINATION_EXISTS


@pytest.mark.parametrize("direction", Direction)
async def test_a_source_that_is_not_there(bench: Bench, direction: Direction) -> None:
    assert await refused(bench, direction) is ErrorCode.FILE_NOT_FOUND


@pytest.mark.parametrize("direction", Direction)
async def test_a_source_that_was_moved_already(bench: Bench, direction: Direction) -> None:
    moved = Options(check=True, after=After.MOVE, move_to="/done/f")
    if direction is Direction.UPLOAD:
        (bench.folder / "done").mkdir()
        (bench.folder / "done" / "f").write_bytes(DATA)
        bench.server.files["/out/f"] = DATA
    else:
        put(bench)
        bench.server.files["/done/f"] = DATA
    found = await look(bench, direction, moved)
    assert (found.skipped, found.after) == (True, "moved")
    assert found.check == {
        "source_bytes": None,
        "destination": "kept",
        "folder": "there",
        "differs": "unknown",
    }


async def test_a_folder_at_the_destination_there(bench: Bench) -> None:
    put(bench)
    bench.server.files["/out/f/x"] = b""
    assert await refused(bench, Direction.UPLOAD) is ErrorCode.DESTINATION_EXISTS


async def test_a_folder_at_the_destination_here(bench: Bench) -> None:
    bench.server.files["/out/f"] = DATA
    (bench.folder / "in" / "f").mkdir(parents=True)
    assert await refused(bench, Direction.DOWNLOAD) is ErrorCode.DESTINATION_EXISTS


async def test_a_folder_that_is_not_shown(bench: Bench) -> None:
    put(bench)
    refusal = ReplyError(550, "No", "LIST", code=ErrorCode.PERMISSION_DENIED)
    bench.server.faults = {("list", 1): Fault(refusal)}
    found = await look(bench, Direction.UPLOAD)
    assert found.check == {
        "source_bytes": 10,
        "destination": "new",
        "folder": "unknown",
        "differs": "missing",
    }


async def test_a_server_that_does_not_tell_sizes(bench: Bench) -> None:
    put(bench)
    bench.server.files["/out/f"] = DATA
    bench.server.sizes = {"*": None}
    found = await look(bench, Direction.UPLOAD)
    assert found.check == {
        "source_bytes": 10,
        "destination": "unknown",
        "folder": "there",
        "differs": "unknown",
    }


async def test_a_destination_that_cannot_be_looked_at(bench: Bench) -> None:
    put(bench)
    bench.server.files["/out/f"] = DATA
    refusal = ReplyError(550, "No", "MLST", code=ErrorCode.PERMISSION_DENIED)
    bench.server.faults = {("stat", 1): Fault(refusal)}
    assert await refused(bench, Direction.UPLOAD) is ErrorCode.PERMISSION_DENIED


async def test_of_a_drop_box_nothing_is_asked(bench: Bench) -> None:
    put(bench)
    bench.plan = {"write_only": True}
    found = await look(bench, Direction.UPLOAD)
    assert found.check == told(10, "unknown", "unknown", "unknown")
    assert bench.server.calls == []


@pytest.mark.parametrize("folder", ["", "in"])
async def test_a_folder_that_may_not_be_written_to(
    bench: Bench, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.server.files["/out/f"] = DATA
    (bench.folder / folder).mkdir(exist_ok=True)
    asked: list[tuple[object, ...]] = []

    def access(*args: object, **keys: object) -> bool:
        asked.append((*args, *keys))
        return False

    monkeypatch.setattr("os.access", access)  # who runs the tests may be allowed everything
    with pytest.raises(LocalFileError) as caught:
        await look(bench, Direction.DOWNLOAD)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert len(asked) == 1


async def test_a_way_that_leads_out_of_the_root(bench: Bench) -> None:
    bench.server.files["/out/f"] = DATA
    (bench.folder / "in").symlink_to("/")
    with pytest.raises(JobError) as caught:
        await look(bench, Direction.DOWNLOAD)
    assert caught.value.code is ErrorCode.PATH_OUTSIDE_ROOT


@pytest.mark.parametrize("direction", Direction)
async def test_a_cancellation_at_every_point(bench: Bench, direction: Direction) -> None:
    put(bench)
    bench.server.files["/out/f"] = DATA
    before = descriptors.count()
    options = Options(check=True, overwrite=Overwrite.NEVER)

    async def run() -> None:
        await look(bench, direction, options)

    async for ending in cancel_points.everywhere(run):
        assert descriptors.count() == before, ending
