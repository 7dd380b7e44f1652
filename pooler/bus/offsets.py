"""The offsets that a group has on record: fetched with their metadata, and committed from the ledger."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import structlog
import trio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.clients import bounded, pauses_s
from pooler.bus.ledger import Commitment, Ledger, Partition, decode_gaps
from pooler.bus.stable import fetch_stable
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError

log = structlog.get_logger(__name__)

_COMMIT_S = 20.0
_FETCH_S = 10.0


class Start(NamedTuple):
    """Where a new owner of a partition begins.

    Attributes:
        offset: the first offset that is not settled.
        settled: offsets above it that are.
        stopped: why the partition is not to be read; None where it is.
    """

    offset: int
    settled: frozenset[int] = frozenset()
    stopped: str | None = None


def judge_start(
    stored: OffsetAndMetadata | None, first: int, end: int, *, missing: str, out_of_range: str
) -> Start:
    """Decide where reading begins, and whether it may.

    Args:
        stored: what is on record; None where nothing is.
        first: the first offset that the partition still has.
        end: the offset behind the last one.
        missing: ``first`` or ``stop``: what to do where nothing is on record.
        out_of_range: the same, where what is on record is not there.
    """
    if stored is None:
        why = "no offset is on record" if missing == "stop" else None
        return Start(first, stopped=why)
    if first <= stored.offset <= end:
        return Start(stored.offset, decode_gaps(stored.offset, stored.metadata or ""))
    if stored.offset < first:
        why = f"the records from {stored.offset} to {first - 1} are gone without an answer"
    else:
        why = f"offset {stored.offset} is on record, but the partition ends at {end}"
    return Start(first, stopped=why if out_of_range == "stop" else None)


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
        self._on_record: dict[Partition, Commitment] = {}

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
        on_record = await fetch_stable(self._consumer, places)
        firsts = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        settings, starts = self._settings, {}
        for place in places:
            stored = on_record.get(place)
            if stored is not None:
                self._on_record[place] = Commitment(stored.offset, stored.metadata or "")
            start = starts[place.topic, place.partition] = judge_start(
                stored,
                firsts[place],
                ends[place],
                missing=settings.missing_offset,
                out_of_range=settings.out_of_range,
            )
            if stored is None or start.offset != stored.offset:
                log.warning(
                    "offset_not_there",
                    topic=place.topic,
                    partition=place.partition,
                    on_record=None if stored is None else stored.offset,
                    first=firsts[place],
                    end=ends[place],
                    begins_at=None if start.stopped else start.offset,
                )
        return starts

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
