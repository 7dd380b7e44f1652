"""The consumer pump: reads records by the batch, holds back when enough is in hand, and minds rebalances.

A rebalance has two phases. On revocation publishing freezes, and what is settled is committed while the
generation is still ours. On assignment the books of what we lost are closed, the others opened or kept, and
reading goes on where each book stands.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError

from pooler.bus.clients import bounded
from pooler.bus.ledger import Ledger, decode_gaps
from pooler.bus.offsets import Offsets
from pooler.bus.records import record_size
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError
from pooler.model.job import Origin, Record

log = structlog.get_logger(__name__)

_POLL_MS = 200
_FREEZE_S = 10.0
_LOW_MARK = 0.5  # pausing forgets what was prefetched: seldom, then, and with room between the marks


@dataclass(slots=True)
class Ownership:
    """Whether the partitions are settled among the members; shared by the two pumps.

    Attributes:
        settled: set between an assignment and the next revocation; publishing waits for it.
        idle: set while nothing is being published; a revocation waits for it.
        epoch: counts the assignments: what was made ready under an older one may be somebody else's by now.
    """

    settled: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.idle.set()


class ConsumerPump(ConsumerRebalanceListener):
    """Reads the input topic into a memory channel.

    Args:
        consumer: started; this subscribes it.
        settings: the topic, and how much may be in hand.
        ledger: the books of the partitions that are ours.
        offsets: where they begin.
        ownership: shared with the producer pump.

    Attributes:
        records: batches as they are read; ends once reading has stopped.
    """

    def __init__(
        self, consumer: Any, settings: KafkaSettings, ledger: Ledger, offsets: Offsets, ownership: Ownership
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._ledger = ledger
        self._offsets = offsets
        self._ownership = ownership
        # Never full: a batch has at least one record, and reading stops at `window_records`.
        room = settings.window_records + settings.max_poll_records
        self._to_records, self.records = trio.open_memory_channel[list[Record]](room)
        self._taking = True
        self._crowded = False
        self._failure: BusError | None = None

    def stop_taking(self) -> None:
        """Read nothing more; polling goes on, so that the partitions stay ours."""
        self._taking = False
        self._to_records.close()

    async def run(self) -> None:
        """Subscribe and read, until cancelled.

        Raises:
            BusError: the topic cannot be read.
        """
        self._consumer.subscribe([self._settings.input_topic], listener=self)
        while self._failure is None:
            if not self._ownership.settled.is_set():
                await bounded(self._ownership.settled.wait(), _POLL_MS / 1000)
                continue
            self._hold_back()
            try:
                fetched = await self._consumer.getmany(
                    timeout_ms=_POLL_MS, max_records=self._settings.max_poll_records
                )
            except NoOffsetForPartitionError:
                # A rebalance came in between: it sets the positions a moment later.
                continue
            except KafkaError as error:
                raise BusError(f"cannot read {self._settings.input_topic}: {error!r}") from error
            batch = [record for messages in fetched.values() for record in self._received(messages)]
            if batch:
                self._to_records.send_nowait(batch)
        raise self._failure

    def _received(self, messages: Iterable[Any]) -> Iterable[Record]:
        for message in messages:
            origin = Origin(message.topic, message.partition, message.offset)
            # While the poll was under way a drain may have begun, or a rebalance taken the partition.
            if not self._taking or origin[:2] not in self._ledger:
                continue
            headers = tuple(message.headers)
            if self._ledger.receive(origin, record_size(message.key, message.value, headers)):
                yield Record(origin, message.key, message.value, headers, message.timestamp)

    def _hold_back(self) -> None:
        """Pause what must take in nothing more, resume the rest.

        A rebalance forgets pauses, so what is asked for is compared with what is, each time.
        """
        load, settings = self._ledger.load, self._settings
        mark = _LOW_MARK if self._crowded else 1.0
        self._crowded = (
            load.records >= mark * settings.window_records or load.size_bytes >= mark * settings.window_bytes
        )
        paused, assigned = self._consumer.paused(), self._consumer.assignment()
        for partition in self._ledger:
            here = TopicPartition(*partition)
            if here not in assigned:
                continue
            full = self._crowded or not self._taking or self._ledger[partition].full
            if full and here not in paused:
                self._consumer.pause(here)
            elif not full and here in paused:
                self._consumer.resume(here)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Freeze publishing, and commit what is settled; all partitions are revoked, whatever comes after."""
        self._ownership.settled.clear()
        await bounded(self._ownership.idle.wait(), _FREEZE_S)
        await self._offsets.commit(self._offsets.behind())
        log.debug("partitions_revoked", partitions=sorted(partition.partition for partition in revoked))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Open the books of what is ours now, close the others, and read on where each book stands."""
        mine = set(assigned)
        for partition in [held for held in self._ledger if TopicPartition(*held) not in mine]:
            self._ledger.close(partition)
        try:
            starts = await self._offsets.fetch(mine)
        except KafkaError as error:
            # aiokafka would log what a listener raises, and go on from nowhere.
            self._failure = BusError(f"cannot fetch the committed offsets: {error!r}")
            return
        for partition in mine:
            start = starts[partition]
            book = self._ledger.open(tuple(partition), start.offset, decode_gaps(*start))
            self._consumer.seek(partition, book.next_offset)
        self._ownership.epoch += 1
        self._ownership.settled.set()
        log.info("partitions_assigned", partitions=sorted(partition.partition for partition in mine))
