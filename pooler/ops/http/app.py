"""The admin API, version 1: see the service, pause and resume remotes, drain the pod.

`service` says what it asks of the running service, `auth` who may ask, `problems` how it says no, `probes`
what needs no token, and `server` puts it on a port. Its OpenAPI 3.1 document is at ``/v1/openapi.json``.

Every view is async and none of them awaits: Quart would run a plain one in a thread, beside the loop.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog
from quart import Blueprint, request
from quart_schema import (
    Info,
    OpenAPIProvider,
    QuartSchema,
    document_response,
    security_scheme,
    validate_response,
)
from quart_schema.openapi import HttpSecurityScheme
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from pooler.ops.http.auth import Caller, Guard, Scope, Token
from pooler.ops.http.framework import bare_app
from pooler.ops.http.probes import probes
from pooler.ops.http.problems import CONTENT_TYPE, Problem
from pooler.ops.http.service import FolderStatus, RemoteStatus, RemoteSummary, Service, ServiceStatus

log = structlog.get_logger()

R = TypeVar("R")

_ALWAYS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)
"""What any route below ``/v1`` may answer instead of what was asked for."""


@dataclass(frozen=True, slots=True)
class Remotes:
    """The configured remotes.

    Attributes:
        remotes: in the order of connections.ini.
    """

    remotes: tuple[RemoteSummary, ...]


@dataclass(frozen=True, slots=True)
class Folders:
    """The local folders.

    Attributes:
        folders: in the order of connections.ini.
    """

    folders: tuple[FolderStatus, ...]


def create_app(service: Service, tokens: tuple[Token, ...]) -> QuartTrio:
    """Make the admin API.

    Args:
        service: the running service.
        tokens: who may ask; empty where none are configured, see `auth`.
    """
    app = bare_app("pooler.api")
    QuartSchema(
        app,
        openapi_path="/v1/openapi.json",
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=Info(title="pooler", version="1", description="The admin API of one pod."),
        security_schemes={"token": HttpSecurityScheme(scheme="bearer")},
        conversion_preference="pydantic",
        openapi_provider_class=_Document,
    )
    app.register_blueprint(probes(service))
    guard = Guard(tokens)
    app.register_blueprint(_version_1(service, guard))
    app.register_blueprint(_local_folders(service, guard))
    return app


def _version_1(service: Service, guard: Guard) -> Blueprint:
    routes = Blueprint("v1", __name__, url_prefix="/v1")

    def find(name: str) -> RemoteStatus:
        for remote in service.remotes():
            if remote.name == name:
                return remote
        raise NotFound(f"There is no remote {name!r}.")

    @routes.get("/status")
    @_answers(guard, Scope.READ, ServiceStatus)
    async def status(_caller: Caller) -> ServiceStatus:
        """Tell the state of this pod."""
        return service.status()

    @routes.get("/remotes")
    @_answers(guard, Scope.READ, Remotes)
    async def remotes(_caller: Caller) -> Remotes:
        """List the remotes, without their sessions."""
        return Remotes(service.remotes())

    @routes.get("/remotes/<name>")
    @_answers(guard, Scope.READ, RemoteStatus, HTTPStatus.NOT_FOUND)
    async def remote(_caller: Caller, name: str) -> RemoteStatus:
        """Tell the state of one remote, with its sessions."""
        return find(name)

    @routes.post("/remotes/<name>/pause")
    @_answers(guard, Scope.OPERATE, RemoteStatus, HTTPStatus.NOT_FOUND)
    async def pause(caller: Caller, name: str) -> RemoteStatus:
        """Start no more jobs on a remote; those that run go on."""
        find(name)
        service.pause(name)
        _audit(caller, "pause", remote=name)
        return find(name)

    @routes.post("/remotes/<name>/resume")
    @_answers(guard, Scope.OPERATE, RemoteStatus, HTTPStatus.NOT_FOUND)
    async def resume(caller: Caller, name: str) -> RemoteStatus:
        """Let a paused remote's jobs run again."""
        find(name)
        service.resume(name)
        _audit(caller, "resume", remote=name)
        return find(name)

    @routes.post("/drain")
    @_answers(guard, Scope.ADMIN, ServiceStatus, status=HTTPStatus.ACCEPTED)
    async def drain(caller: Caller) -> tuple[ServiceStatus, int]:
        """Finish what runs, take nothing new, and end the process."""
        service.drain()
        _audit(caller, "drain")
        return service.status(), HTTPStatus.ACCEPTED

    return routes


def _local_folders(service: Service, guard: Guard) -> Blueprint:
    routes = Blueprint("folders", __name__, url_prefix="/v1")

    @routes.get("/folders")
    @_answers(guard, Scope.READ, Folders)
    async def folders(_caller: Caller) -> Folders:
        """List the local folders."""
        return Folders(service.folders())

    return routes


def _audit(caller: Caller, action: str, **fields: str) -> None:
    log.info("api_action", action=action, by=caller.name, address=caller.address, **fields)


def _answers(
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
        async def guarded(**arguments: str) -> R:
            return await view(guard.admit(request, scope), **arguments)

        declared: Callable[..., Awaitable[Any]] = validate_response(model, status)(guarded)
        for problem in (*problems, *_ALWAYS):
            declared = document_response(Problem, problem)(declared)
        return security_scheme([{"token": []}])(declared)

    return decorate


class _Document(OpenAPIProvider):
    """quart-schema's OpenAPI document, with problems under their own media type, and an id for each path."""

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:  # noqa: ARG002 - as inherited
        return "_".join([method.lower(), *re.findall(r"\w+", path)])

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        response, components = super().build_response_object(model, headers_model)
        if model is Problem:
            response["content"] = {CONTENT_TYPE: response["content"]["application/json"]}
        return response, components
