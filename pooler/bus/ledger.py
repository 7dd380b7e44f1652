"""What has been read, what is settled, and what may therefore be committed: pure book-keeping.

A partition's offsets are settled in any order, but Kafka remembers one number a partition. That number, the
watermark, is the smallest offset that was received and is not settled; without one it is the offset behind
the last one received. (Offsets have holes, from transaction markers and compaction: so we count what is
settled, never what was seen.) What is settled *above* the watermark travels beside it, in the commit's
metadata, so that the next owner of the partition need not do it again.

The metadata is text of at most 4,096 bytes: one version byte, a compressed set of bits, and the id of the
topic where it is known, in base64. (Offsets count within a topic, and a name may come to stand for another.)
A set of bits over 24,000 offsets fits however it is filled, so a partition takes in nothing new while its
window spans more than that.
"""

import base64
import binascii
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pooler.model.job import Origin, Record

METADATA_BYTES = 4096
"""What a broker stores beside an offset, by its default ``offset.metadata.max.bytes``."""

SPAN_LIMIT = 24_000
"""The widest window, in offsets, of which any filling fits into the metadata."""

TOPIC_ID_BYTES = 16
"""What Kafka calls a UUID: it makes a new one each time that a topic is made."""

_VERSION = b"\x01"
_DECODED_BITS_LIMIT = 8 * 1024 * 1024


Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""


class Commitment(NamedTuple):
    """What is written to Kafka for one partition.

    Attributes:
        offset: the watermark: the next offset that a new owner reads.
        metadata: the offsets settled above it, and of which topic, as ``encode_gaps`` writes them.
    """

    offset: int
    metadata: str


def encode_gaps(watermark: int, settled: Collection[int], topic_id: bytes = b"") -> str:
    """Write down the offsets settled above the watermark.

    Args:
        watermark: the offset that is committed beside.
        settled: offsets, all of them above the watermark.
        topic_id: of the topic that they count in; empty where that is not known.

    Returns:
        Text of at most ``METADATA_BYTES``, empty where there is nothing to say. Where not all would fit
        (possible only across wide holes) the lowest ones stand, as many as fit: the others are
        done again by the next owner, which does no harm.
    """
    kept = sorted(offset for offset in settled if offset - watermark < _DECODED_BITS_LIMIT)
    while kept or topic_id:
        bits = bytearray((kept[-1] - watermark) // 8 + 1 if kept else 0)
        for offset in kept:
            distance = offset - watermark
            bits[distance >> 3] |= 1 << (distance & 7)
        text = base64.b64encode(_VERSION + zlib.compress(bits, 9) + topic_id).decode("ascii")
        if len(text) <= METADATA_BYTES:
            return text
        kept = kept[: len(kept) * 3 // 4]
    return ""


def decode_gaps(watermark: int, metadata: str) -> frozenset[int]:
    """Read what ``encode_gaps`` wrote.

    Args:
        watermark: the offset that was committed beside.
        metadata: as it was read; anything that is not ours counts as empty, since other programs
            write metadata of their own and a job done twice does no harm.

    Returns:
        The offsets settled above the watermark.
    """
    bits, _ = _unpacked(metadata)
    return frozenset(
        watermark + (index << 3) + bit
        for index, byte in enumerate(bits)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    )


def decode_topic_id(metadata: str) -> bytes:
    """Read of which topic a commitment is; empty where ``encode_gaps`` was not told, or did not write it."""
    _, topic_id = _unpacked(metadata)
    return topic_id if len(topic_id) == TOPIC_ID_BYTES else b""


def _unpacked(metadata: str) -> tuple[bytes, bytes]:
    """Tell the set of bits, and what stands behind it; nothing, where the metadata is not ours."""
    unpacker = zlib.decompressobj()
    try:
        raw = base64.b64decode(metadata, validate=True)
        if raw[:1] != _VERSION:
            return b"", b""
        bits = unpacker.decompress(raw[1:], _DECODED_BITS_LIMIT // 8)
    except (binascii.Error, ValueError, zlib.error):
        return b"", b""
    return (bits, unpacker.unused_data) if unpacker.eof else (b"", b"")


class PartitionLedger:
    """The book of one partition, for as long as it is ours.

    Args:
        watermark: the committed offset, or the first one of the partition.
        settled: offsets above it that are settled already, from the commit's metadata.
        topic_id: of the topic that its offsets count in; empty where that is not known.
        tenure: which of the times is this for which the partition was ours.
    """

    def __init__(
        self, watermark: int, settled: Iterable[int] = (), topic_id: bytes = b"", tenure: int = 1
    ) -> None:
        self.next_offset = watermark
        """The offset behind the last one received."""
        self.topic_id = topic_id
        self.tenure = tenure
        self._order: deque[int] = deque()
        # What is received and not settled: offset → size in bytes.
        self._pending: dict[int, int] = {}
        self._settled = set(settled)
        self._floor = watermark
        self._pass_settled()

    @property
    def watermark(self) -> int:
        """The smallest offset that is received and not settled, else the one behind the last received."""
        return self.commitment_offset(())

    @property
    def pending(self) -> Mapping[int, int]:
        """What is received and not settled: offset → size in bytes."""
        return self._pending

    @property
    def settled_above(self) -> int:
        """How many offsets are settled above the watermark."""
        return len(self._settled)

    @property
    def full(self) -> bool:
        """Whether the window spans so many offsets that the metadata might not hold them."""
        return self.next_offset - self.watermark >= SPAN_LIMIT

    def receive(self, offset: int, size_bytes: int) -> bool:
        """Take in an offset.

        Args:
            offset: of a record just read.
            size_bytes: of that record.

        Returns:
            True where the record is new work; False where it is settled already or in hand (after a
            rebalance records come again).
        """
        if offset < self.next_offset:
            return False
        is_settled = offset in self._settled
        self.next_offset = offset + 1
        self._pass_settled()
        if is_settled:
            return False
        self._pending[offset] = size_bytes
        self._order.append(offset)
        return True

    def settle(self, offset: int) -> int | None:
        """Note that an offset needs nothing more.

        Returns:
            The size of its record in bytes; None where it was not pending.
        """
        size = self._pending.pop(offset, None)
        if size is None:
            return None
        self._settled.add(offset)
        while self._order and self._order[0] not in self._pending:
            self._order.popleft()
        self._forget_below(self.watermark)
        return size

    def is_settled(self, offset: int) -> bool:
        """Tell whether an offset needs nothing more; one that was not received yet mostly does."""
        return offset in self._settled or (offset < self.next_offset and offset not in self._pending)

    def adopt(self, commitment_offset: int, settled: Iterable[int]) -> int:
        """Take over what Kafka has on record, after a rebalance that left the partition with us.

        Args:
            commitment_offset: the committed offset.
            settled: offsets above it that are settled.

        Returns:
            The bytes of the records in hand that turned out to be settled.
        """
        settled = set(settled)
        known = [offset for offset in self._pending if offset < commitment_offset or offset in settled]
        released = sum(self._pending[offset] for offset in known)
        for offset in known:
            self.settle(offset)
        self.next_offset = max(self.next_offset, commitment_offset)
        self._settled |= {offset for offset in settled if offset >= self.watermark}
        self._pass_settled()
        self._forget_below(self.watermark)
        return released

    def skip_to(self, offset: int) -> None:
        """Receive nothing below an offset; what is in hand stays there, and is to be settled."""
        self.next_offset = max(self.next_offset, offset)
        self._pass_settled()
        self._forget_below(self.watermark)

    def commitment_offset(self, also: Collection[int]) -> int:
        """Tell the watermark as it will be once the offsets in ``also`` are settled too."""
        for offset in self._order:
            if offset in self._pending and offset not in also:
                return offset
        return self.next_offset

    def commitment(self, also: Collection[int] = ()) -> Commitment:
        """Tell what may be committed once the offsets in ``also`` are settled too.

        Args:
            also: offsets whose outcomes are part of the same publication; nothing is changed by asking.
        """
        offset = self.commitment_offset(also)
        above = {settled for settled in self._settled if settled > offset}
        above.update(settled for settled in also if settled > offset and settled in self._pending)
        return Commitment(offset, encode_gaps(offset, above, self.topic_id))

    def _pass_settled(self) -> None:
        # What others have settled right behind what we have read counts as read: it is below the watermark
        # once all before it is settled, and would be in no gap then.
        while self.next_offset in self._settled:
            self.next_offset += 1

    def _forget_below(self, watermark: int) -> None:
        # Whichever is the shorter walk, so that the cost stays that of the offsets passed.
        if watermark - self._floor < len(self._settled):
            self._settled.difference_update(range(self._floor, watermark))
        else:
            self._settled = {offset for offset in self._settled if offset > watermark}
        self._floor = watermark


@dataclass(slots=True)
class Load:
    """How much is in hand: read and not yet settled.

    Attributes:
        records: how many records.
        size_bytes: their keys, values and headers together.
    """

    records: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one record in."""
        self.records += 1
        self.size_bytes += size_bytes

    def subtract(self, size_bytes: int, records: int) -> None:
        """Count records out."""
        self.records -= records
        self.size_bytes -= size_bytes


class Ledger:
    """The books of all partitions that are ours.

    The consumer pump opens and closes them and receives; the sink settles. Both run in one thread and await
    nothing in between, so there is nothing to lock.
    """

    def __init__(self) -> None:
        self.load = Load()
        self._books: dict[Partition, PartitionLedger] = {}
        self._loads: defaultdict[str, Load] = defaultdict(Load)
        self._tenures: Counter[Partition] = Counter()

    def __getitem__(self, partition: Partition) -> PartitionLedger:
        return self._books[partition]

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._books)

    def __contains__(self, partition: object) -> bool:
        return partition in self._books

    def load_of(self, topic: str) -> Load:
        """Tell how much of one topic is in hand."""
        return self._loads[topic]

    def open(
        self, partition: Partition, offset: int, settled: Collection[int], topic_id: bytes = b""
    ) -> PartitionLedger:
        """Take a partition on, or keep it through a rebalance.

        Args:
            partition: topic and number.
            offset: the committed offset, or the first one of the partition.
            settled: offsets above it that are settled, from the commit's metadata.
            topic_id: of the topic that they count in, for a new book; empty where that is not known.

        Returns:
            Its book; reading goes on at the book's ``next_offset``.
        """
        book = self._books.get(partition)
        if book is None:
            self._tenures[partition] += 1
            tenure = self._tenures[partition]
            book = self._books[partition] = PartitionLedger(offset, settled, topic_id, tenure)
        else:
            before = len(book.pending)
            released = book.adopt(offset, settled)
            self._subtract(partition[0], released, before - len(book.pending))
        return book

    def close(self, partition: Partition) -> None:
        """Give a partition up: what of it is in hand is somebody else's now."""
        book = self._books.pop(partition)
        self._subtract(partition[0], sum(book.pending.values()), len(book.pending))

    def receive(self, origin: Origin, size_bytes: int) -> bool:
        """Take in a record just read; False where it is settled or in hand already."""
        new = self._books[origin[:2]].receive(origin.offset, size_bytes)
        if new:
            self.load.add(size_bytes)
            self._loads[origin.topic].add(size_bytes)
        return new

    def wants(self, record: Record) -> bool:
        """Tell whether a record is ours, has been since it was read, and is still to be answered."""
        book = self._books.get(record.origin[:2])
        return book is not None and book.tenure == record.tenure and record.origin.offset in book.pending

    def is_settled(self, origin: Origin) -> bool:
        """Tell whether a record is of a partition of ours, and needs nothing more of us."""
        book = self._books.get(origin[:2])
        return book is not None and book.is_settled(origin.offset)

    def committed(self, partition: Partition) -> int:
        """Tell up to which offset everything is settled; 0 for a partition that is not ours."""
        book = self._books.get(partition)
        return 0 if book is None else book.watermark

    def settle(self, origin: Origin) -> None:
        """Note that a record is answered; one that is no longer ours is passed over."""
        book = self._books.get(origin[:2])
        size = None if book is None else book.settle(origin.offset)
        if size is not None:
            self._subtract(origin.topic, size, 1)

    def _subtract(self, topic: str, size_bytes: int, records: int) -> None:
        for load in (self.load, self._loads[topic]):
            load.subtract(size_bytes, records)
