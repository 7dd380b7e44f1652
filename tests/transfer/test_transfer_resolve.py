"""Uploads whose session was lost: the next attempt, on another session, looks before it sends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, PoolerError, ReplyError, SessionLost, TransferMismatch
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.transfer.attempt import Transferred
from pooler.transfer.memory import Stage
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import TEMPORARY, Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
PART = f"/out/{TEMPORARY}"
RESUME = Options(resume=True)
IN_PLACE = Options(in_place=True)
DONE = Transferred(10, "size", source_checked="time")


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(DATA)
    return Bench(tmp_path, ServerDouble())


async def send(bench: Bench, options: Options = Options()) -> Transferred:  # noqa: B008 - frozen
    return await upload(bench.attempt(Direction.UPLOAD, options))


async def lose(
    bench: Bench,
    kind: str,
    number: int = 1,
    *,
    done: bool,
    options: Options = Options(),  # noqa: B008 - frozen
) -> None:
    """Make one attempt that loses its session; the next one finds the server in order."""
    bench.server.faults = {(kind, number): Fault(SessionLost("gone"), done=done)}
    with pytest.raises(SessionLost):
        await send(bench, options)
    bench.server.faults = {}
    bench.server.calls.clear()
    assert bench.left_behind == []


async def test_point_2_a_lost_226_is_no_lost_upload(bench: Bench) -> None:
    await lose(bench, "stored", done=True)
    assert await send(bench) == DONE
    assert bench.server.calls == [f"size {PART}", f"size {PART}", f"rename {PART} /out/f"]
    assert bench.server.files == {"/out/f": DATA}
    assert bench.memory.unfinished is None


async def test_a_226_that_was_lost_with_some_bytes(bench: Bench) -> None:
    await lose(bench, "stored", done=True)
    bench.server.files[PART] = DATA[:-1]
    assert await send(bench) == DONE
    assert bench.server.calls[:3] == [f"size {PART}", f"remove {PART}", f"store {PART}"]
    assert bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize("happened", [False, True])
async def test_point_10_a_lost_reply_to_the_rename(bench: Bench, *, happened: bool) -> None:
    bench.server.files["/out/f"] = b"old"
    await lose(bench, "rename", done=happened)
    assert await send(bench) == DONE
    assert not any(call.startswith("store") for call in bench.server.calls)
    assert bench.server.files == {"/out/f": DATA}


async def test_a_rename_that_happened_does_not_meet_itself(bench: Bench) -> None:
    never = Options(overwrite=Overwrite.NEVER)
    await lose(bench, "rename", done=True, options=never)
    assert await send(bench, never) == DONE


@pytest.mark.parametrize("overwrite", [Overwrite.ALWAYS, Overwrite.NEVER])
async def test_a_rename_that_happens_only_as_it_is_asked_for_again(
    bench: Bench, overwrite: Overwrite
) -> None:
    options = Options(overwrite=overwrite)
    await lose(bench, "rename", done=False, options=options)
    files = bench.server.files
    bench.server.happens = {("rename", 1): lambda: files.update({"/out/f": files.pop(PART)})}
    assert await send(bench, options) == DONE
    assert not any(call.startswith("store") for call in bench.server.calls)
    assert files == {"/out/f": DATA}


async def test_a_part_that_vanishes_before_its_rename_is_sent_anew(bench: Bench) -> None:
    bench.server.happens = {("rename", 1): bench.server.files.clear}
    with pytest.raises(ReplyError, match="a moment ago") as caught:
        await send(bench)
    assert caught.value.code is not ErrorCode.FILE_NOT_FOUND  # which would be said of the source
    assert caught.value.retriable
    bench.server.happens = {}
    assert await send(bench) == DONE
    assert bench.server.files == {"/out/f": DATA}


async def test_a_file_of_the_same_size_is_not_taken_for_ours_where_none_was_asked_for(bench: Bench) -> None:
    files = bench.server.files
    bench.server.happens = {("rename", 1): lambda: files.update({"/out/f": bytes(len(files.pop(PART)))})}
    with pytest.raises(ReplyError, match="a moment ago"):
        await send(bench)
    bench.server.happens = {}
    assert await send(bench) == DONE
    assert files == {"/out/f": DATA}


async def test_a_rename_that_is_refused_while_the_part_is_there_is_refused(bench: Bench) -> None:
    await lose(bench, "rename", done=False)
    refusal = ReplyError(550, "no such folder", "RNTO", code=ErrorCode.FILE_NOT_FOUND)
    bench.server.faults = {("rename", 1): Fault(refusal)}
    with pytest.raises(ReplyError) as caught:
        await send(bench)
    assert caught.value is refusal


async def test_a_rename_over_another_file_of_the_same_name_is_done_anew(bench: Bench) -> None:
    await lose(bench, "rename", done=True)
    bench.server.files["/out/f"] = b"somebody else's"
    assert await send(bench) == DONE
    assert bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize("kind", ["stored", "rename"])
async def test_where_the_server_tells_no_sizes_it_is_done_anew(bench: Bench, kind: str) -> None:
    bench.server.sizes = {"*": None}
    await lose(bench, kind, done=True)
    assert (await send(bench)).verified == "none"
    assert bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize("kind", ["send", "stored", "rename"])
async def test_a_source_that_changed_between_two_attempts_is_sent_anew(bench: Bench, kind: str) -> None:
    await lose(bench, kind, done=True, options=RESUME)
    (bench.folder / "in" / "f").write_bytes(b"TEN BYTES!")
    assert await send(bench, RESUME) == DONE
    assert bench.server.files == {"/out/f": b"TEN BYTES!"}


async def test_a_second_loss_while_looking_forgets_nothing(bench: Bench) -> None:
    await lose(bench, "stored", done=True)
    await lose(bench, "size", done=False)
    await lose(bench, "rename", done=True)
    assert await send(bench) == DONE


async def test_a_part_that_nobody_may_remove_is_left_behind(bench: Bench) -> None:
    await lose(bench, "send", done=True)
    bench.server.faults = {("remove", 1): Fault(ReplyError(550, "no", "DELE"))}
    await send(bench)
    assert bench.left_behind == [PART]


async def test_what_does_not_verify_is_never_gone_on_with(bench: Bench) -> None:
    bench.server.loses_bytes = 1
    bench.server.faults = {("remove", 1): Fault(SessionLost("gone"))}
    with pytest.raises(TransferMismatch):
        await send(bench, RESUME)
    assert bench.memory.unfinished is not None
    assert bench.memory.unfinished.stage is Stage.SPOILED
    bench.server.faults, bench.server.loses_bytes = {}, 0
    assert await send(bench, RESUME) == DONE
    assert bench.server.files == {"/out/f": DATA}


async def test_a_job_that_ends_gives_its_part_away(bench: Bench) -> None:
    await lose(bench, "send", done=True)
    bench.memory.release()
    bench.memory.release()
    assert bench.left_behind == [PART]


# ---- in place --------------------------------------------------------------------------------------------


async def test_in_place_a_lost_226_is_no_lost_upload(bench: Bench) -> None:
    await lose(bench, "stored", done=True, options=IN_PLACE)
    assert await send(bench, IN_PLACE) == DONE
    assert bench.server.calls == ["size /out/f", "size /out/f"]


async def test_in_place_a_part_of_ours_is_no_destination_that_exists(bench: Bench) -> None:
    options = Options(in_place=True, overwrite=Overwrite.NEVER)
    await lose(bench, "send", 2, done=True, options=options)
    assert await send(bench, options) == DONE
    assert bench.server.files == {"/out/f": DATA}


async def test_in_place_it_is_ours_as_well_where_the_session_has_survived(bench: Bench) -> None:
    options = Options(in_place=True, overwrite=Overwrite.NEVER)
    refusal = ReplyError(451, "busy", "SIZE")
    bench.server.faults = {("size", 1): Fault(refusal)}
    bench.server.files.clear()
    with pytest.raises(ReplyError):
        await send(bench, options)
    assert bench.session.usable
    bench.server.faults = {}
    bench.server.calls.clear()
    assert await send(bench, options) == DONE
    assert not any(call.startswith("store") for call in bench.server.calls)
    assert bench.server.files == {"/out/f": DATA}


async def test_in_place_nothing_is_given_away(bench: Bench) -> None:
    await lose(bench, "send", done=True, options=IN_PLACE)
    bench.memory.release()
    assert bench.left_behind == []


# ---- resumed ---------------------------------------------------------------------------------------------


async def test_a_large_file_is_gone_on_with(bench: Bench) -> None:
    await lose(bench, "send", 2, done=True, options=RESUME)
    (part,) = bench.server.files
    assert bench.server.files == {part: DATA[:6]}
    done = await send(bench, RESUME)
    assert (done.bytes_transferred, done.verified, done.resumed_from) == (10, "size", 6)
    assert bench.server.calls[:2] == [f"size {part}", f"store {part} 6"]
    assert bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize("options", [Options(), RESUME], ids=["not asked for", "too small"])
async def test_other_files_are_sent_anew(bench: Bench, options: Options) -> None:
    if options.resume:
        (bench.folder / "in" / "f").write_bytes(b"seven..")
    await lose(bench, "send", 2, done=True, options=options)
    done = await send(bench, options)
    assert done.resumed_from is None
    assert bench.server.calls[:2] == [f"remove {PART}", f"store {PART}"]


async def test_a_resumed_file_has_the_checksum_of_the_whole(bench: Bench) -> None:
    options = Options(resume=True, verify=Verify.CHECKSUM)
    bench.server.sums = ["sha256"]
    await lose(bench, "send", 2, done=True, options=options)
    done = await send(bench, options)
    assert (done.verified, done.resumed_from) == ("checksum", 6)


async def test_a_server_that_begins_at_the_beginning_only(bench: Bench) -> None:
    bench.server.restarts = False
    await lose(bench, "send", 2, done=True, options=RESUME)
    done = await send(bench, RESUME)
    assert done == DONE
    assert bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize("options", [Options(), RESUME, IN_PLACE], ids=["anew", "resumed", "in place"])
@pytest.mark.parametrize("point", [("send", 2), ("stored", 1), ("rename", 1)], ids=lambda point: point[0])
async def test_a_cancellation_of_the_second_attempt(
    bench: Bench, options: Options, point: tuple[str, int]
) -> None:
    async def run() -> None:
        bench.server.faults = {point: Fault(SessionLost("gone"), done=True)}
        try:
            await send(bench, options)
        except PoolerError:
            bench.server.faults = {}
            await send(bench, options)

    async for ending in cancel_points.everywhere(run):
        if not ending.cancelled:
            assert bench.server.files == {"/out/f": DATA}
        bench.memory.release()
        assert {path for path in bench.server.files if path != "/out/f"} <= set(bench.left_behind)
        bench.server.files.clear()
        bench.left_behind.clear()
