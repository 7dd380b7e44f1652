import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from pooler.config.temp_name import TempName
from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    JobError,
    LocalFileError,
    PeerProtocolError,
    PoolerError,
    ReplyError,
    SessionLost,
    StoredTooSoon,
    TransferMismatch,
)
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.storage.lease import LeaseLost
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer.attempt import Transferred
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import AUTHOR, TEMPORARY, Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
PART = f"/out/{TEMPORARY}"
NEVER = Options(overwrite=Overwrite.NEVER)
IN_PLACE = Options(in_place=True)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(DATA)
    return tmp_path / "in" / "f"


@pytest.fixture
def bench(tmp_path: Path, source: Path) -> Bench:
    assert source.exists()
    return Bench(tmp_path, ServerDouble())


def put(bench: Bench, data: bytes) -> None:
    (bench.folder / "in" / "f").write_bytes(data)


async def send(bench: Bench, options: Options = Options()) -> Transferred:  # noqa: B008 - frozen
    return await upload(bench.attempt(Direction.UPLOAD, options))


async def test_points_11_12_a_file_is_sent_aside_and_then_renamed(bench: Bench) -> None:
    bench.server.files["/out/f"] = b"old"
    done = await send(bench)
    assert done == Transferred(10, "size", source_checked="time")
    assert bench.server.files == {"/out/f": DATA}
    assert bench.server.calls == [
        f"store {PART}", "send", "send", "send", "stored", f"size {PART}", f"rename {PART} /out/f",
    ]  # fmt: skip
    assert sum(bench.moved) == 10
    assert bench.left_behind == []
    assert bench.session.usable


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 100])
async def test_any_size(bench: Bench, size: int) -> None:
    put(bench, bytes(size))
    assert await send(bench) == Transferred(size, "size", source_checked="time")
    assert bench.server.files == {"/out/f": bytes(size)}


async def test_in_place_there_is_no_other_name(bench: Bench) -> None:
    assert await send(bench, IN_PLACE) == Transferred(10, "size", source_checked="time")
    assert bench.server.calls == ["store /out/f", "send", "send", "send", "stored", "size /out/f"]


async def test_without_verification_no_size_is_asked(bench: Bench) -> None:
    bench.server.loses_bytes = 1
    assert await send(bench, Options(verify=Verify.NONE)) == Transferred(10, "none", source_checked="time")
    assert not any(call.startswith("size") for call in bench.server.calls)


async def test_a_server_that_cannot_tell_sizes(bench: Bench) -> None:
    bench.server.sizes = {"*": None}
    assert await send(bench) == Transferred(10, "none", source_checked="time")


async def test_a_file_at_the_top_of_the_server(bench: Bench) -> None:
    attempt = bench.attempt(Direction.UPLOAD, Options())
    plan = type(attempt.plan)(Direction.UPLOAD, "site", "/f", "disk", ("in", "f"), Options())
    await upload(replace(attempt, plan=plan))
    assert bench.server.files == {"/f": DATA}
    assert bench.server.calls[0] == f"store /{TEMPORARY}"


async def test_a_missing_source_is_not_spoken_of_to_the_server(bench: Bench, source: Path) -> None:
    await trio.Path(source).unlink()
    with pytest.raises(LocalFileError) as caught:
        await send(bench)
    assert caught.value.code is ErrorCode.FILE_NOT_FOUND
    assert bench.server.calls == []


# ---- what arrived is not what was sent -----------------------------------------------------------------


@pytest.mark.parametrize("told", [0, 9, 11])
async def test_a_size_that_does_not_fit(bench: Bench, told: int) -> None:
    bench.server.files["/out/f"] = b"old"
    bench.server.sizes = {PART: told}
    with pytest.raises(TransferMismatch) as caught:
        await send(bench)
    assert caught.value.code is ErrorCode.SIZE_MISMATCH
    assert str(caught.value) == f"10 bytes were sent, the server has {told}"
    assert bench.server.files == {"/out/f": b"old"}
    assert bench.left_behind == []
    assert bench.session.usable


async def test_bytes_that_the_server_lost(bench: Bench) -> None:
    bench.server.loses_bytes = 1
    with pytest.raises(TransferMismatch):
        await send(bench)
    assert bench.server.files == {}


def changing(monkeypatch: pytest.MonkeyPatch, source: Path, data: bytes, *, append: bool) -> None:
    real, left = SourceFile.read_into, [source]

    def read_into(self: SourceFile, buffer: memoryview) -> int:
        count = real(self, buffer)
        if left:
            with left.pop().open("ab" if append else "wb") as stream:
                stream.write(data)
        return count

    monkeypatch.setattr(SourceFile, "read_into", read_into)


@pytest.mark.parametrize(
    ("data", "append"), [(b"more", True), (b"", False), (b"TEN BYTES!", False)], ids=["grown", "cut", "same"]
)
async def test_point_25_a_source_that_changes_while_it_is_read(
    bench: Bench, source: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, *, append: bool
) -> None:
    changing(monkeypatch, source, data, append=append)
    with pytest.raises(TransferMismatch) as caught:
        await send(bench)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert caught.value.retriable
    assert bench.server.files == {}
    assert not any(call.startswith("rename") for call in bench.server.calls)


# ---- overwrite never -----------------------------------------------------------------------------------


async def test_a_destination_of_the_same_size_is_skipped(bench: Bench) -> None:
    bench.server.files["/out/f"] = b"TEN BYTES!"
    assert await send(bench, NEVER) == Transferred(verified="size", skipped=True)
    assert bench.server.files == {"/out/f": b"TEN BYTES!"}
    assert bench.server.calls == ["stat /out/f"]


async def test_another_destination_is_kept(bench: Bench) -> None:
    bench.server.files["/out/f"] = b"old"
    with pytest.raises(JobError) as caught:
        await send(bench, NEVER)
    assert caught.value.code is ErrorCode.DESTINATION_EXISTS
    assert str(caught.value) == "site:/out/f: exists, with 3 bytes"
    assert bench.server.files == {"/out/f": b"old"}


async def test_no_destination_is_no_hindrance(bench: Bench) -> None:
    assert await send(bench, NEVER) == Transferred(10, "size", source_checked="time")
    assert bench.server.files == {"/out/f": DATA}


async def test_where_nobody_can_look_nothing_is_overwritten(bench: Bench) -> None:
    bench.server.files["/out/f"] = b"old"
    bench.server.sizes = {"*": None}
    with pytest.raises(JobError) as caught:
        await send(bench, NEVER)
    assert caught.value.code is ErrorCode.INVALID_JOB
    assert bench.server.files == {"/out/f": b"old"}


async def test_a_size_that_is_refused_is_no_missing_file(bench: Bench) -> None:
    bench.server.faults = {
        ("stat", 1): Fault(ReplyError(550, "denied", "SIZE", code=ErrorCode.PERMISSION_DENIED))
    }
    with pytest.raises(ReplyError):
        await send(bench, NEVER)
    assert bench.server.calls == ["stat /out/f"]


# ---- whatever fails, no part is left unnoticed -----------------------------------------------------

POINTS = [("store", 1), ("send", 1), ("send", 3), ("stored", 1), ("size", 1), ("rename", 1)]
ERRORS = [
    SessionLost("gone"),
    DataConnectionError("stalled"),
    PeerProtocolError("?"),
    ReplyError(553, "", ""),
]
REMOVALS = [None, Fault(ReplyError(550, "no", "DELE")), Fault(SessionLost("gone too"))]


def no_part_unnoticed(bench: Bench) -> None:
    bench.memory.release()
    parts = {path for path in bench.server.files if path.endswith(".part")}
    assert parts <= set(bench.left_behind)
    assert len(bench.left_behind) <= 1


@pytest.mark.parametrize("removal", REMOVALS, ids=["removed", "refused", "lost"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[0]}{point[1]}")
async def test_a_failure_of_the_server(
    bench: Bench, point: tuple[str, int], error: PoolerError, removal: Fault | None, *, done: bool
) -> None:
    bench.server.files["/out/f"] = b"old"
    faults = {point: Fault(error, done=done)}
    if removal is not None:
        faults["remove", 1] = removal
    bench.server.faults = faults
    with pytest.raises(PoolerError) as caught:
        await send(bench)
    # What failed first is what is told, whatever came of the tidying.
    assert caught.value is error
    no_part_unnoticed(bench)
    renamed = done and point[0] == "rename"
    assert bench.server.files["/out/f"] == (DATA if renamed else b"old")


async def test_a_part_that_could_be_removed_is_not_spoken_of(bench: Bench) -> None:
    bench.server.faults = {("rename", 1): Fault(ReplyError(553, "", ""))}
    with pytest.raises(ReplyError):
        await send(bench)
    assert bench.server.files == {}
    assert bench.left_behind == []


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_disk_that_cannot_be_read(bench: Bench, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = SourceFile.read_into, [call]

    def read_into(self: SourceFile, buffer: memoryview) -> int:
        left[0] -= 1
        if left[0] == 0:
            raise LocalFileError(ErrorCode.IO_ERROR, "bad sector")
        return real(self, buffer)

    monkeypatch.setattr(SourceFile, "read_into", read_into)
    with pytest.raises(LocalFileError):
        await send(bench)
    # The server must not take the part for the whole: the session is dead, and somebody else tidies up.
    assert not bench.session.usable
    assert bench.left_behind == []
    no_part_unnoticed(bench)
    assert bench.left_behind == [PART]


@pytest.mark.parametrize("options", [Options(), NEVER], ids=["always", "never"])
async def test_a_cancellation_at_every_point(bench: Bench, options: Options) -> None:
    before = descriptors.count()
    ended = []
    async for ending in cancel_points.everywhere(lambda: send(bench, options)):
        ended.append(ending)
        no_part_unnoticed(bench)
        assert descriptors.count() == before, ending
        if ending.cancelled:
            assert bench.server.files.get("/out/f") in {None, DATA}
        bench.server.files.clear()
        bench.left_behind.clear()
    assert sum(ending.cancelled for ending in ended) >= 11
    assert not ended[-1].cancelled


async def test_a_cancellation_while_tidying_up(bench: Bench) -> None:
    bench.server.faults = {("rename", 1): Fault(ReplyError(553, "", ""))}
    told = 0

    async def run() -> None:
        with pytest.raises(ReplyError):
            await send(bench)

    async for _ in cancel_points.everywhere(run):
        no_part_unnoticed(bench)
        told += len(bench.left_behind)
        bench.server.files.clear()
        bench.left_behind.clear()
    assert told > 0


async def test_in_place_a_failure_is_told_and_nothing_is_removed(bench: Bench) -> None:
    bench.server.faults = {("send", 2): Fault(DataConnectionError("reset"))}
    with pytest.raises(DataConnectionError):
        await send(bench, IN_PLACE)
    assert bench.left_behind == []
    assert not any(call.startswith("remove") for call in bench.server.calls)


@pytest.mark.parametrize("options", [Options(), NEVER, IN_PLACE], ids=["always", "never", "in place"])
async def test_the_source_is_never_touched(bench: Bench, options: Options) -> None:
    await send(bench, options)
    assert bench.local() == {"in/f": DATA}


# ---- what the temporary file is called -----------------------------------------------------------------

TOKEN = AUTHOR.token()


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (TempName("", "{name}.filepart"), "/out/f.filepart"),
        (TempName("", "~{token}_{name}.x"), f"/out/~{TOKEN}_f.x"),
        (TempName("tmp/deep", "{token}"), f"/out/tmp/deep/{TOKEN}"),
        (TempName("/tmp", "{token}"), f"/srv/tmp/{TOKEN}"),
        (TempName("/", "{token}"), f"/srv/{TOKEN}"),
    ],
)
async def test_it_has_the_name_that_its_remote_wants(bench: Bench, pattern: TempName, path: str) -> None:
    bench.plan = {"temp_name": pattern, "base_path": "/srv"}
    assert await send(bench) == Transferred(10, "size", source_checked="time")
    assert bench.server.calls[0] == f"store {path}"
    assert bench.server.calls[-1] == f"rename {path} /out/f"
    assert bench.server.files == {"/out/f": DATA}


async def send_as(bench: Bench, name: str, pattern: str) -> None:
    attempt = bench.attempt(Direction.UPLOAD, Options())
    plan = replace(attempt.plan, remote_path=f"/out/{name}", temp_name=TempName("", pattern))
    await upload(replace(attempt, plan=plan))


async def test_a_long_name_is_cut_where_the_token_tells_files_apart(bench: Bench) -> None:
    await send_as(bench, "x" * 99, "{name}.{token}")
    stored = bench.server.calls[0].removeprefix("store /out/")
    assert stored == "x" * (64 - len(f".{TOKEN}")) + f".{TOKEN}"


async def test_a_long_name_is_not_cut_where_nothing_else_tells_files_apart(bench: Bench) -> None:
    with pytest.raises(JobError, match="temp_name") as caught:
        await send_as(bench, "x" * 99, "{name}.part")
    assert caught.value.code is ErrorCode.INVALID_JOB
    assert bench.server.calls == []


async def test_a_name_with_braces_is_no_pattern(bench: Bench) -> None:
    await send_as(bench, "{token}{name}", "{name}.part")
    assert bench.server.calls[0] == "store /out/{token}{name}.part"


async def test_a_name_that_may_be_another_s_later_is_not_swept(bench: Bench) -> None:
    bench.plan = {"temp_name": TempName("", "{name}.part")}
    bench.server.faults = {("send", 2): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await send(bench)
    bench.memory.release()
    assert bench.left_behind == []


async def test_a_name_that_is_still_ours_is_removed(bench: Bench) -> None:
    bench.plan = {"temp_name": TempName("", "{name}.part")}
    bench.server.faults = {("rename", 1): Fault(ReplyError(553, "", ""))}
    with pytest.raises(ReplyError):
        await send(bench)
    assert bench.server.files == {}


class Taken(LocalRoot):
    """A root on which others may take us for gone."""

    def check_lease(self, part: str) -> None:
        raise LeaseLost(ErrorCode.IO_ERROR, f"{part} may be swept")


@pytest.mark.parametrize(("pattern", "is_ours"), [(".{token}.x", True), ("{name}.part", False)])
async def test_only_a_name_that_no_other_can_have_is_written_down_and_held_against_the_lease(
    bench: Bench, pattern: str, *, is_ours: bool
) -> None:
    bench.plan = {"temp_name": TempName("", pattern)}
    attempt = bench.attempt(Direction.UPLOAD, Options())
    attempt = replace(attempt, root=Taken("disk", bench.folder))
    noted: list[dict[str, object]] = []
    bench.server.happens = {("store", 1): lambda: noted.append(dict(bench.memory.noted))}
    if is_ours:
        with pytest.raises(LeaseLost):
            await upload(attempt)
        assert [list(paths) for paths in noted] == [[f"/out/.{TOKEN}.x"]]
    else:
        await upload(attempt)
        assert noted == [{}]
    assert any(call.startswith("rename") for call in bench.server.calls) is not is_ours


# ---- servers that cannot, or do not tell ---------------------------------------------------------------


@pytest.mark.parametrize("code", [500, 502, 504])
async def test_a_server_that_cannot_rename_is_told_of_with_what_helps(bench: Bench, code: int) -> None:
    bench.server.faults = {("rename", 1): Fault(ReplyError(code, "What?", "RNFR x"))}
    with pytest.raises(ReplyError, match=rf"RNFR x: {code} What\? \(in_place = true") as caught:
        await send(bench)
    assert (caught.value.code, caught.value.retriable) == (ErrorCode.PROTOCOL_ERROR, False)
    assert bench.server.files == {}


async def test_a_rename_that_is_refused_for_another_reason_is_not(bench: Bench) -> None:
    bench.server.faults = {("rename", 1): Fault(ReplyError(553, "No", "RNTO x"))}
    with pytest.raises(ReplyError) as caught:
        await send(bench)
    assert "in_place" not in str(caught.value)


async def test_a_size_that_we_may_not_know_is_none(bench: Bench) -> None:
    refusal = ReplyError(550, "denied", "SIZE", code=ErrorCode.PERMISSION_DENIED)
    bench.server.faults = {("size", 1): Fault(refusal)}
    assert await send(bench) == Transferred(10, "none", source_checked="time")
    assert bench.server.files == {"/out/f": DATA}


async def test_a_file_that_vanishes_at_once_is_told_of_with_what_helps(bench: Bench) -> None:
    refusal = ReplyError(550, "none", "SIZE x", code=ErrorCode.FILE_NOT_FOUND)
    bench.server.faults = {("size", 1): Fault(refusal)}
    with pytest.raises(ReplyError, match="write_only = true") as caught:
        await send(bench)
    assert caught.value.code is ErrorCode.FILE_NOT_FOUND


BOX = Options(in_place=True, preserve_mtime=True)


@pytest.mark.parametrize("verify", [*Verify, None])
async def test_of_a_drop_box_nothing_is_asked_and_nothing_claimed(
    bench: Bench, verify: Verify | None
) -> None:
    bench.plan = {"write_only": True}
    bench.server.sets_times = False
    done = await send(bench, replace(BOX, verify=verify))
    assert (done.bytes_transferred, done.verified, done.mtime_kept) == (10, "none", False)
    assert (done.checksum is not None) == (verify in {Verify.CHECKSUM, Verify.READ_BACK})
    assert {call.partition(" ")[0] for call in bench.server.calls} == {
        "store", "send", "stored", "set_modified",
    }  # fmt: skip
    assert bench.server.files == {"/out/f": DATA}


async def test_to_a_drop_box_a_lost_226_is_sent_again(bench: Bench) -> None:
    bench.plan = {"write_only": True}
    bench.server.faults = {("stored", 1): Fault(SessionLost("gone"), done=True)}
    with pytest.raises(SessionLost):
        await send(bench, BOX)
    bench.server.faults = {}
    bench.server.calls.clear()
    assert (await send(bench, BOX)).verified == "none"
    assert bench.server.calls[0] == "store /out/f"


async def test_what_was_sent_too_soon_is_sent_again_in_the_same_attempt(bench: Bench) -> None:
    gone = StoredTooSoon(553, "Could not create file.", "STOR …", code=ErrorCode.FILE_NOT_FOUND)
    bench.server.faults = {("stored", 1): Fault(gone)}
    done = await send(bench, Options(verify=Verify.CHECKSUM))
    assert (done.bytes_transferred, done.checksum) == (10, f"sha256:{hashlib.sha256(DATA).hexdigest()}")
    assert bench.server.files == {"/out/f": DATA}
    assert bench.server.sent_ahead == [True, False]
    assert bench.left_behind == []
    assert bench.session.usable
