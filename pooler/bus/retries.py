"""The retry topics: what a parked job bears with it, and when it is due. Pure.

A job is parked by writing its record again, key and value byte for byte, to the topic of a delay. All records
of one topic wait equally long, so the one at a partition's head is the first that is due: whoever reads waits
for that one alone, and nothing is sorted or kept.

What is known of the job stands in headers behind its own. They are always all there, in one order: so they
can be taken off again, and what goes out with the answer is what the sender gave.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from pooler.bus.ledger import Partition
from pooler.bus.records import OutRecord
from pooler.model.job import Origin, Past, Record

_NAMES = (
    "pooler.retry.origin",
    "pooler.retry.timestamp",
    "pooler.retry.first_seen",
    "pooler.retry.not_before",
    "pooler.retry.attempts",
    "pooler.retry.forgiven",
    "pooler.retry.times",
    "pooler.retry.error",
)
_ERROR_BYTES = 500
_GRAIN_MS = 1_000

HEADERS_BYTES = sum(map(len, _NAMES)) + _ERROR_BYTES + 249 + 6 * 20
"""The most that parking adds to a record."""


def park(record: Record, past: Past, kind: str, not_before_ms: int) -> OutRecord:
    """Write a job down to come again.

    Args:
        record: as it was read, without what an earlier parking has added.
        past: what it has behind it now.
        kind: which of the topics it is for.
        not_before_ms: when it may be begun, in milliseconds since 1970; 0 for any time.
    """
    values = (
        str(past.origin),
        max(0, record.timestamp_ms),  # below, it has none
        past.first_seen_ms,
        not_before_ms,
        past.attempts,
        past.forgiven,
        past.times,
        past.error or "",
    )
    added = [(name, str(value).encode()[:_ERROR_BYTES]) for name, value in zip(_NAMES, values, strict=True)]
    return OutRecord(kind, record.key, record.value, (*record.headers, *added))


def unpark(record: Record) -> tuple[Record, Past, int] | None:
    """Read what ``park`` wrote.

    Args:
        record: from a retry topic.

    Returns:
        The record without what was added, and with the time that it had at first; what it has behind it; and
        when it may be begun, in milliseconds since 1970. None where it does not bear our headers: somebody
        else wrote it, and it is a job like any other.
    """
    own, added = record.headers[: -len(_NAMES)], record.headers[-len(_NAMES) :]
    if tuple(name for name, _ in added) != _NAMES:
        return None
    try:
        origin, *numbers, error = (value.decode(errors="replace") for _, value in added)
        topic, partition, offset = origin.rsplit("-", 2)
        timestamp_ms, first_seen_ms, not_before_ms, attempts, forgiven, times = map(_natural, numbers)
        first = Origin(topic, _natural(partition), _natural(offset))
    except ValueError:
        return None
    past = Past(first, first_seen_ms, attempts, forgiven, times, error or None)
    return replace(record, headers=own, timestamp_ms=timestamp_ms), past, not_before_ms


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004 - 64 bits
        raise ValueError(text)
    return int(text)


class Dues:
    """Which partitions have nothing yet that is due.

    Args:
        topics: the retry topics, each with its delay in seconds.
    """

    def __init__(self, topics: Mapping[str, float]) -> None:
        self._delays_ms = {topic: round(delay_s * 1000) for topic, delay_s in topics.items()}
        self._held_until_ms: dict[Partition, int] = {}

    def concern(self, topic: str) -> bool:
        """Tell whether it is a retry topic."""
        return topic in self._delays_ms

    def take(self, partition: Partition, timestamps_ms: Sequence[int], now_ms: int) -> int:
        """Tell how many records of a partition are due, from the first on; hold it while others are not.

        Args:
            partition: topic and number.
            timestamps_ms: of its next records, in order.
            now_ms: the time, in milliseconds since 1970.
        """
        delay_ms = self._delays_ms.get(partition[0], 0)
        for count, timestamp_ms in enumerate(timestamps_ms):
            due_ms = timestamp_ms + delay_ms
            # One that would be written only later is of a clock that is wrong, and tells nothing.
            if now_ms < due_ms <= now_ms + 2 * delay_ms:
                # Not for each record by itself: reading on begins with a fetch.
                self._held_until_ms[partition] = max(due_ms, now_ms + min(_GRAIN_MS, delay_ms))
                return count
        return len(timestamps_ms)

    def holds(self, partition: Partition, now_ms: int) -> bool:
        """Tell whether a partition is to be left alone now."""
        until_ms = self._held_until_ms.get(partition)
        if until_ms is None:
            return False
        # A clock that was set back must not hold for longer than any record waits.
        if until_ms - 2 * self._delays_ms[partition[0]] <= now_ms < until_ms:
            return True
        del self._held_until_ms[partition]
        return False

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Hold partitions no longer: they are to be read from another record on."""
        for partition in partitions:
            self._held_until_ms.pop(partition, None)
