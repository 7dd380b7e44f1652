"""Exactly once: the answers to a partition's jobs and its offset go out in one transaction.

aiokafka's transactional commit of offsets carries no generation of the group, so a broker cannot tell a
member that has lost its partitions. What it does tell is whose transactional id is the newest. So each input
partition has a producer of its own, whose id is made from the group and the partition, and two things hold:

1. a producer is started *before* the committed offset of its partition is read. Its start ends what the
   former owner had open, and shuts that one out for good;
2. whoever publishes has read the committed offset, with the gaps above it, after its own producer was
   started.

So at any time there is one who can publish for a partition, and that one knows of everything that was
published before. Whether the group still takes it for a member does not matter.

When a transaction ends in a way that is not known, the producer is started anew, which settles it, and the
offset is read again: it tells whether the answers are out. When somebody else has started a producer for the
partition (`ProducerFenced`), starting ours anew would only shut out the rightful owner: the group is asked
who that is, by joining it again.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from pooler.bus import clients
from pooler.bus.delivery import is_too_large, send_all, shrunk
from pooler.bus.ledger import Ledger, Partition, decode_gaps
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Outgoing, Publication, topics
from pooler.bus.start import Start
from pooler.config.settings import KafkaSettings

log = structlog.get_logger(__name__)

_AT_ONCE = 8
"""Producers that are started at the same time: each connects to the brokers by itself."""


class _Unsure(Exception):
    """A transaction did not end well, or is not to: a record was not taken."""


_OF_A_DEAD_PRODUCER = (IllegalOperation, AssertionError)
"""What aiokafka says to who uses a producer that has failed by itself in the middle of a transaction."""


class ExactlyOnce:
    """A transactional producer for each partition.

    Args:
        settings: the group, the topics, the brokers.
        offsets: where partitions begin, and what is on record.
        ledger: brought up to date where a transaction's end was not known.
        ownership: frozen while the group decides anew.
    """

    def __init__(
        self, settings: KafkaSettings, offsets: Offsets, ledger: Ledger, ownership: Ownership
    ) -> None:
        self._settings = settings
        self._topics = topics(settings)
        self._offsets = offsets
        self._ledger = ledger
        self._ownership = ownership
        self._producers: dict[Partition, Any] = {}
        self._unsure: dict[Partition, int] = {}
        # Between a producer's start and the books that follow from it nobody may start another.
        self._opening = asyncio.Lock()

    async def open(self, partitions: Collection[Partition]) -> Mapping[Partition, Start]:
        """Start a producer for each partition, and only then read its committed offset."""
        async with self._opening:
            retired = [self._producers.pop(lost) for lost in set(self._producers).difference(partitions)]
            gate = asyncio.Semaphore(_AT_ONCE)

            async def start(partition: Partition) -> None:
                async with gate:
                    await self._start(partition)

            async with asyncio.TaskGroup() as starting:
                for partition in partitions:
                    starting.create_task(start(partition))
            await self._stop_all(retired)
            return await self._offsets.fetch(partitions)

    async def write(self, publications: Sequence[Publication]) -> bool:
        """Publish each partition's answers in a transaction of their own, all at the same time."""
        return all(await asyncio.gather(*map(self._written, publications)))

    async def let_go(self) -> None:
        """Do nothing: what is published is committed."""

    async def aclose(self) -> None:
        """Close all producers; what they have open is aborted by the next owner's start."""
        retired = list(self._producers.values())
        self._producers.clear()
        await self._stop_all(retired)

    async def _start(self, partition: Partition) -> None:
        """Take over a partition's transactional id."""
        retired = self._producers.pop(partition, None)
        producer = clients.make_producer(self._settings, transactional_id=self._name(partition))
        try:
            await clients.start(producer, self._settings)
        except BaseException:
            await clients.stop(producer)
            raise
        self._producers[partition] = producer
        if retired is not None:
            await clients.stop(retired)

    def _name(self, partition: Partition) -> str:
        topic, number = partition
        return f"{self._settings.consumer_group}-{topic}-{number}"

    async def _stop_all(self, producers: Collection[Any]) -> None:
        await asyncio.gather(*map(clients.stop, producers))

    async def _written(self, publication: Publication) -> bool:
        partition = publication.partition
        producer = self._producers.get(partition)
        if producer is None:  # an opening is under way, or has failed
            return False
        error = await self._trouble(producer, publication)
        if error is not None:
            async with self._opening:
                # By then a rebalance may have had a new producer started.
                if self._producers.get(partition) is producer:
                    await self._resolve(partition, error)
            return False
        self._unsure.pop(partition, None)
        publication.acknowledged()
        self._offsets.recorded({partition: publication.commitment})
        return True

    async def _trouble(self, producer: Any, publication: Publication) -> Exception | None:
        """Make one transaction; tell what kept it from ending well, if anything did."""
        limit_s = self._settings.transaction_timeout_ms / 1000
        try:
            if await clients.bounded(self._transact(producer, publication), limit_s):
                return None
        except (KafkaError, OSError, *_OF_A_DEAD_PRODUCER, _Unsure) as error:
            return error
        return _Unsure(f"no end within {limit_s:g} s")

    async def _transact(self, producer: Any, publication: Publication) -> bool:
        """Write records and offset in a transaction; readers wait for its end, so all of it is in hand."""
        records = list(publication.records)
        while True:
            await producer.begin_transaction()
            answers = await send_all(producer, self._topics, records)
            found = list(zip(records, answers, strict=True))
            if not any(isinstance(answer, BaseException) for answer in answers):
                break
            # A commit would go through all the same, without them.
            refused = next((answer for record, answer in found if _is_refused(record, answer)), None)
            if refused is not None:
                raise refused if isinstance(refused, KafkaError) else _Unsure(repr(refused))
            await producer.abort_transaction()
            records = [shrunk(record) if is_too_large(record, answer) else record for record, answer in found]
        offsets = {TopicPartition(*publication.partition): OffsetAndMetadata(*publication.commitment)}
        await producer.send_offsets_to_transaction(offsets, self._settings.consumer_group)
        await producer.commit_transaction()
        return True

    async def _resolve(self, partition: Partition, error: Exception) -> None:
        """Find out what became of a transaction, by ending it: see above."""
        if isinstance(error, ProducerFenced):
            log.warning("partition_taken_over", topic=partition[0], partition=partition[1])
            self._ownership.settled.clear()
            # It may be given back to us: then what the other one has done is not ours to go on with.
            if partition in self._ledger:
                self._ledger.close(partition)
                self._ownership.lost()
            self._offsets.rejoin()
            return
        times = self._unsure[partition] = self._unsure.get(partition, 0) + 1
        pause_s = min(self._settings.base_backoff_ms * 2**times, self._settings.max_backoff_ms) / 1000
        log.warning(
            "transaction_unsure",
            topic=partition[0],
            partition=partition[1],
            error=repr(error),
            again_in_s=pause_s if times > 1 else 0,
        )
        if times > 1:
            await asyncio.sleep(pause_s)
        await self._start(partition)
        await self._offsets.fetch([partition])
        # What is on record, and not where reading would begin: what is in hand is answered though the topic
        # may have lost it. A partition without books was given away by a rebalance meanwhile.
        recorded = self._offsets.on_record(partition)
        if recorded is not None and partition in self._ledger:
            self._ledger.open(partition, recorded.offset, decode_gaps(*recorded))


def _is_refused(outgoing: Outgoing, answer: object) -> bool:
    return isinstance(answer, BaseException) and not is_too_large(outgoing, answer)
