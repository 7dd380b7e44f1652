"""Landing in batches, the door through which jobs leave, and the intake."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.errors import ErrorCode, LocalFileError, PoolerError, Remedy
from pooler.flow import finisher
from pooler.flow.finisher import Finisher
from pooler.flow.work import Landed, Work
from pooler.model.job import Endpoint, Job, Options, Overwrite
from pooler.model.outcome import Outcome, Status
from pooler.storage.landing import FlushPolicy, PartFile, land
from tests.support.flow_double import CONTENT, FakeServer, Flow, Shape, download, downloads, upload


class Flushes:
    """Stands in for `land`: remembers the batches, and fails what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[str]] = []
        self.errors: dict[str, list[PoolerError]] = {}
        monkeypatch.setattr(finisher, "land", self)

    def __call__(self, files: Sequence[PartFile], policy: FlushPolicy) -> list[PoolerError | None]:
        self.batches.append([file.name for file in files])
        found: list[PoolerError | None] = []
        for file in files:
            if self.errors.get(file.name):
                found.append(self.errors[file.name].pop(0))
                file.discard()
            else:
                found += land([file], policy)
        return found


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    return Flushes(monkeypatch)


def full() -> LocalFileError:
    return LocalFileError(ErrorCode.DISK_FULL, "local:/x: no space")


async def test_what_lands_during_a_flush_is_one_batch(tmp_path: Path, flushes: Flushes) -> None:
    flow = Flow(tmp_path, far=FakeServer(connect_s=0, transfer_s=0))
    ended: list[Work] = []
    gate = trio.Event()

    class SlowRoot:
        async def complete(self, _land: object, *args: object) -> list[PoolerError | None]:
            await gate.wait()
            return flushes(*args)  # type: ignore[arg-type]

    async def failed(work: Work, error: PoolerError) -> None:
        raise AssertionError(error)

    send, receive = trio.open_memory_channel[Landed](64)
    with trio.fail_after(5):
        async with flow.running() as nursery:
            flow.remotes["far"].pause()
            await flow.give(*downloads(50))
            works = list(flow.endings.in_flow)
            running = Finisher(SlowRoot(), "batch", flow.endings, failed)  # type: ignore[arg-type]
            nursery.start_soon(running.run, receive)
            for work in works:
                part = PartFile(flow.root, work.plan.local_parts, f".{id(work)}.part", replace=True)
                await send.send(Landed(work, part, Outcome(Status.SUCCESS)))
                await wait_all_tasks_blocked()
                ended.append(work)
            gate.set()
            send.close()
            await flow.endings.wait_empty()
    assert [len(batch) for batch in flushes.batches] == [1, 49]
    assert len(flow.outcomes()) == 50
    assert list(tmp_path.glob("*.part")) == []


async def test_a_landing_that_failed_is_tried_again_from_the_start(
    autojump_clock: MockClock, tmp_path: Path, flushes: Flushes
) -> None:
    flushes.errors["one"] = [full()]
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(download("one"), download("two"))
        with trio.fail_after(20):
            await flow.endings.wait_empty()
    assert flow.codes() == {"one": "ok", "two": "ok"}
    assert flow.outcomes()["one"].attempts == 2
    assert (tmp_path / "one").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("errors", "attempts"),
    [([full() for _ in range(9)], 3), ([LocalFileError(ErrorCode.IO_ERROR, "x", Remedy.NEVER)], 1)],
)
async def test_a_landing_that_fails_for_good_is_answered(
    autojump_clock: MockClock, tmp_path: Path, flushes: Flushes, errors: list[PoolerError], attempts: int
) -> None:
    flushes.errors["one"] = list(errors)
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(download("one"))
        with trio.fail_after(20):
            await flow.endings.wait_empty()
    assert flow.codes() == {"one": errors[0].code.value}
    assert flow.outcomes()["one"].attempts == attempts
    assert flow.outcomes()["one"].duration_ms == 1000
    assert list(tmp_path.iterdir()) == []


async def test_cancelled_it_removes_parts_and_answers_nothing(tmp_path: Path) -> None:
    flow = Flow(tmp_path, far=FakeServer())
    send, receive = trio.open_memory_channel[Landed](64)

    class StuckRoot:
        async def complete(self, *_args: object) -> list[PoolerError | None]:
            await trio.sleep_forever()
            raise AssertionError

    async def failed(work: Work, error: PoolerError) -> None:
        raise AssertionError(error)

    with trio.fail_after(5):
        async with flow.running() as nursery:
            flow.remotes["far"].pause()
            await flow.give(*downloads(10))
            running = Finisher(StuckRoot(), "batch", flow.endings, failed)  # type: ignore[arg-type]
            nursery.start_soon(running.run, receive)
            for work in flow.endings.in_flow:
                part = PartFile(flow.root, work.plan.local_parts, f".{id(work)}.part", replace=True)
                send.send_nowait(Landed(work, part, Outcome(Status.SUCCESS)))
            await wait_all_tasks_blocked()
            assert len(list(tmp_path.iterdir())) == 10
            nursery.cancel_scope.cancel()
    assert list(tmp_path.iterdir()) == []
    assert flow.ended == []
    with pytest.raises(trio.BrokenResourceError):
        send.send_nowait(Landed(next(iter(flow.endings.in_flow)), part, Outcome(Status.SUCCESS)))


async def test_endings_are_counted_by_remote_and_status(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, a=FakeServer(), b=FakeServer())
    (tmp_path / "there").write_bytes(CONTENT)
    async with flow.running():
        await flow.give(*downloads(3, "a"), download("missing", "b"))
        await flow.give(download("there", "b", overwrite=Overwrite.NEVER))
        await flow.give(Job("bad", Endpoint("nowhere", "/x"), Endpoint("local", "/x")))
        await flow.endings.wait_empty()
    assert dict(flow.endings.counts) == {
        ("a", Status.SUCCESS): 3,
        ("b", Status.FAILED): 1,
        ("b", Status.SKIPPED): 1,
        (None, Status.FAILED): 1,
    }
    assert flow.endings.bytes_transferred == 3 * len(CONTENT)
    assert not flow.endings.in_flow
    assert flow.outcomes()["there"].verified == "size"


async def test_an_ending_that_is_cancelled_is_none(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(download("one"))
        (work,) = flow.endings.in_flow
        with trio.CancelScope() as scope:
            scope.cancel()
            await flow.endings.end(work, Outcome(Status.SUCCESS))
        assert scope.cancelled_caught
        assert list(flow.endings.in_flow) == [work]
        assert not flow.endings.counts


async def test_waiting_for_emptiness_waits_for_what_came_meanwhile(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running() as nursery:
        await flow.give(download("one"))

        async def later() -> None:
            await trio.sleep(0.5)
            await flow.give(download("two"))

        nursery.start_soon(later)
        await flow.endings.wait_empty()
        assert set(flow.codes()) == {"one", "two"}
        await flow.endings.wait_empty()


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (Job("j", Endpoint("nowhere", "/x"), Endpoint("local", "/x")), "UNKNOWN_REMOTE"),
        (Job("j", Endpoint("far", "/x"), Endpoint("far", "/y")), "INVALID_JOB"),
        (Job("j", Endpoint("far", "/../x"), Endpoint("local", "/x")), "PATH_OUTSIDE_ROOT"),
    ],
)
async def test_a_job_that_cannot_be_planned_is_answered_at_once(
    autojump_clock: MockClock, tmp_path: Path, job: Job, code: str
) -> None:
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(job)
    assert flow.codes() == {"j": code}
    assert flow.outcomes()["j"].attempts == 0
    assert flow.servers["far"].connects == []


@pytest.mark.parametrize(("options", "attempts"), [({"retry_count": 0}, 1), ({"retry_count": 4}, 5), ({}, 3)])
async def test_a_job_s_own_retry_count_holds(
    autojump_clock: MockClock, tmp_path: Path, flushes: Flushes, options: dict[str, int], attempts: int
) -> None:
    flushes.errors["one"] = [full() for _ in range(9)]
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(Job("one", Endpoint("far", "/one"), Endpoint("local", "/one"), Options(**options)))  # type: ignore[arg-type]
        await flow.endings.wait_empty()
    assert flow.outcomes()["one"].attempts == attempts


async def test_the_deadline_counts_from_the_first_reading(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, Shape(limit=1), far=FakeServer(transfer_s=10))
    async with flow.running():
        await flow.give(download("first"), download("second", deadline_seconds=5.0), download("third"))
        await flow.endings.wait_empty()
    assert flow.codes() == {"first": "ok", "second": "DEADLINE_EXCEEDED", "third": "ok"}
    assert flow.outcomes()["second"].attempts == 0


async def test_one_destination_is_written_by_one_job_at_a_time_and_in_order(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server = FakeServer()
    flow = Flow(tmp_path, far=server)
    writing: set[str] = set()

    async def overlap(path: str) -> None:
        folder = path.rpartition("/")[0]
        assert folder not in writing
        writing.add(folder)
        await trio.sleep(0.5)
        writing.remove(folder)

    server.on_transfer = overlap
    async with flow.running():
        jobs = [upload(f"{n}", to=f"{n % 3}/same") for n in range(12)]
        await flow.give(*jobs)
        await flow.endings.wait_empty()
    for folder in range(3):
        ended = [int(ended.delivery.job.task_id) for ended in flow.ended]
        assert [n for n in ended if n % 3 == folder] == [n for n in range(12) if n % 3 == folder]
