"""What Kubernetes asks, on both ports and of anybody.

``/livez``: the loop turns, or nothing would answer. ``/readyz``: this pod takes jobs. ``/health``, ``/live``,
``/ready`` and ``/stats`` are what older deployments ask. An FTP server that is down makes no pod unready.
"""

from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from quart import Blueprint
from quart_schema import document_response

from pooler.ops.http.problems import Problem
from pooler.ops.http.service import Service
from pooler.ops.readings import BreakerState


@dataclass(frozen=True, slots=True)
class Liveness:
    """The loop turns.

    Attributes:
        status: always ``ok``.
    """

    status: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this pod takes jobs.

    Attributes:
        status: ``ok`` or ``not ready``.
        reasons: why it does not; empty if it does.
    """

    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs that ended since the start."""

    succeeded: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class WindowSize:
    """What was read and is not settled."""

    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RemoteCounts:
    """One remote: sessions, their limit, jobs that wait, and whether it may work."""

    busy: int
    idle: int
    limit: int
    waiting: int
    breaker: BreakerState
    paused: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """The counters of this pod."""

    version: str
    uptime_seconds: float
    ready: bool
    draining: bool
    jobs: JobCounts
    window: WindowSize
    remotes: dict[str, RemoteCounts]


def probes(service: Service) -> Blueprint:
    """Make the probes' routes."""
    routes = Blueprint("probes", __name__)

    @routes.get("/livez")
    @routes.get("/live")
    @routes.get("/health")
    @document_response(Liveness)
    @document_response(Problem, HTTPStatus.INTERNAL_SERVER_ERROR)
    async def live() -> dict[str, Any]:
        """Tell whether the process is alive."""
        return asdict(Liveness("ok"))

    @routes.get("/readyz")
    @routes.get("/ready")
    @document_response(Readiness)
    @document_response(Readiness, HTTPStatus.SERVICE_UNAVAILABLE)
    @document_response(Problem, HTTPStatus.INTERNAL_SERVER_ERROR)
    async def ready() -> tuple[dict[str, Any], int]:
        """Tell whether this pod takes jobs."""
        status = service.status()
        if status.ready:
            return asdict(Readiness("ok", ())), HTTPStatus.OK
        return asdict(Readiness("not ready", status.reasons)), HTTPStatus.SERVICE_UNAVAILABLE

    @routes.get("/stats")
    @document_response(Stats)
    @document_response(Problem, HTTPStatus.INTERNAL_SERVER_ERROR)
    async def stats() -> dict[str, Any]:
        """Tell the counters of this pod."""
        return asdict(_stats(service))

    return routes


def _stats(service: Service) -> Stats:
    status = service.status()
    return Stats(
        version=status.version,
        uptime_seconds=status.uptime_s,
        ready=status.ready,
        draining=status.draining,
        jobs=JobCounts(status.succeeded, status.failed, status.skipped),
        window=WindowSize(status.window_records, status.window_bytes),
        remotes={
            remote.name: RemoteCounts(
                busy=remote.busy,
                idle=remote.idle,
                limit=remote.limit,
                waiting=remote.waiting,
                breaker=remote.state,
                paused=remote.paused,
            )
            for remote in service.remotes()
        },
    )
