"""Urgent jobs: they overtake those that wait, and starve nobody."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.flow.lane import Lane
from pooler.flow.turns import URGENT_TURNS, Turns
from pooler.flow.work import Work
from pooler.model.job import Delivery, Direction, Job, Options, Origin, Record
from pooler.transfer.plan import Plan
from tests.support.flow_double import FakeServer, Flow, Shape, download, downloads

PLAN = Plan(Direction.DOWNLOAD, "far", "/a", "local", ("a",), Options())


def work(name: str, *, urgent: bool = False) -> Work:
    record = Record(Origin("ftp-tasks", 0, 0), None, b"{}")
    return Work(Delivery(download(name), record, 0.0, urgent=urgent), PLAN, 100.0, 1)


def name_of(one: Work | None) -> str | None:
    return None if one is None else one.delivery.job.task_id


def urgent(flow: Flow, *jobs: Job) -> list[Delivery]:
    return [replace(flow.delivery(job), urgent=True) for job in jobs]


# ---- turns --------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["urgent", "other", "take"]), max_size=200))
def test_each_kind_keeps_its_order_and_nobody_is_starved(steps: Sequence[str]) -> None:
    turns, waiting, overtaken = Turns(), {True: list[str](), False: list[str]()}, 0
    for number, step in enumerate(steps):
        if step == "take":
            found = turns.take()
            if found is None:
                assert not waiting[True]
                assert not waiting[False]
                continue
            kind = found.delivery.urgent
            assert name_of(found) == waiting[kind].pop(0)
            if kind:
                overtaken = overtaken + 1 if waiting[False] else 0
                assert overtaken <= URGENT_TURNS
            else:
                # An urgent one waits for another only where that has been overtaken often enough.
                assert not waiting[True] or overtaken == URGENT_TURNS
                overtaken = 0
        else:
            turns.add(work(str(number), urgent=step == "urgent"))
            waiting[step == "urgent"].append(str(number))
        assert [name_of(one) for one in turns] == waiting[True] + waiting[False]
        assert len(turns) == len(waiting[True]) + len(waiting[False])


@pytest.mark.parametrize(
    ("count", "meant", "taken", "left"),
    [
        (2, "abcuv", "cb", "uva"),
        (4, "abcuv", "cbav", "u"),
        (9, "abcuv", "cbavu", ""),
        (2, "acu", "ca", "uvb"),
        (0, "abcuv", "", "uvabc"),
    ],
)
def test_the_last_go_first_and_the_urgent_ones_stay_longest(
    count: int, meant: str, taken: str, left: str
) -> None:
    turns = Turns()
    for name in "aubvc":
        turns.add(work(name, urgent=name in "uv"))
    found = turns.take_last(count, lambda one: str(name_of(one)) in meant)
    assert "".join(str(name_of(one)) for one in found) == taken
    assert "".join(str(name_of(one)) for one in turns) == left


def test_what_is_not_meant_stays_where_it_is() -> None:
    turns = Turns()
    for name in "aubvc":
        turns.add(work(name, urgent=name in "uv"))
    assert [name_of(one) for one in turns.take_out(lambda one: name_of(one) in {"a", "v", "c"})] == [*"vac"]
    assert [name_of(turns.take()) for _ in range(3)] == ["u", "b", None]


# ---- the lane -----------------------------------------------------------------------------------------


async def nobody(*_args: object) -> None:
    raise AssertionError("nothing ends here")


async def test_who_has_a_turn_and_finds_the_job_gone_waits_for_another(autojump_clock: MockClock) -> None:
    lane = Lane(10, wants=lambda _: True, end=nobody, drop=lambda _: None)
    got: list[str | None] = []

    async def take() -> None:
        got.append(name_of(await lane.next()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        lane.put(work("gone"))
        # Its turn is on its way to the first of them.
        assert [name_of(one) for one in lane.take_all()] == ["gone"]
        lane.put(work("b"))
        await wait_all_tasks_blocked()
        assert (got, lane.waiting) == (["b"], 0)
        lane.put(work("c"))
        await wait_all_tasks_blocked()
        assert (got, lane.waiting) == (["b", "c"], 0)


async def test_who_is_cancelled_while_it_waits_takes_nothing(autojump_clock: MockClock) -> None:
    lane = Lane(10, wants=lambda _: True, end=nobody, drop=lambda _: None)
    with trio.move_on_after(1) as waiting:
        await lane.next()
    assert waiting.cancelled_caught
    lane.put(work("a"))
    assert lane.waiting == 1
    assert name_of(await lane.next()) == "a"


# ---- the flow -----------------------------------------------------------------------------------------


async def test_urgent_jobs_overtake_what_waits_and_every_fifth_turn_is_another_s(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=1), far=FakeServer(transfer_s=1.0))
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(2.5)
        before = len(flow.ended)
        await flow.deliver(urgent(flow, *(download(f"urgent-{number}") for number in range(10))))
        with trio.fail_after(1000):
            while len(flow.ended) < 30:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.5)
    names = [ended.delivery.job.task_id for ended in flow.ended]
    # One of them was being moved when they came.
    kinds = ["urgent" in name for name in names[before + 1 :]]
    assert kinds[:12] == [*[True] * 4, False, *[True] * 4, False, *[True] * 2]
    assert not any(kinds[12:])
    for begin in ("far", "urgent"):
        numbers = [int(name.split("-")[1]) for name in names if name.startswith(begin)]
        assert numbers == sorted(numbers)


@dataclass
class FakePart:
    size: int
    topic: str
    load: Callable[[], int]

    def holds(self, topic: str) -> bool:
        return topic == self.topic

    def fill(self) -> float:
        return self.load() / self.size


async def test_a_slow_server_does_not_fill_what_is_kept_for_urgent_jobs(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = Flow(
        tmp_path,
        Shape(limit=1, delays_s=(10.0, 60.0), deadline_s=86_400.0),
        slow=FakeServer(transfer_s=50.0),
        near=FakeServer(),
    )

    def of(topic: str) -> Callable[[], int]:
        return lambda: sum(one.delivery.record.origin.topic == topic for one in flow.endings.in_flow)

    parts = [FakePart(1000, "ftp-tasks", of("ftp-tasks")), FakePart(100, "urgent", of("urgent"))]
    monkeypatch.setattr(type(flow.window), "parts", parts)
    async with flow.running() as driving:
        ordinary = [flow.delivery(job) for job in downloads(200, "slow")]
        await flow.deliver(ordinary)
        hurried = urgent(flow, *(download(f"urgent-{number}", "slow") for number in range(100)))
        origin = Origin("urgent", 0, 0)
        await flow.deliver(
            [
                replace(one, record=replace(one.record, origin=origin._replace(offset=number)))
                for number, one in enumerate(hurried)
            ]
        )
        await trio.sleep(3)
        parked = {ended.delivery.record.origin.topic for ended in flow.parked}
        assert parked == {"urgent"}
        # Enough of them stay, and the last ones went.
        assert of("urgent")() >= 25
        assert "urgent-99" in {ended.delivery.job.task_id for ended in flow.parked}
        driving.cancel_scope.cancel()
