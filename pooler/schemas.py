"""The documents for other programs, made of the models: `pooler schema --write docs/schemas`.

JSON Schema (2020-12) of the records and of config.yaml, AsyncAPI 3.0 of the topics, OpenAPI 3.1 of the admin
API.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from pooler.bus import records
from pooler.bus.answers import Failure, Result
from pooler.bus.events import STRUCTURED
from pooler.config.settings import KafkaSettings, Settings
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Guard
from pooler.ops.http.service import Service

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """Make the JSON Schema of a job, in either of its forms; fields that it does not name are kept."""
    said = "What a record of the input topic asks for, in one of two forms; other fields are handed back."
    return {"$schema": _DRAFT, "title": "A job", "description": said, **records.job_schema()}


def _schema(model: Any, title: str, description: str) -> dict[str, Any]:
    made = msgspec.json.schema(model)
    return {"$schema": _DRAFT, "title": title, "description": description, **made}


def config_schema() -> dict[str, Any]:
    """Make the JSON Schema of config.yaml."""
    return {"$schema": _DRAFT, **Settings.model_json_schema()}


_EVENT_HEADERS: Final = {
    "ce_specversion": "CloudEvents 1.0 in binary mode: `1.0`.",
    "ce_id": "The id of the event; the name of a job that has no task_id.",
    "ce_source": "Who has made the event.",
    "ce_type": "What has happened: of ours `pooler.job.success`, `pooler.job.skipped`, `pooler.job.failed`.",
    "ce_subject": "Of ours: the task_id.",
    "ce_time": "When it has happened: RFC 3339.",
    "content-type": "`application/json`; of an event in structured mode `application/cloudevents+json`.",
}


def _event(data: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON Schema of a CloudEvent in structured mode."""
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in structured mode; other attributes are kept.",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            **dict.fromkeys(("id", "source", "type", "subject", "time"), text),
            "datacontenttype": {"type": "string", "const": "application/json"},
            "data": data,
        },
    }


def asyncapi(version: str) -> dict[str, Any]:
    """Make the AsyncAPI 3.0 document of the topics, by the names that they have by default."""
    kafka = KafkaSettings()
    told = {
        "traceparent": "W3C Trace Context; handed on.",
        "pooler.submitted-by": "Who has submitted the job.",
        **_EVENT_HEADERS,
    }
    headers = {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in told.items()},
    }

    def message(
        name: str, title: str, payload: Mapping[str, Any], key: str, content_type: str = "application/json"
    ) -> dict[str, Any]:
        bound = {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}}
        return {
            "name": name,
            "title": title,
            "contentType": content_type,
            "headers": headers,
            "payload": {"schemaFormat": "application/schema+json;version=draft-07", "schema": payload},
            "bindings": bound,
        }

    def both(name: str, title: str, payload: Mapping[str, Any], key: str) -> dict[str, Any]:
        as_event = message(f"{name}Event", f"{title}, as an event", _event(payload), key, STRUCTURED)
        return {name: message(name, title, payload, key), f"{name}Event": as_event}

    def channel(address: str, description: str, name: str) -> dict[str, Any]:
        forms = (name, f"{name}Event")
        return {
            "address": address,
            "description": description,
            "messages": {form: {"$ref": f"#/components/messages/{form}"} for form in forms},
        }

    def operation(action: str, where: str, name: str, summary: str) -> dict[str, Any]:
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{where}"},
            "summary": summary,
            "messages": [{"$ref": f"#/channels/{where}/messages/{form}"} for form in (name, f"{name}Event")],
        }

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ftp-pooler",
            "version": version,
            "description": "Jobs in, one answer to each out. Topics have their default names. Answers are "
            "events where `kafka.cloud_events` says so.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "jobs": channel(kafka.input_topic, "Jobs, in any order.", "job"),
            "results": channel(kafka.result_topic, "Jobs that are done, or had nothing to do.", "result"),
            "failures": channel(kafka.fail_topic, "Jobs that failed.", "failure"),
        },
        "operations": {
            "takeJob": operation("receive", "jobs", "job", "Take a job."),
            "tellResult": operation("send", "results", "result", "Answer a job that is done."),
            "tellFailure": operation("send", "failures", "failure", "Answer a job that failed."),
        },
        "components": {
            "messages": {
                **both("job", "A job", _bare(job_schema()), "Any; jobs of one key keep to one partition."),
                **both("result", "A result", _bare(_result()), "The task_id."),
                **both("failure", "A failure", _bare(_failure()), "The task_id."),
            }
        },
    }


def _result() -> dict[str, Any]:
    return _schema(Result, "A result", "The answer to a job that is done.")


def _failure() -> dict[str, Any]:
    return _schema(Failure, "A failure", "The answer to a job that failed.")


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Give a schema without the parts it refers to: each stands where it is referred to."""
    defs = schema.get("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolved(defs[node["$ref"].rpartition("/")[2]])
        return {name: resolved(one) for name, one in node.items() if name not in {"$defs", "$schema"}}

    return cast("dict[str, Any]", resolved(schema))


async def openapi() -> dict[str, Any]:
    """Make the OpenAPI 3.1 document of the admin API, as ``/v1/openapi.json`` has it."""
    # It is made of the routes alone.
    app = create_app(cast("Service", None), guard=Guard(()), job_schema=_bare(job_schema()))
    found = await (await app.test_client().get("/v1/openapi.json")).get_json()
    return cast("dict[str, Any]", found)


async def documents(version: str) -> dict[str, str]:
    """Make all of them, by the names of their files."""
    made = {
        "job.schema.json": job_schema(),
        "result.schema.json": _result(),
        "failure.schema.json": _failure(),
        "config.schema.json": config_schema(),
        "asyncapi.json": asyncapi(version),
        "openapi.json": await openapi(),
    }
    return {
        name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in made.items()
    }
