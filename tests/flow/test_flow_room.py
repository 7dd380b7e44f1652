"""Uploads to a server that has no room for them, in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pooler.errors import ErrorCode, Remedy, ReplyError
from pooler.flow.retry import Backoff
from pooler.model.job import Job
from tests.support.flow_double import FakeServer, Flow, Shape, download, downloads, upload

WORDS = "STOR: 452 No space left"


class Disk(FakeServer):
    """A server with a disk.

    Attributes:
        has_room_for: whether there is room for what is stored at a path.
        tried: when somebody found no room.
    """

    def __init__(self) -> None:
        super().__init__()
        self.has_room_for: Callable[[str], bool] = lambda _path: False
        self.tried: list[float] = []
        self.on_transfer = self._take

    async def _take(self, path: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_source(path) and not self.has_room_for(path):
            self.tried.append(trio.current_time())
            raise ReplyError(452, "No space left", "STOR", code=ErrorCode.DISK_FULL, remedy=Remedy.MORE_ROOM)

    @staticmethod
    def is_source(path: str) -> bool:
        return path.startswith("/far-")


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(b"what is sent")
    return tmp_path


def uploads(count: int) -> list[Job]:
    return [upload(f"up-{number}") for number in range(count)]


async def test_point_6_uploads_wait_at_no_cost_one_looks_and_downloads_go_on(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(attempts=2, backoff=Backoff(1.0, 30.0)), far=disk)
    remote = flow.remotes["far"]
    with capture_logs() as logs:
        async with flow.running():
            await flow.give(*uploads(50), *downloads(10))
            await trio.sleep(600)
            assert set(flow.codes()) == {f"far-{number}" for number in range(10)}
            # Those that were under way when it became full, and then one each 30 s in the end.
            assert len(disk.tried) < 4 + 25
            late = [at for at in disk.tried if at > 120]
            assert min(after - before for before, after in pairwise(late)) > 29
            assert (remote.room.since or 0) < 5
            assert remote.room.lane.waiting >= 49
            assert WORDS in (remote.last_error or "")
            # Others that come while it is full do not try either.
            tried = len(disk.tried)
            await flow.give(*[upload(f"late-{number}") for number in range(20)])
            await trio.sleep(20)
            assert len(disk.tried) <= tried + 1
            disk.has_room_for = lambda _path: True
            await flow.endings.wait_empty()
            assert trio.current_time() < 700
    outcomes = flow.outcomes()
    assert {outcome.failure for outcome in outcomes.values()} == {None}
    assert len(outcomes) == 80
    assert remote.room.since is None
    events = [line["event"] for line in logs if line["event"].startswith("remote_")]
    assert events == ["remote_full", "remote_has_room"]
    flow.assert_closed()


async def test_one_that_looks_and_does_not_come_back_keeps_nobody_waiting(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=1, backoff=Backoff(10.0, 10.0)), far=disk)
    async with flow.running():
        await flow.give(*uploads(3))
        await trio.sleep(5)
        disk.has_room_for = lambda _path: True
        flow.lost.add("up-1")  # it would have been the first to look
        await flow.endings.wait_empty()
    assert set(flow.codes()) == {"up-0", "up-2"}
    assert flow.dropped == ["up-1"]
    assert trio.current_time() < 40


async def test_where_nobody_waits_the_next_that_comes_looks(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=1, deadline_s=15, backoff=Backoff(10.0, 10.0)), far=disk)
    async with flow.running():
        await flow.give(upload("f"))
        await trio.sleep(60)
        assert flow.codes() == {"f": "DISK_FULL"}
        disk.has_room_for = lambda _path: True
        await flow.give(upload("g"))
        await flow.endings.wait_empty()
        assert trio.current_time() < 65
    assert flow.codes()["g"] == "ok"


async def test_its_deadline_holds_and_says_what_it_has_waited_for(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=2, deadline_s=300), far=disk)
    async with flow.running():
        await flow.give(*uploads(10))
        await flow.endings.wait_empty()
    assert set(flow.codes().values()) <= {"DEADLINE_EXCEEDED", "DISK_FULL"}
    assert list(flow.codes().values()).count("DEADLINE_EXCEEDED") >= 8
    for outcome in flow.outcomes().values():
        assert outcome.failure is not None
        assert WORDS in outcome.failure.message
        assert outcome.failure.retriable
    assert trio.current_time() < 310


async def test_what_is_too_large_for_what_is_left_is_to_blame_itself(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=1, attempts=3, backoff=Backoff(1.0, 5.0)), far=disk)

    def is_not_large(_path: str) -> bool:
        (worker,) = flow.remotes["far"].workers
        return worker.work is None or worker.work.delivery.job.task_id != "large"

    disk.has_room_for = is_not_large
    async with flow.running():
        await flow.give(upload("large"))
        for number in range(20):
            await trio.sleep(10)
            await flow.give(upload(f"up-{number}"))
        await flow.endings.wait_empty()
    codes = flow.codes()
    assert codes.pop("large") == "DISK_FULL"
    assert set(codes.values()) == {"ok"}
    # The first time it may have been the disk; each time that others found room it was not.
    assert flow.outcomes()["large"].attempts >= 4
    assert flow.ended_at["large"] < 100


async def test_somebody_who_has_made_room_can_say_so(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=1, backoff=Backoff(1000.0, 1000.0)), far=disk)
    async with flow.running():
        await flow.give(*uploads(3))
        await trio.sleep(500)
        assert len(disk.tried) == 1
        disk.has_room_for = lambda _path: True
        flow.remotes["far"].try_again()
        await flow.endings.wait_empty()
    assert trio.current_time() < 510
    assert set(flow.codes().values()) == {"ok"}


async def test_a_person_at_a_terminal_does_not_wait(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    flow = Flow(folder, Shape(limit=1, attempts=3, give_up=True), far=disk)
    async with flow.running():
        await flow.give(*uploads(2))
        await flow.endings.wait_empty()
    assert flow.codes() == {"up-0": "DISK_FULL", "up-1": "DISK_FULL"}
    assert trio.current_time() < 20


async def test_what_waits_for_room_is_parked(autojump_clock: MockClock, folder: Path, disk: Disk) -> None:
    flow = Flow(folder, Shape(limit=2, delays_s=(10.0, 60.0, 600.0)), far=disk)
    async with flow.running():
        await flow.give(*uploads(100), download("far-1"))
        await trio.sleep(60)
        # Some stay, to look.
        assert 85 <= len(flow.parked) <= 92
        assert {parked.error for parked in flow.parked if WORDS not in (parked.error or "")} == set()
        assert {parked.attempts - parked.forgiven for parked in flow.parked} == {0}
        assert flow.codes() == {"far-1": "ok"}
        disk.has_room_for = lambda _path: True
        await flow.endings.wait_empty()
        await flow.deliver([flow.read_again(parked) for parked in flow.parked])
        await flow.endings.wait_empty()
    assert len(flow.outcomes()) == 101
    assert set(flow.codes().values()) == {"ok"}


async def test_cancelled_at_any_time_it_leaves_nothing(
    autojump_clock: MockClock, folder: Path, disk: Disk
) -> None:
    for count in range(0, 40, 3):
        flow = Flow(folder, Shape(limit=2), far=disk)
        async with flow.running() as driving:
            await flow.give(*uploads(5), *downloads(2))
            await trio.sleep(count)
            driving.cancel_scope.cancel()
        flow.assert_closed()
        assert not flow.remotes["far"].room.lane.waiting


async def test_a_drain_does_not_wait_for_room(autojump_clock: MockClock, folder: Path, disk: Disk) -> None:
    flow = Flow(folder, Shape(limit=2), far=disk)
    async with flow.running():
        await flow.give(*uploads(5))
        await trio.sleep(60)
        begun = trio.current_time()
    assert trio.current_time() < begun + 5
    assert not flow.outcomes()
    flow.assert_closed()
