"""What a job's attempts remember, through a real remote; and sources that go once their copies are there."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.errors import DataConnectionError, PoolerError, ReplyError, SessionLost
from pooler.flow.breaker import Breaker, Thresholds
from pooler.flow.budget import Budget
from pooler.flow.endings import Endings
from pooler.flow.finisher import Finisher
from pooler.flow.group import LimitGroup
from pooler.flow.limit import SessionLimit
from pooler.flow.order import Order
from pooler.flow.pace import DataPace, TokenBucket
from pooler.flow.policy import RemotePolicy
from pooler.flow.remote import Remote
from pooler.flow.retry import Backoff
from pooler.flow.tools import Tools
from pooler.flow.work import Landed, Work
from pooler.model.job import After, Delivery, Direction, Endpoint, Job, Options, Origin, Record
from pooler.model.outcome import Ended, Outcome, Parked, Spread, Status
from pooler.ops.metrics import Metrics
from pooler.storage.landing import FlushPolicy, PartFile
from pooler.storage.landing import land as real_land
from pooler.storage.root import LocalRoot
from pooler.transfer.plan import Plan
from tests.support import descriptors
from tests.support.session_double import Fault, ServerDouble, SessionDouble

DATA = b"ten bytes."
DELETE = Options(after=After.DELETE)


class Once(dict[tuple[str, int], Fault]):
    """Faults that happen once each, on whichever session comes first."""

    def get(self, key: Any, default: Any = None) -> Any:
        return self.pop(key, default)


@dataclass
class Rig:
    """A remote, its server and a local folder; ``faults`` happen once each."""

    folder: Path
    server: ServerDouble = field(default_factory=ServerDouble)
    backoff_s: float = 10.0
    attempts: int = 3

    def __post_init__(self) -> None:
        self.root = LocalRoot("disk", self.folder)
        metrics = Metrics("1", ["site"])
        to_answers, self.answers = trio.open_memory_channel[Ended | Parked | Spread](100)
        self.order = Order()
        self.endings = Endings(to_answers, self.order, metrics)
        self.to_finisher, self.landed = trio.open_memory_channel[Landed](10)
        tools = Tools(
            roots={"disk": self.root},
            incarnation="test",
            serials=itertools.count(1),
            attempt_s=60.0,
            resume_above_bytes=8 * 1024 * 1024,
            keepalive_s=1000.0,
            wants=lambda _: True,
            land=self.to_finisher.send,
            end=self.endings.end,
            drop=self.endings.dropped,
        )
        self.remote = Remote(
            "site",
            self,
            policy=RemotePolicy(
                1, Backoff(self.backoff_s, self.backoff_s), idle_s=inf, prewarm=0, give_up=False
            ),
            group=LimitGroup(SessionLimit(1), TokenBucket.per_minute(1000), DataPace(1e6)),
            breaker=Breaker(Thresholds(9, 1, 60.0, 1)),
            budget=Budget(9),
            others=list,
            lane_room=100,
            tools=tools,
            metrics=metrics,
        )
        self.finisher = Finisher(self.root, "never", self.endings, self.remote.failed)

    async def connect(self) -> SessionDouble:
        await trio.lowlevel.checkpoint()
        return SessionDouble(self.server)

    def fail(self, faults: Mapping[tuple[str, int], Fault]) -> None:
        self.server.faults = Once(faults)

    def give(self, direction: Direction, options: Options = Options()) -> None:  # noqa: B008 - frozen
        here, there = Endpoint("disk", "/f"), Endpoint("site", "/f")
        ends = (here, there) if direction is Direction.UPLOAD else (there, here)
        if direction is Direction.UPLOAD:
            (self.folder / "f").write_bytes(DATA)
        else:
            self.server.files["/f"] = DATA
        now = trio.current_time()
        delivery = Delivery(Job("t", *ends, options), Record(Origin("tasks", 0, 1), None, b"{}"), now)
        work = Work(
            delivery, Plan(direction, "site", "/f", "disk", ("f",), options), now + 1000, self.attempts
        )
        self.endings.admitted(work)
        assert self.order.admit(work)
        self.remote.submit(work)

    async def outcome(self) -> Outcome:
        with trio.fail_after(500):
            ended = await self.answers.receive()
        assert isinstance(ended, Ended)
        return ended.outcome

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.finisher.run, self.landed)
            async with trio.open_nursery() as driving:
                driving.start_soon(self.remote.run)
                yield
                self.remote.close()
            self.to_finisher.close()


@pytest.fixture(autouse=True)
def patience(autojump_clock: MockClock) -> None:
    # Where a test takes the clock: it knows nothing of threads, and would jump while the disk is written to.
    autojump_clock.autojump_threshold = 0.05


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD


async def test_the_next_attempt_knows_of_the_one_before(rig: Rig) -> None:
    rig.fail({("stored", 1): Fault(SessionLost("gone"), done=True)})
    async with rig.running():
        rig.give(UP)
        outcome = await rig.outcome()
    assert (outcome.status, outcome.attempts) == (Status.SUCCESS, 2)
    assert rig.server.files == {"/f": DATA}
    assert sum(call.startswith("store ") for call in rig.server.calls) == 1


async def test_what_a_job_leaves_behind_when_it_fails_is_removed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, attempts=1)
    rig.fail({("send", 1): Fault(SessionLost("gone"), done=True)})
    async with rig.running():
        rig.give(UP)
        assert (await rig.outcome()).status is Status.FAILED
    assert rig.server.files == {}


async def while_it_waits(rig: Rig) -> None:
    rig.remote.close()


async def while_it_is_in_the_lane(rig: Rig) -> None:
    rig.remote.pause()
    await trio.sleep(rig.backoff_s + 1)
    assert rig.remote.waiting == 1
    rig.remote.close()


@pytest.mark.parametrize("when", [while_it_waits, while_it_is_in_the_lane])
async def test_what_a_job_leaves_behind_when_the_process_drains_is_removed(
    autojump_clock: MockClock, rig: Rig, when: Callable[[Rig], Awaitable[None]]
) -> None:
    # Not the first pause: that one has no length.
    rig.fail({("send", 1): Fault(DataConnectionError("reset"), done=True)})
    async with rig.running():
        rig.give(UP)
        await wait_all_tasks_blocked()
        while rig.remote.sessions or rig.remote.waiting:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.1)
        assert len(rig.server.files) == 1
        await when(rig)
    assert rig.server.files == {}


async def test_what_a_cancelled_attempt_leaves_behind_is_removed(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        rig.server.happens = {("send", 1): nursery.cancel_scope.cancel}
        nursery.start_soon(rig.remote.run)
        rig.give(UP)
    assert rig.server.files == {}
    assert [call.split()[0] for call in rig.server.calls][-1] == "remove"


@pytest.mark.parametrize("direction", [UP, DOWN])
async def test_a_source_goes_once_its_copy_is_there(rig: Rig, direction: Direction) -> None:
    async with rig.running():
        rig.give(direction, DELETE)
        outcome = await rig.outcome()
    assert (outcome.status, outcome.after, outcome.after_error) == (Status.SUCCESS, "deleted", None)
    assert rig.server.files == ({"/f": DATA} if direction is UP else {})
    assert [path.name for path in rig.folder.iterdir()] == ([] if direction is UP else ["f"])


async def test_a_source_stays_while_its_copy_has_no_name(
    autojump_clock: MockClock, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[PoolerError] = [DataConnectionError("as good as any")]

    def land(files: list[PartFile], policy: FlushPolicy) -> list[PoolerError | None]:
        assert rig.server.files == {"/f": DATA}
        if failures:
            files[0].discard()
            return [failures.pop()]
        return real_land(files, policy)

    monkeypatch.setattr("pooler.flow.finisher.land", land)
    async with rig.running():
        rig.give(DOWN, DELETE)
        outcome = await rig.outcome()
    assert (outcome.attempts, outcome.after) == (2, "deleted")
    assert rig.server.files == {}


async def test_a_source_that_cannot_go_fails_no_job(rig: Rig) -> None:
    rig.fail({("remove", 1): Fault(ReplyError(550, "no", "DELE"))})
    async with rig.running():
        rig.give(DOWN, DELETE)
        outcome = await rig.outcome()
    assert (outcome.status, outcome.after) == (Status.SUCCESS, "left")
    assert "550" in str(outcome.after_error)


async def test_a_worker_that_is_cancelled_while_its_file_lands(rig: Rig) -> None:
    before = descriptors.count()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.remote.run)
        rig.give(DOWN, DELETE)
        await wait_all_tasks_blocked()
        with trio.fail_after(60):
            while not rig.landed.statistics().current_buffer_used:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.01)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    rig.to_finisher.close()
    await rig.finisher.run(rig.landed)
    # It has its name, it is not answered, and its source is still there: the job comes again.
    assert [path.name for path in rig.folder.iterdir()] == ["f"]
    assert rig.server.files == {"/f": DATA}
    assert rig.answers.statistics().current_buffer_used == 0
    assert descriptors.count() == before
