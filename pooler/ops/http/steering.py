"""The routes that steer remotes, of this pod and of all others, and the one that shows them all.

Where there is a control topic a request is done once it stands there: from then on it holds for every pod,
also for one that starts later. Where there is none it holds for this pod, until it ends.
"""

from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint
from quart_schema import validate_querystring
from werkzeug.exceptions import BadRequest, NotFound, ServiceUnavailable

from pooler.errors import BusError
from pooler.model.control import Knob, Mode
from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.deployment import DeploymentStatus
from pooler.ops.http.service import RemoteStatus, Service
from pooler.ops.http.views import answers, audit

_MOST_SESSIONS = 100_000
_MOST_BYTES_PER_S = 10**12
_PROBLEMS = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is wanted.

    Attributes:
        why: for those who ask later; at most 500 characters are kept.
    """

    why: str = ""


@dataclass(frozen=True, slots=True)
class Sessions(Reason):
    """What a remote may have; what is not said stays, and 0 leaves it to the configuration again.

    Attributes:
        max_sessions: the most sessions of each pod; never more than its configuration allows.
        max_sessions_total: the most sessions of all pods together.
    """

    max_sessions: int | None = None
    max_sessions_total: int | None = None


@dataclass(frozen=True, slots=True)
class BytesPerSecond(Reason):
    """What a remote may move.

    Attributes:
        bytes_per_s: of all pods together; 0 leaves it to the configuration again.
    """

    bytes_per_s: int = 0


def steering(service: Service, guard: Guard) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("steering", __name__, url_prefix="/v1")

    @routes.get("/pods")
    @answers(guard, Scope.READ, DeploymentStatus)
    async def pods(_caller: Caller) -> DeploymentStatus:
        """List all pods, those that have fallen silent too, and the remotes over all of them."""
        return service.deployment()

    _add_work(routes, guard, _Wheel(service))
    _add_bounds(routes, guard, _Wheel(service))
    return routes


class _Wheel:
    def __init__(self, service: Service) -> None:
        self._service = service

    def _find(self, name: str) -> RemoteStatus:
        for remote in self._service.remotes():
            if remote.name == name:
                return remote
        raise NotFound(f"There is no remote {name!r}.")

    async def turn(
        self, caller: Caller, action: str, name: str, why: str, *wanted: tuple[Knob, Mode | int | None]
    ) -> RemoteStatus:
        self._find(name)
        try:
            for knob, value in wanted:
                await self._service.steer(name, knob, value, by=caller.name, why=why)
        except BusError as error:
            raise ServiceUnavailable(f"It is not known whether this holds now: {error}") from error
        said = {knob.value: value for knob, value in wanted if value is not None}
        audit(caller, action, remote=name, why=why, **said)
        return self._find(name)


def _add_work(routes: Blueprint, guard: Guard, wheel: _Wheel) -> None:
    @routes.post("/remotes/<name>/pause")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(Reason)
    async def pause(caller: Caller, name: str, query_args: Reason) -> RemoteStatus:
        """Start no more jobs on a remote; those that run go on."""
        return await wheel.turn(caller, "pause", name, query_args.why, (Knob.WORK, Mode.PAUSE))

    @routes.post("/remotes/<name>/resume")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(Reason)
    async def resume(caller: Caller, name: str, query_args: Reason) -> RemoteStatus:
        """Let the jobs of a remote run again."""
        return await wheel.turn(caller, "resume", name, query_args.why, (Knob.WORK, Mode.RUN))

    @routes.post("/remotes/<name>/drain")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(Reason)
    async def drain_remote(caller: Caller, name: str, query_args: Reason) -> RemoteStatus:
        """Pause a remote in order to have no session on it: /v1/pods tells when there is none."""
        return await wheel.turn(caller, "drain_remote", name, query_args.why, (Knob.WORK, Mode.DRAIN))

    @routes.post("/remotes/<name>/reset")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(Reason)
    async def reset(caller: Caller, name: str, query_args: Reason) -> RemoteStatus:
        """Try a remote again at once: close its breaker, and forget that its login was refused."""
        return await wheel.turn(caller, "reset", name, query_args.why, (Knob.BREAKER, None))


def _add_bounds(routes: Blueprint, guard: Guard, wheel: _Wheel) -> None:
    @routes.post("/remotes/<name>/limit")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(Sessions)
    async def limit(caller: Caller, name: str, query_args: Sessions) -> RemoteStatus:
        """Bound the sessions on a remote, those of each pod or those of all together."""
        asked = {
            Knob.MAX_SESSIONS: query_args.max_sessions,
            Knob.MAX_SESSIONS_TOTAL: query_args.max_sessions_total,
        }
        wanted = [
            (knob, _bounded(count, _MOST_SESSIONS)) for knob, count in asked.items() if count is not None
        ]
        if not wanted:
            raise BadRequest("Expected max_sessions, max_sessions_total, or both.")
        return await wheel.turn(caller, "limit", name, query_args.why, *wanted)

    @routes.post("/remotes/<name>/bandwidth")
    @answers(guard, Scope.OPERATE, RemoteStatus, *_PROBLEMS)
    @validate_querystring(BytesPerSecond)
    async def bandwidth(caller: Caller, name: str, query_args: BytesPerSecond) -> RemoteStatus:
        """Bound how many bytes a second all pods together move on a remote."""
        bytes_per_s = _bounded(query_args.bytes_per_s, _MOST_BYTES_PER_S)
        return await wheel.turn(caller, "bandwidth", name, query_args.why, (Knob.BANDWIDTH, bytes_per_s))


def _bounded(number: int, most: int) -> int | None:
    """Read a bound; 0 stands for none."""
    if not 0 <= number <= most:
        raise BadRequest(f"Expected a number from 0 to {most}, got {number}.")
    return number or None
