"""The offsets that a group has on record: fetched with their metadata, and committed from the ledger."""

from collections.abc import Collection, Mapping
from typing import Any

import structlog
import trio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.clients import bounded
from pooler.bus.ledger import Commitment, Ledger

log = structlog.get_logger(__name__)

_COMMIT_S = 20.0


class Offsets:
    """Fetches and commits for one consumer.

    Args:
        consumer: whose group it is.
        ledger: what may be committed.

    Attributes:
        last_commit: ``trio.current_time()`` of the newest commit; None before the first.
    """

    def __init__(self, consumer: Any, ledger: Ledger) -> None:
        self.last_commit: float | None = None
        self._consumer = consumer
        self._ledger = ledger
        self._on_record: dict[tuple[str, int], Commitment] = {}

    async def fetch(self, partitions: Collection[TopicPartition]) -> dict[tuple[str, int], Commitment]:
        """Ask where a new owner of partitions begins: behind what is committed, else at their first record.

        Raises:
            KafkaError: the broker does not tell.
        """
        # committed() drops the metadata; this is what it calls.
        found = await self._consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001 - see above
        starts = {}
        for partition, stored in found.items():
            if stored.offset >= 0:
                starts[tuple(partition)] = Commitment(stored.offset, stored.metadata or "")
        self._on_record = dict(starts)
        fresh = [partition for partition in partitions if tuple(partition) not in starts]
        if fresh:
            first = await self._consumer.beginning_offsets(fresh)
            starts |= {tuple(partition): Commitment(offset, "") for partition, offset in first.items()}
        return starts

    def behind(self) -> dict[tuple[str, int], Commitment]:
        """Tell what may be committed and is not on record yet."""
        commitments = {partition: self._ledger[partition].commitment() for partition in self._ledger}
        return {
            partition: commitment
            for partition, commitment in commitments.items()
            if self._on_record.get(partition) != commitment
        }

    async def commit(self, commitments: Mapping[tuple[str, int], Commitment]) -> None:
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
            self._on_record.update(commitments)
            self.last_commit = trio.current_time()
        else:
            log.warning("commit_deferred", error=f"no answer within {_COMMIT_S:g} s")

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        # Always with offsets: the bare call commits what was fetched.
        await self._consumer.commit(offsets)
        return True
