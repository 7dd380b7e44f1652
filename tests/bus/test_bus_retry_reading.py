"""Retry topics as the consumer pump reads them, on doubles."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio_asyncio
from aiokafka import TopicPartition

from pooler.bus.clients import on_asyncio
from pooler.bus.ledger import Ledger
from pooler.bus.offsets import Offsets
from pooler.config.settings import KafkaSettings
from tests.support.pumps_double import HERE, FakeConsumer, Message, Pumps

PARKED = TopicPartition("ftp-tasks-retry-10s", 0)


@pytest.fixture
async def pumps() -> AsyncIterator[Pumps]:
    async with trio_asyncio.open_loop():
        yield Pumps()


def copy(offset: int, age_s: float) -> Message:
    """A record that was parked so long ago."""
    return Message(0, offset, topic=PARKED.topic, timestamp=int((time.time() - age_s) * 1000))


async def test_what_is_not_due_is_left_and_its_partition_paused_until_then(pumps: Pumps) -> None:
    async with pumps.running(HERE, PARKED):
        pumps.consumer.fetched.append({PARKED: [copy(0, 20), copy(1, 11), copy(2, 8), copy(3, 20)]})
        batch = await pumps.reader.records.receive()
        assert [record.origin.offset for record in batch] == [0, 1]
        assert pumps.consumer.sought[PARKED] == 2
        await pumps.until(lambda: pumps.consumer.held == {PARKED})
        assert pumps.ledger[tuple(PARKED)].next_offset == 2
        # The others are read meanwhile.
        pumps.consumer.fetched.append({HERE: [Message(0, 0)]})
        assert [record.origin.topic for record in await pumps.reader.records.receive()] == ["ftp-tasks"]
        before = time.time()
        await pumps.until(lambda: not pumps.consumer.held)
        assert 1 < time.time() - before < 9
        pumps.consumer.fetched.append({PARKED: [copy(2, 11), copy(3, 20)]})
        assert [record.origin.offset for record in await pumps.reader.records.receive()] == [2, 3]


async def test_a_rebalance_pauses_again_what_is_not_due(pumps: Pumps) -> None:
    async with pumps.running(HERE, PARKED):
        pumps.consumer.fetched.append({PARKED: [copy(0, 0)]})
        await pumps.until(lambda: pumps.consumer.held == {PARKED})
        await pumps.rebalance(HERE, PARKED)
        assert pumps.consumer.sought[PARKED] == 0
        pumps.consumer.fetched.append({PARKED: [copy(0, 0)], HERE: [Message(0, 0)]})
        batch = await pumps.reader.records.receive()
        assert [record.origin.topic for record in batch] == ["ftp-tasks"]
        await pumps.until(lambda: pumps.consumer.held == {PARKED})


async def test_nothing_is_done_to_a_partition_that_was_lost_meanwhile(pumps: Pumps) -> None:
    async with pumps.running(HERE):
        pumps.consumer.sought.clear()
        pumps.consumer.fetched.append({PARKED: [copy(0, 0)], HERE: [Message(0, 0)]})
        await pumps.reader.records.receive()
        assert PARKED not in pumps.consumer.sought
        assert pumps.consumer.held == set()


async def test_all_topics_are_subscribed_to(pumps: Pumps, monkeypatch: pytest.MonkeyPatch) -> None:
    topics: list[str] = []
    subscribe = pumps.consumer.subscribe

    def noting(names: list[str], *, listener: Any) -> None:
        topics.extend(names)
        subscribe(names, listener=listener)

    monkeypatch.setattr(pumps.consumer, "subscribe", noting)
    async with pumps.running(HERE):
        await trio.lowlevel.checkpoint()
    retries = [f"ftp-tasks-retry-{delay}" for delay in ("10s", "1m", "10m", "1h")]
    assert topics == ["ftp-tasks", *retries, "ftp-tasks-batches"]


@pytest.mark.parametrize(("end", "stopped"), [(0, [tuple(HERE)]), (100, [tuple(HERE), tuple(PARKED)])])
async def test_a_topic_that_was_just_made_is_begun_whatever_is_said_of_missing_offsets(
    end: int, stopped: list[tuple[str, int]]
) -> None:
    settings = KafkaSettings(missing_offset="stop")
    async with trio_asyncio.open_loop():
        offsets = Offsets(FakeConsumer(end=end), Ledger(), settings)
        starts = await on_asyncio(offsets.fetch, [tuple(HERE), tuple(PARKED)])
    assert [partition for partition, start in starts.items() if start.stopped is not None] == stopped
