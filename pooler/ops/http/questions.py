"""What pods ask each other on behalf of whoever asks one of them; see `pooler.ops.http.everywhere`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, TypeVar

from pooler.ops.http.everywhere import Query, Question
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand, OpenBatch
from pooler.ops.http.ledger import Deed
from pooler.ops.http.part import PART
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.reloading import ReloadReport
from pooler.ops.http.service import PartitionStatus, Service, ServiceStatus

_MOST_RUNNING: Final = 200
"""Transfers that one pod tells another of: the slowest."""
_MOST_ENDED: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """The jobs of one name at one pod.

    Attributes:
        in_hand: those that are not answered, the first one first.
        ended: those that ended last, the newest first.
    """

    in_hand: tuple[JobInHand, ...]
    ended: tuple[EndedJob, ...]


@dataclass(frozen=True, slots=True)
class Drained:
    """Whether a pod is the one that is to drain.

    Attributes:
        is_me: whether it is.
    """

    is_me: bool


T = TypeVar("T")
P = TypeVar("P", JobInHand, EndedJob, OpenBatch, PartitionStatus, Deed)


def _ours(service: Service, told: Sequence[P]) -> tuple[P, ...]:
    return tuple(replace(one, pod=service.pod) for one in told)


async def _running(service: Service, query: Query) -> tuple[JobInHand, ...]:
    return _ours(service, service.running()[: int(query.get("limit", _MOST_RUNNING))])


async def _batches(service: Service, query: Query) -> tuple[OpenBatch, ...]:
    return _ours(service, service.batches()[: int(query.get("limit", _MOST_RUNNING))])


async def _ended(service: Service, query: Query) -> tuple[EndedJob, ...]:
    before = query.get("before")
    meant = (
        job
        for job in service.ended()
        if (before is None or place(job) < tuple(before))
        and query.get("remote") in {None, job.remote}
        and query.get("status") in {None, job.status}
        and query.get("error_code") in {None, job.error_code}
    )
    return _ours(service, tuple(islice(meant, int(query.get("limit", _MOST_ENDED)))))


def place(job: EndedJob) -> tuple[str, str]:
    """Tell where a job stands among those that have ended."""
    return job.at, job.origin


async def _failures(service: Service, _query: Query) -> tuple[FailureCause, ...]:
    return tuple(replace(cause, newest=_ours(service, [cause.newest])[0]) for cause in service.failures())


async def _find(service: Service, query: Query) -> Found:
    in_hand, ended = service.find_jobs(str(query["task_id"]))
    return Found(_ours(service, in_hand), _ours(service, ended))


async def _cancel(service: Service, query: Query) -> Found:
    task_id = str(query["task_id"])
    if service.find_jobs(task_id)[0]:
        service.cancel(task_id, str(query["why"]))
    return await _find(service, query)


async def _partitions(service: Service, _query: Query) -> tuple[PartitionStatus, ...]:
    return _ours(service, service.status().partitions)


async def _status(service: Service, _query: Query) -> ServiceStatus:
    return service.status()


async def _drain(service: Service, query: Query) -> Drained:
    if query["pod"] != service.pod:
        return Drained(is_me=False)
    service.drain()
    return Drained(is_me=True)


async def _reload(service: Service, query: Query) -> ReloadReport:
    return await service.reload(str(query["by"]))


async def _audit(service: Service, query: Query) -> tuple[Deed, ...]:
    before = query.get("before")
    deeds = (
        replace(deed, pod=service.pod)
        for deed in service.deeds()
        if before is None or (deed.at, f"{deed.number:012}", service.pod) < tuple(before)
    )
    return tuple(islice(deeds, int(query.get("limit", _MOST_ENDED))))


async def _receipt(service: Service, query: Query) -> Receipt | None:
    return service.receipt(str(query["key"]))


RUNNING: Final = Question("running", tuple[JobInHand, ...], _running)
BATCHES: Final = Question("batches", tuple[OpenBatch, ...], _batches)
ENDED: Final = Question("ended", tuple[EndedJob, ...], _ended)
FAILURES: Final = Question("failures", tuple[FailureCause, ...], _failures)
FIND: Final = Question("find", Found, _find)
CANCEL: Final = Question("cancel", Found, _cancel)
PARTITIONS: Final = Question("partitions", tuple[PartitionStatus, ...], _partitions)
STATUS: Final = Question("status", ServiceStatus, _status)
DRAIN: Final = Question("drain", Drained, _drain)
RELOAD: Final = Question("reload", ReloadReport, _reload)
AUDIT: Final = Question("audit", tuple[Deed, ...], _audit)
RECEIPT: Final[Question[Service, Any]] = Question("receipt", Receipt | None, _receipt)  # type: ignore[arg-type] # a union is no type

_ALL: Final[Mapping[str, Question[Service, Any]]] = {
    question.name: question
    for question in (
        RUNNING,
        BATCHES,
        ENDED,
        FAILURES,
        FIND,
        CANCEL,
        PARTITIONS,
        STATUS,
        DRAIN,
        RELOAD,
        AUDIT,
        RECEIPT,
        PART,
    )
}


async def answer(service: Service, what: str, query: Mapping[str, Any]) -> bytes:
    """Answer what another pod asks, as JSON.

    Raises:
        LookupError: nobody knows what that is.
    """
    question = _ALL.get(what)
    if question is None:
        raise LookupError(f"no question {what!r} is known here")
    return await question.put_down(service, query)


def merged(told: Mapping[str, Sequence[P]], key: Callable[[P], Any], *, reverse: bool = False) -> list[P]:
    """Put together what all pods have told, in order."""
    return sorted((one for pod in told.values() for one in pod), key=key, reverse=reverse)
