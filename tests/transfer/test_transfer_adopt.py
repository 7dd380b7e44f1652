"""Parts that an earlier process left: taken over where it is provably gone, and by whoever is first."""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pooler.config.temp_name import TempName
from pooler.errors import ErrorCode, ReplyError, SessionLost
from pooler.model.job import Direction, Options, Origin, Overwrite, Verify
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from pooler.transfer.memory import Memory
from pooler.transfer.names import Author
from pooler.transfer.upload import upload
from tests.support import cancel_points, descriptors
from tests.support.attempts import AUTHOR, Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
RESUME = Options(resume=True)
NOBODY: frozenset[str] = frozenset()


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


class Case:
    """A job in one direction, and what a process that died left of it."""

    def __init__(self, folder: Path, direction: Direction) -> None:
        self.direction = direction
        self.bench = Bench(folder, ServerDouble(chunk_bytes=4))
        (folder / "in").mkdir()
        if direction is Direction.UPLOAD:
            (folder / "in" / "f").write_bytes(DATA)
        else:
            self.bench.server.files["/out/f"] = DATA

    async def do(self, options: Options = RESUME, process: str = "new", serial: int = 1) -> Transferred:
        """Make one attempt, as the first one of a process unless the process is the same."""
        if process != self.bench.author.process:
            self.bench.memory = Memory()
        self.bench.author = Author(process, AUTHOR.origin, serial)
        transfer = download if self.direction is Direction.DOWNLOAD else upload
        done = await transfer(self.bench.attempt(self.direction, options))
        if done.part is not None:
            done.part.publish()
            done.part.close()
        return done

    async def die(self, process: str, calls: int = 3, options: Options = RESUME) -> None:
        """Let a process make an attempt and die over it, after as many buffers of four bytes."""
        kind = "receive" if self.direction is Direction.DOWNLOAD else "send"
        self.bench.server.faults = {(kind, calls): Fault(SessionLost("gone"))}
        with pytest.raises(SessionLost):
            await self.do(options, process)
        self.bench.server.faults = {}
        self.bench.server.calls.clear()

    def parts(self) -> dict[str, int]:
        """Tell how large each part is that stands there, by the process in its name."""
        if self.direction is Direction.UPLOAD:
            files = {path.rpartition("/")[2]: len(data) for path, data in self.bench.server.files.items()}
        else:
            files = {path.rpartition("/")[2]: len(data) for path, data in self.bench.local().items()}
        return {name.split("-")[1]: size for name, size in files.items() if "pooler-" in name}

    def arrived(self) -> bytes | None:
        """Read the destination."""
        files = self.bench.server.files if self.direction is Direction.UPLOAD else self.bench.local()
        return files.get("/out/f" if self.direction is Direction.UPLOAD else "in/f")


@pytest.fixture(params=Direction)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(tmp_path, request.param)


async def test_the_part_of_a_process_that_is_gone_is_gone_on_with(case: Case) -> None:
    await case.die("old")
    (left,) = case.parts().values()
    assert left == (8 if case.direction is Direction.DOWNLOAD else 9)
    case.bench.gone = {"old"}
    done = await case.do()
    assert (done.bytes_transferred, done.verified, done.resumed_from) == (10, "size", left)
    assert case.arrived() == DATA
    assert case.parts() == {}


async def test_the_part_of_a_process_that_may_live_is_left_alone(case: Case) -> None:
    await case.die("old")
    before = case.parts()
    done = await case.do()
    assert done.resumed_from is None
    assert case.arrived() == DATA
    assert case.parts() == before


async def test_an_earlier_part_of_our_own_is_gone_on_with(case: Case) -> None:
    await case.die("new")
    case.bench.memory = Memory()  # the job was given away, and has come back
    done = await case.do(serial=2)
    assert done.resumed_from
    assert case.arrived() == DATA
    assert case.parts() == {}


async def test_the_largest_is_taken(case: Case) -> None:
    await case.die("small", calls=2)
    await case.die("large", calls=3)
    sizes = case.parts()
    assert 0 < sizes["small"] < sizes["large"]
    case.bench.gone = {"small", "large"}
    done = await case.do()
    assert done.resumed_from == sizes["large"]
    assert case.parts() == {"small": sizes["small"]}
    assert case.arrived() == DATA


async def test_of_two_the_one_that_may_be_taken(case: Case) -> None:
    await case.die("small", calls=2)
    await case.die("large", calls=3)
    sizes = case.parts()
    case.bench.gone = {"small"}
    done = await case.do()
    assert done.resumed_from == sizes["small"]
    assert case.parts() == {"large": sizes["large"]}


@pytest.mark.parametrize("how", ["longer", "later"])
async def test_a_part_of_an_earlier_state_of_the_source_is_no_part_of_it(case: Case, how: str) -> None:
    await case.die("old")
    before = case.parts()
    case.bench.gone = {"old"}
    new = b"TEN BYTES!" if how == "later" else b"TEN BYTES AND MORE"
    if case.direction is Direction.UPLOAD:
        path = case.bench.folder / "in" / "f"
        path.write_bytes(new)
        os.utime(path, (0, 1 if how == "later" else 0))
    else:
        case.bench.server.files["/out/f"] = new
        case.bench.server.times["/out/f"] = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    assert (await case.do()).resumed_from is None
    assert case.arrived() == new
    assert case.parts() == before


async def test_a_part_of_another_job_is_no_part_of_this_one(case: Case) -> None:
    case.bench.author = Author("old", Origin("tasks", 0, 8), 1)
    kind = "receive" if case.direction is Direction.DOWNLOAD else "send"
    case.bench.server.faults = {(kind, 3): Fault(SessionLost("gone"))}
    transfer = download if case.direction is Direction.DOWNLOAD else upload
    with pytest.raises(SessionLost):
        await transfer(case.bench.attempt(case.direction, RESUME))
    case.bench.server.faults, case.bench.gone = {}, {"old"}
    assert (await case.do()).resumed_from is None
    assert case.arrived() == DATA


@pytest.mark.parametrize("options", [Options(), RESUME], ids=["not asked for", "too small"])
async def test_for_other_files_nobody_looks(case: Case, options: Options) -> None:
    if options.resume and case.direction is Direction.UPLOAD:
        (case.bench.folder / "in" / "f").write_bytes(b"seven..")
    elif options.resume:
        case.bench.server.files["/out/f"] = b"seven.."
    await case.do(options)
    assert not any(call.startswith("list") for call in case.bench.server.calls)
    assert not case.bench.memory.has_looked


async def test_what_is_there_already_costs_no_look(case: Case) -> None:
    if case.direction is Direction.UPLOAD:
        case.bench.server.files["/out/f"] = DATA
    else:
        (case.bench.folder / "in" / "f").write_bytes(DATA)
    assert (await case.do(Options(resume=True, overwrite=Overwrite.NEVER))).skipped
    assert not case.bench.memory.has_looked


async def test_a_checksum_is_that_of_the_whole(case: Case) -> None:
    options = Options(resume=True, verify=Verify.CHECKSUM)
    case.bench.server.sums = ["sha256"]
    await case.die("old", options=options)
    case.bench.gone = {"old"}
    done = await case.do(options)
    assert done.verified == "checksum"
    assert done.resumed_from


async def test_a_cancellation_at_every_point_loses_nothing(case: Case) -> None:
    async def run() -> None:
        await case.die("old")
        case.bench.gone = {"old"}
        assert (await case.do()).resumed_from
        assert case.arrived() == DATA
        case.bench.author = AUTHOR
        if case.direction is Direction.UPLOAD:
            case.bench.server.files.clear()
        else:
            (case.bench.folder / "in" / "f").unlink()

    async for ending in cancel_points.everywhere(run):
        case.bench.memory.release()
        for path in (*case.bench.left_behind, *[path for path in case.bench.server.files if "old" in path]):
            case.bench.server.files.pop(path, None)
        case.bench.left_behind.clear()
        for part in case.bench.folder.rglob("*-old-*"):
            part.unlink()
        # Whatever an adopting attempt had was given away or removed.
        assert case.parts() == {}, ending
        case.bench.author = AUTHOR


# On the server


@pytest.fixture
def up(tmp_path: Path) -> Case:
    return Case(tmp_path, Direction.UPLOAD)


async def test_there_is_one_look(up: Case) -> None:
    await up.die("old")
    up.bench.gone = {"old"}
    await up.do()
    assert [call for call in up.bench.server.calls if call.startswith("list")] == ["list /out"]
    assert up.bench.memory.has_looked


async def test_after_a_lost_session_there_is_no_second_look(up: Case) -> None:
    up.bench.server.faults = {("list", 1): Fault(SessionLost("gone"))}
    with pytest.raises(SessionLost):
        await up.do()
    up.bench.server.faults = {}
    assert (await up.do()).resumed_from is None
    assert [call for call in up.bench.server.calls if call.startswith("list")] == ["list /out"]


async def test_it_looks_where_temporary_files_are(up: Case) -> None:
    up.bench.plan = {"temp_name": TempName("/tmp/x", "{name}_{token}")}
    await up.die("old")
    up.bench.gone = {"old"}
    assert (await up.do()).resumed_from == 9
    assert up.arrived() == DATA
    assert "list /tmp/x" in up.bench.server.calls
    assert up.parts() == {}


@pytest.mark.parametrize("code", [ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_DENIED])
async def test_a_folder_that_is_not_shown_holds_nothing(up: Case, code: ErrorCode) -> None:
    await up.die("old")
    up.bench.gone = {"old"}
    up.bench.server.faults = {("list", 1): Fault(ReplyError(550, "No", "LIST", code=code))}
    assert (await up.do()).resumed_from is None
    assert up.arrived() == DATA


async def test_where_somebody_was_faster_it_is_sent_from_the_beginning(up: Case) -> None:
    await up.die("old")
    up.bench.gone = {"old"}
    up.bench.server.happens = {("rename", 1): up.bench.server.files.clear}
    assert (await up.do()).resumed_from is None
    assert up.bench.server.files == {"/out/f": DATA}
    assert up.bench.left_behind == []


@pytest.mark.parametrize("happened", [False, True])
async def test_a_lost_reply_to_the_rename_leaves_nothing_of_ours(up: Case, *, happened: bool) -> None:
    await up.die("old")
    up.bench.gone = {"old"}
    up.bench.server.faults = {("rename", 1): Fault(SessionLost("gone"), done=happened)}
    with pytest.raises(SessionLost):
        await up.do()
    up.bench.server.faults = {}
    done = await up.do()
    assert (done.resumed_from is not None) == happened
    assert up.arrived() == DATA
    assert set(up.parts()) == (set() if happened else {"old"})


async def test_a_part_that_is_larger_than_the_file_is_none(up: Case) -> None:
    await up.die("old")
    (path,) = up.bench.server.files
    await up.die("small", calls=2)
    small = up.parts()["small"]
    up.bench.server.files[path] = bytes(11)
    up.bench.gone = {"old", "small"}
    assert (await up.do()).resumed_from == small
    assert up.arrived() == DATA
    assert up.parts() == {"old": 11}


async def test_one_that_is_larger_when_it_has_been_renamed_is_none(up: Case) -> None:
    await up.die("old")
    up.bench.gone = {"old"}

    def grow() -> None:
        for path in list(up.bench.server.files):
            up.bench.server.files[path] = bytes(11)

    up.bench.server.happens = {("rename", 1): grow}
    assert (await up.do()).resumed_from is None
    assert up.bench.server.files == {"/out/f": DATA}


@pytest.mark.parametrize(
    "plan", [{"write_only": True}, {"temp_name": TempName("", "{name}.part")}], ids=["write-only", "no token"]
)
async def test_where_nobody_can_tell_whose_it_is_nobody_looks(up: Case, plan: dict[str, object]) -> None:
    up.bench.plan = dict(plan)
    await up.do()
    assert not any(call.startswith("list") for call in up.bench.server.calls)


# Here


@pytest.fixture
def down(tmp_path: Path) -> Case:
    return Case(tmp_path, Direction.DOWNLOAD)


async def test_a_link_is_no_part(down: Case) -> None:
    await down.die("old")
    part = down.bench.part()
    assert part is not None
    part.rename(down.bench.folder / "elsewhere")
    part.symlink_to(down.bench.folder / "elsewhere")
    down.bench.gone = {"old"}
    assert (await down.do()).resumed_from is None
    assert down.arrived() == DATA
    assert part.is_symlink()


async def test_where_the_server_tells_no_times_nobody_looks(down: Case) -> None:
    down.bench.server.tells_time = None
    await down.do()
    assert not down.bench.memory.has_looked


# Names


@pytest.mark.parametrize(
    "other",
    [
        {"direction": Direction.DOWNLOAD},
        {"remote": "elsewhere"},
        {"remote_path": "/out/g"},
        {"folder": "other"},
        {"local_parts": ("in", "g")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_one_line_of_two_lists_of_jobs_is_two_jobs(up: Case, other: dict[str, Any]) -> None:
    one = up.bench.attempt(Direction.UPLOAD, RESUME)
    another = replace(one, plan=replace(one.plan, **other))
    assert one.token(10, 1) != another.token(10, 1)
    assert one.token(10, 1) == replace(one, plan=replace(one.plan)).token(10, 1)
