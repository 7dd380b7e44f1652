"""Markers: empty files beside those that are whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, LocalFileError, ReplyError, SessionLost
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import TEMPORARY, Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
PART = f"/out/{TEMPORARY}"
MARKED = Options(write_marker=True)
NEVER = Options(write_marker=True, overwrite=Overwrite.NEVER)
IN_PLACE = Options(write_marker=True, in_place=True)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(DATA)
    return Bench(tmp_path, ServerDouble())


async def send(bench: Bench, options: Options = MARKED) -> Transferred:
    return await upload(bench.attempt(Direction.UPLOAD, options))


async def test_it_is_written_when_the_file_has_its_name(bench: Bench) -> None:
    assert (await send(bench)).marked
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}
    assert bench.server.calls[-3:] == [f"rename {PART} /out/f", "store /out/f.ok", "stored"]


async def test_unless_asked_for_there_is_none(bench: Bench) -> None:
    assert not (await send(bench, Options())).marked
    assert bench.server.files == {"/out/f": DATA}


async def test_a_file_that_is_written_over_in_place_has_none_meanwhile(bench: Bench) -> None:
    bench.server.files = {"/out/f": b"old", "/out/f.ok": b""}
    bench.server.faults = {("send", 1): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await send(bench, IN_PLACE)
    assert "/out/f.ok" not in bench.server.files
    bench.server.faults = {}
    assert (await send(bench, IN_PLACE)).marked
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}


async def test_a_file_that_is_whole_until_it_is_replaced_keeps_its_own(bench: Bench) -> None:
    bench.server.files = {"/out/f": b"old", "/out/f.ok": b""}
    bench.server.faults = {("send", 1): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await send(bench)
    assert bench.server.files.keys() >= {"/out/f", "/out/f.ok"}
    assert bench.server.files["/out/f"] == b"old"


async def test_one_that_cannot_be_withdrawn_fails_the_job_before_any_byte(bench: Bench) -> None:
    refusal = ReplyError(550, "No", "DELE", code=ErrorCode.PERMISSION_DENIED)
    bench.server.files = {"/out/f": b"old", "/out/f.ok": b""}
    bench.server.faults = {("remove", 1): Fault(refusal)}
    with pytest.raises(ReplyError):
        await send(bench, IN_PLACE)
    assert bench.server.files["/out/f"] == b"old"


async def test_in_a_drop_box_nobody_can_tell_whether_there_is_one(bench: Bench) -> None:
    refusal = ReplyError(550, "No", "DELE", code=ErrorCode.PERMISSION_DENIED)
    bench.plan = {"write_only": True}
    bench.server.faults = {("remove", 1): Fault(refusal)}
    assert (await send(bench, IN_PLACE)).marked
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}


@pytest.mark.parametrize("kind", ["store", "stored"])
async def test_a_session_lost_before_it_costs_no_second_upload(bench: Bench, kind: str) -> None:
    bench.server.faults = {(kind, 2): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await send(bench)
    assert bench.server.files["/out/f"] == DATA
    assert bench.left_behind == []
    bench.server.faults = {}
    bench.server.calls.clear()
    done = await send(bench)
    assert (done.marked, done.bytes_transferred, done.verified) == (True, 10, "size")
    assert not any(
        call.startswith(("store /out/.", "store /out/f ", "rename")) for call in bench.server.calls
    )
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}
    assert bench.memory.unfinished is None


async def test_a_file_replaced_by_somebody_else_before_it_is_sent_again(bench: Bench) -> None:
    bench.server.faults = {("store", 2): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await send(bench)
    bench.server.faults, bench.server.files["/out/f"] = {}, b"theirs"
    assert (await send(bench)).marked
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}


async def test_one_that_is_refused_fails_the_job_and_the_file_stays(bench: Bench) -> None:
    bench.server.faults = {("store", 2): Fault(ReplyError(553, "No", "STOR"))}
    with pytest.raises(ReplyError):
        await send(bench)
    assert bench.server.files == {"/out/f": DATA}


async def test_a_job_done_again_writes_the_one_that_is_missing(bench: Bench) -> None:
    bench.server.files = {"/out/f": DATA}
    done = await send(bench, NEVER)
    assert (done.skipped, done.marked) == (True, True)
    assert bench.server.files == {"/out/f": DATA, "/out/f.ok": b""}


async def test_a_job_done_again_leaves_the_one_that_is_there(bench: Bench) -> None:
    bench.server.files = {"/out/f": DATA, "/out/f.ok": b""}
    done = await send(bench, NEVER)
    assert (done.skipped, done.marked) == (True, True)
    assert not any(call.startswith("store") for call in bench.server.calls)


@pytest.mark.parametrize("direction", Direction)
async def test_what_is_no_copy_is_not_marked(bench: Bench, direction: Direction) -> None:
    bench.server.files = {"/out/f": b"another"}
    newer = Options(write_marker=True, overwrite=Overwrite.IF_NEWER)
    (bench.folder / "in" / "f").touch()
    bench.server.tells_time = bench.server.tells_time and bench.server.tells_time.replace(
        year=2001 if direction is Direction.DOWNLOAD else 2999
    )
    done = await (download if direction is Direction.DOWNLOAD else upload)(bench.attempt(direction, newer))
    assert (done.skipped, done.marked) == (True, False)
    assert set(bench.server.files) == {"/out/f"}
    assert set(bench.local()) == {"in/f"}


async def test_a_download_done_again_marks_what_is_there(bench: Bench) -> None:
    bench.server.files = {"/out/f": DATA}
    done = await download(bench.attempt(Direction.DOWNLOAD, NEVER))
    assert (done.skipped, done.marked) == (True, True)
    assert bench.local() == {"in/f": DATA, "in/f.ok": b""}


async def test_a_download_whose_marker_cannot_be_written_fails(bench: Bench) -> None:
    bench.server.files = {"/out/f": DATA}
    (bench.folder / "in" / "f.ok").mkdir()
    with pytest.raises(LocalFileError, match=r"in/f\.ok"):
        await download(bench.attempt(Direction.DOWNLOAD, NEVER))


async def test_a_cancellation_at_every_point(bench: Bench) -> None:
    async def run() -> None:
        bench.server.files.clear()
        await send(bench, Options(write_marker=True, verify=Verify.SIZE))

    async for ending in cancel_points.everywhere(run):
        # Whenever there is a marker there is the whole file.
        assert bench.server.files.get("/out/f") == DATA or "/out/f.ok" not in bench.server.files, ending
        bench.memory.release()
