"""The documents in docs/schemas are those that the models make, and records are as they say."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator  # type: ignore[import-untyped]

from pooler.bus import records
from pooler.cli.main import main
from pooler.errors import ErrorCode
from pooler.model.job import Job, Origin, Record
from pooler.model.outcome import Outcome, Peer, Status

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schemas"
FLAT = {
    "task_id": "a",
    "src_id": "site-a",
    "src_path": "/a",
    "dst_id": "local",
    "dst_path": "/a",
    "colour": 3,
}
NESTED = {
    "source": {"connection_id": "site-a", "path": "/a"},
    "destination": {"connection_id": "local", "path": "/a"},
    "operation": "download",
    "metadata": {"x": [1]},
    "options": {"overwrite": "if_newer", "after": "move:/done/{name}", "deadline_seconds": 60},
}


def schema(name: str) -> Draft202012Validator:
    document: Any = json.loads((FOLDER / name).read_text("utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def record(fields: Any) -> Record:
    return Record(Origin("t", 0, 1), None, json.dumps(fields).encode(), (("pooler.submitted-by", b"anna"),))


def test_the_files_are_what_the_models_say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema", "--check", str(FOLDER)]) == 0, capsys.readouterr().err
    assert main(["schema", "--write", str(tmp_path / "new")]) == 0
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}
    (tmp_path / "new" / "openapi.json").write_text("{}")
    assert main(["schema", "--check", str(tmp_path / "new")]) == 1
    assert "openapi.json: not what the models say" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        (FLAT, True),
        (NESTED, True),
        ({**FLAT, "options": {"retry_count": 3}}, True),
        ({**FLAT, "options": {"retry_count": -1}}, False),
        ({**FLAT, "options": {"colour": 1}}, False),
        ({**NESTED, "operation": "move"}, False),
        ({"task_id": "a"}, False),
    ],
)
def test_a_job_is_one_for_the_schema_where_it_is_one_for_the_service(fields: Any, *, good: bool) -> None:
    assert schema("job.schema.json").is_valid(fields) is good
    assert isinstance(records.decode(record(fields)), Job) is good


@pytest.mark.parametrize("fields", [FLAT, NESTED])
@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(Status.SKIPPED),
        Outcome(
            Status.SUCCESS, 2, 100, 30, 5, "size", Peer("10.0.0.1:21", "TLSv1.3", "ab", "anna"), "226 ok",
            checksum="sha256:ab", mtime_kept=True, resumed_from=3, after="left", after_error="550",
            marked=True,
            source_checked="time", check={"size": 3},
        ),
        Outcome.failed(ErrorCode.LOGIN_REFUSED, "530 no", retriable=True, reply="530 no"),
    ],
)  # fmt: skip
def test_what_is_written_is_as_its_schema_says(fields: Any, outcome: Outcome) -> None:
    job = records.decode(record(fields))
    assert isinstance(job, Job)
    now = dt.datetime.now(dt.UTC)
    out = records.encode_outcome(job, record(fields), outcome, worker="w", now=now, limit_bytes=10**6)
    written = msgspec.json.decode(out.value or b"")
    name = "failure.schema.json" if outcome.failure else "result.schema.json"
    schema(name).validate(written)
    named = schema(name).schema
    (model,) = [part for part in named["$defs"].values() if "task_id" in part["properties"]]
    assert written.keys() - {"colour"} <= model["properties"].keys()
    assert written["submitted_by"] == "anna"


def test_the_asyncapi_document_names_the_topics_and_their_messages() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text("utf-8"))
    assert document["asyncapi"] == "3.0.0"
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert addresses == ["ftp-tasks", "ftp-results", "ftp-failures"]
    for message in document["components"]["messages"].values():
        Draft202012Validator.check_schema(message["payload"]["schema"])
    for operation in document["operations"].values():
        for ref in (operation["channel"]["$ref"], *(one["$ref"] for one in operation["messages"])):
            node = document
            for part in ref.removeprefix("#/").split("/"):
                node = node[part]
            assert node


def test_the_openapi_document_has_the_form_of_a_job() -> None:
    document = json.loads((FOLDER / "openapi.json").read_text("utf-8"))
    job = Draft202012Validator(document["components"]["schemas"]["Job"])
    assert job.is_valid(FLAT)
    assert not job.is_valid({})


def test_the_asyncapi_document_is_one_by_asyncapis_own_schema() -> None:
    own = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text("utf-8"))
    document = json.loads((FOLDER / "asyncapi.json").read_text("utf-8"))
    validator = Draft7Validator(own)
    assert [f"{error.json_path}: {error.message}"[:300] for error in validator.iter_errors(document)] == []
    # It can tell: without its title, or with a channel that is none, it is no such document.
    for broken in ({"info": {"version": "1"}}, {"channels": {"jobs": {"address": 1}}}):
        assert not validator.is_valid(document | broken)


def test_every_payload_of_the_asyncapi_document_is_a_schema_and_every_reference_leads_somewhere() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text("utf-8"))
    for message in document["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"]["schema"])

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for one in node.values():
                yield from references(one)
        elif isinstance(node, list):
            for one in node:
                yield from references(one)

    found = set(references(document))
    assert found
    for reference in found:
        at = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_a_job_in_an_event_is_one_for_the_asyncapi_document() -> None:
    document = json.loads((FOLDER / "asyncapi.json").read_text("utf-8"))
    message = document["components"]["messages"]["jobEvent"]
    assert message["contentType"] == "application/cloudevents+json"
    event = {"specversion": "1.0", "id": "e-1", "source": "/erp", "type": "file.ready", "data": FLAT}
    schema = Draft7Validator(message["payload"]["schema"])
    assert schema.is_valid(event)
    assert not schema.is_valid(event | {"data": {}})
    assert not schema.is_valid(event | {"specversion": "0.3"})
