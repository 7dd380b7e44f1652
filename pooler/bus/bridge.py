"""The crossing between Trio and aiokafka.

Two asyncio tasks live behind it, and nothing else does: the consumer pump and the producer pump. Both
run inside the Trio thread, so that handing a batch over is a plain call, and each crosses once a batch.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import structlog
import trio
import trio_asyncio
from aiokafka import TopicPartition

from pooler.bus import clients
from pooler.bus.clients import CLOSE_S, on_asyncio
from pooler.bus.ledger import Commitment, Ledger
from pooler.bus.offsets import Offsets
from pooler.bus.reader import ConsumerPump, Ownership
from pooler.bus.writer import ProducerPump, Publication, topics
from pooler.config.settings import KafkaSettings
from pooler.model.job import Record

log = structlog.get_logger(__name__)


class PartitionPosition(NamedTuple):
    """Where reading stands in a partition that is ours.

    Attributes:
        topic: its topic.
        partition: its number.
        position: the next offset to be read.
        watermark: the offset that may be committed.
        settled_above: how many offsets above the watermark are settled.
        lag: records from the watermark to the end; None before the first answer of the broker.
    """

    topic: str
    partition: int
    position: int
    watermark: int
    settled_above: int
    lag: int | None


class KafkaBridge:
    """A consumer and a producer, as the Trio side sees them.

    Args:
        settings: the topics, and how much may be in hand.
        consumer: started.
        producer: started.

    Attributes:
        ledger: the books of the partitions that are ours.
    """

    def __init__(self, settings: KafkaSettings, consumer: Any, producer: Any) -> None:
        self.ledger = Ledger()
        self._consumer = consumer
        self._ownership = Ownership()
        self._offsets = Offsets(consumer, self.ledger)
        self._reader = ConsumerPump(consumer, settings, self.ledger, self._offsets, self._ownership)
        self._writer = ProducerPump(producer, settings, self._offsets, self._ownership)

    @property
    def records(self) -> trio.MemoryReceiveChannel[list[Record]]:
        """Batches of records as they are read; ends once reading has stopped."""
        return self._reader.records

    @property
    def assigned(self) -> bool:
        """Whether this member has been told which partitions are its own."""
        return self._ownership.settled.is_set()

    @property
    def last_commit(self) -> float | None:
        """``trio.current_time()`` of the newest commit; None before the first."""
        return self._offsets.last_commit

    def stop_taking(self) -> None:
        """Read nothing more: ends ``records``; polling goes on, so that the partitions stay ours."""
        self._reader.stop_taking()

    def behind(self) -> dict[tuple[str, int], Commitment]:
        """Tell which partitions have something to commit that is not committed yet."""
        return self._offsets.behind()

    async def publish(self, publication: Publication) -> bool:
        """Have records acknowledged, then commit; see `ProducerPump.publish`."""
        return await self._writer.publish(publication)

    def positions(self) -> list[PartitionPosition]:
        """Tell where reading stands in each partition that is ours."""
        found = []
        # In the middle of a rebalance the two may differ, and highwater() asserts that they do not.
        assigned = self._consumer.assignment()
        for partition in sorted(self.ledger):
            book, here = self.ledger[partition], TopicPartition(*partition)
            end = self._consumer.highwater(here) if here in assigned else None
            watermark = book.watermark
            lag = None if end is None else max(0, end - watermark)
            found.append(PartitionPosition(*partition, book.next_offset, watermark, book.settled_above, lag))
        return found

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run both pumps, until cancelled.

        Raises:
            BusError: one of them failed (in a group).
        """
        async with trio.open_nursery() as pumps:
            pumps.start_soon(on_asyncio, self._reader.run)
            pumps.start_soon(on_asyncio, self._writer.run)
            task_status.started()


@asynccontextmanager
async def open_bridge(settings: KafkaSettings) -> AsyncIterator[KafkaBridge]:
    """Run a consumer and a producer for as long as the block lasts.

    Args:
        settings: where the brokers are, and what to call ourselves.

    Yields:
        The bridge, connected.

    Raises:
        BusError: no broker answers, or, later, one of the pumps failed; in a group.

    Cancellation: leaves the group and closes both clients, each within ``CLOSE_S`` seconds.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(clients.log_unretrieved)
        async with _started(clients.make_consumer(settings), settings) as consumer:
            await _look_for_topics(consumer, settings)
            async with _started(clients.make_producer(settings), settings) as producer:
                bridge = KafkaBridge(settings, consumer, producer)
                async with trio.open_nursery() as nursery:
                    await nursery.start(bridge.run)
                    yield bridge
                    nursery.cancel_scope.cancel()


@asynccontextmanager
async def _started(client: Any, settings: KafkaSettings) -> AsyncIterator[Any]:
    try:
        await on_asyncio(clients.start, client, settings)
        yield client
    finally:
        with trio.move_on_after(CLOSE_S + 1, shield=True):
            await on_asyncio(clients.stop, client)


async def _look_for_topics(consumer: Any, settings: KafkaSettings) -> None:
    """Say which topics are missing: without the input topic nothing would ever be assigned, silently."""
    there = await on_asyncio(consumer.topics)
    for topic in (settings.input_topic, *topics(settings).values()):
        if topic not in there:
            log.warning("topic_missing", topic=topic)
