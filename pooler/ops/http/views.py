"""What all routes of the admin API have in common: who may, what may be answered, and that it is logged."""

from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog
from quart import request
from quart_schema import document_response, security_scheme, validate_response

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
    model: type,
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

    def decorate(view: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[Any]]:
        @wraps(view)
        async def guarded(**arguments: Any) -> R:
            return await view(guard.admit(request, scope), **arguments)

        declared: Callable[..., Awaitable[Any]] = validate_response(model, status)(guarded)
        for problem in (*problems, *_ALWAYS):
            declared = document_response(Problem, problem)(declared)
        return security_scheme([{"token": []}])(declared)

    return decorate


def audit(caller: Caller, action: str, **fields: object) -> None:
    """Log what somebody has had done."""
    log.info("api_action", action=action, by=caller.name, address=caller.address, **fields)
