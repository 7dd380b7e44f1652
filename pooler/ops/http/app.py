"""The admin API, version 1: see the service, steer it, hand jobs to it.

`service` says what it asks of the running service, `steering` has what is not of this pod alone,
`views` what all routes share, `auth` who may ask, `problems` how it says no, `probes` what needs no
token, and `server` puts it on a port. Its OpenAPI 3.1 document is at ``/v1/openapi.json``.

Every view is async, though few of them await: Quart would run a plain one in a thread, beside the loop.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import trio
from quart import Blueprint
from quart_schema import Info, OpenAPIProvider, QuartSchema
from quart_schema.openapi import HttpSecurityScheme
from quart_trio import QuartTrio
from werkzeug.exceptions import NotFound

from pooler.ops.http.admin_routes import admin_routes
from pooler.ops.http.auth import Caller, Guard, Scope, Token
from pooler.ops.http.framework import bare_app
from pooler.ops.http.job_routes import job_routes
from pooler.ops.http.live import live
from pooler.ops.http.page import page
from pooler.ops.http.probes import probes
from pooler.ops.http.problems import CONTENT_TYPE, Problem
from pooler.ops.http.service import (
    FolderStatus,
    RemoteStatus,
    RemoteSummary,
    Service,
    ServiceStatus,
)
from pooler.ops.http.steering import steering
from pooler.ops.http.submitting import BODY, submitting
from pooler.ops.http.views import answers


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


_JOB_SCHEMA: Final = "POOLER_JOB_SCHEMA"
_ANY_OBJECT: Final[Mapping[str, Any]] = MappingProxyType({"type": "object"})


def create_app(
    service: Service,
    tokens: tuple[Token, ...] = (),
    closing: trio.Event | None = None,
    guard: Guard | None = None,
    job_schema: Mapping[str, Any] = _ANY_OBJECT,
) -> QuartTrio:
    """Make the admin API.

    Args:
        service: the running service.
        tokens: who may ask; empty where none are configured, see `auth`.
        closing: set when the server stops; None where it never does while somebody reads.
        guard: lets requests pass, in place of one that is made of the tokens.
        job_schema: the JSON Schema of a job, for the OpenAPI document.
    """
    app = bare_app("pooler.api")
    app.config[_JOB_SCHEMA] = dict(job_schema)
    QuartSchema(
        app,
        openapi_path="/v1/openapi.json",
        redoc_ui_path=None,
        scalar_ui_path=None,
        swagger_ui_path=None,
        info=Info(
            title="pooler",
            version="1",
            description="The admin API: any pod answers for all. Where it does, `silent` names the pods that "
            "have said nothing. `next` of a list is the cursor of its next page, and null behind the last.",
        ),
        security_schemes={"token": HttpSecurityScheme(scheme="bearer")},
        conversion_preference="pydantic",
        openapi_provider_class=_Document,
    )
    app.register_blueprint(probes(service))
    guard = Guard(tokens, ledger=service.ledger) if guard is None else guard
    app.register_blueprint(_version_1(service, guard))
    app.register_blueprint(steering(service, guard))
    app.register_blueprint(_local_folders(service, guard))
    app.register_blueprint(job_routes(service, guard))
    app.register_blueprint(submitting(service, guard))
    app.register_blueprint(admin_routes(service, guard))
    app.register_blueprint(live(service, guard, trio.Event() if closing is None else closing))
    app.register_blueprint(page())
    return app


def _version_1(service: Service, guard: Guard) -> Blueprint:
    routes = Blueprint("v1", __name__, url_prefix="/v1")

    def find(name: str) -> RemoteStatus:
        for remote in service.remotes():
            if remote.name == name:
                return remote
        raise NotFound(f"There is no remote {name!r}.")

    @routes.get("/status")
    @answers(guard, Scope.READ, ServiceStatus)
    async def status(_caller: Caller) -> ServiceStatus:
        """Tell the state of this pod."""
        return service.status()

    @routes.get("/remotes")
    @answers(guard, Scope.READ, Remotes)
    async def remotes(_caller: Caller) -> Remotes:
        """List the remotes, without their sessions."""
        return Remotes(service.remotes())

    @routes.get("/remotes/<name>")
    @answers(guard, Scope.READ, RemoteStatus, HTTPStatus.NOT_FOUND)
    async def remote(_caller: Caller, name: str) -> RemoteStatus:
        """Tell the state of one remote, with its sessions."""
        return find(name)

    return routes


def _local_folders(service: Service, guard: Guard) -> Blueprint:
    routes = Blueprint("folders", __name__, url_prefix="/v1")

    @routes.get("/folders")
    @answers(guard, Scope.READ, Folders)
    async def folders(_caller: Caller) -> Folders:
        """List the local folders."""
        return Folders(service.folders())

    return routes


class _Document(OpenAPIProvider):
    """quart-schema's OpenAPI document, with problems under their own media type, and an id for each path."""

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:  # noqa: ARG002 - as inherited
        return "_".join([method.lower(), *re.findall(r"\w+", path)])

    def schema(self) -> dict[str, Any]:
        made: dict[str, Any] = super().schema()
        made["paths"]["/v1/jobs"]["post"]["requestBody"] = BODY
        made["components"]["schemas"]["Job"] = self._app.config[_JOB_SCHEMA]
        return made

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        response, components = super().build_response_object(model, headers_model)
        if model is Problem:
            response["content"] = {CONTENT_TYPE: response["content"]["application/json"]}
        return response, components
