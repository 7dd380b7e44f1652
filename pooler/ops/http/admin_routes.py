"""The routes of the service as a whole: its configuration, what was done, reload and drain, over all pods."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from quart import Blueprint
from quart_schema import validate_querystring
from werkzeug.exceptions import Conflict, NotFound

from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.job_routes import asked
from pooler.ops.http.ledger import Deed
from pooler.ops.http.pages import OfPods, Page, WhichPage, WhichPods, cursor_of, page_size, place_of
from pooler.ops.http.questions import AUDIT, DRAIN, PARTITIONS, RELOAD, STATUS, merged
from pooler.ops.http.reloading import ReloadReport
from pooler.ops.http.service import CannotProbe, PartitionStatus, ProbeStatus, Service, ServiceStatus
from pooler.ops.http.tasks import Tasks, tasks
from pooler.ops.http.views import answers, audit

RELOAD_S = 20.0
"""How long other pods are waited for, in seconds: they read files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions(OfPods):
    """The partitions that are held.

    Attributes:
        partitions: by topic and number.
    """

    partitions: tuple[PartitionStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeService(OfPods):
    """The service as a whole.

    Attributes:
        pods: each of them, by its name.
        lag: records that are not settled, of all partitions of which that is known.
        oldest_job_age_s: seconds since the oldest job in hand was first read; None where there is none.
        succeeded: jobs since the start of each pod.
        failed: likewise.
        skipped: likewise.
        bytes_transferred: likewise.
    """

    pods: dict[str, ServiceStatus]
    lag: int
    oldest_job_age_s: float | None
    succeeded: int
    failed: int
    skipped: int
    bytes_transferred: int


@dataclass(frozen=True, slots=True)
class Config:
    """What is in force at this pod; secrets are masked.

    Attributes:
        settings: by section and key, each with its ``value`` and where that is ``from``.
        remotes: what of each is not left to its default.
        folders: where each is.
    """

    settings: dict[str, dict[str, Any]]
    remotes: dict[str, dict[str, str]]
    folders: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds(Page):
    """What was done over the admin API, and refused.

    Attributes:
        deeds: the newest first.
    """

    deeds: tuple[Deed, ...]


@dataclass(frozen=True, slots=True)
class WhichPod:
    """Who is meant.

    Attributes:
        pod: its name; empty for the one that is asked.
    """

    pod: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded(OfPods):
    """What came of reading the configuration again.

    Attributes:
        pods: at each of them, by its name.
    """

    pods: dict[str, ReloadReport]


@dataclass(frozen=True, slots=True)
class Draining:
    """Who drains.

    Attributes:
        pod: its name.
    """

    pod: str


def admin_routes(service: Service, guard: Guard) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("admin", __name__, url_prefix="/v1")
    _add_views(routes, service, guard)
    _add_deeds(routes, service, guard)

    @routes.post("/remotes/<name>/probe")
    @answers(guard, Scope.OPERATE, ProbeStatus, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
    async def probe(caller: Caller, name: str) -> ProbeStatus:
        """Try a remote out from this pod: connect, log in and ask something, on a session of its own."""
        try:
            tried = await service.probe(name)
        except KeyError:
            raise NotFound(f"There is no remote {name!r}.") from None
        except CannotProbe as why:
            raise Conflict(str(why)) from None
        audit(caller, "probe", remote=name, ok=tried.ok)
        return tried

    @routes.post("/reload")
    @answers(guard, Scope.ADMIN, Reloaded, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichPods)
    async def reload(caller: Caller, query_args: WhichPods) -> Reloaded:
        """Read the configuration again, and do what of it can be done without a restart.

        Files with mistakes change nothing: `done` is false then, and `mistakes` tells them.
        """
        audit(caller, "reload", pods=query_args.pods)
        told = (
            await asked(RELOAD, service, "me", {"by": caller.name})
            if query_args.pods == "me"
            else await RELOAD.everywhere(service, {"by": caller.name}, within_s=RELOAD_S)
        )
        return Reloaded(pods=dict(told.answers), silent=told.silent)

    @routes.post("/drain")
    @answers(
        guard,
        Scope.ADMIN,
        Draining,
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        status=HTTPStatus.ACCEPTED,
    )
    @validate_querystring(WhichPod)
    async def drain(caller: Caller, query_args: WhichPod) -> Draining:
        """Have a pod finish what runs, take nothing new, and end its process."""
        pod = query_args.pod or service.pod
        query = {"pod": pod}
        told = await asked(DRAIN, service, "me" if pod == service.pod else "all", query)
        if not any(drained.is_me for drained in told.answers.values()):
            raise NotFound(f"No pod {pod!r} has answered.")
        audit(caller, "drain", pod=pod)
        return Draining(pod)

    return routes


def _add_views(routes: Blueprint, service: Service, guard: Guard) -> None:
    @routes.get("/service")
    @answers(guard, Scope.READ, WholeService)
    async def whole(_caller: Caller) -> WholeService:
        """Tell the state of the service as a whole, over all pods."""
        told = await STATUS.everywhere(service, {})
        return _added_up(told.answers, told.silent)

    @routes.get("/partitions")
    @answers(guard, Scope.READ, Partitions, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichPods)
    async def partitions(_caller: Caller, query_args: WhichPods) -> Partitions:
        """List the partitions, each with the pod that holds it."""
        told = await asked(PARTITIONS, service, query_args.pods, {})
        held = merged(told.answers, lambda one: (one.topic, one.partition, one.pod))
        return Partitions(partitions=tuple(held), silent=told.silent)

    @routes.get("/config")
    @answers(guard, Scope.OPERATE, Config)
    async def config(_caller: Caller) -> Config:
        """Show the configuration that is in force, and where each key comes from; secrets are masked."""
        return Config(**service.configuration())

    @routes.get("/tasks")
    @answers(guard, Scope.ADMIN, Tasks)
    async def stacks(_caller: Caller) -> Tasks:
        """Tell where each task of this pod stands, for those who look for one that stands still."""
        return tasks()


def _add_deeds(routes: Blueprint, service: Service, guard: Guard) -> None:
    @routes.get("/audit")
    @answers(guard, Scope.ADMIN, Deeds, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichPage)
    async def deeds(_caller: Caller, query_args: WhichPage) -> Deeds:
        """List what was done over the admin API, and refused, of the thousand that each pod remembers."""
        limit = page_size(query_args.limit)
        query = {"limit": limit, "before": place_of(query_args.cursor, 3)}
        told = await asked(AUDIT, service, query_args.pods, query)
        found = merged(told.answers, _place, reverse=True)[:limit]
        following = cursor_of(*_place(found[-1])) if len(found) == limit else None
        return Deeds(deeds=tuple(found), next=following, silent=told.silent)


def _place(deed: Deed) -> tuple[str, str, str]:
    return deed.at, f"{deed.number:012}", deed.pod


def _added_up(pods: Mapping[str, ServiceStatus], silent: tuple[str, ...]) -> WholeService:
    ages = [pod.oldest_job_age_s for pod in pods.values() if pod.oldest_job_age_s is not None]
    return WholeService(
        pods=dict(pods),
        silent=silent,
        lag=sum(at.lag or 0 for pod in pods.values() for at in pod.partitions),
        oldest_job_age_s=max(ages, default=None),
        succeeded=sum(pod.succeeded for pod in pods.values()),
        failed=sum(pod.failed for pod in pods.values()),
        skipped=sum(pod.skipped for pod in pods.values()),
        bytes_transferred=sum(pod.bytes_transferred for pod in pods.values()),
    )
