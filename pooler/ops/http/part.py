"""What each pod tells of itself for the page (`PART`); `pooler.ops.http.picture` puts it together.

It is an answer to a question over the control topic, so it is short, and has a bound: texts are cut, and
where it is too long all the same, lists are.
"""

from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from pooler.flow.lately import NOTHING, STEP_S, Recent, together
from pooler.ops.http.everywhere import Query, Question
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand
from pooler.ops.http.service import FolderStatus, RemoteStatus, Service, ServiceStatus

MOST_BYTES: Final = 200_000
"""Of a part; `pooler.bus.control_records` bears a little more."""

MOST_ROWS: Final = 50
"""Transfers that run, reasons of failures, and jobs that ended, each."""

_LONGEST: Final = 200
BAD: Final = ("open", "half_open")
"""States of a breaker that is not closed, the worst first."""


@dataclass(frozen=True, slots=True)
class PartRemote:
    """One remote, as one pod has it; for what is not told here see `RemoteStatus`.

    Attributes:
        name: its section of connections.ini.
        state: its breaker.
        retry_s: seconds until an open breaker lets a job through on trial; None unless open.
        paused: whether an operator has paused it.
        maintenance_until: the end of its maintenance; None outside of any.
        full_s: since when it has no room for uploads, in seconds; None while it has.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        limit: sessions that are allowed now.
        limit_reason: why that was changed last; None where it never was.
        waiting: jobs that wait.
        oldest_wait_s: how long the first of them has waited, in seconds; None where none waits.
        succeeded: jobs since the start, those that were skipped included.
        failed: jobs since the start.
        last_error: the newest failure, for people; None where there was none.
        recent: how its jobs have ended of late.
    """

    name: str
    state: str
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
    recent: Recent


@dataclass(frozen=True, slots=True)
class Part:
    """What one pod tells of itself.

    Attributes:
        status: its service.
        remotes: of another pod those alone where something goes on, or has within the hour.
        folders: its local folders.
        running: the slowest of the transfers that run there.
        running_in_all: how many there are.
        failures: why jobs failed there, the newest reason first.
        ended: the jobs that ended there last, the newest first.
        recent: how all of its jobs have ended of late, those without a remote too.
        bytes_moved: that went over since the start.
    """

    status: ServiceStatus
    remotes: tuple[PartRemote, ...]
    folders: tuple[FolderStatus, ...]
    running: tuple[JobInHand, ...]
    running_in_all: int
    failures: tuple[FailureCause, ...]
    ended: tuple[EndedJob, ...]
    recent: Recent
    bytes_moved: int

    @property
    def done(self) -> int:
        """How many jobs were done since the start."""
        return self.status.succeeded + self.status.skipped

    @property
    def files_per_s(self) -> float:
        """Jobs done a second, in the last five whole seconds."""
        return self.recent.files[-2] / STEP_S if self.recent.files else 0.0


T = TypeVar("T", JobInHand, EndedJob)


def _brief(job: T, pod: str) -> T:
    """Cut a job's texts: it is one row among others."""
    told: dict[str, Any] = {each.name: getattr(job, each.name) for each in fields(job)}
    told |= {key: f"{text[:_LONGEST]}…" for key, text in told.items() if _is_long(text)}
    if "dialogue" in told:
        told["dialogue"] = ()
    return type(job)(**(told | {"pod": pod}))


def _is_long(text: object) -> bool:
    return isinstance(text, str) and len(text) > _LONGEST


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def part(service: Service, *, rows: int = MOST_ROWS) -> Part:
    """Tell of this pod.

    Args:
        service: this pod.
        rows: of each list, at most.
    """
    pod, recent, running = service.pod, service.recent(), service.running()
    status = service.status()
    return Part(
        status=replace(status, partitions=tuple(replace(at, pod=pod) for at in status.partitions)),
        remotes=tuple(_part_of(remote, recent.get(remote.name, NOTHING)) for remote in service.remotes()),
        folders=service.folders(),
        running=tuple(_brief(job, pod) for job in running[:rows]),
        running_in_all=len(running),
        failures=tuple(
            replace(cause, newest=_brief(cause.newest, pod)) for cause in service.failures()[:rows]
        ),
        ended=tuple(_brief(job, pod) for job in islice(service.ended(), rows)),
        recent=together(recent.values()),
        bytes_moved=service.bytes_moved(),
    )


def _part_of(remote: RemoteStatus, recent: Recent) -> PartRemote:
    decisions = remote.limits.decisions
    return PartRemote(
        name=remote.name,
        state=remote.state,
        retry_s=remote.breaker_retry_s,
        paused=remote.paused,
        maintenance_until=remote.maintenance_until,
        full_s=remote.full_s,
        busy=remote.busy,
        idle=remote.idle,
        limit=remote.limit,
        limit_reason=decisions[0].reason if decisions else None,
        waiting=remote.waiting,
        oldest_wait_s=remote.oldest_wait_s,
        succeeded=remote.succeeded,
        failed=remote.failed,
        last_error=_cut(remote.last_error),
        recent=recent,
    )


def _is_news(remote: PartRemote) -> bool:
    """Tell whether other pods should know; what an operator wants of a remote they know."""
    at_work = remote.busy or remote.idle or remote.waiting
    return bool(at_work or remote.state in BAD or remote.recent != NOTHING or remote.full_s is not None)


def _stir(remote: PartRemote) -> tuple[bool, int]:
    return remote.state in BAD, remote.busy + remote.waiting + remote.recent.done_5min


_ADAPTER: Final = TypeAdapter(Part)


class _Short(Question[Service, Part]):
    """Asks for parts, which have a bound."""

    async def put_down(self, service: Service, query: Query) -> bytes:
        told = await self.here(service, query)
        rows = MOST_ROWS
        body = _ADAPTER.dump_json(told)
        while len(body) > MOST_BYTES and rows:
            rows //= 4
            busiest = sorted(told.remotes, key=_stir, reverse=True)
            told = replace(
                told,
                remotes=tuple(busiest[: len(busiest) // 2]),
                running=told.running[:rows],
                failures=told.failures[:rows],
                ended=told.ended[:rows],
            )
            body = _ADAPTER.dump_json(told)
        return body


async def _here(service: Service, _query: Query) -> Part:
    told = part(service)
    return replace(told, remotes=tuple(filter(_is_news, told.remotes)))


PART: Final = _Short("part", Part, _here)
