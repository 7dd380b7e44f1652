"""The routes of jobs: those of the pod that is asked, as nobody else has them in hand."""

from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint
from quart_schema import validate_querystring
from werkzeug.exceptions import BadRequest, NotFound

from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand
from pooler.ops.http.service import Service
from pooler.ops.http.views import answers, audit

_MOST = 1000


@dataclass(frozen=True, slots=True)
class RunningJobs:
    """The jobs that sessions work on.

    Attributes:
        jobs: the slowest first.
    """

    jobs: tuple[JobInHand, ...]


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """Jobs that ended last.

    Attributes:
        jobs: the newest first.
    """

    jobs: tuple[EndedJob, ...]


@dataclass(frozen=True, slots=True)
class FoundJobs:
    """The jobs of one name: a sender may give it twice.

    Attributes:
        in_hand: those that are not answered, the first one first.
        ended: those that ended last, the newest first.
    """

    in_hand: tuple[JobInHand, ...]
    ended: tuple[EndedJob, ...]


@dataclass(frozen=True, slots=True)
class Failures:
    """Why jobs have failed since the start.

    Attributes:
        causes: the newest first.
    """

    causes: tuple[FailureCause, ...]


@dataclass(frozen=True, slots=True)
class WhichEnded:
    """Which of the ended jobs are meant.

    Attributes:
        remote: only this one's.
        status: only those that ended so: ``success``, ``skipped`` or ``failed``.
        error_code: only those that failed for this reason.
        limit: so many at most, from 1 to 1000.
    """

    remote: str | None = None
    status: str | None = None
    error_code: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Named:
    """Which job is meant.

    Attributes:
        task_id: the sender's name for it.
    """

    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled(Named):
    """Which job is to be cancelled, and why.

    Attributes:
        why: for those who read its failure record; at most 500 characters are kept.
    """

    why: str = ""


def job_routes(service: Service, guard: Guard) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("jobs", __name__, url_prefix="/v1")

    @routes.get("/jobs/running")
    @answers(guard, Scope.READ, RunningJobs)
    async def running(_caller: Caller) -> RunningJobs:
        """List the transfers that run on this pod, with their progress, the slowest first."""
        return RunningJobs(service.running())

    @routes.get("/jobs/ended")
    @answers(guard, Scope.READ, EndedJobs, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichEnded)
    async def ended(_caller: Caller, query_args: WhichEnded) -> EndedJobs:
        """List the jobs that ended last on this pod, of the thousand that it remembers."""
        if not 1 <= query_args.limit <= _MOST:
            raise BadRequest(f"Expected a limit from 1 to {_MOST}, got {query_args.limit}.")
        meant = (job for job in service.ended() if _is_meant(job, query_args))
        return EndedJobs(tuple(job for job, _ in zip(meant, range(query_args.limit), strict=False)))

    @routes.get("/jobs/find")
    @answers(guard, Scope.READ, FoundJobs, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
    @validate_querystring(Named)
    async def find(_caller: Caller, query_args: Named) -> FoundJobs:
        """Find a job by its task_id, among those in hand on this pod and those that ended there last."""
        return _find(service, query_args.task_id)

    @routes.post("/jobs/cancel")
    @answers(guard, Scope.OPERATE, FoundJobs, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
    @validate_querystring(Cancelled)
    async def cancel(caller: Caller, query_args: Cancelled) -> FoundJobs:
        """Cancel a job that this pod has in hand: it fails as CANCELLED, unless it is done already."""
        task_id, why = query_args.task_id, query_args.why[:500]
        found = _find(service, task_id)
        if not found.in_hand:
            raise NotFound(f"No job {task_id!r} is in hand here: it has ended.")
        said = f"cancelled by {caller.name}" + (f": {why}" if why else "")
        service.cancel(task_id, said)
        audit(caller, "cancel", task_id=task_id, why=why, jobs=len(found.in_hand))
        return _find(service, task_id)

    @routes.get("/failures")
    @answers(guard, Scope.READ, Failures)
    async def failures(_caller: Caller) -> Failures:
        """Tell why jobs have failed on this pod since its start, with an example of each reason."""
        return Failures(service.failures())

    return routes


def _find(service: Service, task_id: str) -> FoundJobs:
    if not task_id:
        raise BadRequest("Expected a task_id.")
    found = FoundJobs(*service.find_jobs(task_id))
    if not (found.in_hand or found.ended):
        raise NotFound(f"No job {task_id!r} is in hand here, nor among the last that ended here.")
    return found


def _is_meant(job: EndedJob, which: WhichEnded) -> bool:
    return (
        (which.remote is None or job.remote == which.remote)
        and (which.status is None or job.status == which.status)
        and (which.error_code is None or job.error_code == which.error_code)
    )
