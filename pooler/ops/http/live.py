"""``/v1/live``: all that the page shows, once a second, as server-sent events (HTML Standard §9.2).

Each event is the whole state. So there is no queue, no matter how many read or how slowly: whoever has taken
one event gets the newest next, and whoever comes back has missed nothing. It is put into words once for all
readers.
"""

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import trio
from pydantic import TypeAdapter
from quart import Blueprint, Response, request
from quart_schema import hide
from werkzeug.exceptions import ServiceUnavailable

from pooler.ops.http.auth import Guard, Scope
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand
from pooler.ops.http.service import (
    FolderStatus,
    RemoteStatus,
    RemoteSummary,
    Service,
    ServiceStatus,
)

PERIOD_S: Final = 1.0
"""From one event to the next."""

LASTS_S: Final = 75.0
"""How long a stream lasts; `server` does not bear much longer with a client that says nothing."""

MOST_READERS: Final = 1000
"""Of one pod; one more is answered 503."""

_MOST_JOBS: Final = 50


@dataclass(frozen=True, slots=True)
class LiveRemote:
    """One remote.

    Attributes:
        remote: its state.
        limit_state: what its limit is about, as in ``/v1/remotes/{name}``.
        limit_reason: why it was changed last; None where it never was.
    """

    remote: RemoteSummary
    limit_state: str
    limit_reason: str | None


@dataclass(frozen=True, slots=True)
class LivePod:
    """One pod.

    Attributes:
        pod: its name.
        me: whether it is the one that tells this.
        silent: whether it has missed three announcements.
        heard_s: seconds since the last one.
    """

    pod: str
    me: bool
    silent: bool
    heard_s: float


@dataclass(frozen=True, slots=True)
class LiveState:
    """All that the page shows.

    Attributes:
        at: when this was so, by ISO 8601 in UTC.
        status: the service of this pod.
        remotes: in the order of connections.ini.
        folders: in the order of connections.ini.
        running: the slowest of the transfers that run.
        running_in_all: how many there are.
        failures: why jobs failed, the newest reason first.
        ended: the jobs that ended last, the newest first.
        pods: all that are known; empty where each is for itself.
    """

    at: str
    status: ServiceStatus
    remotes: tuple[LiveRemote, ...]
    folders: tuple[FolderStatus, ...]
    running: tuple[JobInHand, ...]
    running_in_all: int
    failures: tuple[FailureCause, ...]
    ended: tuple[EndedJob, ...]
    pods: tuple[LivePod, ...]


_ADAPTER: Final = TypeAdapter(LiveState)


def live(service: Service, guard: Guard, closing: trio.Event) -> Blueprint:
    """Make the route.

    Args:
        service: the running service.
        guard: tells whether the caller may.
        closing: set when the server stops: every stream ends.
    """
    routes = Blueprint("live", __name__, url_prefix="/v1")
    teller = _Teller(service)
    readers = 0

    async def events() -> AsyncIterator[bytes]:
        nonlocal readers
        readers += 1
        ends_at = trio.current_time() + LASTS_S
        try:
            yield b"retry: 100\n\n"
            while not closing.is_set() and trio.current_time() < ends_at:
                yield teller.event()
                with trio.move_on_after(PERIOD_S):
                    await closing.wait()
        finally:
            readers -= 1

    @routes.get("/live")
    @hide
    async def stream() -> Response:
        guard.admit(request, Scope.READ)
        if readers >= MOST_READERS:
            raise ServiceUnavailable(f"{MOST_READERS} others are reading this already.")
        response = Response(events(), content_type="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.timeout = None  # the stream has an end of its own
        return response

    return routes


class _Teller:
    """Puts the state into words, once for all who ask within a period."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told_at = float("-inf")
        self._event = b""

    def event(self) -> bytes:
        """Give the newest event."""
        now = trio.current_time()
        # A little early counts: readers that began one after the other share an event all the same.
        if now >= self._told_at + 0.9 * PERIOD_S:
            self._event = b"data: " + _ADAPTER.dump_json(_state(self._service)) + b"\n\n"
            self._told_at = now
        return self._event


def _state(service: Service) -> LiveState:
    running = service.running()
    return LiveState(
        at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        status=service.status(),
        remotes=tuple(map(_remote, service.remotes())),
        folders=service.folders(),
        running=running[:_MOST_JOBS],
        running_in_all=len(running),
        failures=service.failures(),
        ended=tuple(islice(service.ended(), _MOST_JOBS)),
        pods=tuple(LivePod(pod.pod, pod.me, pod.silent, pod.heard_s) for pod in service.deployment().pods),
    )


def _remote(remote: RemoteStatus) -> LiveRemote:
    decisions = remote.limits.decisions
    return LiveRemote(remote, remote.limits.state, decisions[0].reason if decisions else None)
