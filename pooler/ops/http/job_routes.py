"""The routes of jobs: those of all pods, or of the one that is asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from quart import Blueprint
from quart_schema import validate_querystring
from werkzeug.exceptions import BadRequest, NotFound

from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.everywhere import Query, Question, Together
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand, OpenBatch, by_cause
from pooler.ops.http.pages import OfPods, Page, Pods, WhichPage, WhichPods, cursor_of, page_size, place_of
from pooler.ops.http.questions import (
    BATCHES,
    CANCEL,
    ENDED,
    FAILURES,
    FIND,
    RUNNING,
    Found,
    T,
    merged,
    place,
)
from pooler.ops.http.service import Service
from pooler.ops.http.views import answers, audit


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJobs(OfPods):
    """The jobs that sessions work on.

    Attributes:
        jobs: the slowest first.
    """

    jobs: tuple[JobInHand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBatches(OfPods):
    """Bulk jobs without a closing answer.

    Attributes:
        batches: the oldest first.
    """

    batches: tuple[OpenBatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJobs(Page):
    """Jobs that ended last.

    Attributes:
        jobs: the newest first.
    """

    jobs: tuple[EndedJob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJobs(OfPods):
    """The jobs of one name: a sender may give it twice.

    Attributes:
        in_hand: those that are not answered, the first one first.
        ended: those that ended last, the newest first.
    """

    in_hand: tuple[JobInHand, ...]
    ended: tuple[EndedJob, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures(OfPods):
    """Why jobs have failed since the start.

    Attributes:
        causes: the newest first.
    """

    causes: tuple[FailureCause, ...]


@dataclass(frozen=True, slots=True)
class WhichRunning(WhichPods):
    """How many of the running jobs are meant.

    Attributes:
        limit: so many of each pod at most, from 1 to 1000.
    """

    limit: int = 200


@dataclass(frozen=True, slots=True)
class WhichEnded(WhichPage):
    """Which of the ended jobs are meant.

    Attributes:
        remote: only this one's.
        status: only those that ended so: ``success``, ``skipped`` or ``failed``.
        error_code: only those that failed for this reason.
    """

    remote: str | None = None
    status: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Named(WhichPods):
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
    @answers(guard, Scope.READ, RunningJobs, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichRunning)
    async def running(_caller: Caller, query_args: WhichRunning) -> RunningJobs:
        """List the transfers that run, with their progress, the slowest first."""
        query = {"limit": page_size(query_args.limit)}
        told = await asked(RUNNING, service, query_args.pods, query)
        jobs = merged(told.answers, lambda job: (job.bytes_per_s or 0, -(job.running_s or 0)))
        return RunningJobs(jobs=tuple(jobs), silent=told.silent)

    @routes.get("/batches")
    @answers(guard, Scope.READ, OpenBatches, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichRunning)
    async def batches(_caller: Caller, query_args: WhichRunning) -> OpenBatches:
        """List the bulk jobs that are not closed, with what has become of their jobs, the oldest first."""
        told = await asked(BATCHES, service, query_args.pods, {"limit": page_size(query_args.limit)})
        return OpenBatches(batches=tuple(merged(told.answers, lambda batch: batch.since)), silent=told.silent)

    @routes.get("/jobs/ended")
    @answers(guard, Scope.READ, EndedJobs, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichEnded)
    async def ended(_caller: Caller, query_args: WhichEnded) -> EndedJobs:
        """List the jobs that ended last, of the thousand that each pod remembers."""
        limit = page_size(query_args.limit)
        query = {
            "remote": query_args.remote,
            "status": query_args.status,
            "error_code": query_args.error_code,
            "limit": limit,
            "before": place_of(query_args.cursor, 2),
        }
        told = await asked(ENDED, service, query_args.pods, query)
        jobs = merged(told.answers, place, reverse=True)[:limit]
        following = cursor_of(*place(jobs[-1])) if len(jobs) == limit else None
        return EndedJobs(jobs=tuple(jobs), next=following, silent=told.silent)

    @routes.get("/jobs/find")
    @answers(guard, Scope.READ, FoundJobs, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
    @validate_querystring(Named)
    async def find(_caller: Caller, query_args: Named) -> FoundJobs:
        """Find a job by its task_id, among those in hand and those that ended last."""
        task_id = _named(query_args)
        return _known(task_id, await asked(FIND, service, query_args.pods, {"task_id": task_id}))

    @routes.post("/jobs/cancel")
    @answers(guard, Scope.OPERATE, FoundJobs, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
    @validate_querystring(Cancelled)
    async def cancel(caller: Caller, query_args: Cancelled) -> FoundJobs:
        """Cancel a job that is in hand: it fails as CANCELLED, unless it is done already."""
        task_id, why = _named(query_args), query_args.why[:500]
        said = f"cancelled by {caller.name}" + (f": {why}" if why else "")
        told = await asked(CANCEL, service, query_args.pods, {"task_id": task_id, "why": said})
        found = _known(task_id, told)
        if not found.in_hand:
            raise NotFound(f"No job {task_id!r} is in hand: it has ended.{_unheard(told.silent)}")
        audit(caller, "cancel", task_id=task_id, why=why, jobs=len(found.in_hand))
        return found

    @routes.get("/failures")
    @answers(guard, Scope.READ, Failures, HTTPStatus.BAD_REQUEST)
    @validate_querystring(WhichPods)
    async def failures(_caller: Caller, query_args: WhichPods) -> Failures:
        """Tell why jobs have failed since the start of each pod, with an example of each reason."""
        told = await asked(FAILURES, service, query_args.pods, {})
        return Failures(causes=by_cause(told.answers.values()), silent=told.silent)

    return routes


async def asked(question: Question[Service, T], service: Service, pods: Pods, query: Query) -> Together[T]:
    """Have all pods answer, or only this one."""
    if pods == "me":
        return Together({service.pod: await question.here(service, query)}, ())
    return await question.everywhere(service, query)


def _named(query: Named) -> str:
    if not query.task_id:
        raise BadRequest("Expected a task_id.")
    return query.task_id


def _known(task_id: str, told: Together[Found]) -> FoundJobs:
    def all_of(jobs: Iterable[tuple[T, ...]]) -> tuple[T, ...]:
        return tuple(job for of_a_pod in jobs for job in of_a_pod)

    in_hand = all_of(found.in_hand for found in told.answers.values())
    ended = all_of(found.ended for found in told.answers.values())
    if not (in_hand or ended):
        raise NotFound(
            f"No job {task_id!r} is in hand, nor among the last that ended.{_unheard(told.silent)}"
        )
    return FoundJobs(in_hand=in_hand, ended=tuple(sorted(ended, key=place, reverse=True)), silent=told.silent)


def _unheard(silent: tuple[str, ...]) -> str:
    return f" Not heard: {', '.join(silent)}." if silent else ""
