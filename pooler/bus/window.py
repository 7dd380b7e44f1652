"""How much is in hand, as those see it who may let go of some of it. Pure."""

from collections.abc import Callable, Mapping
from functools import partial
from operator import eq

from pooler.bus.ledger import SPAN_LIMIT, Ledger, Load, Partition
from pooler.bus.records import record_size
from pooler.bus.retries import HEADERS_BYTES
from pooler.config.settings import KafkaSettings
from pooler.model.job import Delivery

_NEARLY_ALL = 0.5
_HEAD = 0.25
_URGENT = 0.25
_LOW_MARK = 0.5  # pausing forgets what was prefetched: seldom, then, and with room between the marks


class Part:
    """A part of the window, which is filled by some topics alone.

    Args:
        load: tells how much of it is taken.
        records: how many jobs there may be.
        size_bytes: how many bytes their records may have.
        holds: whether the jobs of a topic count here.

    Attributes:
        size: how many jobs there may be.
        crowded: whether nothing more is to be read.
    """

    def __init__(
        self, load: Callable[[], Load], records: int, size_bytes: int, holds: Callable[[str], bool]
    ) -> None:
        self.size = records
        self.crowded = False
        self._load = load
        self._size_bytes = size_bytes
        self._holds = holds

    def holds(self, topic: str) -> bool:
        """Tell whether the jobs of a topic count here."""
        return self._holds(topic)

    def fill(self) -> float:
        """Tell how much of it is taken, in jobs or in bytes: 1 for all of it."""
        load = self._load()
        return max(load.records / self.size, load.size_bytes / self._size_bytes)

    def look(self) -> None:
        """See whether it is crowded: from when it is full until there is room again."""
        self.crowded = self.fill() >= (_LOW_MARK if self.crowded else 1.0)


class Window:
    """The window of this process.

    Args:
        ledger: the books of the partitions that are ours.
        settings: how much may be in hand.

    Attributes:
        parts: its parts: of most jobs; and of the urgent ones, and of bulk jobs and their tallies, where
            there are any.
    """

    def __init__(self, ledger: Ledger, settings: KafkaSettings) -> None:
        self._ledger = ledger
        self._settings = settings
        records, size_bytes = settings.window_records, settings.window_bytes
        self._apart = [topic for topic in (settings.priority_topic, settings.batch_topic_name) if topic]
        self.parts = [Part(self._others, records, size_bytes, lambda topic: topic not in self._apart)]
        # Apart from the others, so that none can keep another from being read.
        few, small = max(1, round(_URGENT * records)), max(1, round(_URGENT * size_bytes))
        for apart in self._apart:
            load, holds = partial(ledger.load_of, apart), partial(eq, apart)
            self.parts.append(Part(load, few, small, holds))

    @property
    def room(self) -> int:
        """How many jobs may be in hand at most, with the last batch that is read into each part."""
        return sum(part.size + self._settings.max_poll_records for part in self.parts)

    def look(self) -> None:
        """See which topics are to be read on."""
        for part in self.parts:
            part.look()

    def crowded(self, topic: str) -> bool:
        """Tell whether nothing more of a topic is to be read."""
        return any(part.crowded and part.holds(topic) for part in self.parts)

    def _others(self) -> Load:
        load, apart = self._ledger.load, [self._ledger.load_of(topic) for topic in self._apart]
        return Load(
            load.records - sum(one.records for one in apart),
            load.size_bytes - sum(one.size_bytes for one in apart),
        )

    def fill_of(self, topic: str) -> float:
        """Tell how much is taken of the part that the jobs of a topic count in: 1 for all of it."""
        return max(part.fill() for part in self.parts if part.holds(topic))

    def heads(self) -> Mapping[Partition, int]:
        """Tell which partitions are held up by the few oldest of their jobs; below which offset these are.

        Such a partition is not read any further, since its commit could not tell of more, though little of it
        is in hand.
        """
        found = {}
        for partition in self._ledger:
            book = self._ledger[partition]
            if book.full and len(book.pending) < _NEARLY_ALL * SPAN_LIMIT:
                found[partition] = book.watermark + round(_HEAD * SPAN_LIMIT)
        return found

    def fits(self, delivery: Delivery) -> bool:
        """Tell whether a job's record is small enough to be written again with what parking adds to it."""
        record = delivery.record
        size_bytes = record_size(record.key, record.value, record.headers)
        return size_bytes + HEADERS_BYTES <= self._settings.max_record_bytes
