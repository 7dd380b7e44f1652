"""What all routes of the admin API have in common: who may, what may be answered, and that it is logged."""

from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog
from pydantic import TypeAdapter
from quart import Response, request
from quart_schema import document_response, security_scheme

from pooler.ops.http.auth import Caller, Guard, Scope
from pooler.ops.http.problems import Problem

log = structlog.get_logger()

R = TypeVar("R")

_ALWAYS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
"""What any route below ``/v1`` may answer instead of what was asked for."""


def answers(
    guard: Guard,
    scope: Scope,
    model: type[R],
    *problems: HTTPStatus,
    status: HTTPStatus = HTTPStatus.OK,
) -> Callable[[Callable[..., Awaitable[R]]], Callable[..., Awaitable[Any]]]:
    """Guard a view, and declare all that it may answer.

    Args:
        guard: tells whether the caller may; the view gets the caller as its first argument.
        scope: what the caller's token must allow.
        model: the answer that was asked for.
        problems: what else may be answered, besides what any route may.
        status: of the answer that was asked for.
    """
    # Made once: Quart-Schema would make one for each answer, which takes longer than all else about it.
    adapter: TypeAdapter[R] = TypeAdapter(model)

    def decorate(view: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[Any]]:
        @wraps(view)
        async def guarded(**arguments: Any) -> Response:
            answer = await view(guard.admit(request, scope), **arguments)
            return Response(adapter.dump_json(answer), status, content_type="application/json")

        declared: Callable[..., Awaitable[Any]] = document_response(model, status)(guarded)
        for problem in (*problems, *_ALWAYS):
            declared = document_response(Problem, problem)(declared)
        return security_scheme([{"token": []}])(declared)

    return decorate


def audit(caller: Caller, action: str, **fields: object) -> None:
    """Log and note what somebody has had done."""
    caller.ledger.note(action, caller.name, caller.address, fields)
    log.info("api_action", action=action, by=caller.name, address=caller.address, **fields)
