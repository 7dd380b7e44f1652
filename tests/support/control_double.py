"""A control topic without Kafka: what is written arrives after a moment, at everybody, in one order."""

from dataclasses import dataclass, field

import trio

from pooler.bus.control_records import decode, encode, tombstone
from pooler.errors import BusError
from pooler.flow.commons import Totals
from pooler.flow.shares import Terms
from pooler.flow.steering import Me, Steering
from pooler.model.control import Gone, News

TERMS = Terms(lease_s=8.0, gone_after_s=10.0)
EVERY_S = 1.0


@dataclass
class ControlLog:
    """The topic.

    Attributes:
        records: all that was ever written.
        broken: whether nothing can be written, and nothing is heard.
    """

    records: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    broken: bool = False
    _listeners: dict[str, Steering] = field(default_factory=dict)

    async def write(self, news: News | Gone) -> None:
        await trio.sleep(0.01)
        if self.broken:
            await trio.sleep(TERMS.lease_s)
            raise BusError("no answer")
        record = (tombstone(news), None) if isinstance(news, Gone) else encode(news)
        self.records.append(record)
        for listener in list(self._listeners.values()):
            self._deliver(listener, record)

    def follow(self, name: str, **totals: int | None) -> Steering:
        """Begin a pod's life: it reads what stands there, and follows."""
        allowed = {remote: Totals(total) for remote, total in totals.items()}
        steering = Steering(Me(name, "1.2.3", EVERY_S, TERMS), allowed)
        self.begin(steering)
        return steering

    def begin(self, steering: Steering) -> None:
        steering.begin(f"{steering.me.pod}-{len(self.records)}")
        for record in dict(self.records).items():  # compacted
            self._deliver(steering, record)
        self._listeners[steering.me.pod] = steering

    def cut_off(self, steering: Steering) -> None:
        """Let a pod hear nothing more."""
        self._listeners.pop(steering.me.pod, None)

    @staticmethod
    def _deliver(steering: Steering, record: tuple[bytes, bytes | None]) -> None:
        news = decode(*record)
        assert news is not None
        steering.hear(news, trio.current_time())
