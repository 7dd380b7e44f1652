"""The sink on a bridge that does as it is told."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import dataclasses
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import chain
from math import inf

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.bus.batches import Batches, written
from pooler.bus.ledger import Commitment, Ledger
from pooler.bus.publication import Publication
from pooler.bus.records import Invalid, OutRecord, Undecodable, dead_letter
from pooler.bus.retries import park, unpark
from pooler.bus.sink import KafkaSink
from pooler.bus.source import Answer, Unreadable, read
from pooler.errors import BusError
from pooler.model.batch import Parent, Tally
from pooler.model.job import Delivery, Endpoint, Job, Origin, Past, Record
from pooler.model.outcome import Ended, Outcome, Parked, Status
from pooler.ops.metrics import Metrics

INTERVAL_S = 0.5
PARTITION = ("ftp-tasks", 0)
JOB = b'{"src_id": "far", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}'


class FakeBridge:
    """Publishes into a list.

    Attributes:
        published: what was published, and when.
        deferred: while set, nothing is committed.
        before: called before each publication; what it returns is whether it is done.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.published: list[list[Publication]] = []
        self.on_record: dict[tuple[str, int], Commitment] = {}
        self.deferred = False
        self.before: Callable[[], bool] = lambda: True
        self.gate = trio.Event()
        self.gate.set()
        self.hurry: Callable[[], object] = list
        self.flushes: list[list[list[str]]] = []

    def behind(self) -> dict[tuple[str, int], Commitment]:
        found = {partition: self.ledger[partition].commitment() for partition in self.ledger}
        return {
            partition: commitment
            for partition, commitment in found.items()
            if self.on_record.get(partition) != commitment
        }

    @contextmanager
    def hurrying(self, hurry: Callable[[], object]) -> Iterator[None]:
        self.hurry = hurry
        yield

    def flushed(self) -> None:
        self.flushes.append(self.task_ids())

    async def publish(self, publications: Sequence[Publication]) -> bool:
        await self.gate.wait()
        await trio.lowlevel.checkpoint()
        if not self.before():
            return False
        self.published.append(list(publications))
        for publication in publications:
            publication.acknowledged()
            if not self.deferred:
                self.on_record[publication.partition] = publication.commitment
        return True

    def receive(self, offset: int, partition: int = 0) -> Record:
        place = ("ftp-tasks", partition)
        if place not in self.ledger:
            self.ledger.open(place, 0, ())
            self.on_record[place] = Commitment(0, "")
        origin = Origin("ftp-tasks", partition, offset)
        self.ledger.receive(origin, 100)
        return Record(origin, b"key", b"{}")

    def task_ids(self) -> list[list[str]]:
        return [
            [
                json.loads(outgoing.record.value or b"{}")["task_id"]
                for publication in publications
                for outgoing in publication.records
            ]
            for publications in self.published
        ]


@pytest.fixture
def bridge() -> FakeBridge:
    return FakeBridge()


def ended(record: Record, task_id: str | None = None, metadata: str = "") -> Ended:
    job = Job(
        task_id or str(record.origin.offset),
        Endpoint("far", "/a"),
        Endpoint("local", "/a"),
        metadata=metadata,
    )
    return Ended(Delivery(job, record, 0.0), Outcome(Status.SUCCESS))


@asynccontextmanager
async def running(
    bridge: FakeBridge,
    limit_bytes: int = 1_000_000,
    metrics: Metrics | None = None,
    batches: Batches | None = None,
) -> AsyncIterator[trio.MemorySendChannel[Answer]]:
    sink = KafkaSink(
        bridge,  # type: ignore[arg-type]
        worker="w",
        interval_s=INTERVAL_S,
        limit_bytes=limit_bytes,
        metrics=metrics or Metrics("0", []),
        batches=batches,
    )
    send, receive = trio.open_memory_channel[Answer](1000)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run, receive)
            with send:
                yield send


async def test_nothing_is_settled_before_it_is_published(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    records = [bridge.receive(offset) for offset in range(3)]
    bridge.gate = trio.Event()
    async with running(bridge) as answers:
        await answers.send(ended(records[0]))
        await answers.send(ended(records[2]))
        await trio.sleep(5)
        assert bridge.ledger.load.records == 3
        assert bridge.ledger[PARTITION].watermark == 0
        bridge.gate.set()
        await trio.sleep(5)
        assert bridge.ledger.load.records == 1
        assert bridge.ledger[PARTITION].watermark == 1
    assert autojump_clock.current_time() >= 10
    # What was committed is what stands once the batch is out.
    ((publication,), *_) = bridge.published
    assert publication.commitment.offset == 1
    assert publication.commitment.metadata != ""


async def test_a_batch_gathers_for_the_interval(autojump_clock: MockClock, bridge: FakeBridge) -> None:
    async with running(bridge) as answers:
        for offset in range(4):
            await answers.send(ended(bridge.receive(offset)))
            await trio.sleep(0.2)
    assert bridge.task_ids() == [["0", "1", "2"], ["3"]]
    assert autojump_clock.current_time() < 1


async def test_the_end_of_the_channel_publishes_the_last_batch_at_once(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    async with running(bridge) as answers:
        await answers.send(ended(bridge.receive(0)))
    assert bridge.task_ids() == [["0"]]
    assert autojump_clock.current_time() == 0
    assert bridge.ledger.load.records == 0


async def test_each_partition_has_a_publication_with_its_own_offset(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    async with running(bridge) as answers:
        for partition in (0, 1):
            for offset in (0, 1):
                await answers.send(ended(bridge.receive(offset, partition), f"{partition}-{offset}"))
    (publications,) = bridge.published
    assert bridge.task_ids() == [["0-0", "0-1", "1-0", "1-1"]]
    assert [(publication.partition[1], publication.commitment.offset) for publication in publications] == [
        (0, 2),
        (1, 2),
    ]


async def test_hurried_it_publishes_what_there_is_and_says_so(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    async with running(bridge) as answers:
        await answers.send(ended(bridge.receive(0)))
        await wait_all_tasks_blocked()
        await answers.send(ended(bridge.receive(1)))
        bridge.hurry()
        await wait_all_tasks_blocked()
        assert autojump_clock.current_time() == 0
        assert sorted(chain.from_iterable(bridge.flushes[0])) == ["0", "1"]
        assert len(bridge.flushes) == 1


async def test_hurried_while_publishing_it_publishes_what_ended_meanwhile_as_well(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    bridge.gate = trio.Event()
    async with running(bridge) as answers:
        await answers.send(ended(bridge.receive(0)))
        await trio.sleep(2 * INTERVAL_S)
        await answers.send(ended(bridge.receive(1)))
        bridge.hurry()
        await wait_all_tasks_blocked()
        assert bridge.flushes == []
        bridge.gate.set()
        await wait_all_tasks_blocked()
        assert bridge.flushes == [[["0"], ["1"]]]


async def test_two_answers_of_one_record_are_one(autojump_clock: MockClock, bridge: FakeBridge) -> None:
    record = bridge.receive(0)
    async with running(bridge) as answers:
        await answers.send(ended(record, "first"))
        await answers.send(ended(record, "second"))
        await trio.sleep(1)
        await answers.send(ended(record, "third"))
    assert bridge.task_ids() == [["first"]]


async def test_what_is_no_longer_ours_is_not_published(autojump_clock: MockClock, bridge: FakeBridge) -> None:
    ours, lost = bridge.receive(0), bridge.receive(0, partition=1)
    bridge.ledger.close(("ftp-tasks", 1))
    async with running(bridge) as answers:
        await answers.send(ended(ours, "ours"))
        await answers.send(ended(lost, "lost"))
    assert bridge.task_ids() == [["ours"]]
    assert [publication.partition for publication in bridge.published[0]] == [PARTITION]


async def test_an_answer_from_before_a_partition_was_lost_is_not_one_to_the_job_that_came_again(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    """A job that was parked may have been done by another owner since: its source may be gone."""
    before = bridge.receive(0)
    bridge.ledger.close(PARTITION)
    bridge.ledger.open(PARTITION, 0, ())
    again = replace(bridge.receive(0), tenure=2)
    async with running(bridge) as answers:
        await answers.send(Parked(ended(before, "parked").delivery, 10.0, inf, 1, 0, None))
        await trio.sleep(1)
        assert bridge.ledger.wants(again)
        await answers.send(ended(before, "before"))
        await answers.send(ended(again, "again"))
    assert bridge.task_ids() == [["again"]]


async def test_a_publication_that_comes_too_late_is_made_anew_of_what_is_still_ours(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    ours, lost = bridge.receive(0), bridge.receive(0, partition=1)
    turns = 0

    def rebalance() -> bool:
        nonlocal turns
        turns += 1
        if turns == 1:
            bridge.ledger.close(("ftp-tasks", 1))
        return turns > 1

    bridge.before = rebalance
    async with running(bridge) as answers:
        await answers.send(ended(ours, "ours"))
        await answers.send(ended(lost, "lost"))
    assert bridge.task_ids() == [["ours"]]
    assert bridge.ledger.load.records == 0


async def test_a_publication_of_which_nothing_is_left_is_none(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    lost = bridge.receive(0)

    def rebalance() -> bool:
        bridge.ledger.close(PARTITION)
        return False

    bridge.before = rebalance
    async with running(bridge) as answers:
        await answers.send(ended(lost, "lost"))
    assert bridge.published == []


async def test_a_commit_that_was_deferred_is_made_up_for_though_nothing_comes(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    bridge.deferred = True
    async with running(bridge) as answers:
        await answers.send(ended(bridge.receive(0)))
        await trio.sleep(2)
        assert bridge.on_record[PARTITION].offset == 0
        bridge.deferred = False
        await trio.sleep(2 * INTERVAL_S)
        assert bridge.on_record[PARTITION].offset == 1
        count = len(bridge.published)
        await trio.sleep(10)
        assert len(bridge.published) == count
    assert sum(map(len, bridge.task_ids())) == 1


async def test_brokers_that_are_gone_settle_nothing(autojump_clock: MockClock, bridge: FakeBridge) -> None:
    def gone() -> bool:
        raise BusError("gone")

    bridge.before = gone
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - it is raised by the end of a nursery
        async with running(bridge) as answers:
            await answers.send(ended(bridge.receive(0)))
            await trio.sleep(10)
    assert caught.group_contains(BusError)
    assert bridge.ledger.load.records == 1


async def test_an_answer_that_is_too_large_is_cut_and_can_be_made_smaller_still(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    async with running(bridge, limit_bytes=200_000) as answers:
        await answers.send(ended(bridge.receive(0), metadata="m" * 150_000))
        await answers.send(ended(bridge.receive(1), metadata="m" * 400_000))
    fits, cut = bridge.published[0][0].records
    assert len(fits.record.value or b"") > 150_000
    assert len(cut.record.value or b"") < 200_000
    assert fits.smaller is not None
    assert len(fits.smaller().value or b"") < 64 * 1024
    assert json.loads(fits.smaller().value or b"")["task_id"] == "0"


async def test_what_is_no_job_is_answered_and_counted_once_it_is_out(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    metrics = Metrics("0", [])
    bridge.gate = trio.Event()
    async with running(bridge, metrics=metrics) as answers:
        await answers.send(Unreadable(bridge.receive(0), Undecodable("ValueError", "no JSON")))
        await answers.send(Unreadable(bridge.receive(1), Invalid("task", "no source", {})))
        await trio.sleep(5)
        assert b"pooler_dead_letters_total 0.0" in metrics.exposition()[0]
        bridge.gate.set()
    kinds = {outgoing.record.kind for outgoing in bridge.published[0][0].records}
    assert kinds == {"dead_letter", "failure"}
    assert b"pooler_dead_letters_total 1.0" in metrics.exposition()[0]
    assert bridge.ledger.load.records == 0


async def test_cancelled_while_publishing_it_settles_nothing(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    bridge.gate = trio.Event()
    with trio.move_on_after(3):
        async with running(bridge) as answers:
            await answers.send(ended(bridge.receive(0)))
            await trio.sleep(10)
    assert bridge.ledger.load.records == 1


# ---- jobs that are parked -----------------------------------------------------------------------------

RETRY_TOPIC = "ftp-tasks-retry-10s"


def parked(delivery: Delivery, *, not_before: float = -inf, attempts: int = 0) -> Parked:
    return Parked(delivery, 10.0, not_before, attempts, 0, "gone")


def on_topic(out: OutRecord) -> Record:
    return Record(Origin(RETRY_TOPIC, 0, 3), out.key, out.value, out.headers, timestamp_ms=1)


async def test_a_parked_job_goes_out_with_its_offset_and_is_settled(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    record = replace(bridge.receive(0), headers=(("traceparent", b"1"),))
    job = Job("task", Endpoint("far", "/a"), Endpoint("local", "/a"))
    async with running(bridge) as answers:
        await answers.send(parked(Delivery(job, record, 0.0)))
        await answers.send(ended(bridge.receive(1)))
    ((publication,),) = bridge.published
    assert publication.commitment.offset == 2
    assert bridge.ledger.load.records == 0
    out = publication.records[0].record
    assert (out.kind, out.key, out.value) == ("parked 10", record.key, record.value)
    found = unpark(on_topic(out))
    assert found is not None
    assert found[0].headers == record.headers
    assert found[1].origin == record.origin
    assert (found[1].times, found[1].error, found[2]) == (1, "gone", 0)


async def test_what_a_job_has_behind_it_comes_back_with_it(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    record = replace(bridge.receive(0), value=JOB)
    await trio.sleep(100)
    delivery = read(record)
    assert isinstance(delivery, Delivery)
    assert delivery.job.task_id == "ftp-tasks-0-0"
    first_seen_ms = set()
    for attempts in (1, 2):
        await trio.sleep(10)
        async with running(bridge) as answers:
            await answers.send(parked(delivery, not_before=trio.current_time() + 45, attempts=attempts))
        out = bridge.published[-1][0].records[0].record
        again = read(on_topic(out), {RETRY_TOPIC})
        assert isinstance(again, Delivery)
        # Two clocks are compared, and one of them is not the test's.
        assert again.received == pytest.approx(100, abs=10)
        assert again.not_before == pytest.approx(trio.current_time() + 45, abs=10)
        assert again.past is not None
        assert (again.past.attempts, again.past.times) == (attempts, attempts)
        first_seen_ms.add(again.past.first_seen_ms)
        assert again.past.origin == again.original.origin == record.origin
        assert (again.job, again.record.headers) == (delivery.job, record.headers)
        # The same record may come again under another place only.
        again_at = bridge.receive(attempts)
        delivery = replace(again, record=replace(again.record, origin=again_at.origin))
    assert len(first_seen_ms) == 1
    answer = ended(delivery.record, delivery.job.task_id)
    async with running(bridge) as answers:
        await answers.send(replace(answer, delivery=replace(delivery)))
    last = bridge.published[-1][0].records[0].record
    assert last.headers == record.headers


async def test_what_says_where_it_comes_from_names_the_first_reading() -> None:
    past = Past(Origin("ftp-tasks", 2, 77), 5)
    junk = Unreadable(
        Record(Origin(RETRY_TOPIC, 0, 3), None, b"junk"), Undecodable("ValueError", "no JSON"), past
    )
    headers = dict(dead_letter(junk.original, Undecodable("ValueError", "no"), limit_bytes=None).headers)
    assert headers["__connect.errors.topic"] == b"ftp-tasks"
    assert headers["__connect.errors.offset"] == b"77"


async def test_one_that_no_retry_topic_takes_is_answered_and_not_tried_for_ever(
    autojump_clock: MockClock, bridge: FakeBridge
) -> None:
    record = bridge.receive(0)
    job = Job("task", Endpoint("far", "/a"), Endpoint("local", "/a"))
    async with running(bridge) as answers:
        await answers.send(parked(Delivery(job, record, 0.0), attempts=2))
    (outgoing,) = bridge.published[0][0].records
    assert outgoing.smaller is not None
    answer = outgoing.smaller()
    assert answer.kind == "failure"
    told = json.loads(answer.value or b"")
    assert (told["task_id"], told["attempts"], told["retriable"]) == ("task", 2, True)
    assert told["error_message"] == "too large for the retry topic of 10 s; at last: gone"


async def test_headers_of_ours_mean_nothing_on_another_topic(bridge: FakeBridge) -> None:
    out = park(Record(Origin("ftp-tasks", 0, 9), None, JOB), Past(Origin("x", 0, 1), 5, 3), "parked 10", 7)
    found = read(Record(Origin("ftp-tasks", 0, 10), None, JOB, out.headers), {RETRY_TOPIC})
    assert isinstance(found, Delivery)
    assert (found.past, found.job.task_id, found.record.headers) == (None, "ftp-tasks-0-10", out.headers)


async def test_a_clock_that_is_set_back_makes_nothing_younger_than_now(autojump_clock: MockClock) -> None:
    out = park(Record(Origin("ftp-tasks", 0, 9), None, JOB), Past(Origin("x", 0, 1), 50_000), "parked 10", 0)
    found = read(on_topic(out), {RETRY_TOPIC}, wall_s=lambda: 20.0)
    assert isinstance(found, Delivery)
    assert found.received == trio.current_time()


@pytest.mark.parametrize(("failed", "outcome"), [(0, "success"), (1, "failed"), (None, "forgotten")])
async def test_a_bulk_job_is_counted_once_it_is_closed(
    autojump_clock: MockClock, bridge: FakeBridge, failed: int | None, outcome: str
) -> None:
    now_ms = round(time.time() * 1000)
    bulk = b'{"src_id": "far", "src_path": "/out/", "dst_id": "local", "dst_path": "/in/"}'
    parent = Parent("ftp-tasks", 0, 7, now_ms, now_ms, None, bulk, (), 1, 2)
    tally = Tally("b", at_ms=now_ms, files=2, succeeded=2 - (failed or 0), failed=failed or 0, parent=parent)
    if failed is None:
        tally = dataclasses.replace(tally, parent=None, at_ms=0)
    record = bridge.receive(3)
    batches = Batches(bridge.ledger.wants)
    assert batches.take(replace(record, value=written(tally).value, headers=written(tally).headers))
    metrics = Metrics("0", [])
    async with running(bridge, metrics=metrics, batches=batches):
        await trio.sleep(2 * INTERVAL_S)
    counts = {
        name: metrics.registry.get_sample_value("pooler_batches_total", {"outcome": name})
        for name in ("success", "failed", "forgotten")
    }
    assert counts == {"success": 0, "failed": 0, "forgotten": 0} | {outcome: 1}
