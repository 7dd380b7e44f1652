"""Outcomes to records: gathers what ended, has it published and committed, settles it."""

import datetime as dt
import time
from collections.abc import Sequence
from functools import partial
from math import inf

import structlog
import trio

from pooler.bus import batches as bulk
from pooler.bus.batches import Batches, Fold
from pooler.bus.bridge import KafkaBridge
from pooler.bus.events import NO_EVENTS, Events
from pooler.bus.ledger import Partition
from pooler.bus.publication import Outgoing, Publication, parked_for
from pooler.bus.records import Invalid, OutRecord, dead_letter, encode_invalid, encode_outcome, traced
from pooler.bus.retries import park
from pooler.bus.source import Answer, Unreadable
from pooler.errors import ErrorCode
from pooler.model.batch import Tally
from pooler.model.job import Delivery, Job, Origin, Past, Record
from pooler.model.outcome import Ended, Outcome, Parked, Spread
from pooler.ops.metrics import Metrics

log = structlog.get_logger(__name__)

_BATCH_LIMIT = 2_000
_SMALL_BYTES = 64 * 1024

Batch = dict[tuple[Origin, int], Answer]
"""Answers by the places of their records, and by the times in which these were read."""


class KafkaSink:
    """Publishes answers by the batch; offsets are committed only behind them.

    Args:
        bridge: the way to Kafka.
        worker: who we are, for the records.
        interval_s: how long to gather before a publication, in seconds.
        limit_bytes: the largest answer to write. Dead letters go out as large as what was read came in,
            and smaller only where the topic does not take them.
        metrics: where dead letters are counted, and records that are no valid job.
        batches: what is in hand of bulk jobs, to be summed up; None where there are none.
        priority_topic: where the jobs of a bulk job go that was read there; empty where there is none.
        events: what makes CloudEvents of answers, or does not.
    """

    def __init__(
        self,
        bridge: KafkaBridge,
        *,
        worker: str,
        interval_s: float,
        limit_bytes: int,
        metrics: Metrics,
        batches: Batches | None = None,
        priority_topic: str = "",
        events: Events = NO_EVENTS,
    ) -> None:
        self._batches = Batches(bridge.ledger.wants) if batches is None else batches
        self._priority_topic = priority_topic
        self._bridge = bridge
        self._ledger = bridge.ledger
        self._worker = worker
        self._events = events
        self._interval_s = interval_s
        self._limit_bytes = limit_bytes
        self._metrics = metrics
        self._hurried = False
        self._gathering = trio.CancelScope()

    def hurry(self) -> None:
        """Publish what there is, without gathering any longer, and tell the bridge when it is out."""
        self._hurried = True
        self._gathering.cancel()

    async def run(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        """Publish until ``answers`` ends, its last ones included.

        Raises:
            BusError: the brokers cannot be reached; nothing of the batch is settled.

        Cancellation: the batch in hand may be published and not committed.
        """
        with answers, self._bridge.hurrying(self.hurry):
            more = True
            while more:
                hurried, self._hurried = self._hurried, False
                batch, more = await self._gather(answers, 0 if hurried else self._interval_s)
                await self._publish(batch)
                if hurried:
                    self._bridge.flushed()

    async def _gather(
        self, answers: trio.MemoryReceiveChannel[Answer], interval_s: float
    ) -> tuple[Batch, bool]:
        """Take what ends within the interval; by origin, since a job handed over twice has one answer."""
        batch: Batch = {}
        try:
            with trio.move_on_after(interval_s) as self._gathering:
                while len(batch) < _BATCH_LIMIT:
                    answer = await answers.receive()
                    batch.setdefault(_reading(answer), answer)
            # What is there already does not have to wait for the next time.
            while len(batch) < _BATCH_LIMIT:
                answer = answers.receive_nowait()
                batch.setdefault(_reading(answer), answer)
        except trio.WouldBlock:
            pass
        except trio.EndOfChannel:
            return batch, False
        return batch, True

    async def _publish(self, batch: Batch) -> None:
        published = False
        while not published:
            # What was lost in a rebalance is answered by its new owner.
            ours: dict[Partition, dict[Origin, Answer]] = {
                partition: {} for partition in self._bridge.behind()
            }
            for (origin, _), answer in batch.items():
                if self._ledger.wants(_record(answer)):
                    ours.setdefault(origin[:2], {})[origin] = answer
            folds = self._batches.folds()
            for partition in folds:
                ours.setdefault(partition, {})
            if not ours:
                return
            published = await self._bridge.publish(
                [
                    self._publication(partition, answers, folds.get(partition, ()))
                    for partition, answers in ours.items()
                ]
            )

    def _publication(
        self, partition: Partition, answers: dict[Origin, Answer], folds: Sequence[Fold]
    ) -> Publication:
        now_ms = round(time.time() * 1000)
        records = [one for answer in answers.values() for one in self._outgoing(answer, now_ms)]
        ended = (answer for answer in answers.values() if isinstance(answer, Ended))
        records += [_as_it_is(bulk.written(tally)) for tally in bulk.of_answers(ended, now_ms)]
        records += [one for fold in folds for one in self._folded(fold, now_ms)]
        offsets = {origin.offset for origin in answers} | {at for fold in folds for at in fold.offsets}
        return Publication(
            partition,
            records,
            self._ledger[partition].commitment(offsets),
            partial(self._settle, partition, answers, folds),
        )

    def _settle(self, partition: Partition, ours: dict[Origin, Answer], folds: Sequence[Fold]) -> None:
        for origin, answer in ours.items():
            self._ledger.settle(origin)
            if isinstance(answer, Unreadable):
                self._count(answer)
        for fold in folds:
            for offset in fold.offsets:
                self._ledger.settle(Origin(*partition, offset))
            if fold.closes:
                self._metrics.batch_closed(bulk.outcome_of(fold.tally))
                _log_closing(fold.tally)

    def _count(self, answer: Unreadable) -> None:
        topic, partition, offset = answer.original.origin
        where = {"topic": topic, "partition": partition, "offset": offset, "error": answer.why.message}
        if isinstance(answer.why, Invalid):
            self._metrics.job_ended(None, None, Outcome.failed(ErrorCode.INVALID_JOB, answer.why.message))
            log.warning("job_invalid", task_id=answer.why.task_id, **where)
        else:
            self._metrics.dead_lettered()
            log.warning("dead_letter", **where)

    def _outgoing(self, answer: Answer, now_ms: int) -> list[Outgoing]:
        if isinstance(answer, Spread):
            return self._spread(answer, now_ms)
        if isinstance(answer, Ended):
            first_seen_ms = _first_seen_ms(answer.delivery, now_ms)
            tally = bulk.broken_off(answer, first_seen_ms=first_seen_ms, now_ms=now_ms)
            if tally is not None:  # its jobs are on their way: the answer comes behind theirs
                return [_as_it_is(bulk.written(tally))]
        return [Outgoing(self._encode(answer), partial(self._encode, answer, smaller=True))]

    def _spread(self, answer: Spread, now_ms: int) -> list[Outgoing]:
        first_seen_ms = _first_seen_ms(answer.delivery, now_ms)
        made = bulk.children(answer, first_seen_ms=first_seen_ms, now_ms=now_ms)
        urgent = answer.delivery.original.origin.topic == self._priority_topic != ""
        kind = "urgent_job" if urgent else "job"
        records = [OutRecord(kind, key, value, headers) for key, value, headers in made.jobs]
        if made.jobs or not answer.found.more:  # nobody waits for what says nothing
            records.append(bulk.written(made.tally))
        if answer.found.more:
            records.append(bulk.continuation(answer, made.state, first_seen_ms=first_seen_ms))
        return [_as_it_is(record) for record in records]

    def _folded(self, fold: Fold, now_ms: int) -> list[Outgoing]:
        if not fold.closes:
            return [_as_it_is(bulk.written(fold.tally))]
        closing = bulk.closing(fold.tally, now_ms)
        return [] if closing is None else [self._close(*closing)]

    def _close(self, job: Job, record: Record, outcome: Outcome) -> Outgoing:
        def encode(limit_bytes: int) -> OutRecord:
            now = dt.datetime.now(dt.UTC)
            return encode_outcome(
                job,
                record,
                outcome,
                worker=self._worker,
                now=now,
                limit_bytes=limit_bytes,
                events=self._events,
            )

        return Outgoing(encode(self._limit_bytes), partial(encode, _SMALL_BYTES))

    def _encode(self, answer: Ended | Unreadable | Parked, *, smaller: bool = False) -> OutRecord:
        limit_bytes = _SMALL_BYTES if smaller else self._limit_bytes
        now = dt.datetime.now(dt.UTC)
        if isinstance(answer, Ended):
            delivery = answer.delivery
            return encode_outcome(
                delivery.job,
                traced(bulk.stateless(delivery.original), answer.traceparent),
                answer.outcome,
                worker=self._worker,
                now=now,
                limit_bytes=limit_bytes,
                events=self._events,
            )
        if isinstance(answer, Parked):
            # A job is not made smaller: whoever cannot be parked is answered.
            return self._encode(_unparkable(answer), smaller=True) if smaller else _parked(answer)
        if isinstance(answer.why, Invalid):
            return encode_invalid(
                answer.why,
                answer.original,
                worker=self._worker,
                now=now,
                limit_bytes=limit_bytes,
                events=self._events,
            )
        return dead_letter(answer.original, answer.why, limit_bytes=_SMALL_BYTES if smaller else None)


def _as_it_is(record: OutRecord) -> Outgoing:
    return Outgoing(record, None)


def _log_closing(tally: Tally) -> None:
    if tally.parent is None:
        log.warning("batch_forgotten", **bulk.shown(tally))
    else:
        log.info("batch_closed", task_id=tally.task_id, source=tally.source, **bulk.shown(tally))


def _first_seen_ms(delivery: Delivery, now_ms: float) -> int:
    """Tell when a job was read first: as it was said before, and not as two clocks make it anew each time."""
    if delivery.past is not None:
        return delivery.past.first_seen_ms
    return round(now_ms - (trio.current_time() - delivery.received) * 1000)


def _parked(answer: Parked) -> OutRecord:
    delivery, now, now_ms = answer.delivery, trio.current_time(), time.time() * 1000
    before = delivery.past
    past = Past(
        delivery.original.origin,
        _first_seen_ms(delivery, now_ms),
        answer.attempts,
        answer.forgiven,
        1 if before is None else before.times + 1,
        answer.error,
    )
    not_before_ms = 0 if answer.not_before == -inf else round(now_ms + (answer.not_before - now) * 1000)
    return park(delivery.record, past, parked_for(answer.delay_s), not_before_ms)


def _unparkable(answer: Parked) -> Ended:
    reason = "" if answer.error is None else f"; at last: {answer.error}"
    message = f"too large for the retry topic of {answer.delay_s:g} s{reason}"
    outcome = Outcome.failed(ErrorCode.UNKNOWN_ERROR, message, retriable=True, attempts=answer.attempts)
    return Ended(answer.delivery, outcome)


def _reading(answer: Answer) -> tuple[Origin, int]:
    record = _record(answer)
    return record.origin, record.tenure


def _record(answer: Answer) -> Record:
    return answer.record if isinstance(answer, Unreadable) else answer.delivery.record
