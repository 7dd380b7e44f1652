"""The crossing to Kafka: its two pumps on doubles, and the whole of it on the embedded broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio_asyncio
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata
from trio.testing import wait_all_tasks_blocked

from pooler.bus import clients
from pooler.bus.bridge import KafkaBridge, open_bridge
from pooler.bus.clients import on_asyncio
from pooler.bus.ledger import Commitment, encode_gaps
from pooler.bus.letterbox import open_letterbox
from pooler.bus.sink import KafkaSink
from pooler.bus.source import Answer, KafkaSource
from pooler.bus.submit import submit
from pooler.config.settings import KafkaSettings
from pooler.demo.broker import embedded_broker
from pooler.errors import BusError
from pooler.model.job import Delivery, Origin, Record
from pooler.model.outcome import Ended, Outcome, Status
from pooler.ops.metrics import Metrics
from tests.support.pumps_double import HERE, SETTINGS, THERE, Message, Pumps, record

DAY_S = 86_400.0


@pytest.fixture
async def pumps() -> AsyncIterator[Pumps]:
    async with trio_asyncio.open_loop():
        yield Pumps()


# ---- reader -------------------------------------------------------------------------------------------


async def test_reading_begins_behind_what_is_committed_and_settled_above_it(pumps: Pumps) -> None:
    pumps.consumer.committed[HERE] = OffsetAndMetadata(5, encode_gaps(5, {7, 8}))
    pumps.consumer.first = 3
    messages = [Message(0, offset) for offset in range(5, 11)]
    pumps.consumer.fetched = [{HERE: messages}, {THERE: [Message(1, 3)]}]
    async with pumps.running(HERE, THERE):
        batches = [await pumps.reader.records.receive(), await pumps.reader.records.receive()]
    assert [[record.origin.offset for record in batch] for batch in batches] == [[5, 6, 9, 10], [3]]
    assert pumps.consumer.sought == {HERE: 5, THERE: 3}


async def test_a_full_window_pauses_and_half_a_window_resumes(pumps: Pumps) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, offset) for offset in range(10)]}]
    async with pumps.running(HERE):
        await pumps.until(lambda: pumps.consumer.held == {HERE})
        # A rebalance forgets pauses.
        await pumps.rebalance(HERE)
        await pumps.until(lambda: pumps.consumer.held == {HERE})
        for offset in range(5):
            pumps.ledger.settle(Origin("ftp-tasks", 0, offset))
        await trio.sleep(0.05)
        assert pumps.consumer.held == {HERE}
        pumps.ledger.settle(Origin("ftp-tasks", 0, 5))
        await pumps.until(lambda: pumps.consumer.held == set())


async def test_urgent_jobs_are_read_while_the_others_fill_the_window() -> None:
    urgent = TopicPartition("urgent-tasks", 0)
    async with trio_asyncio.open_loop():
        pumps = Pumps(SETTINGS.model_copy(update={"priority_topic": urgent.topic}))
        pumps.consumer.fetched = [{HERE: [Message(0, offset) for offset in range(10)]}]
        async with pumps.running(HERE, urgent):
            await pumps.until(lambda: pumps.consumer.held == {HERE})
            messages = [Message(0, offset, topic=urgent.topic) for offset in range(3)]
            pumps.consumer.fetched.append({urgent: messages})
            # A part of the window of ten is theirs: a quarter, and less than one batch.
            await pumps.until(lambda: pumps.consumer.held == {HERE, urgent})
            for offset in range(10):
                pumps.ledger.settle(Origin("ftp-tasks", 0, offset))
            await pumps.until(lambda: pumps.consumer.held == {urgent})


async def test_what_stays_ours_is_not_read_twice_and_what_is_lost_is_forgotten(pumps: Pumps) -> None:
    both = {HERE: [Message(0, 0), Message(0, 1)], THERE: [Message(1, 0)]}
    pumps.consumer.fetched = [both]
    async with pumps.running(HERE, THERE):
        await pumps.reader.records.receive()
        await pumps.rebalance(HERE)
        assert list(pumps.ledger) == [tuple(HERE)]
        assert pumps.ledger.load.records == 2
        assert pumps.consumer.sought[HERE] == 2
        pumps.consumer.fetched = [both, {HERE: [Message(0, 2)]}]
        (again,) = await pumps.reader.records.receive()
        assert again.origin.offset == 2


async def test_what_others_may_have_had_is_read_again_though_it_is_given_back(pumps: Pumps) -> None:
    both = {HERE: [Message(0, 0), Message(0, 1)], THERE: [Message(1, 0)]}
    pumps.consumer.fetched = [both]
    lost: list[bool] = []
    async with pumps.running(HERE, THERE):
        before = await pumps.reader.records.receive()
        pumps.ownership.lost = lambda: lost.append(any(map(pumps.ledger.wants, before)))
        pumps.consumer.listener.forfeit()
        await pumps.rebalance(HERE, THERE)
        assert lost == [False]
        pumps.consumer.fetched = [both]
        again = await pumps.reader.records.receive()
    assert [record.origin for record in again] == [record.origin for record in before]
    assert all(map(pumps.ledger.wants, again))
    assert not any(map(pumps.ledger.wants, before))


async def test_a_revocation_commits_what_is_settled_and_waits_for_what_is_written(pumps: Pumps) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, 0), Message(0, 1)]}]
    async with pumps.running(HERE):
        await pumps.reader.records.receive()
        pumps.producer.gate = asyncio.Event()
        done: list[bool] = []

        async def publish() -> None:
            done.append(await pumps.publish([record(b"a")], settles=0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await pumps.until(lambda: not pumps.ownership.idle.is_set())
            nursery.start_soon(on_asyncio, pumps.consumer.rebalance, HERE, THERE)
            await trio.sleep(0.05)
            assert pumps.ownership.assignments == 1, "the partitions went while their answers were on the way"
            pumps.producer.gate.set()
        assert done == [True]
        assert pumps.consumer.committed[HERE].offset == 1
        assert pumps.ownership.assignments == 2


async def test_offsets_that_cannot_be_fetched_end_it_loudly(pumps: Pumps) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - it is raised by the end of a nursery
        async with pumps.running():
            pumps.consumer.error = KafkaError("no")
            await on_asyncio(pumps.consumer.rebalance, HERE)
            await trio.sleep_forever()
    assert caught.group_contains(BusError, match="committed offsets")


async def test_an_offset_that_vanishes_stops_its_partition_and_no_other(pumps: Pumps) -> None:
    pumps.consumer.gone = {HERE}
    pumps.consumer.fetched = [{THERE: [Message(1, 0)]}]
    async with pumps.running(HERE, THERE):
        (found,) = await pumps.reader.records.receive()
        assert found.origin.partition == 1
        assert pumps.consumer.held == {HERE}
        assert set(pumps.reader.stopped) == {tuple(HERE)}
        assert "5" in pumps.reader.stopped[tuple(HERE)].reason
        # A new assignment looks at it anew.
        pumps.consumer.gone = set()
        await pumps.rebalance(HERE, THERE)
        pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
        (found,) = await pumps.reader.records.receive()
        assert found.origin.partition == 0


async def test_a_group_that_does_not_take_us_ends_it_though_nothing_is_polled(pumps: Pumps) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - it is raised by the end of a nursery
        async with pumps.running():
            pumps.consumer.expelled = GroupAuthorizationFailedError("g")
            await trio.sleep_forever()
    assert caught.group_contains(BusError, match="no place in")


async def test_to_stop_taking_ends_the_records_and_keeps_the_partitions(pumps: Pumps) -> None:
    async with pumps.running(HERE):
        pumps.reader.stop_taking()
        pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
        with pytest.raises(trio.EndOfChannel):
            await pumps.reader.records.receive()
        await pumps.until(lambda: pumps.consumer.held == {HERE})
        assert pumps.ledger.load.records == 0


# ---- writer -------------------------------------------------------------------------------------------


async def test_a_commit_follows_the_last_acknowledgement(pumps: Pumps) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
    async with pumps.running(HERE):
        await pumps.reader.records.receive()
        pumps.producer.errors = {b"b": [KafkaError("once"), KafkaError("twice")]}
        assert await pumps.publish([record(b"a"), record(b"b")], settles=0)
    assert pumps.producer.sent == [b"a", b"b"]
    assert pumps.consumer.committed[HERE] == OffsetAndMetadata(1, "")


async def test_what_is_never_acknowledged_is_an_error_and_not_committed(pumps: Pumps) -> None:
    async with pumps.running(HERE):
        pumps.producer.errors = {b"b": [KafkaError("no") for _ in range(9)]}
        with pytest.raises(BusError, match="cannot publish"):
            await pumps.publish([record(b"b")])
    assert pumps.consumer.commits == []


async def test_what_is_too_large_for_the_topic_is_written_smaller(pumps: Pumps) -> None:
    async with pumps.running(HERE):
        pumps.producer.errors = {b"large": [MessageSizeTooLargeError()]}
        assert await pumps.publish([record(b"large", b"small"), record(b"a")])
    assert pumps.producer.sent == [b"a", b"small"]


async def test_what_was_made_for_an_older_assignment_is_not_written(pumps: Pumps) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
    async with pumps.running(HERE):
        await pumps.reader.records.receive()
        pumps.ownership.settled.clear()
        answers: list[bool] = []

        async def publish() -> None:
            answers.append(await pumps.publish([record(b"a")], settles=0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await trio.sleep(0.05)
            assert answers == []
            await on_asyncio(pumps.consumer.rebalance, HERE)
    assert answers == [False]
    assert pumps.producer.sent == []
    assert pumps.ledger.wants(Record(Origin("ftp-tasks", 0, 0), None, None)), "settled, and never written"


async def test_what_was_made_ready_before_the_books_were_brought_up_to_date_is_not_written(
    pumps: Pumps,
) -> None:
    """A former owner may have answered it: found by a process that had slept past its session."""
    pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
    answers: list[bool] = []

    async def publish() -> None:
        answers.append(await pumps.publish([record(b"a")], settles=0))

    async with pumps.running(HERE):
        await pumps.reader.records.receive()
        pumps.consumer.gate = asyncio.Event()
        await on_asyncio(pumps.consumer.rebalance, HERE)
        pumps.consumer.committed[HERE] = OffsetAndMetadata(1, "")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            await wait_all_tasks_blocked(0.01)
            pumps.consumer.gate.set()
    assert answers == [False]
    assert pumps.producer.sent == []
    assert not pumps.ledger.wants(Record(Origin("ftp-tasks", 0, 0), None, None))


async def test_a_commit_that_a_rebalance_forbids_is_deferred(pumps: Pumps) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, 0)]}]
    async with pumps.running(HERE):
        await pumps.reader.records.receive()
        pumps.consumer.error = CommitFailedError("rebalance")
        assert await pumps.publish([record(b"a")], settles=0)
        assert pumps.offsets.last_commit is None
        pumps.consumer.error = None
        assert pumps.offsets.behind() == {tuple(HERE): Commitment(1, "")}
        assert await pumps.publish([])
        assert pumps.offsets.behind() == {}
    assert pumps.consumer.committed[HERE].offset == 1


async def test_positions_can_be_told_in_the_middle_of_a_rebalance(pumps: Pumps) -> None:
    bridge = KafkaBridge(SETTINGS, pumps.consumer, pumps.producer)
    bridge.ledger.open(tuple(HERE), 5, {7})
    bridge.ledger.open(tuple(THERE), 9, ())
    pumps.consumer.mine = {HERE}
    here, there = bridge.positions()
    assert (here.position, here.watermark, here.settled_above, here.lag) == (5, 5, 1, 95)
    assert (there.partition, there.lag) == (1, None)


# ---- the embedded broker ------------------------------------------------------------------------------


@pytest.fixture
def embedded() -> Iterator[KafkaSettings]:
    with embedded_broker() as servers:
        yield KafkaSettings(
            delivery="at_least_once",  # its transactions are a mock
            bootstrap_servers=(servers,),
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            rebalance_timeout_ms=3000,
            max_retries=2,
            base_backoff_ms=100,
        )


def job(number: int) -> tuple[bytes, bytes]:
    ends = {"src_id": "far", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}
    return b"far", json.dumps({"task_id": str(number), **ends}).encode()


async def work_through(settings: KafkaSettings, count: int, answer: Callable[[str], bool]) -> list[str]:
    """Read so many jobs with a bridge of its own, and answer those that ``answer`` picks; tell which came."""
    came: list[str] = []
    to_sink, answers = trio.open_memory_channel[Answer](100)
    to_flow, deliveries = trio.open_memory_channel[Delivery](100)
    with trio.fail_after(40):
        async with open_bridge(settings, DAY_S) as bridge, trio.open_nursery() as nursery:
            source = KafkaSource(bridge)
            sink = KafkaSink(
                bridge, worker="w", interval_s=0.05, limit_bytes=10_000, metrics=Metrics("0", [])
            )
            nursery.start_soon(sink.run, answers)
            nursery.start_soon(source.run, to_flow, to_sink.clone())
            with to_sink:
                for _ in range(count):
                    delivery = await deliveries.receive()
                    came.append(delivery.job.task_id)
                    assert source.wants(delivery)
                    if answer(delivery.job.task_id):
                        await to_sink.send(Ended(delivery, Outcome(Status.SUCCESS)))
                source.stop()
    return came


async def test_the_next_owner_is_given_what_is_not_answered_and_nothing_else(embedded: KafkaSettings) -> None:
    assert await submit(embedded, [job(number) for number in range(20)]) == 20
    came = await work_through(embedded, 20, lambda task_id: int(task_id) % 5 != 0)
    assert sorted(map(int, came)) == list(range(20))
    came = await work_through(embedded, 4, lambda _task_id: True)
    assert sorted(map(int, came)) == [0, 5, 10, 15]


async def test_a_topic_that_is_not_there_is_told_as_such(
    embedded: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *_args: object, **_keys: object) -> None:
            raise UnknownTopicOrPartitionError

    monkeypatch.setattr(clients, "AIOKafkaProducer", Producer)
    with pytest.raises(BaseExceptionGroup) as caught:
        await submit(embedded, [(None, b"{}")], "nowhere")
    told = "nowhere: there is no such topic, and the brokers make none"
    assert caught.group_contains(BusError, match=told)
    async with open_letterbox(embedded) as letterbox:
        with pytest.raises(BusError, match=told):
            await letterbox.post("nowhere", [(None, b"{}")])


async def test_no_broker_is_an_error_after_as_many_tries_as_were_asked_for() -> None:
    settings = SETTINGS.model_copy(update={"bootstrap_servers": ("127.0.0.1:9",)})
    with trio.fail_after(20), pytest.raises(BaseExceptionGroup) as caught:
        async with open_bridge(settings, DAY_S):
            raise AssertionError
    assert caught.group_contains(BusError, match=r"127\.0\.0\.1:9")
