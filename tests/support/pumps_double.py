"""Both pumps on doubles: a consumer and a producer that have what a test gave them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.clients import on_asyncio
from pooler.bus.delivery import AtLeastOnce
from pooler.bus.ledger import Ledger
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Outgoing, Publication
from pooler.bus.reader import ConsumerPump
from pooler.bus.records import OutRecord
from pooler.bus.writer import ProducerPump
from pooler.config.settings import KafkaSettings
from pooler.model.job import Origin
from tests.support.topics_double import TopicsDouble

SETTINGS = KafkaSettings(max_retries=3, base_backoff_ms=1, max_backoff_ms=1, window_records=10)
HERE, THERE = TopicPartition("ftp-tasks", 0), TopicPartition("ftp-tasks", 1)


@dataclass(frozen=True)
class Message:
    partition: int
    offset: int
    topic: str = "ftp-tasks"
    key: bytes | None = None
    value: bytes = b"{}"
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


@dataclass
class FakeConsumer:
    """A consumer that has what a test gave it."""

    committed: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    mine: set[TopicPartition] = field(default_factory=set)
    held: set[TopicPartition] = field(default_factory=set)
    sought: dict[TopicPartition, int] = field(default_factory=dict)
    fetched: list[dict[TopicPartition, list[Message]]] = field(default_factory=list)
    first: int = 0
    error: KafkaError | None = None
    gate: asyncio.Event | None = None
    expelled: KafkaError | None = None
    gone: set[TopicPartition] = field(default_factory=set)
    listener: Any = None
    commits: list[dict[TopicPartition, OffsetAndMetadata]] = field(default_factory=list)
    end: int = 100
    rejoins: int = 0
    _client: TopicsDouble = field(default_factory=TopicsDouble)

    @property
    def _coordinator(self) -> "FakeConsumer":
        return self

    group_id = "g"

    async def ensure_coordinator_known(self) -> None:
        await asyncio.sleep(0)

    async def _send_req(self, _request: object) -> None:
        raise NotImplementedError  # as old brokers make it

    async def fetch_committed_offsets(
        self, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {place: self.committed[place] for place in partitions if place in self.committed}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(partitions, self.first)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(partitions, self.end)

    def request_rejoin(self) -> None:
        self.rejoins += 1

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.commits.append(offsets)
        self.committed.update(offsets)

    async def getmany(self, **_options: int) -> dict[TopicPartition, list[Message]]:
        await asyncio.sleep(0.001)
        open_ones = self.mine - self.held
        if self.gone & open_ones:
            raise OffsetOutOfRangeError(dict.fromkeys(self.gone & open_ones, 5))
        return self.fetched.pop(0) if self.fetched and open_ones else {}

    def check(self) -> None:
        if self.expelled is not None:
            raise self.expelled

    def subscribe(self, _topics: list[str], *, listener: Any) -> None:
        self.listener = listener

    def assignment(self) -> set[TopicPartition]:
        return self.mine

    def highwater(self, partition: TopicPartition) -> int:
        assert partition in self.mine, "Partition is not assigned"
        return 100

    def paused(self) -> set[TopicPartition]:
        return self.held

    def pause(self, partition: TopicPartition) -> None:
        self.held.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self.held.discard(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.sought[partition] = offset

    async def rebalance(self, *mine: TopicPartition) -> None:
        """What aiokafka does, and that it forgets what was paused."""
        await self.listener.on_partitions_revoked(self.mine)
        self.mine, self.held = set(mine), set()
        await self.listener.on_partitions_assigned(self.mine)


@dataclass
class FakeProducer:
    """A producer that answers as it is told: by value, an error for each try."""

    sent: list[bytes] = field(default_factory=list)
    errors: dict[bytes, list[Exception]] = field(default_factory=dict)
    gate: asyncio.Event | None = None

    async def send(self, _topic: str, value: bytes, _key: bytes, **_more: Any) -> Awaitable[None]:
        await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        if self.gate is not None:
            await self.gate.wait()
        if self.errors.get(value):
            future.set_exception(self.errors[value].pop(0))
        else:
            self.sent.append(value)
            future.set_result(None)
        return future


class Pumps:
    """Both pumps on doubles."""

    def __init__(self, settings: KafkaSettings = SETTINGS) -> None:
        self.consumer, self.producer = FakeConsumer(), FakeProducer()
        self.ledger, self.ownership = Ledger(), Ownership()
        self.offsets = Offsets(self.consumer, self.ledger, settings)
        self.delivery = AtLeastOnce(self.producer, settings, self.offsets, self.ownership)
        self.reader = ConsumerPump(
            self.consumer,
            settings,
            self.ledger,
            offsets=self.offsets,
            delivery=self.delivery,
            ownership=self.ownership,
        )
        self.writer = ProducerPump(self.delivery, self.ownership)

    @asynccontextmanager
    async def running(self, *mine: TopicPartition) -> AsyncIterator["Pumps"]:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(on_asyncio, self.reader.run)
                nursery.start_soon(on_asyncio, self.writer.run)
                await self.until(lambda: self.consumer.listener is not None)
                if mine:
                    await self.rebalance(*mine)
                yield self
                nursery.cancel_scope.cancel()

    async def rebalance(self, *mine: TopicPartition) -> None:
        """Have the group decide, and wait until what is ours is open."""
        await on_asyncio(self.consumer.rebalance, *mine)
        await self.until(self.ownership.settled.is_set)

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.001)

    async def publish(self, records: list[Outgoing], settles: int | None = None) -> bool:
        """As the sink does, for an offset of the first partition."""
        settled = set() if settles is None else {settles}
        commitment = self.ledger[tuple(HERE)].commitment(settled)

        def settle() -> None:
            for offset in settled:
                self.ledger.settle(Origin("ftp-tasks", 0, offset))

        return await self.writer.publish([Publication(tuple(HERE), records, commitment, settle)])


def record(value: bytes, smaller: bytes | None = None) -> Outgoing:
    made = None if smaller is None else OutRecord("result", b"k", smaller, ())
    return Outgoing(OutRecord("result", b"k", value, ()), None if made is None else lambda: made)
