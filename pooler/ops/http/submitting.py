"""``POST /v1/jobs``: jobs to the topic, by a request; and what came of a request that is made again.

A request with an ``Idempotency-Key`` that was done before is not done again but answered as it was then, by
whichever pod: each remembers the keys that it was given for a day, and asks the others for one that it does
not know. Jobs without a task_id get theirs from the key, so even a request that was made twice at the same
moment gives them the same names.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
import trio
from pydantic import TypeAdapter
from quart import Blueprint, request
from quart_schema import validate_headers, validate_querystring
from werkzeug.exceptions import BadRequest, Conflict, ServiceUnavailable, UnprocessableEntity

from pooler.errors import BusError
from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.questions import RECEIPT
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.service import JobsRefused, Service, Submission
from pooler.ops.http.views import answers, audit

MOST_JOBS: Final = 1000
_MOST_KEY: Final = 255
_KEPT_S: Final = 86_400.0
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that stands in a topic.

    Attributes:
        task_id: its name: the sender's, or the one that it was given.
        remote: the server that it is for.
    """

    task_id: str
    remote: str


@dataclass(frozen=True, slots=True)
class SubmittedJobs:
    """Jobs that the brokers have; what becomes of them is told by their results.

    Attributes:
        topic: where they stand.
        jobs: in the order of the request.
        again: whether this was done by an earlier request with the same Idempotency-Key, and not by this one.
    """

    topic: str
    jobs: tuple[SubmittedJob, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Urgency:
    """Where jobs are to go.

    Attributes:
        urgent: to the priority topic.
    """

    urgent: bool = False


@dataclass(frozen=True, slots=True)
class SubmitHeaders:
    """What goes with the jobs.

    Attributes:
        idempotency_key: names the request; one that is made again with it is not done again. At most 255
            characters.
        traceparent: the trace that the jobs are part of (W3C).
    """

    idempotency_key: str | None = None
    traceparent: str | None = None


class Receipts:
    """What came of requests with an Idempotency-Key, for a day.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Receipt]] = OrderedDict()

    def get(self, key: str) -> Receipt | None:
        """Tell what came of a request; None where nobody made it here, or long ago."""
        at, receipt = self._kept.get(key, (0.0, None))
        return receipt if self._clock() - at < _KEPT_S else None

    def keep(self, key: str, receipt: Receipt) -> None:
        """Remember what came of a request."""
        self._kept[key] = self._clock(), receipt
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


_ADAPTER: Final = TypeAdapter(SubmittedJobs)
_PROBLEMS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
)


BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/Job"},
                    {
                        "type": "array",
                        "items": {"$ref": "#/components/schemas/Job"},
                        "minItems": 1,
                        "maxItems": MOST_JOBS,
                    },
                ]
            }
        }
    },
}
"""What the OpenAPI document says of the request's body: what a job may say is the business of records."""


def submitting(service: Service, guard: Guard) -> Blueprint:
    """Make the route."""
    routes = Blueprint("submitting", __name__, url_prefix="/v1")
    under_way: set[str] = set()

    @routes.post("/jobs")
    @answers(guard, Scope.OPERATE, SubmittedJobs, *_PROBLEMS, status=HTTPStatus.ACCEPTED)
    @validate_querystring(Urgency)
    @validate_headers(SubmitHeaders)
    async def submit(caller: Caller, query_args: Urgency, headers: SubmitHeaders) -> SubmittedJobs:
        """Write jobs to the topic: one JSON object as docs/records.md has it, or an array of up to 1000.

        Nothing is written where one of them is no valid job.
        """
        data = cast("bytes", await request.get_data())
        key = _key(caller, headers.idempotency_key)
        digest = hashlib.sha256(data + bytes([query_args.urgent])).hexdigest()
        if key is None:
            return await _submit(caller, data, query_args, headers)
        if key in under_way:
            raise Conflict("The same request is being done at this moment.")
        under_way.add(key)
        try:
            receipt = await _receipt(service, key)
            if receipt is None:
                done = await _submit(caller, data, query_args, headers)
                service.keep_receipt(key, Receipt(digest, _ADAPTER.dump_json(done).decode()))
                return done
        finally:
            under_way.discard(key)
        if receipt.digest != digest:
            raise UnprocessableEntity("Another request was made with this Idempotency-Key.")
        before = _ADAPTER.validate_json(receipt.answer)
        return SubmittedJobs(before.topic, before.jobs, again=True)

    async def _submit(caller: Caller, data: bytes, query: Urgency, headers: SubmitHeaders) -> SubmittedJobs:
        jobs = _jobs(data)
        try:
            done = await service.submit(
                Submission(
                    jobs,
                    urgent=query.urgent,
                    by=caller.name,
                    key=headers.idempotency_key,
                    traceparent=headers.traceparent,
                )
            )
        except JobsRefused as refused:
            raise BadRequest(str(refused)) from None
        except BusError as error:
            raise ServiceUnavailable(f"It is not known whether the brokers have them: {error}") from error
        audit(caller, "submit", jobs=len(jobs), topic=done.topic, key=headers.idempotency_key)
        return SubmittedJobs(done.topic, tuple(SubmittedJob(*job) for job in done.jobs))

    return routes


async def _receipt(service: Service, key: str) -> Receipt | None:
    """Find out whether a request was done before, here or at another pod."""
    known = service.receipt(key)
    if known is not None:
        return known
    told = await RECEIPT.everywhere(service, {"key": key})
    return next((receipt for receipt in told.answers.values() if receipt is not None), None)


def _key(caller: Caller, key: str | None) -> str | None:
    if key is None:
        return None
    if not 0 < len(key) <= _MOST_KEY:
        raise BadRequest(f"Expected an Idempotency-Key of 1 to {_MOST_KEY} characters.")
    return json.dumps([caller.name, key])  # each caller has names of their own


def _jobs(data: bytes) -> tuple[dict[str, Any], ...]:
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"Expected JSON: {error}") from None
    jobs = found if isinstance(found, list) else [found]
    if not 1 <= len(jobs) <= MOST_JOBS:
        raise BadRequest(f"Expected from 1 to {MOST_JOBS} jobs, got {len(jobs)}.")
    wrong = [number for number, job in enumerate(jobs, 1) if not isinstance(job, dict)]
    if wrong:
        raise BadRequest(f"Expected a JSON object for each job; job {wrong[0]} is none.")
    return tuple(jobs)
