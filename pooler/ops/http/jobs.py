"""What this pod tells of its jobs: those in hand, those that ended last, and why they fail."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pooler.flow.chronicle import Chapter, Chronicle, short
from pooler.flow.work import Work
from pooler.flow.worker import Worker
from pooler.model.batch import Tally


@dataclass(frozen=True, slots=True)
class JobInHand:
    """A job that was read and is not answered.

    Attributes:
        task_id: the sender's name for it.
        remote: whose job it is.
        direction: ``download`` or ``upload``.
        source: where the file is.
        destination: where it is to be.
        origin: where its record stands: topic, partition, offset.
        running: whether a session works on it.
        age_s: seconds since it was first read.
        attempts: that were begun.
        running_s: seconds since a session took it; None unless one works on it.
        bytes: that have gone over in this attempt; 0 unless a session works on it.
        bytes_per_s: of this attempt; None unless a session works on it.
        peer: ``host:port`` of the server; None unless a session works on it.
        cancelled: who has cancelled it, and why; None while nobody has.
        last_error: what went wrong at last; None where nothing has.
        pod: whose job it is.
    """

    task_id: str
    remote: str
    direction: str
    source: str
    destination: str
    origin: str
    running: bool
    age_s: float
    attempts: int
    running_s: float | None
    bytes: int
    bytes_per_s: int | None
    peer: str | None
    cancelled: str | None
    last_error: str | None
    pod: str = ""


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A bulk job that has no closing answer yet.

    Attributes:
        id: names it.
        task_id: the sender's name for it.
        source: what is spread.
        since: when it was first read.
        spread: whether all of its jobs are made.
        files: jobs that it was spread into, so far.
        files_bytes: of their files, as far as that was told.
        succeeded: those of them that succeeded.
        skipped: those that found their file there.
        failed: those that failed.
        bytes: that were copied.
        codes: why they failed, and how many of each.
        pod: who sums it up.
    """

    id: str
    task_id: str
    source: str
    since: str
    spread: bool
    files: int
    files_bytes: int
    succeeded: int
    skipped: int
    failed: int
    bytes: int
    codes: dict[str, int]
    pod: str = ""


def open_batch(tally: Tally) -> OpenBatch:
    """Tell of a bulk job."""
    return OpenBatch(
        id=tally.batch,
        task_id=short(tally.task_id),
        source=short(tally.source),
        since=dt.datetime.fromtimestamp(tally.since_ms / 1000, dt.UTC).isoformat(timespec="seconds"),
        spread=tally.parent is not None,
        files=tally.files,
        files_bytes=tally.files_bytes,
        succeeded=tally.succeeded,
        skipped=tally.skipped,
        failed=tally.failed,
        bytes=tally.bytes,
        codes=dict(tally.codes),
    )


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A job that has ended.

    Attributes:
        task_id: the sender's name for it.
        remote: whose job it was; None where it could not be told.
        direction: ``download`` or ``upload``; None likewise.
        source: where the file was.
        destination: where it was to be.
        origin: where its record stands: topic, partition, offset.
        at: when it ended, by ISO 8601 in UTC.
        status: ``success``, ``skipped`` or ``failed``.
        error_code: why it failed; None unless it did.
        error: the same for people; None unless it failed.
        reply: the last that the server said; None where it said nothing.
        attempts: that were begun.
        bytes: of the file that was copied.
        duration_ms: the last attempt.
        verified: what was really checked.
        dialogue: the last lines of the dialogue with the server, secrets masked; empty unless it failed.
        pod: where it ended.
    """

    task_id: str
    remote: str | None
    direction: str | None
    source: str
    destination: str
    origin: str
    at: str
    status: str
    error_code: str | None
    error: str | None
    reply: str | None
    attempts: int
    bytes: int
    duration_ms: int
    verified: str
    dialogue: tuple[str, ...] = ()
    pod: str = ""


@dataclass(frozen=True, slots=True)
class FailureCause:
    """A reason for which jobs of a remote have failed since the start.

    Attributes:
        remote: whose jobs; None for those of which that could not be told.
        error_code: the reason.
        jobs: how many.
        newest: the last of them.
    """

    remote: str | None
    error_code: str
    jobs: int
    newest: EndedJob


def running_jobs(workers: Iterable[Worker], now: float) -> tuple[JobInHand, ...]:
    """Tell of the jobs that sessions work on, the slowest first.

    Args:
        workers: of all remotes.
        now: in seconds of ``trio.current_time()``.
    """
    told = [in_hand(worker.work, worker, now) for worker in workers if worker.work is not None]
    return tuple(sorted(told, key=slowness))


def slowness(job: JobInHand) -> tuple[int, float]:
    """Tell where a transfer stands among others, the slowest first."""
    return job.bytes_per_s or 0, -(job.running_s or 0.0)


def in_hand(work: Work, worker: Worker | None, now: float) -> JobInHand:
    """Tell of a job that is in hand.

    Args:
        work: the job.
        worker: the session that works on it; None where it waits.
        now: in seconds of ``trio.current_time()``.
    """
    job, plan = work.delivery.job, work.plan
    running_s = None if worker is None else now - worker.since
    moved = 0 if worker is None else worker.bytes_moved
    return JobInHand(
        task_id=short(job.task_id),
        remote=plan.remote,
        direction=plan.direction.value,
        source=short(str(job.source)),
        destination=short(str(job.destination)),
        origin=str(work.delivery.record.origin),
        running=worker is not None,
        age_s=round(now - work.delivery.received, 3),
        attempts=work.attempts,
        running_s=None if running_s is None else round(running_s, 3),
        bytes=moved,
        bytes_per_s=None if running_s is None else round(moved / max(running_s, 0.001)),
        peer=None if worker is None else worker.session.peer.address,
        cancelled=work.cancelled,
        last_error=None if work.last_error is None else short(work.last_error),
    )


def ended_job(chapter: Chapter) -> EndedJob:
    """Tell of a job that has ended."""
    at = dt.datetime.fromtimestamp(chapter.at, dt.UTC).isoformat(timespec="milliseconds")
    return EndedJob(
        task_id=chapter.task_id,
        remote=chapter.remote,
        direction=None if chapter.direction is None else chapter.direction.value,
        source=chapter.source,
        destination=chapter.destination,
        origin=chapter.origin,
        at=at,
        status=chapter.status.value,
        error_code=None if chapter.code is None else chapter.code.value,
        error=chapter.message,
        reply=chapter.reply,
        attempts=chapter.attempts,
        bytes=chapter.size_bytes,
        duration_ms=chapter.duration_ms,
        verified=chapter.verified,
        dialogue=chapter.dialogue,
    )


def failure_causes(chronicle: Chronicle) -> tuple[FailureCause, ...]:
    """Tell why jobs have failed, the newest reason first."""
    ordered = sorted(chronicle.examples.items(), key=lambda item: -item[1].at)
    return tuple(
        FailureCause(remote, code.value, chronicle.failures[remote, code], ended_job(example))
        for (remote, code), example in ordered
    )


def by_cause(told: Iterable[Iterable[FailureCause]]) -> tuple[FailureCause, ...]:
    """Put together why jobs fail, over all pods; the newest reason first."""
    causes: dict[tuple[str | None, str], FailureCause] = {}
    for cause in (cause for pod in told for cause in pod):
        key = cause.remote, cause.error_code
        known = causes.get(key)
        if known is None:
            causes[key] = cause
        else:
            newest = max(known.newest, cause.newest, key=lambda job: job.at)
            causes[key] = replace(known, jobs=known.jobs + cause.jobs, newest=newest)
    return tuple(sorted(causes.values(), key=lambda cause: cause.newest.at, reverse=True))
