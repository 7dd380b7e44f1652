"""Destinations that exist, times that are kept, and sources that change."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import ErrorCode, JobError, ReplyError, SessionLost, TransferMismatch
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.storage.root import SourceState
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from pooler.transfer.overwrite import Comparison, compare, is_same, nanoseconds, time_of
from pooler.transfer.session import Stat
from pooler.transfer.upload import upload
from tests.support import descriptors
from tests.support.attempts import TEMPORARY, Bench
from tests.support.session_double import Fault, ServerDouble

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD
DATA = b"ten bytes."
NOON = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
IF_NEWER = Options(overwrite=Overwrite.IF_NEWER)
IF_DIFFERENT = Options(overwrite=Overwrite.IF_DIFFERENT)
KEEP = Options(preserve_mtime=True)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "in").mkdir()
    return Bench(tmp_path, ServerDouble({"/out/f": DATA}, tells_time=NOON))


def put(bench: Bench, data: bytes = DATA, later_s: float = 0.0) -> None:
    path = bench.folder / "in" / "f"
    path.write_bytes(data)
    stamp = NOON.timestamp() + later_s
    os.utime(path, (stamp, stamp))


async def run(bench: Bench, direction: Direction, options: Options) -> Transferred:
    done = await (upload if direction is UP else download)(bench.attempt(direction, options))
    if done.part is not None:
        done.part.close()
    return done


# ---- pure ------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - Hypothesis adds the zone


@given(MOMENTS)
def test_a_time_goes_to_nanoseconds_and_back(moment: dt.datetime) -> None:
    assert time_of(SourceState(0, nanoseconds(moment))) == moment


@given(MOMENTS, st.floats(-0.99, 0.99))
def test_within_the_precision_times_are_equal(moment: dt.datetime, off_s: float) -> None:
    state = SourceState(1, nanoseconds(moment + dt.timedelta(seconds=off_s)))
    assert compare(state, Stat(1, moment, 1.0)) == Comparison(same_size=True, remote_is_ahead_s=0.0)


@pytest.mark.parametrize("off_s", [-1, 1])
def test_a_whole_step_of_the_precision_apart_they_are_not(off_s: int) -> None:
    state = SourceState(1, nanoseconds(NOON - dt.timedelta(seconds=off_s)))
    assert compare(state, Stat(1, NOON, 1.0)) == Comparison(same_size=True, remote_is_ahead_s=off_s)


def test_what_the_server_does_not_tell_is_not_known() -> None:
    assert compare(SourceState(1, 1), Stat(None, None, 0.0)) == Comparison(None, None)
    assert compare(SourceState(1, 1), Stat(None, NOON, 1.0)).verified == "none"


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (Stat(1, NOON, 1.0), True),
        (Stat(1, NOON + dt.timedelta(seconds=0.7), 0.001), True),
        (Stat(1, NOON + dt.timedelta(seconds=1), 1.0), False),
        (Stat(1, None, 0.0), True),
        (Stat(None, NOON, 1.0), True),
        (Stat(2, NOON, 1.0), False),
        (Stat(2, None, 0.0), False),
    ],
)
def test_two_looks_at_one_file(after: Stat, *, same: bool) -> None:
    assert is_same(Stat(1, NOON, 1.0), after) is same
    assert is_same(after, Stat(1, NOON, 1.0)) is same


# ---- if newer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "local_later_s", "copied"),
    [
        (UP, 5, True),
        (UP, 0.5, False),
        (UP, -5, False),
        (DOWN, -5, True),
        (DOWN, 0.5, False),
        (DOWN, 5, False),
    ],
)
async def test_only_a_newer_source_is_copied(
    bench: Bench, direction: Direction, local_later_s: float, *, copied: bool
) -> None:
    put(bench, b"TEN BYTES!", local_later_s)
    done = await run(bench, direction, IF_NEWER)
    assert done.skipped is not copied
    if not copied:
        assert done.verified == ("time" if abs(local_later_s) < 1 else "size")
        assert bench.server.calls == ["stat /out/f"]


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_without_times_nobody_knows_what_is_newer(bench: Bench, direction: Direction) -> None:
    put(bench)
    bench.server.tells_time = None
    with pytest.raises(JobError) as caught:
        await run(bench, direction, IF_NEWER)
    assert caught.value.code is ErrorCode.INVALID_JOB
    assert str(caught.value) == "site:/out/f: overwrite is if_newer, and this server cannot tell times"


@pytest.mark.parametrize("options", [IF_NEWER, IF_DIFFERENT])
async def test_where_nothing_stands_it_is_copied(bench: Bench, options: Options) -> None:
    assert not (await run(bench, DOWN, options)).skipped
    put(bench)
    bench.server.files.clear()
    assert not (await run(bench, UP, options)).skipped


# ---- if different ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize(
    ("local", "sums", "verified"),
    [
        ((DATA, 0), [], "time"),
        ((DATA, 100), ["sha256"], "checksum"),
        ((DATA, 100), ["crc32"], "checksum"),
        ((DATA, 100), [], None),
        ((b"TEN BYTES!", 100), ["md5"], None),
        ((b"eleven byte", 0), ["sha256"], None),
    ],
)
async def test_only_a_different_source_is_copied(
    bench: Bench, direction: Direction, local: tuple[bytes, float], sums: list[str], verified: str | None
) -> None:
    bench.server.sums = sums
    put(bench, *local)
    done = await run(bench, direction, IF_DIFFERENT)
    assert done.skipped is (verified is not None)
    if verified is not None:
        assert done.verified == verified


async def test_a_sum_that_the_server_refuses_makes_no_two_files_equal(bench: Bench) -> None:
    put(bench, later_s=100)
    bench.server.faults = {("checksum", 1): Fault(ReplyError(550, "no", "HASH"))}
    assert not (await run(bench, UP, IF_DIFFERENT)).skipped


async def test_what_appears_meanwhile_is_not_replaced_by_who_may_not(bench: Bench) -> None:
    put(bench)
    bench.server.files.clear()
    bench.server.happens = {("rename", 1): lambda: bench.server.files.update({"/out/f": b"faster"})}
    with pytest.raises(ReplyError):
        await run(bench, UP, Options(overwrite=Overwrite.NEVER))
    assert bench.server.files == {"/out/f": b"faster"}


@pytest.mark.parametrize("how", Overwrite)
async def test_only_who_may_never_replace_does_not(bench: Bench, how: Overwrite) -> None:
    done = await run(bench, DOWN, Options(overwrite=how))
    assert done.part is not None
    assert done.part.replace is (how is not Overwrite.NEVER)


# ---- times that are kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sets", [False, True])
async def test_an_upload_keeps_its_time_where_the_server_can(bench: Bench, *, sets: bool) -> None:
    put(bench, later_s=-90.5)
    bench.server.sets_times = sets
    done = await run(bench, UP, KEEP)
    assert done.mtime_kept is sets
    if sets:
        assert bench.server.times == {"/out/f": NOON - dt.timedelta(seconds=91)}


async def test_a_refusal_to_set_a_time_fails_no_upload(bench: Bench) -> None:
    put(bench)
    bench.server.faults = {("set_modified", 1): Fault(ReplyError(550, "no", "MFMT"))}
    assert (await run(bench, UP, KEEP)).mtime_kept is False


@pytest.mark.parametrize("tells", [None, NOON])
async def test_a_download_keeps_its_time_where_the_server_tells_it(
    bench: Bench, tells: dt.datetime | None
) -> None:
    bench.server.tells_time = tells
    done = await run(bench, DOWN, KEEP)
    assert done.mtime_kept is (tells is not None)
    if tells is not None:
        assert (bench.folder / "in" / TEMPORARY).stat().st_mtime == NOON.timestamp()


async def test_a_time_is_kept_of_a_download_of_which_nothing_is_compared(bench: Bench) -> None:
    done = await run(bench, DOWN, Options(preserve_mtime=True, verify=Verify.NONE))
    assert (done.verified, done.mtime_kept) == ("none", True)
    assert (bench.folder / "in" / TEMPORARY).stat().st_mtime == NOON.timestamp()


async def test_nobody_asked(bench: Bench) -> None:
    put(bench)
    for direction in (UP, DOWN):
        assert (await run(bench, direction, Options())).mtime_kept is None
    assert not any(call.startswith("set_modified") for call in bench.server.calls)


# ---- sources that change ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["receive", "retrieved", "stat"])
@pytest.mark.parametrize("what", ["grown", "shrunk", "rewritten"])
async def test_point_25_a_source_that_changes_while_it_is_downloaded(
    bench: Bench, kind: str, what: str
) -> None:
    def change() -> None:
        bench.server.times["/out/f"] = NOON + dt.timedelta(seconds=5)
        bench.server.files["/out/f"] = {"grown": DATA * 2, "shrunk": b"", "rewritten": b"TEN BYTES!"}[what]

    bench.server.happens = {(kind, 2 if kind == "stat" else 1): change}
    with pytest.raises(TransferMismatch) as caught:
        await run(bench, DOWN, Options(resume=True))
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert caught.value.retriable
    assert bench.local() == {}
    assert bench.memory.kept is None


@pytest.mark.parametrize(("tells", "checked"), [(NOON, "time"), (None, "size")])
async def test_the_result_says_how_the_source_was_checked(
    bench: Bench, tells: dt.datetime | None, checked: str
) -> None:
    bench.server.tells_time = tells
    assert (await run(bench, DOWN, Options())).source_checked == checked


async def test_a_server_that_tells_nothing_can_not_be_asked_twice(bench: Bench) -> None:
    bench.server.tells_time, bench.server.sizes = None, {"*": None}
    assert (await run(bench, DOWN, Options())).source_checked == "none"
    assert sum(call.startswith("stat") for call in bench.server.calls) == 1


async def test_a_server_that_removes_what_was_fetched(bench: Bench) -> None:
    bench.server.happens = {("stat", 2): bench.server.files.clear}
    assert (await run(bench, DOWN, Options())).source_checked == "none"
    assert bench.local() == {f"in/{TEMPORARY}": DATA}


async def test_a_session_that_is_lost_before_the_second_look(bench: Bench) -> None:
    bench.server.faults = {("stat", 2): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await run(bench, DOWN, Options())
    assert bench.local() == {}
