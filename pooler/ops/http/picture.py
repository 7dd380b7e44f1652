"""What the page shows: all pods together, out of what each of them has told (`pooler.ops.http.part`). Pure.

`pooler.ops.http.live` tells it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pooler.flow.lately import together
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand, by_cause, slowness
from pooler.ops.http.part import BAD, MOST_ROWS, Part, PartRemote
from pooler.ops.http.service import FolderStatus, PartitionStatus


@dataclass(frozen=True, slots=True)
class LiveService:
    """All pods that have told.

    Attributes:
        version: of the pod that tells this.
        together: whether pods know of each other.
        lag: records not settled yet; None where that is known of no partition.
        running: transfers.
        oldest_job_age_s: seconds since the oldest job in hand was first read; None where there is none.
        files_per_s: jobs done a second.
        bytes_per_s: bytes that go over, a second.
        done_5min: jobs done within five minutes.
        failed_5min: jobs that failed within five minutes.
        done: jobs since the start of each pod.
        failed: jobs since the start of each pod.
        files: jobs done, for each five seconds of the last five minutes, the newest last; empty for none.
    """

    version: str
    together: bool
    lag: int | None
    running: int
    oldest_job_age_s: float | None
    files_per_s: float
    bytes_per_s: float
    done_5min: int
    failed_5min: int
    done: int
    failed: int
    files: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LivePod:
    """One pod.

    Attributes:
        pod: its name.
        me: whether it is the one that tells this.
        silent: whether it has missed three announcements, or does not answer.
        heard_s: seconds since it last said anything.
        told: whether what is shown has its part.
        ready: whether it takes jobs; None where it has not told.
        reasons: why it does not.
        draining: whether it finishes what runs, and takes nothing new.
        version: of the program; empty where that is not known.
        running: transfers.
        files_per_s: jobs done a second.
        bytes_per_s: bytes that go over, a second.
        window_records: records read and not settled.
        window_bytes: their bytes.
        lag: records of its partitions not settled yet; None where that is not known.
    """

    pod: str
    me: bool
    silent: bool
    heard_s: float
    told: bool = False
    ready: bool | None = None
    reasons: tuple[str, ...] = ()
    draining: bool = False
    version: str = ""
    running: int = 0
    files_per_s: float = 0.0
    bytes_per_s: float = 0.0
    window_records: int = 0
    window_bytes: int = 0
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class LiveRemote:
    """One remote, over all pods that have told; numbers are sums.

    Attributes:
        name: its section of connections.ini.
        host: as configured.
        state: the worst of its breakers.
        state_at: the pods whose breaker is in that state, unless it is closed.
        retry_s: seconds until the first of these lets a job through on trial; None unless open.
        paused: whether an operator has paused it.
        maintenance_until: the end of its maintenance; None outside of any.
        full_s: since when it has no room for uploads, in seconds; None while it has.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        limit: sessions that are allowed now.
        limit_reason: why that was changed last, at one of them; None where it never was.
        waiting: jobs that wait.
        oldest_wait_s: how long the first of them has waited, in seconds; None where none waits.
        succeeded: jobs since the start.
        failed: jobs since the start.
        last_error: the newest failure of one of them, for people; None where there was none.
        done_5min: jobs done within five minutes.
        failed_5min: jobs that failed within five minutes.
        done_1h: jobs done within an hour.
        failed_1h: jobs that failed within an hour.
        p95_s: within how many seconds 95 of a hundred jobs of the last five minutes were done; None for none.
        files: jobs done, for each five seconds of the last five minutes, the newest last; empty for none.
    """

    name: str
    host: str
    state: str
    state_at: tuple[str, ...]
    retry_s: float | None
    paused: bool
    maintenance_until: str | None
    full_s: float | None
    busy: int
    idle: int
    limit: int
    limit_reason: str | None
    waiting: int
    oldest_wait_s: float | None
    succeeded: int
    failed: int
    last_error: str | None
    done_5min: int
    failed_5min: int
    done_1h: int
    failed_1h: int
    p95_s: float | None
    files: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LiveFolder:
    """One local folder, over all pods that have told.

    Attributes:
        name: its section of connections.ini.
        paused_at: the pods that cannot use it now.
        reason: why, in a word; None where all can.
        error: the same for people; None likewise.
        paused_s: since when, in seconds; None likewise.
        waiting: jobs that wait for it.
        free_bytes: its room, the least that a pod has; None while that is not known.
    """

    name: str
    paused_at: tuple[str, ...]
    reason: str | None
    error: str | None
    paused_s: float | None
    waiting: int
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Picture:
    """All that the page shows.

    Attributes:
        at: when this was so, by ISO 8601 in UTC.
        every_s: seconds until the next one.
        service: all pods together.
        pods: each of them, by name.
        remotes: in the order of connections.ini.
        folders: in the order of connections.ini.
        running: the slowest of the transfers that run.
        failures: why jobs failed, the newest reason first.
        ended: the jobs that ended last, the newest first.
        partitions: in order.
    """

    at: str
    every_s: float
    service: LiveService
    pods: tuple[LivePod, ...]
    remotes: tuple[LiveRemote, ...]
    folders: tuple[LiveFolder, ...]
    running: tuple[JobInHand, ...]
    failures: tuple[FailureCause, ...]
    ended: tuple[EndedJob, ...]
    partitions: tuple[PartitionStatus, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a pod is.

    Attributes:
        files_per_s: jobs done a second.
        bytes_per_s: bytes that go over, a second.
    """

    files_per_s: float
    bytes_per_s: float


def pace(before: Part | None, now: Part) -> Pace:
    """Tell how fast a pod is, from what it has told twice."""
    seconds = 0.0 if before is None else now.status.uptime_s - before.status.uptime_s
    if before is None or seconds <= 0 or now.done < before.done or now.bytes_moved < before.bytes_moved:
        return Pace(now.files_per_s, 0.0)
    return Pace(
        round((now.done - before.done) / seconds, 2), round((now.bytes_moved - before.bytes_moved) / seconds)
    )


V = TypeVar("V")


def _least(values: Iterable[V | None], choose: Callable[[Iterable[Any]], V] = min) -> V | None:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def _lag(partitions: Sequence[PartitionStatus]) -> int | None:
    return _least((at.lag for at in partitions), sum)


def live_pod(known: LivePod, told: Part | None, at: Pace) -> LivePod:
    """Tell of a pod what it has told."""
    if told is None:
        return known
    status = told.status
    return replace(
        known,
        told=True,
        ready=status.ready,
        reasons=status.reasons,
        draining=status.draining,
        version=status.version,
        running=told.running_in_all,
        files_per_s=at.files_per_s,
        bytes_per_s=at.bytes_per_s,
        window_records=status.window_records,
        window_bytes=status.window_bytes,
        lag=_lag(status.partitions),
    )


def drawn(
    at: str,
    every_s: float,
    pods: Sequence[LivePod],
    parts: Mapping[str, Part],
    hosts: Mapping[str, str],
    *,
    known_of_each_other: bool,
) -> Picture:
    """Put together what all pods have told.

    Args:
        at: when this is so, by ISO 8601 in UTC.
        every_s: seconds until the next one.
        pods: all that are known, by name.
        parts: what they have told, ours first, by the name of the pod.
        hosts: of the remotes, in the order of connections.ini.
        known_of_each_other: whether there is a control topic.
    """
    told = list(parts.values())
    partitions = _of_one_owner(told)
    recent = together(part.recent for part in told)
    return Picture(
        at=at,
        every_s=every_s,
        service=LiveService(
            version=told[0].status.version,
            together=known_of_each_other,
            lag=_lag(partitions),
            running=sum(part.running_in_all for part in told),
            oldest_job_age_s=_least((part.status.oldest_job_age_s for part in told), max),
            files_per_s=round(sum(pod.files_per_s for pod in pods), 2),
            bytes_per_s=sum(pod.bytes_per_s for pod in pods),
            done_5min=recent.done_5min,
            failed_5min=recent.failed_5min,
            done=sum(part.done for part in told),
            failed=sum(part.status.failed for part in told),
            files=recent.files,
        ),
        pods=tuple(pods),
        remotes=_remotes(parts, hosts),
        folders=_folders(parts),
        running=tuple(sorted((job for part in told for job in part.running), key=slowness)[:MOST_ROWS]),
        failures=by_cause([part.failures for part in told])[:MOST_ROWS],
        ended=tuple(sorted((job for part in told for job in part.ended), key=_place)[: -MOST_ROWS - 1 : -1]),
        partitions=partitions,
    )


def _place(job: EndedJob) -> tuple[str, str]:
    return job.at, job.origin


def _of_one_owner(told: Sequence[Part]) -> tuple[PartitionStatus, ...]:
    """Tell of each partition once: while one goes from pod to pod, both may have told of it."""
    found: dict[tuple[str, int], PartitionStatus] = {}
    for at in (at for part in told for at in part.status.partitions):
        found.setdefault((at.topic, at.partition), at)
    return tuple(found[key] for key in sorted(found))


def _remotes(parts: Mapping[str, Part], hosts: Mapping[str, str]) -> tuple[LiveRemote, ...]:
    by_name: dict[str, dict[str, PartRemote]] = {name: {} for name in hosts}
    for pod, part in parts.items():
        for remote in part.remotes:
            by_name.setdefault(remote.name, {})[pod] = remote
    return tuple(_live_remote(name, hosts.get(name, ""), told) for name, told in by_name.items() if told)


def _live_remote(name: str, host: str, told: Mapping[str, PartRemote]) -> LiveRemote:
    first, every = next(iter(told.values())), told.values()
    state = next((bad for bad in BAD if any(one.state == bad for one in every)), "closed")
    recent = together(one.recent for one in every)
    return LiveRemote(
        name=name,
        host=host,
        state=state,
        state_at=tuple(pod for pod, one in told.items() if one.state == state != "closed"),
        retry_s=_least(one.retry_s for one in every),
        paused=first.paused,
        maintenance_until=first.maintenance_until,
        full_s=_least((one.full_s for one in every), max),
        busy=sum(one.busy for one in every),
        idle=sum(one.idle for one in every),
        limit=sum(one.limit for one in every),
        limit_reason=next((one.limit_reason for one in every if one.limit_reason), None),
        waiting=sum(one.waiting for one in every),
        oldest_wait_s=_least((one.oldest_wait_s for one in every), max),
        succeeded=sum(one.succeeded for one in every),
        failed=sum(one.failed for one in every),
        last_error=next((one.last_error for one in every if one.last_error), None),
        done_5min=recent.done_5min,
        failed_5min=recent.failed_5min,
        done_1h=recent.done_1h,
        failed_1h=recent.failed_1h,
        p95_s=recent.p95_s,
        files=recent.files,
    )


def _folders(parts: Mapping[str, Part]) -> tuple[LiveFolder, ...]:
    by_name: dict[str, dict[str, FolderStatus]] = {}
    for pod, part in parts.items():
        for folder in part.folders:
            by_name.setdefault(folder.name, {})[pod] = folder
    return tuple(_live_folder(name, told) for name, told in by_name.items())


def _live_folder(name: str, told: Mapping[str, FolderStatus]) -> LiveFolder:
    paused = [folder for folder in told.values() if folder.paused]
    return LiveFolder(
        name=name,
        paused_at=tuple(pod for pod, folder in told.items() if folder.paused),
        reason=paused[0].reason if paused else None,
        error=paused[0].error if paused else None,
        paused_s=_least((folder.paused_s for folder in paused), max),
        waiting=sum(folder.waiting for folder in told.values()),
        free_bytes=_least(folder.free_bytes for folder in told.values()),
    )
