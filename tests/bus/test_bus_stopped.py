"""Partitions that are not read: what is in hand of them is answered all the same, and how they go on."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.bridge import KafkaBridge, PartitionPosition
from pooler.bus.clients import on_asyncio
from pooler.bus.ledger import decode_topic_id, encode_gaps
from pooler.bus.start import AT_FIRST
from pooler.model.job import Origin, Record
from tests.support.pumps_double import HERE, SETTINGS, THERE, Message, Pumps, record

OLD, NEW = bytes(range(16)), bytes(range(1, 17))
PARTITION = (HERE.topic, HERE.partition)

MakePumps = Callable[[str], Pumps]


@pytest.fixture
async def make_pumps() -> AsyncIterator[MakePumps]:
    async with trio_asyncio.open_loop():
        yield lambda choice: Pumps(SETTINGS.model_copy(update={"out_of_range": choice}))


def wanted(pumps: Pumps) -> list[int]:
    return [
        offset for offset in range(20) if pumps.ledger.wants(Record(Origin(*PARTITION, offset), None, None))
    ]


async def read(pumps: Pumps, *offsets: int) -> None:
    pumps.consumer.fetched = [{HERE: [Message(0, offset) for offset in offsets]}]
    found = await pumps.reader.records.receive()
    assert [got.origin.offset for got in found] == list(offsets)


async def test_what_is_in_hand_is_answered_though_reading_goes_on_behind_it(make_pumps: MakePumps) -> None:
    pumps = make_pumps("first")
    async with pumps.running(HERE):
        await read(pumps, 0, 1, 2)
        pumps.consumer.first = 5
        await pumps.rebalance(HERE)
        assert wanted(pumps) == [0, 1, 2]
        assert pumps.consumer.sought == {HERE: 5}
        assert await pumps.publish([record(b"0")], settles=0)
        assert pumps.consumer.committed[HERE].offset == 1
        await read(pumps, 5, 6)
        assert wanted(pumps) == [1, 2, 5, 6]
    assert pumps.reader.stopped == {}


@pytest.mark.parametrize("choice", ["stop", "first"])
async def test_what_another_has_answered_meanwhile_is_not_answered_again(
    make_pumps: MakePumps, choice: str
) -> None:
    pumps = make_pumps(choice)
    async with pumps.running(HERE):
        await read(pumps, 0, 1, 2, 3)
        pumps.consumer.gate = asyncio.Event()
        await on_asyncio(pumps.consumer.rebalance, HERE)
        pumps.consumer.committed[HERE] = OffsetAndMetadata(1, encode_gaps(1, {2}))
        pumps.consumer.first = 5
        pumps.consumer.gate.set()
        await pumps.until(pumps.ownership.settled.is_set)
        assert wanted(pumps) == [1, 3]
        assert (PARTITION in pumps.reader.stopped) == (choice == "stop")


@pytest.mark.parametrize("choice", ["stop", "first"])
@pytest.mark.parametrize("topic_id", [OLD, b""])
async def test_an_offset_of_a_former_topic_is_not_read_from_though_it_is_in_range(
    make_pumps: MakePumps, choice: str, topic_id: bytes
) -> None:
    pumps = make_pumps(choice)
    pumps.consumer._client.ids = {HERE.topic: NEW}
    pumps.consumer.committed[HERE] = OffsetAndMetadata(7, encode_gaps(7, {9}, topic_id))
    async with pumps.running(HERE):
        if not topic_id:  # what was written before topics had ids, or by an operator
            assert pumps.consumer.sought == {HERE: 7}
            assert decode_topic_id(pumps.offsets.behind()[PARTITION].metadata) == NEW
        elif choice == "first":
            assert pumps.consumer.sought == {HERE: 0}
            assert not pumps.ledger.is_settled(Origin(HERE.topic, 1, 9))
            await read(pumps, 9)
        else:
            assert pumps.consumer.held == {HERE}
            assert pumps.offsets.behind() == {}
            assert "made anew" in pumps.reader.stopped[PARTITION].reason


async def test_a_topic_made_anew_while_it_is_read_stops_its_partitions(make_pumps: MakePumps) -> None:
    pumps = make_pumps("stop")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        await read(pumps, 0, 1, 2)
        assert await pumps.publish([record(b"0")], settles=0)
        # Kafka forgets the offsets of a topic that is deleted.
        topics.ids, pumps.consumer.committed = {HERE.topic: NEW}, {}
        topics.refreshed()
        await pumps.until(lambda: PARTITION in pumps.reader.stopped)
        assert pumps.reader.stopped[PARTITION].way_on == AT_FIRST
        assert pumps.consumer.held == {HERE}
        assert wanted(pumps) == [1, 2]
        # With the former topic's id, so that the next owner is stopped too.
        assert await pumps.publish([record(b"1")], settles=1)
        assert pumps.consumer.committed[HERE].offset == 2
        assert decode_topic_id(pumps.consumer.committed[HERE].metadata or "") == OLD
        await pumps.rebalance(HERE)
        assert set(pumps.reader.stopped) == {PARTITION}
        assert wanted(pumps) == [2]
        assert pumps.consumer.rejoins == 0


async def test_a_topic_made_anew_is_found_by_a_rebalance_though_its_offsets_are_forgotten(
    make_pumps: MakePumps,
) -> None:
    pumps = make_pumps("stop")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        await read(pumps, 0, 1)
        pumps.consumer.gate = asyncio.Event()
        await on_asyncio(pumps.consumer.rebalance, HERE)
        topics.ids, pumps.consumer.committed = {HERE.topic: NEW}, {}
        pumps.consumer.gate.set()
        await pumps.until(pumps.ownership.settled.is_set)
        assert set(pumps.reader.stopped) == {PARTITION}
        assert wanted(pumps) == [0, 1]


async def test_what_is_on_record_of_a_former_topic_stays_there_though_nothing_is_in_hand(
    make_pumps: MakePumps,
) -> None:
    pumps = make_pumps("stop")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        assert await pumps.publish([])
        assert pumps.offsets.behind() == {}
        topics.ids, pumps.consumer.committed = {HERE.topic: NEW}, {}
        topics.refreshed()
        await pumps.until(lambda: PARTITION in pumps.reader.stopped)
        assert decode_topic_id(pumps.offsets.behind()[PARTITION].metadata) == OLD


async def test_or_it_is_begun_anew_once_what_is_in_hand_of_the_former_is_answered(
    make_pumps: MakePumps,
) -> None:
    pumps = make_pumps("first")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        await read(pumps, 0, 1)
        topics.ids = {HERE.topic: NEW}
        topics.refreshed()
        await pumps.until(lambda: PARTITION in pumps.reader.stopped)
        assert "none is needed" in pumps.reader.stopped[PARTITION].way_on
        # The group decides anew for another reason: what is in hand still comes first.
        await pumps.rebalance(HERE)
        assert wanted(pumps) == [0, 1]
        assert PARTITION in pumps.reader.stopped
        assert await pumps.publish([record(b"0")], settles=0)
        assert pumps.consumer.rejoins == 0
        assert await pumps.publish([record(b"1")], settles=1)
        await pumps.until(lambda: pumps.consumer.rejoins > 0)
        polled = pumps.reader.last_poll
        await pumps.until(lambda: pumps.reader.last_poll > polled + 0.02)
        await pumps.rebalance(HERE)
        assert pumps.reader.stopped == {}
        assert pumps.consumer.sought == {HERE: 0}
        await read(pumps, 0, 1)
        assert await pumps.publish([record(b"new")], settles=0)
        assert decode_topic_id(pumps.consumer.committed[HERE].metadata or "") == NEW
    assert pumps.consumer.rejoins == 1


async def test_topics_are_asked_about_only_if_there_is_news_of_them(make_pumps: MakePumps) -> None:
    pumps = make_pumps("stop")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        await read(pumps, 0)
        before = topics.asked
        topics.refreshed()
        await pumps.until(lambda: topics.asked > before)
        asked = topics.asked
        await read(pumps, 1)
        await read(pumps, 2)
        assert topics.asked == asked == before + 1
        # Who is not told goes on, and asks again with the next news.
        topics.error = KafkaError("no")
        topics.refreshed()
        await pumps.until(lambda: topics.asked > asked)
        await read(pumps, 3)
        topics.error, topics.ids = None, {HERE.topic: NEW}
        topics.refreshed()
        await pumps.until(lambda: PARTITION in pumps.reader.stopped)


async def test_a_rebalance_in_the_middle_of_a_look_takes_nothing_amiss(make_pumps: MakePumps) -> None:
    pumps = make_pumps("stop")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        topics.gate = asyncio.Event()
        asked = topics.asked
        topics.refreshed()
        await pumps.until(lambda: topics.asked > asked)
        topics.ids = {HERE.topic: NEW}
        await on_asyncio(pumps.consumer.rebalance, THERE)
        topics.gate.set()
        await pumps.until(pumps.ownership.settled.is_set)
        pumps.consumer.fetched = [{THERE: [Message(1, 0)]}]
        (found,) = await pumps.reader.records.receive()
        assert found.origin.partition == 1
        assert pumps.reader.stopped == {}


async def test_what_a_rebalance_has_begun_anew_is_not_begun_anew_by_the_look_that_it_came_into(
    make_pumps: MakePumps,
) -> None:
    pumps = make_pumps("first")
    topics = pumps.consumer._client
    topics.ids = {HERE.topic: OLD}
    async with pumps.running(HERE):
        await read(pumps, 0)
        assert await pumps.publish([record(b"0")], settles=0)
        topics.gate = asyncio.Event()
        asked = topics.asked
        topics.refreshed()
        await pumps.until(lambda: topics.asked > asked)
        topics.ids = {HERE.topic: NEW}
        await on_asyncio(pumps.consumer.rebalance, HERE)
        topics.gate.set()
        await pumps.until(pumps.ownership.settled.is_set)
        assert pumps.reader.stopped == {}
        await read(pumps, 0)
        assert pumps.consumer.rejoins == 0


async def positions(
    pumps: Pumps, bridge: KafkaBridge, *, holds: Callable[[list[PartitionPosition]], bool]
) -> list[PartitionPosition]:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run)
            await pumps.until(lambda: pumps.consumer.listener is not None)
            await on_asyncio(pumps.consumer.rebalance, HERE, THERE)
            await pumps.until(lambda: holds(bridge.positions()))
            found = bridge.positions()
            nursery.cancel_scope.cancel()
    return found


async def test_stopped_partitions_are_among_the_positions_with_all_that_waits_in_them(
    make_pumps: MakePumps,
) -> None:
    pumps = make_pumps("stop")
    pumps.consumer.first = 10
    pumps.consumer.committed = {HERE: OffsetAndMetadata(4, ""), THERE: OffsetAndMetadata(40, "")}
    pumps.consumer.fetched = [{THERE: [Message(1, 40), Message(1, 41)]}]
    bridge = KafkaBridge(SETTINGS, pumps.consumer, pumps.producer)
    here, there = await positions(pumps, bridge, holds=lambda found: any(at.in_hand for at in found))
    assert here.stopped is not None
    assert "from 4 to 9" in here.stopped.reason
    assert (here.position, here.committed, here.lag, here.in_hand) == (10, 4, 90, 0)
    assert there.stopped is None
    assert (there.position, there.watermark, there.committed, there.lag, there.in_hand) == (42, 40, 40, 60, 2)
    assert not there.held_back


async def test_a_partition_that_went_to_another_is_no_longer_among_them(make_pumps: MakePumps) -> None:
    pumps = make_pumps("stop")
    pumps.consumer.first = 10
    pumps.consumer.committed = dict.fromkeys((HERE, THERE), OffsetAndMetadata(4, ""))
    async with pumps.running(HERE, THERE):
        assert set(pumps.reader.stopped) == {tuple(HERE), tuple(THERE)}
        pumps.consumer.gate = asyncio.Event()
        await on_asyncio(pumps.consumer.rebalance, TopicPartition(*PARTITION))
        assert set(pumps.reader.stopped) == {PARTITION}
        pumps.consumer.gate.set()
