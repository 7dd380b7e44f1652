"""Errors as ``application/problem+json`` (RFC 9457)."""

import json
from dataclasses import asdict, dataclass
from http import HTTPStatus

from pydantic import ValidationError
from quart import Quart, Response, request
from quart_schema.validation import RequestSchemaValidationError
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was not done (RFC 9457 §3.1).

    Attributes:
        type: always ``about:blank``: the status says all that a program needs.
        title: the status in words.
        status: the status.
        detail: what was wrong with this request, for people.
        instance: the path of the request.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str


def answer_with_problems(app: Quart) -> None:
    """Make every error of ``app`` a problem, those of the framework (404, 405, 500) included."""
    app.register_error_handler(HTTPException, _render)


def _of_each_field(error: HTTPException) -> str:
    """Tell which fields of a request are wrong, and why; empty where that is not what is wrong."""
    cause = error.validation_error if isinstance(error, RequestSchemaValidationError) else None
    if not isinstance(cause, ValidationError):
        return ""
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in cause.errors(include_url=False)
    )


async def _render(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    problem = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=_of_each_field(error) or error.description or status.description,
        instance=request.path,
    )
    # Allow, Retry-After and WWW-Authenticate come along; Content-Type is replaced.
    headers = Headers(error.get_headers())
    return Response(json.dumps(asdict(problem)), status, headers, content_type=CONTENT_TYPE)
