"""The consumer pump: reads records by the batch, holds back when enough is in hand, and minds rebalances.

A rebalance has two phases. On revocation what is finished is published, then publishing freezes. On
assignment the books of what we lost are closed; the pump opens or keeps the others, and reading goes on where
each book stands. The group waits for the first phase, and takes us for dead if we linger in the second: so
what may take long, connecting and asking the brokers, is left to the pump.
"""

from collections.abc import Collection, Iterable
from typing import Any

import structlog
import trio
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from pooler.bus.clients import bounded
from pooler.bus.delivery import Delivery
from pooler.bus.ledger import Ledger, Partition
from pooler.bus.ownership import Ownership
from pooler.bus.records import record_size
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError
from pooler.model.job import Origin, Record

log = structlog.get_logger(__name__)

_POLL_MS = 200
_FREEZE_S = 10.0
_LOW_MARK = 0.5  # pausing forgets what was prefetched: seldom, then, and with room between the marks


class ConsumerPump(ConsumerRebalanceListener):
    """Reads the input topic into a memory channel.

    Args:
        consumer: started; this subscribes it.
        settings: the topic, and how much may be in hand.
        ledger: the books of the partitions that are ours.
        delivery: gets ready to publish for them, and tells where they begin.
        ownership: shared with the producer pump.

    Attributes:
        records: batches as they are read; ends once reading has stopped.
        stopped: partitions that are ours and are not read, and why.
        last_poll: ``trio.current_time()`` of the last time that the brokers were asked for records.
    """

    def __init__(
        self, consumer: Any, settings: KafkaSettings, ledger: Ledger, delivery: Delivery, ownership: Ownership
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._ledger = ledger
        self._delivery = delivery
        self._ownership = ownership
        self.stopped: dict[Partition, str] = {}
        self.last_poll = trio.current_time()
        self._mine: frozenset[Partition] = frozenset()
        self._opened = 0
        # Never full: a batch has at least one record, and reading stops at `window_records`.
        room = settings.window_records + settings.max_poll_records
        self._to_records, self.records = trio.open_memory_channel[list[Record]](room)
        self._taking = True
        self._crowded = False

    def stop_taking(self) -> None:
        """Read nothing more; polling goes on, so that the partitions stay ours."""
        self._taking = False
        self._to_records.close()

    def reading(self) -> list[Partition]:
        """Tell from which partitions records are wanted."""
        paused = self._consumer.paused()
        return [held for held in self._ledger if held in self._mine and TopicPartition(*held) not in paused]

    async def run(self) -> None:
        """Subscribe and read, until cancelled.

        Raises:
            BusError: the topic cannot be read.
        """
        self._consumer.subscribe([self._settings.input_topic], listener=self)
        while True:
            self._check_membership()
            if not self._ownership.settled.is_set():
                if self._opened != self._ownership.assignments:
                    await self._open()
                else:
                    await bounded(self._ownership.settled.wait(), _POLL_MS / 1000)
                continue
            self._hold_back()
            self.last_poll = trio.current_time()
            try:
                fetched = await self._consumer.getmany(
                    timeout_ms=_POLL_MS, max_records=self._settings.max_poll_records
                )
            except NoOffsetForPartitionError:
                # A rebalance came in between: the positions are set a moment later.
                continue
            except OffsetOutOfRangeError as error:
                for place, offset in error.args[0].items():
                    self._stop((place.topic, place.partition), f"offset {offset} is not there any more")
                continue
            except KafkaError as error:
                raise BusError(f"cannot read {self._settings.input_topic}: {error!r}") from error
            batch = [record for messages in fetched.values() for record in self._received(messages)]
            if batch:
                self._to_records.send_nowait(batch)

    def _check_membership(self) -> None:
        """Raise what only a poll would, and there is none while the partitions are being settled."""
        try:
            self._consumer.check()
        except KafkaError as error:
            raise BusError(f"no place in {self._settings.consumer_group}: {error!r}") from error

    async def _open(self) -> None:
        """Open the books of what is ours now, and read on where each stands."""
        assignment, mine = self._ownership.assignments, self._mine
        starts = await self._delivery.open(mine)
        if assignment != self._ownership.assignments:
            return  # decided anew meanwhile: begin again
        self._opened = assignment
        self.stopped.clear()
        for partition, start in starts.items():
            position = start.offset
            if start.stopped is not None:
                self._stop(partition, start.stopped)
            else:
                position = self._ledger.open(partition, start.offset, start.settled).next_offset
            self._consumer.seek(TopicPartition(*partition), position)
        # Only now: what was made ready before does not know yet what a former owner has answered.
        self._ownership.epoch += 1
        self._ownership.settled.set()
        log.info("partitions_assigned", partitions=sorted(number for _, number in mine))

    def _stop(self, partition: Partition, why: str) -> None:
        """Read nothing more of a partition: what is lost is lost loudly, and the others go on."""
        self.stopped[partition] = why
        self._consumer.pause(TopicPartition(*partition))
        log.error("partition_stopped", topic=partition[0], partition=partition[1], reason=why)

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
        for partition in self._mine:
            here = TopicPartition(*partition)
            if here not in assigned:
                continue
            full = self._crowded or not self._taking or partition in self.stopped
            full = full or self._ledger[partition].full
            if full and here not in paused:
                self._consumer.pause(here)
            elif not full and here in paused:
                self._consumer.resume(here)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Publish what is finished, then freeze; all partitions are revoked, whatever comes after."""
        if revoked and self._ownership.settled.is_set():
            self._ownership.flushed.clear()
            if self._ownership.hurry():
                await bounded(self._ownership.flushed.wait(), _FREEZE_S / 2)
        self._ownership.settled.clear()
        await bounded(self._ownership.idle.wait(), _FREEZE_S)
        await self._delivery.let_go()
        log.debug("partitions_revoked", partitions=sorted(partition.partition for partition in revoked))

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Close the books of what is not ours any more; the pump opens the others."""
        self._mine = frozenset((place.topic, place.partition) for place in assigned)
        for partition in [held for held in self._ledger if held not in self._mine]:
            self._ledger.close(partition)
        self._ownership.settled.clear()
        self._ownership.assignments += 1
        self._ownership.lost()
