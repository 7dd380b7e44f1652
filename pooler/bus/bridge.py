"""The crossing between Trio and aiokafka.

Two asyncio tasks live behind it, and nothing else does: the consumer pump and the producer pump. Both
run inside the Trio thread, so that handing a batch over is a plain call, and each crosses once a batch.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import structlog
import trio
from aiokafka import TopicPartition

from pooler.bus import clients
from pooler.bus.clients import CLOSE_S, on_asyncio
from pooler.bus.delivery import AtLeastOnce, Delivery
from pooler.bus.group_session import GroupSession
from pooler.bus.ledger import Commitment, Ledger, Partition, PartitionLedger
from pooler.bus.loops import open_loop
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Publication
from pooler.bus.reader import ConsumerPump
from pooler.bus.retry_topics import make_retry_topics
from pooler.bus.start import Stop
from pooler.bus.topics import check_topics
from pooler.bus.transactions import ExactlyOnce
from pooler.bus.watchdog import Watchdog
from pooler.bus.writer import ProducerPump
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
        committed: the offset on record; None where there is none yet.
        settled_above: how many offsets above the watermark are settled.
        in_hand: how many records are read and not settled.
        lag: records from the watermark to the end, or all that there are where it is stopped; None before
            the first answer of the broker.
        held_back: whether reading waits until there is room, or until the drain ends.
        stopped: why it is not read; None where it is.
    """

    topic: str
    partition: int
    position: int
    watermark: int
    committed: int | None
    settled_above: int
    in_hand: int
    lag: int | None
    held_back: bool
    stopped: Stop | None


class KafkaBridge:
    """A consumer and a producer, as the Trio side sees them.

    Args:
        settings: the topics, and how much may be in hand.
        consumer: started.
        producer: started; None where each partition is to have a transactional one.

    Attributes:
        ledger: the books of the partitions that are ours.
    """

    def __init__(self, settings: KafkaSettings, consumer: Any, producer: Any = None) -> None:
        self.ledger = Ledger()
        self._consumer = consumer
        self._ownership = Ownership()
        self._offsets = Offsets(consumer, self.ledger, settings)
        self._delivery: Delivery
        if producer is None:
            self._delivery = ExactlyOnce(settings, self._offsets, self.ledger, self._ownership)
        else:
            self._delivery = AtLeastOnce(producer, settings, self._offsets, self._ownership)
        self._reader = ConsumerPump(
            consumer,
            settings,
            self.ledger,
            offsets=self._offsets,
            delivery=self._delivery,
            ownership=self._ownership,
        )
        self._writer = ProducerPump(self._delivery, self._ownership)
        self._watchdog = Watchdog(
            settings.watchdog_seconds,
            self._reader,
            self._writer,
            ownership=self._ownership,
            ledger=self.ledger,
            probe=partial(on_asyncio, clients.has_more, settings),
        )

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

    def behind(self) -> dict[Partition, Commitment]:
        """Tell which partitions have something to commit that is not committed yet."""
        return self._offsets.behind()

    async def publish(self, publications: Sequence[Publication]) -> bool:
        """Have answers and their offsets delivered; see `ProducerPump.publish`."""
        return await self._writer.publish(publications)

    @contextmanager
    def hurrying(self, hurry: Callable[[], object]) -> Iterator[None]:
        """Have a function called before partitions are given away; ``flushed`` is to be called behind it."""

        def ask() -> bool:
            hurry()
            return True

        before, self._ownership.hurry = self._ownership.hurry, ask
        try:
            yield
        finally:
            self._ownership.hurry = before
            self.flushed()

    def flushed(self) -> None:
        """Say that what had ended when we were hurried is published."""
        self._ownership.flushed.set()

    @property
    def membership(self) -> GroupSession:
        """How long our partitions are nobody else's for sure; of the consumer that there is now."""
        session: GroupSession = self._consumer.session  # aiokafka has no types
        return session

    def when_lost(self, lost: Callable[[], object]) -> None:
        """Have a function called when partitions may be somebody else's now; ``ledger.wants`` tells."""
        self._ownership.lost = lost

    def positions(self) -> list[PartitionPosition]:
        """Tell where reading stands in each partition that is ours."""
        return [self._position(partition) for partition in sorted({*self.ledger, *self._reader.stopped})]

    def _position(self, partition: Partition) -> PartitionPosition:
        here, stopped = TopicPartition(*partition), self._reader.stopped.get(partition)
        recorded, there = self._offsets.on_record(partition), self._offsets.log_of(partition)
        # Stopped from the beginning, it has no book.
        book = (
            self.ledger[partition]
            if partition in self.ledger
            else PartitionLedger(there.first if there else 0)
        )
        if stopped is not None:
            lag = there.end - there.first if there else None
        else:
            # In the middle of a rebalance the two may differ, and highwater() asserts that they do not.
            end = self._consumer.highwater(here) if here in self._consumer.assignment() else None
            lag = None if end is None else max(0, end - book.watermark)
        return PartitionPosition(
            *partition,
            position=book.next_offset,
            watermark=book.watermark,
            committed=None if recorded is None else recorded.offset,
            settled_above=book.settled_above,
            in_hand=len(book.pending),
            lag=lag,
            held_back=here in self._consumer.paused(),
            stopped=stopped,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run both pumps, until cancelled.

        Raises:
            BusError: one of them failed (in a group).
        """
        async with trio.open_nursery() as pumps:
            pumps.start_soon(on_asyncio, self._reader.run)
            pumps.start_soon(on_asyncio, self._writer.run)
            pumps.start_soon(self._watchdog.run)
            task_status.started()

    async def aclose(self) -> None:
        """Close the clients that publishing has made, each within ``CLOSE_S`` seconds."""
        await on_asyncio(self._delivery.aclose)


@asynccontextmanager
async def open_bridge(settings: KafkaSettings, deadline_s: float) -> AsyncIterator[KafkaBridge]:
    """Run a consumer and its producers for as long as the block lasts.

    Args:
        settings: where the brokers are, and what to call ourselves.
        deadline_s: how long a job may take, in seconds; the input topic has to keep it for longer.

    Yields:
        The bridge, connected.

    Raises:
        BusError: no broker answers or lets us in, or, later, one of the pumps failed; in a group.
        ConfigError: the topics are set up so that jobs or answers would be lost; in a group.

    Cancellation: leaves the group and closes all clients, each within ``CLOSE_S`` seconds.
    """
    async with open_loop():
        await on_asyncio(clients.reach, settings)
        await on_asyncio(make_retry_topics, settings, deadline_s)
        await on_asyncio(check_topics, settings, deadline_s)
        async with _started(clients.make_consumer(settings), settings) as consumer:
            if settings.delivery == "exactly_once":
                async with _running(KafkaBridge(settings, consumer)) as bridge:
                    yield bridge
            else:
                async with (
                    _started(clients.make_producer(settings), settings) as producer,
                    _running(KafkaBridge(settings, consumer, producer)) as bridge,
                ):
                    yield bridge


@asynccontextmanager
async def _running(bridge: KafkaBridge) -> AsyncIterator[KafkaBridge]:
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(bridge.run)
            yield bridge
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(CLOSE_S + 1, shield=True):
            await bridge.aclose()


@asynccontextmanager
async def _started(client: Any, settings: KafkaSettings) -> AsyncIterator[Any]:
    try:
        await on_asyncio(clients.start, client, settings)
        yield client
    finally:
        with trio.move_on_after(CLOSE_S + 1, shield=True):
            await on_asyncio(clients.stop, client)
