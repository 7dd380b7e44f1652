"""The consumer pump: reads records by the batch, holds back when enough is in hand, and minds rebalances.

A rebalance has two phases. On revocation what is finished is published, then publishing freezes. On
assignment the books of what we lost are closed; the pump opens or keeps the others, and reading goes on where
each book stands. The group waits for the first phase, and takes us for dead if we linger in the second: so
what may take long, connecting and asking the brokers, is left to the pump.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import structlog
import trio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from pooler.bus.clients import bounded
from pooler.bus.delivery import Delivery
from pooler.bus.ledger import Ledger, Partition, decode_gaps
from pooler.bus.membership import GroupListener
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.records import record_size
from pooler.bus.retries import Dues
from pooler.bus.start import AT_FIRST, Start, Stop, remade
from pooler.bus.window import Window
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError
from pooler.model.job import Origin, Record

log = structlog.get_logger(__name__)

_POLL_MS = 200
_FREEZE_S = 10.0


class ConsumerPump(GroupListener):
    """Reads the input topic into a memory channel.

    Args:
        consumer: started; this subscribes it.
        settings: the topic, and how much may be in hand.
        ledger: the books of the partitions that are ours.
        offsets: tells whether they are still the same.
        delivery: gets ready to publish for them, and tells where they begin.
        ownership: shared with the producer pump.

    Attributes:
        records: batches as they are read; ends once reading has stopped.
        stopped: partitions that are ours and are not read, and why.
        last_poll: ``trio.current_time()`` of the last time that the brokers were asked for records.
    """

    def __init__(
        self,
        consumer: Any,
        settings: KafkaSettings,
        ledger: Ledger,
        *,
        offsets: Offsets,
        delivery: Delivery,
        ownership: Ownership,
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._ledger = ledger
        self._offsets = offsets
        self._delivery = delivery
        self._ownership = ownership
        self.stopped: dict[Partition, Stop] = {}
        self.last_poll = trio.current_time()
        self._mine: frozenset[Partition] = frozenset()
        # Books of another log than there is now, which is read from its first record once they are answered.
        self._outlived: set[Partition] = set()
        self._dues = Dues(settings.side_topics)
        self._opened = 0
        self._window = Window(ledger, settings)
        # Never full: a batch has at least one record, and reading stops when the window is full.
        self._to_records, self.records = trio.open_memory_channel[list[Record]](self._window.room)
        self._taking = True

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
        self._consumer.subscribe([*self._settings.job_topics, *self._settings.side_topics], listener=self)
        while True:
            self._check_membership()
            if self._ownership.settled.is_set():
                await self._look()
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
                    self._stop((place.topic, place.partition), _vanished(offset))
                continue
            except KafkaError as error:
                raise BusError(f"cannot read {self._settings.input_topic}: {error!r}") from error
            batch = [
                record
                for place, messages in fetched.items()
                for record in self._received(self._due(place, messages))
            ]
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
        self._outlived.clear()
        self._dues.forget(starts)
        for partition, start in starts.items():
            self._consumer.seek(TopicPartition(*partition), self._take_on(partition, start))
        # Only now: what was made ready before does not know yet what a former owner has answered.
        self._ownership.epoch += 1
        self._ownership.settled.set()
        jobs, urgent, parked = _numbers(mine, self._settings)
        log.info("partitions_assigned", partitions=jobs, priority_partitions=urgent, retry_partitions=parked)

    def _take_on(self, partition: Partition, start: Start) -> int:
        """Open a book, or keep the one that is open; tell where reading goes on."""
        kept = partition in self._ledger
        if kept and start.anew:
            if start.stopped is not None or self._ledger[partition].pending:
                # What is in hand was read, and is answered.
                self._stop_outlived(partition, start.stopped or remade(None), goes_on=start.stopped is None)
                return start.offset
            self._ledger.close(partition)
            kept = False
        if kept and start.recorded is not None:
            # What is on record is settled, and no more: in hand there may be what the log has lost since.
            self._ledger.open(partition, start.recorded.offset, decode_gaps(*start.recorded))
        if start.stopped is not None:
            self._stop(partition, start.stopped)
            return start.offset
        if not kept:
            return self._ledger.open(partition, start.offset, start.settled, start.topic_id).next_offset
        self._ledger[partition].skip_to(start.offset)
        return self._ledger[partition].next_offset

    async def _look(self) -> None:
        """Stop what has become another log; begin it anew once what is in hand of the former is answered."""
        found = await self._offsets.look(self._mine)
        if not self._ownership.settled.is_set():
            return  # a rebalance came in between: all are looked at then
        for partition, stop in found.items():
            if partition not in self.stopped:
                self._stop_outlived(partition, stop, goes_on=self._settings.out_of_range == "first")
        if any(not self._ledger[outlived].pending for outlived in self._outlived):
            self._outlived.clear()
            self._offsets.rejoin()

    def _stop_outlived(self, partition: Partition, stop: Stop, *, goes_on: bool) -> None:
        if goes_on:
            self._outlived.add(partition)
            stop = stop._replace(way_on="none is needed: it is begun anew once what is in hand is answered")
        self._stop(partition, stop)

    def _stop(self, partition: Partition, stop: Stop) -> None:
        """Read nothing more of a partition: what is lost is lost loudly, and the others go on."""
        self.stopped[partition] = stop
        self._consumer.pause(TopicPartition(*partition))
        topic, number = partition
        log.error("partition_stopped", topic=topic, partition=number, reason=stop.reason, way_on=stop.way_on)

    def _due(self, place: TopicPartition, messages: Sequence[Any]) -> Sequence[Any]:
        """Take those that are due, on a retry topic; the others are read again once the first of them is."""
        if not self._dues.concern(place.topic):
            return messages
        times_ms = [message.timestamp for message in messages]
        count = self._dues.take((place.topic, place.partition), times_ms, _now_ms())
        # A rebalance may have taken the partition while the poll was under way.
        if count < len(messages) and place in self._consumer.assignment():
            self._consumer.seek(place, messages[count].offset)
        return messages[:count]

    def _received(self, messages: Iterable[Any]) -> Iterable[Record]:
        for message in messages:
            origin = Origin(message.topic, message.partition, message.offset)
            # While the poll was under way a drain may have begun, or a rebalance taken the partition.
            if not self._taking or origin[:2] not in self._ledger:
                continue
            headers = tuple(message.headers)
            if self._ledger.receive(origin, record_size(message.key, message.value, headers)):
                tenure = self._ledger[origin[:2]].tenure
                yield Record(origin, message.key, message.value, headers, message.timestamp, tenure)

    def _hold_back(self) -> None:
        """Pause what must take in nothing more, resume the rest.

        A rebalance forgets pauses, so what is asked for is compared with what is, each time.
        """
        self._window.look()
        paused, assigned, now_ms = self._consumer.paused(), self._consumer.assignment(), _now_ms()
        for partition in self._mine:
            here = TopicPartition(*partition)
            if here not in assigned:
                continue
            full = self._window.crowded(partition[0]) or not self._taking or partition in self.stopped
            full = full or self._ledger[partition].full or self._dues.holds(partition, now_ms)
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

    def forfeit(self) -> None:
        """Close all books: what was in hand may be answered by others, or half done."""
        for partition in list(self._ledger):
            self._ledger.close(partition)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Close the books of what is not ours any more; the pump opens the others."""
        self._mine = frozenset((place.topic, place.partition) for place in assigned)
        for partition in [held for held in self._ledger if held not in self._mine]:
            self._ledger.close(partition)
        for partition in [held for held in self.stopped if held not in self._mine]:
            del self.stopped[partition]
        self._outlived &= self._mine
        self._ownership.settled.clear()
        self._ownership.assignments += 1
        self._ownership.lost()


def _numbers(
    partitions: Iterable[Partition], settings: KafkaSettings
) -> tuple[list[int], list[int], list[str]]:
    """Tell, for the log, which partitions are ours: of jobs, of urgent jobs, and of what is parked."""
    jobs, urgent, others = list[int](), list[int](), list[str]()
    for topic, number in sorted(partitions):
        if topic == settings.input_topic:
            jobs.append(number)
        elif topic == settings.priority_topic:
            urgent.append(number)
        else:
            others.append(f"{topic}-{number}")
    return jobs, urgent, others


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _vanished(offset: int) -> Stop:
    return Stop(f"offset {offset} is not there any more", f"{AT_FIRST}; without that a restart looks again")
