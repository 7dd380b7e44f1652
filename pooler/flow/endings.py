"""The one door through which every job leaves the flow, whoever ended it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping

import structlog
import trio

from pooler.flow.chronicle import Chronicle, chapter
from pooler.flow.lately import Lately
from pooler.flow.order import Order
from pooler.flow.work import Work
from pooler.model.batch import Found
from pooler.model.job import Delivery, Direction, Job
from pooler.model.outcome import Ended, Outcome, Parked, Spread, Status
from pooler.ops.metrics import Metrics
from pooler.ops.tracing import EndedJob, Stage, Tracer

log = structlog.get_logger(__name__)


class Endings:
    """Counts, logs and hands on what has ended, and lets go on what waited behind it.

    Args:
        answers: where outcomes go; this is one of its clones, closed by whoever made it.
        order: who waits behind whom.
        metrics: where they are counted.
        tracer: makes a span of each; None for none.
    """

    def __init__(
        self,
        answers: trio.MemorySendChannel[Ended | Parked | Spread],
        order: Order,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._answers = answers
        self._order = order
        self._metrics = metrics
        self.in_flow: dict[Work, None] = {}
        """Every job that was counted in and not out, the first one first."""
        self.counts: Counter[tuple[str | None, Status]] = Counter()
        """How many jobs ended in each way, by remote; None for those that never had a plan."""
        self.parked: Counter[str] = Counter()
        """How many jobs were parked, by remote; one that is parked again counts again."""
        self.chronicle = Chronicle()
        """What ended last, and why jobs fail."""
        self.lately = Lately()
        """How the jobs of each remote have ended within the last hour."""
        self.bytes_transferred = 0
        """Of all jobs that ended."""
        self._emptied = trio.Event()
        # Set by the fleet: where work goes whose turn has come.
        self.go_on: Callable[[Work], None] = _nowhere

    def admitted(self, work: Work) -> None:
        """Count a job in."""
        self.in_flow[work] = None

    async def end(self, work: Work, outcome: Outcome) -> None:
        """Hand on how a job ended.

        Cancellation: either the outcome is handed on, or the job is still to be done.
        """
        await self._hand_on(work.delivery, work.plan.remote, work.plan.direction, outcome, work)
        self.dropped(work)

    async def refuse(self, delivery: Delivery, outcome: Outcome) -> None:
        """Hand on how a job ended that never had a plan."""
        await self._hand_on(delivery, None, None, outcome)

    async def park(self, work: Work, step_s: float, *, not_before: float, reason: str) -> None:
        """Hand on a job that is to come again later: an ending that is no answer.

        Args:
            work: the job.
            step_s: of the retry topic that it goes to, in seconds.
            not_before: when it may be begun, in seconds of ``trio.current_time()``; minus infinity for any
                time.
            reason: why, out of a short list.

        Cancellation: either it is handed on, or it is still to be done.
        """
        remote = work.plan.remote
        await self._answers.send(
            Parked(work.delivery, step_s, not_before, work.attempts, work.forgiven, work.last_error)
        )
        self.parked[remote] += 1
        self._metrics.parked(remote, step_s, reason)
        self.dropped(work)

    async def spread(self, work: Work, found: Found) -> None:
        """Hand on the files that a visit at a bulk job's folder has found: an ending that is no answer.

        Cancellation: either they are handed on, or the visit is still to be made.
        """
        await self._answers.send(Spread(work.delivery, found, work.attempts, work.forgiven))
        log.info("job_spread", task_id=work.delivery.job.task_id, files=len(found.files), more=found.more)
        self.dropped(work)

    def dropped(self, work: Work) -> None:
        """Count a job out, answered or not, and let go on what waited behind it."""
        work.memory.release()
        del self.in_flow[work]
        if not self.in_flow:
            self._emptied.set()
        for following in self._order.release(work):
            self.go_on(following)

    async def wait_empty(self) -> None:
        """Wait until every job that was counted in is counted out."""
        while self.in_flow:
            self._emptied = trio.Event()
            await self._emptied.wait()
        await trio.lowlevel.checkpoint()

    async def _hand_on(
        self,
        delivery: Delivery,
        remote: str | None,
        direction: Direction | None,
        outcome: Outcome,
        work: Work | None = None,
    ) -> None:
        traced = None
        if self._tracer is not None:
            traced = self._tracer.job(_told(delivery, remote, direction, outcome, work))
        await self._answers.send(Ended(delivery, outcome, None if traced is None else traced.traceparent))
        if traced is not None:
            traced.tell()
        self.counts[remote, outcome.status] += 1
        self.bytes_transferred += outcome.bytes_transferred
        self._metrics.job_ended(remote, direction, outcome)
        self.lately.ended(
            remote,
            trio.current_time(),
            outcome.duration_ms / 1000 if outcome.attempts else None,
            done=outcome.failure is None,
        )
        self.chronicle.add(chapter(delivery, remote, direction, outcome, time.time()))
        _log(delivery.job, outcome, {} if traced is None else {"trace_id": traced.trace_id})


def _told(
    delivery: Delivery, remote: str | None, direction: Direction | None, outcome: Outcome, work: Work | None
) -> EndedJob:
    """Say what a span tells of a job."""
    wall_s, now, job = time.time(), trio.current_time(), delivery.job

    def at(moment: float) -> float:
        return wall_s - (now - moment)

    stages = []
    if work is not None and work.started is not None:
        arrived = now if work.arrived is None else work.arrived
        stages = [
            Stage("wait", at(delivery.received), at(work.started)),
            Stage("attempt", at(work.started), at(arrived)),
        ]
        if work.arrived is not None:
            stages.append(Stage("land", at(arrived), wall_s))
    failure = outcome.failure
    return EndedJob(
        delivery.record.headers,
        at(delivery.received),
        wall_s,
        tuple(stages),
        {
            "pooler.task_id": job.task_id,
            "pooler.remote": remote,
            "pooler.direction": direction,
            "pooler.source": str(job.source),
            "pooler.destination": str(job.destination),
            "pooler.status": outcome.status.value,
            "pooler.attempts": outcome.attempts,
            "pooler.bytes": outcome.bytes_transferred,
            "pooler.verified": outcome.verified,
            "server.address": None if outcome.peer is None else outcome.peer.address,
            "error.type": None if failure is None else failure.code.value,
            "messaging.system": "kafka",
            "messaging.destination.name": delivery.original.origin.topic,
            "messaging.destination.partition.id": str(delivery.original.origin.partition),
            "messaging.kafka.offset": delivery.original.origin.offset,
        },
        None if failure is None else failure.message,
    )


def _log(job: Job, outcome: Outcome, more: Mapping[str, str]) -> None:
    told = {
        **more,
        "task_id": job.task_id,
        "source": str(job.source),
        "destination": str(job.destination),
        "attempts": outcome.attempts,
        "duration_ms": outcome.duration_ms,
        "queued_ms": outcome.queued_ms,
    }
    if outcome.failure is not None:
        why = {"error_code": outcome.failure.code.value, "error": outcome.failure.message}
        log.warning("transfer_failed", **told, **why)
    elif outcome.status is Status.SKIPPED:
        log.info("transfer_skipped", **told, verified=outcome.verified)
    else:
        log.info("transfer_completed", **told, bytes=outcome.bytes_transferred, verified=outcome.verified)


def _nowhere(work: Work) -> None:
    raise AssertionError(f"no fleet to give {work.delivery.job.task_id} to")
