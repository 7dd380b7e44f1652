"""Outcomes to records: gathers what ended, has it published and committed, settles it."""

import datetime as dt
from functools import partial

import structlog
import trio

from pooler.bus.bridge import KafkaBridge
from pooler.bus.ledger import Commitment
from pooler.bus.records import Invalid, OutRecord, dead_letter, encode_invalid, encode_outcome
from pooler.bus.source import Answer, Unreadable
from pooler.bus.writer import Outgoing, Publication
from pooler.errors import ErrorCode
from pooler.model.job import Origin
from pooler.model.outcome import Ended, Outcome
from pooler.ops.metrics import Metrics

log = structlog.get_logger(__name__)

_BATCH_LIMIT = 2_000
_SMALL_BYTES = 64 * 1024


class KafkaSink:
    """Publishes answers by the batch; offsets are committed only behind them.

    Args:
        bridge: the way to Kafka.
        worker: who we are, for the records.
        interval_s: how long to gather before a publication, in seconds.
        limit_bytes: the largest answer to write. Dead letters go out as large as what was read came in,
            and smaller only where the topic does not take them.
        metrics: where dead letters are counted, and records that are no valid job.
    """

    def __init__(
        self,
        bridge: KafkaBridge,
        *,
        worker: str,
        interval_s: float,
        limit_bytes: int,
        metrics: Metrics,
    ) -> None:
        self._bridge = bridge
        self._ledger = bridge.ledger
        self._worker = worker
        self._interval_s = interval_s
        self._limit_bytes = limit_bytes
        self._metrics = metrics

    async def run(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        """Publish until ``answers`` ends, its last ones included.

        Raises:
            BusError: the brokers cannot be reached; nothing of the batch is settled.

        Cancellation: the batch in hand may be published and not committed.
        """
        with answers:
            more = True
            while more:
                batch, more = await self._gather(answers)
                await self._publish(batch)

    async def _gather(self, answers: trio.MemoryReceiveChannel[Answer]) -> tuple[dict[Origin, Answer], bool]:
        """Take what ends within the interval; by origin, since a job handed over twice has one answer."""
        batch: dict[Origin, Answer] = {}
        with trio.move_on_after(self._interval_s):
            try:
                while len(batch) < _BATCH_LIMIT:
                    answer = await answers.receive()
                    batch.setdefault(_origin(answer), answer)
            except trio.EndOfChannel:
                return batch, False
        return batch, True

    async def _publish(self, batch: dict[Origin, Answer]) -> None:
        published = False
        while not published:
            # What was lost in a rebalance is answered by its new owner.
            ours = {origin: answer for origin, answer in batch.items() if self._ledger.wants(origin)}
            publication = Publication(
                [self._outgoing(answer) for answer in ours.values()],
                self._commitments(ours),
                partial(self._settle, ours),
            )
            if not publication.records and not publication.commitments:
                return
            published = await self._bridge.publish(publication)

    def _settle(self, ours: dict[Origin, Answer]) -> None:
        for origin, answer in ours.items():
            self._ledger.settle(origin)
            if isinstance(answer, Unreadable):
                self._count(answer)

    def _count(self, answer: Unreadable) -> None:
        topic, partition, offset = answer.record.origin
        where = {"topic": topic, "partition": partition, "offset": offset, "error": answer.why.message}
        if isinstance(answer.why, Invalid):
            self._metrics.job_ended(None, None, Outcome.failed(ErrorCode.INVALID_JOB, answer.why.message))
            log.warning("job_invalid", task_id=answer.why.task_id, **where)
        else:
            self._metrics.dead_lettered()
            log.warning("dead_letter", **where)

    def _outgoing(self, answer: Answer) -> Outgoing:
        return Outgoing(self._encode(answer), partial(self._encode, answer, smaller=True))

    def _commitments(self, ours: dict[Origin, Answer]) -> dict[tuple[str, int], Commitment]:
        """Tell what may be committed once ``ours`` is out; what an earlier commit owed is in it."""
        settling: dict[tuple[str, int], set[int]] = {}
        for topic, partition, offset in ours:
            settling.setdefault((topic, partition), set()).add(offset)
        return self._bridge.behind() | {
            partition: self._ledger[partition].commitment(offsets) for partition, offsets in settling.items()
        }

    def _encode(self, answer: Answer, *, smaller: bool = False) -> OutRecord:
        limit_bytes = _SMALL_BYTES if smaller else self._limit_bytes
        now = dt.datetime.now(dt.UTC)
        if isinstance(answer, Ended):
            delivery = answer.delivery
            return encode_outcome(
                delivery.job,
                delivery.record,
                answer.outcome,
                worker=self._worker,
                now=now,
                limit_bytes=limit_bytes,
            )
        if isinstance(answer.why, Invalid):
            return encode_invalid(
                answer.why, answer.record, worker=self._worker, now=now, limit_bytes=limit_bytes
            )
        return dead_letter(answer.record, answer.why, limit_bytes=_SMALL_BYTES if smaller else None)


def _origin(answer: Answer) -> Origin:
    return answer.delivery.record.origin if isinstance(answer, Ended) else answer.record.origin
