"""How much is in hand, as those see it who may let go of some of it. Pure."""

from collections.abc import Mapping

from pooler.bus.ledger import SPAN_LIMIT, Ledger, Partition
from pooler.bus.records import record_size
from pooler.bus.retries import HEADERS_BYTES
from pooler.config.settings import KafkaSettings
from pooler.model.job import Delivery

_NEARLY_ALL = 0.5
_HEAD = 0.25


class Window:
    """The window of this process.

    Args:
        ledger: the books of the partitions that are ours.
        settings: how much may be in hand.
    """

    def __init__(self, ledger: Ledger, settings: KafkaSettings) -> None:
        self._ledger = ledger
        self._settings = settings

    @property
    def size(self) -> int:
        """How many jobs there may be."""
        return self._settings.window_records

    def fill(self) -> float:
        """Tell how much of it is taken, in jobs or in bytes: 1 for all of it."""
        load, settings = self._ledger.load, self._settings
        return max(load.records / settings.window_records, load.size_bytes / settings.window_bytes)

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
