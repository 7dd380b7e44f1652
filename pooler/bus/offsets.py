"""The offsets that a group has on record: fetched with their metadata, and committed from the ledger."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import structlog
import trio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.clients import bounded, pauses_s
from pooler.bus.ledger import Commitment, Ledger, Partition
from pooler.bus.stable import fetch_stable
from pooler.bus.start import Log, Start, Stop, is_anew, judge_start, remade
from pooler.bus.topic_ids import TopicIds, as_kafka_writes
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError

log = structlog.get_logger(__name__)

_COMMIT_S = 20.0
_FETCH_S = 10.0
_LOOK_S = 5.0


class Offsets:
    """Fetches and commits for one consumer.

    Args:
        consumer: whose group it is.
        ledger: what may be committed.
        settings: how often to try, and what to do about offsets that are not there.

    Attributes:
        last_commit: ``trio.current_time()`` of the newest commit; None before the first.
    """

    def __init__(self, consumer: Any, ledger: Ledger, settings: KafkaSettings) -> None:
        self.last_commit: float | None = None
        self._consumer = consumer
        self._ledger = ledger
        self._settings = settings
        self._topic_ids = TopicIds(consumer)
        self._on_record: dict[Partition, Commitment] = {}
        self._logs: dict[Partition, Log] = {}

    async def fetch(self, partitions: Collection[Partition]) -> dict[Partition, Start]:
        """Ask where a new owner of partitions begins.

        Raises:
            BusError: the brokers do not tell, for as long as the configuration allows.
        """
        pauses = pauses_s(self._settings)
        while True:
            failure: object = f"no answer within {_FETCH_S:g} s"
            try:
                if (found := await bounded(self._fetch(partitions), _FETCH_S)) is not None:
                    return dict(found)
            except (KafkaError, OSError) as error:
                failure = error
            pause_s = next(pauses, None)
            if pause_s is None:
                raise BusError(f"cannot fetch the committed offsets: {failure!r}")
            log.warning("offsets_unknown", error=repr(failure), again_in_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _fetch(self, partitions: Collection[Partition]) -> dict[Partition, Start]:
        places = [TopicPartition(*partition) for partition in partitions]
        # The topics first: one that is made anew from here on, the next look finds. The ends last: what is
        # committed up to now is below them.
        topic_ids = await self._topic_ids.ask(places)
        found = await fetch_stable(self._consumer, places)
        self._logs.update(await self._logs_of(places, topic_ids))
        return {
            (place.topic, place.partition): self._judged((place.topic, place.partition), found.get(place))
            for place in places
        }

    def _judged(self, partition: Partition, found: OffsetAndMetadata | None) -> Start:
        there, stored = self._logs[partition], None
        if found is None:
            self._on_record.pop(partition, None)
        else:
            stored = self._on_record[partition] = Commitment(found.offset, found.metadata or "")
        # A retry topic that was just made: where nothing is, nothing can be passed over.
        is_new = stored is None and partition[0] in self._settings.side_topics and there.first == there.end
        start = judge_start(
            stored,
            there,
            self._ledger[partition].topic_id if partition in self._ledger else b"",
            missing="first" if is_new else self._settings.missing_offset,
            out_of_range=self._settings.out_of_range,
        )
        if not is_new and (stored is None or start.offset != stored.offset):
            log.warning(
                "offset_not_there",
                topic=partition[0],
                partition=partition[1],
                on_record=None if stored is None else stored.offset,
                first=there.first,
                end=there.end,
                topic_id=as_kafka_writes(there.topic_id) or None,
                begins_at=None if start.stopped else start.offset,
            )
        return start

    async def _logs_of(
        self, places: Collection[TopicPartition], topic_ids: Mapping[TopicPartition, bytes]
    ) -> dict[Partition, Log]:
        firsts = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        return {
            (place.topic, place.partition): Log(firsts[place], ends[place], topic_ids.get(place, b""))
            for place in places
        }

    async def look(self, partitions: Collection[Partition]) -> dict[Partition, Stop]:
        """Look again what partitions have; nothing is asked unless the brokers have news of topics.

        Args:
            partitions: those that are ours, stopped ones included.

        Returns:
            Why those are not to be read that have become another log than the one in our books.
        """
        if not self._topic_ids.news:
            return {}
        places = [TopicPartition(*partition) for partition in partitions]
        try:
            await bounded(self._look(places), _LOOK_S)
        except (KafkaError, OSError) as error:
            log.warning("topics_unknown", error=repr(error))
            return {}
        stops = {}
        for partition in partitions:
            known = self._ledger[partition].topic_id if partition in self._ledger else b""
            if partition in self._logs and is_anew(known, self._logs[partition].topic_id):
                # Kafka forgets the offsets of a topic that is deleted. Ours goes on record again, so that the
                # next owner is stopped too.
                self._on_record.pop(partition, None)
                stops[partition] = remade(self._ledger[partition].watermark)
        return stops

    async def _look(self, places: Collection[TopicPartition]) -> None:
        self._logs.update(await self._logs_of(places, await self._topic_ids.ask(places)))

    def log_of(self, partition: Partition) -> Log | None:
        """Tell what a partition had when we last looked; None before the first time."""
        return self._logs.get(partition)

    def behind(self) -> dict[Partition, Commitment]:
        """Tell what may be committed and is not on record yet."""
        commitments = {partition: self._ledger[partition].commitment() for partition in self._ledger}
        return {
            partition: commitment
            for partition, commitment in commitments.items()
            if self._on_record.get(partition) != commitment
        }

    def on_record(self, partition: Partition) -> Commitment | None:
        """Tell what was committed for a partition when it was last asked about, or by us since."""
        return self._on_record.get(partition)

    def recorded(self, commitments: Mapping[Partition, Commitment]) -> None:
        """Note what is on record now."""
        self._on_record.update(commitments)
        self.last_commit = trio.current_time()

    async def commit(self, commitments: Mapping[Partition, Commitment]) -> None:
        """Commit, for those partitions that are still ours.

        A commit that a rebalance forbids, or that the broker does not answer, is no failure: the next one
        has its offsets too.
        """
        offsets = {
            TopicPartition(*partition): OffsetAndMetadata(*commitment)
            for partition, commitment in commitments.items()
            if partition in self._ledger
        }
        if not offsets:
            return
        try:
            done = await bounded(self._commit(offsets), _COMMIT_S)
        except KafkaError as error:
            log.warning("commit_deferred", error=repr(error))
            return
        if done:
            self.recorded(commitments)
        else:
            log.warning("commit_deferred", error=f"no answer within {_COMMIT_S:g} s")

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        # Always with offsets: the bare call commits what was fetched.
        await self._consumer.commit(offsets)
        return True

    def rejoin(self) -> None:
        """Have the group decide anew who owns what."""
        self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - there is no public way
