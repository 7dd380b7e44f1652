"""Records to deliveries: decodes what the bridge read, and answers at once what is no job."""

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from pooler.bus import records
from pooler.bus.batches import Batches, state_of
from pooler.bus.events import NoEvent, opened
from pooler.bus.records import Invalid, Undecodable
from pooler.bus.retries import unpark
from pooler.model.job import Delivery, Job, Past, Record, original
from pooler.model.outcome import Ended, Parked, Spread

if TYPE_CHECKING:
    # `pooler copy` takes what is an answer from here, and has no Kafka whose client it would load.
    from pooler.bus.bridge import KafkaBridge


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that never became a job.

    Attributes:
        record: as it was read.
        why: what is wrong with it.
        past: what it has behind it; None where it was never parked.
    """

    record: Record
    why: Invalid | Undecodable
    past: Past | None = None

    @property
    def original(self) -> Record:
        """The record with where it was read first."""
        return original(self.record, self.past)


Answer = Ended | Unreadable | Parked | Spread
"""What goes out: how a job ended, why a record was none, that one comes again, or what it is spread into."""


def read(
    record: Record,
    retry_topics: Container[str] = (),
    *,
    priority_topic: str = "",
    wall_s: Callable[[], float] = time.time,
) -> Delivery | Unreadable:
    """Decode one record.

    Args:
        record: as it was read.
        retry_topics: where jobs are parked, for what they bear with them.
        priority_topic: where all jobs are urgent, also when they have been parked meanwhile.
        wall_s: tells the seconds since 1970.

    Returns:
        The delivery, first read now, or before it was parked; or why it is none.
    """
    parked = unpark(record) if record.origin.topic in retry_topics else None
    if parked is None:
        try:
            record = opened(record)
        except NoEvent as error:
            return Unreadable(record, _no_event(record, error))
        decoded = records.decode(record)
        if isinstance(decoded, Job):
            urgent = decoded.options.urgent or record.origin.topic == priority_topic
            return Delivery(decoded, record, trio.current_time(), urgent=urgent)
        return Unreadable(record, decoded)
    record, past, not_before_ms = parked
    decoded = records.decode(original(record, past))
    if not isinstance(decoded, Job):
        return Unreadable(record, decoded, past)
    now, now_ms = trio.current_time(), wall_s() * 1000
    received = now - max(0.0, now_ms - past.first_seen_ms) / 1000
    not_before = now + (not_before_ms - now_ms) / 1000
    urgent = decoded.options.urgent or past.origin.topic == priority_topic
    return Delivery(decoded, record, received, past, not_before, urgent, state_of(record.headers))


def _no_event(record: Record, error: NoEvent) -> Invalid | Undecodable:
    found = records.decode(record)
    if isinstance(found, Undecodable):
        return found
    name = (error.name or str(record.origin))[: records.TASK_ID_LIMIT]
    return Invalid(name, str(error), {})


class KafkaSource:
    """Deliveries from the topics of jobs and the retry topics, until told to stop.

    Args:
        bridge: the way to Kafka.
        retry_topics: where jobs are parked.
        priority_topic: where urgent jobs come from; empty where there is none.
        batches: takes tallies, which come from where bulk jobs do.
        batch_topic: that one, which is among those of parked jobs; empty where there is none.
    """

    def __init__(
        self,
        bridge: "KafkaBridge",
        retry_topics: Container[str] = (),
        priority_topic: str = "",
        *,
        batches: Batches | None = None,
        batch_topic: str = "",
    ) -> None:
        self._bridge = bridge
        self._retry_topics = retry_topics
        self._priority_topic = priority_topic
        self._batches = batches
        self._batch_topic = batch_topic

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        """Hand deliveries on until ``stop`` is called; closes both channels at its end.

        Args:
            deliveries: where jobs go.
            answers: where records go that are none.
        """
        with deliveries, answers:
            async for batch in self._bridge.records:
                for record in batch:
                    if self._takes_tally(record):
                        continue
                    found = read(record, self._retry_topics, priority_topic=self._priority_topic)
                    if isinstance(found, Delivery):
                        await deliveries.send(found)
                    else:
                        await answers.send(found)

    def _takes_tally(self, record: Record) -> bool:
        if self._batches is None or record.origin.topic != self._batch_topic:
            return False
        return self._batches.take(record)

    def stop(self) -> None:
        """Take nothing new; what was read and not handed on is left for the next owner."""
        self._bridge.stop_taking()

    def wants(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is still ours to do."""
        return self._bridge.ledger.wants(delivery.record)

    @property
    def lasts(self) -> bool:
        """Whether it is sure that what was read is nobody else's; see `GroupSession.lasts`."""
        return self._bridge.membership.lasts

    async def lasting(self) -> None:
        """Wait until that is sure; see `GroupSession.lasting`."""
        await self._bridge.membership.lasting()

    async def exclusive(self) -> None:
        """Wait until that holds, and the group is not just deciding anew; see `GroupSession.exclusive`."""
        await self._bridge.membership.exclusive()
