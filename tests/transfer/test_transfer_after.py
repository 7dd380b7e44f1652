"""What becomes of the source, and what is never done to it."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, LocalFileError, PoolerError, ReplyError, SessionLost
from pooler.model.job import After, Direction, Options, Overwrite, Verify
from pooler.storage.landing import land
from pooler.transfer.after import AfterAction, after_action
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import Bench
from tests.support.session_double import Fault, ServerDouble

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD
BOTH = pytest.mark.parametrize("direction", [UP, DOWN])
DATA = b"ten bytes."
DELETE = Options(after=After.DELETE)
MOVE = Options(after=After.MOVE, move_to="/done/f")


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "in").mkdir()
    return Bench(tmp_path, ServerDouble())


def put(bench: Bench, direction: Direction, data: bytes = DATA) -> None:
    if direction is UP:
        (bench.folder / "in" / "f").write_bytes(data)
    else:
        bench.server.files["/out/f"] = data


def sources(bench: Bench, direction: Direction) -> dict[str, bytes]:
    """Tell what is on the source's side, by one kind of path."""
    found = bench.local() if direction is UP else bench.server.files
    return {name.lstrip("/").replace("out/", "in/"): data for name, data in found.items()}


async def copy(bench: Bench, direction: Direction, options: Options) -> Transferred:
    done = await (upload if direction is UP else download)(bench.attempt(direction, options))
    if done.part is not None:
        assert land([done.part], "never") == [None]
    return done


async def run(bench: Bench, direction: Direction, options: Options) -> AfterAction:
    done = await copy(bench, direction, options)
    return await after_action(bench.newest, done)


@BOTH
@pytest.mark.parametrize(
    ("options", "told", "left"),
    [(Options(), None, {"in/f"}), (DELETE, "deleted", set()), (MOVE, "moved", {"done/f"})],
)
async def test_what_becomes_of_a_source(
    bench: Bench, direction: Direction, options: Options, told: str | None, left: set[str]
) -> None:
    put(bench, direction)
    assert await run(bench, direction, options) == AfterAction(told)
    assert sources(bench, direction).keys() == left
    assert sources(bench, DOWN if direction is UP else UP) == {"in/f": DATA}


@pytest.mark.parametrize("verify", [Verify.SIZE, Verify.CHECKSUM, Verify.READ_BACK])
@BOTH
async def test_any_verification_is_enough(bench: Bench, direction: Direction, verify: Verify) -> None:
    put(bench, direction)
    bench.server.sums = ["sha256"]
    assert await run(bench, direction, Options(after=After.DELETE, verify=verify)) == AfterAction("deleted")


@BOTH
async def test_nothing_is_replaced(bench: Bench, direction: Direction) -> None:
    put(bench, direction)
    bench.server.files["/done/f"] = b"old"
    (bench.folder / "done").mkdir()
    (bench.folder / "done" / "f").write_bytes(b"old")
    found = await run(bench, direction, MOVE)
    assert found.done == "left"
    assert found.error
    assert sources(bench, direction) == {"in/f": DATA, "done/f": b"old"}


@BOTH
@pytest.mark.parametrize("options", [DELETE, MOVE], ids=["delete", "move"])
async def test_a_source_that_has_changed_since_is_left(
    bench: Bench, direction: Direction, options: Options
) -> None:
    put(bench, direction)
    done = await copy(bench, direction, options)
    put(bench, direction, b"newer, and not copied")
    found = await after_action(bench.newest, done)
    assert found.done == "left"
    assert found.error is not None
    assert found.error.endswith("changed since it was copied")
    assert sources(bench, direction) == {"in/f": b"newer, and not copied"}


@BOTH
async def test_a_copy_that_was_not_verified_is_no_reason(bench: Bench, direction: Direction) -> None:
    put(bench, direction)
    bench.server.sizes = {"*": None}
    assert await run(bench, direction, DELETE) == AfterAction(
        "left", "the destination is not known to be a copy of it"
    )
    assert sources(bench, direction) == {"in/f": DATA}


@BOTH
@pytest.mark.parametrize("same_time", [True, False])
async def test_a_file_that_was_there_before(bench: Bench, direction: Direction, *, same_time: bool) -> None:
    put(bench, UP)
    put(bench, DOWN)
    stamp = (bench.folder / "in" / "f").stat().st_mtime
    at = dt.datetime.fromtimestamp(stamp + (0 if same_time else 100), dt.UTC)
    bench.server.times["/out/f"] = at
    found = await run(bench, direction, Options(after=After.DELETE, overwrite=Overwrite.NEVER))
    assert found.done == ("deleted" if same_time else "left")


WAYS = pytest.mark.parametrize(
    ("kind", "number", "options"),
    [("stat", 3, DELETE), ("stat", 3, MOVE), ("remove", 1, DELETE), ("rename", 1, MOVE)],
)


@WAYS
async def test_a_server_that_will_not(bench: Bench, kind: str, number: int, options: Options) -> None:
    put(bench, DOWN)
    bench.server.faults = {(kind, number): Fault(ReplyError(550, "no", "DELE"))}
    found = await run(bench, DOWN, options)
    assert found.done == "left"
    assert found.error is not None
    assert "550" in found.error
    assert bench.server.files == {"/out/f": DATA}


@WAYS
async def test_a_session_that_is_lost_over_it(bench: Bench, kind: str, number: int, options: Options) -> None:
    put(bench, DOWN)
    bench.server.faults = {(kind, number): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost, match="gone"):
        await run(bench, DOWN, options)


async def test_a_disk_that_will_not(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise LocalFileError(ErrorCode.PERMISSION_DENIED, "no")

    monkeypatch.setattr("pooler.transfer.after.remove_source", refuse)
    put(bench, UP)
    assert await run(bench, UP, DELETE) == AfterAction("left", "no")


@pytest.mark.parametrize("asks_along", [False, True])
@BOTH
async def test_a_job_that_is_done_twice_knows_its_move(
    bench: Bench,
    direction: Direction,
    asks_along: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    bench.asks_along = asks_along
    put(bench, direction)
    await run(bench, direction, MOVE)
    done = await copy(bench, direction, MOVE)
    assert done == Transferred(verified="size", skipped=True, after="moved")
    assert await after_action(bench.newest, done) == AfterAction("moved")


@BOTH
@pytest.mark.parametrize("missing", ["local end", "remote end", "same size", "move"])
async def test_a_source_that_is_missing_for_another_reason(
    bench: Bench, direction: Direction, missing: str
) -> None:
    put(bench, direction)
    await run(bench, direction, MOVE)
    # One of them is the destination, the other one is where the source was moved to.
    local = bench.folder / ("done" if direction is UP else "in") / "f"
    remote = "/out/f" if direction is UP else "/done/f"
    if missing == "local end":
        local.unlink()
    elif missing == "remote end":
        del bench.server.files[remote]
    elif missing == "same size":
        bench.server.files[remote] = b"other"
    with pytest.raises(PoolerError) as caught:
        await copy(bench, direction, DELETE if missing == "move" else MOVE)
    assert caught.value.code is ErrorCode.FILE_NOT_FOUND


@BOTH
@pytest.mark.parametrize("options", [DELETE, MOVE], ids=["delete", "move"])
async def test_what_was_done_by_somebody_else_is_known(
    bench: Bench, direction: Direction, options: Options
) -> None:
    put(bench, direction)
    done = await copy(bench, direction, options)
    first = await after_action(bench.attempt(direction, options), done)
    assert await after_action(bench.attempt(direction, options), done, again=True) == first
    assert first.done in {"deleted", "moved"}


async def test_a_source_that_is_gone_and_is_not_where_it_belongs_was_not_moved(bench: Bench) -> None:
    put(bench, DOWN)
    done = await copy(bench, DOWN, MOVE)
    bench.server.files = {"/done/f": b"another"}
    found = await after_action(bench.attempt(DOWN, MOVE), done, again=True)
    assert found.done == "left"


@pytest.mark.parametrize("options", [DELETE, MOVE], ids=["delete", "move"])
async def test_a_server_that_will_not_say_whether_it_is_gone(bench: Bench, options: Options) -> None:
    put(bench, DOWN)
    done = await copy(bench, DOWN, options)
    bench.server.faults = {
        ("stat", 3): Fault(ReplyError(550, "no", "MLST", code=ErrorCode.PERMISSION_DENIED))
    }
    found = await after_action(bench.newest, done, again=True)
    assert found.done == "left"
    assert bench.server.files == {"/out/f": DATA}


@BOTH
@pytest.mark.parametrize("options", [DELETE, MOVE], ids=["delete", "move"])
async def test_a_cancellation_at_every_point(bench: Bench, direction: Direction, options: Options) -> None:
    put(bench, direction)
    done = await copy(bench, direction, options)
    async for ending in cancel_points.everywhere(
        lambda: after_action(bench.attempt(direction, options), done)
    ):
        found = sources(bench, direction)
        # It is where it was, or where it belongs.
        assert found in ({"in/f": DATA}, {"done/f": DATA}, {}), ending
        if options is MOVE:
            assert found
