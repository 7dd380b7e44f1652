"""Records to deliveries: decodes what the bridge read, and answers at once what is no job."""

from dataclasses import dataclass

import trio

from pooler.bus import records
from pooler.bus.bridge import KafkaBridge
from pooler.bus.records import Invalid, Undecodable
from pooler.model.job import Delivery, Job, Record
from pooler.model.outcome import Ended


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that never became a job.

    Attributes:
        record: as it was read.
        why: what is wrong with it.
    """

    record: Record
    why: Invalid | Undecodable


Answer = Ended | Unreadable
"""What goes out: how a job ended, or why a record was none."""


def read(record: Record) -> Delivery | Unreadable:
    """Decode one record.

    Args:
        record: as it was read.

    Returns:
        The delivery, first read now; or why it is none.
    """
    decoded = records.decode(record)
    if isinstance(decoded, Job):
        return Delivery(decoded, record, trio.current_time())
    return Unreadable(record, decoded)


class KafkaSource:
    """Deliveries from the input topic, until told to stop."""

    def __init__(self, bridge: KafkaBridge) -> None:
        self._bridge = bridge

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
                    found = read(record)
                    if isinstance(found, Delivery):
                        await deliveries.send(found)
                    else:
                        await answers.send(found)

    def stop(self) -> None:
        """Take nothing new; what was read and not handed on is left for the next owner."""
        self._bridge.stop_taking()

    def wants(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is still ours to do."""
        return self._bridge.ledger.wants(delivery.record.origin)
