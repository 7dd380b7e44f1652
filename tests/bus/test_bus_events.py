"""CloudEvents: read in both modes, written if asked for; compared with the library of its own authors."""

import base64
import datetime as dt
import json
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent

from pooler.bus.batches import children
from pooler.bus.events import Events, Mode, data_of, opened
from pooler.bus.records import Invalid, OutRecord, Undecodable, encode_invalid, encode_outcome
from pooler.bus.retries import park
from pooler.bus.source import Unreadable, read
from pooler.cli.jobs.choice import Choice, Wanted
from pooler.errors import ErrorCode
from pooler.model.batch import Found
from pooler.model.job import Delivery, Origin, Past, Record
from pooler.model.outcome import Outcome, Spread, Status

JOB = {"src_id": "site", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}
ATTRIBUTES = {"id": "e-1", "source": "/erp/일정", "type": "erp.file.ready", "traceparent": "00-ab-cd-01"}
ORIGIN = Origin("ftp-tasks", 3, 17)
NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def event(mode: str, data: object = JOB, **more: object) -> Record:
    """Make a record as the library writes it."""
    made = CloudEvent({**ATTRIBUTES, "datacontenttype": "application/json", **more}, data)  # type: ignore[arg-type]
    message = (kafka.to_binary_event if mode == "binary" else kafka.to_structured_event)(made)
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return Record(ORIGIN, key, message.value, (("own", b"1"), *message.headers.items()), 1_700_000_000_000)


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_a_job_in_an_event_is_a_job(mode: str) -> None:
    found = read(event(mode))
    assert isinstance(found, Delivery)
    # It has no task_id of its own: the event's id is its name.
    assert (found.job.task_id, found.job.source.path) == ("e-1", "/a")
    assert json.loads(found.record.value or b"") == JOB
    headers = dict(found.record.headers)
    assert headers["ce_source"] == "/erp/일정".encode()
    assert headers["own"] == b"1"
    named = read(event(mode, JOB | {"task_id": "t-1"}))
    assert isinstance(named, Delivery)
    assert named.job.task_id == "t-1"


async def test_the_data_of_a_structured_event_stays_byte_for_byte() -> None:
    data = b'{"src_id": "site",  "src_path":"\\u0061", "dst_id": "local", "dst_path": "/a", "n": 1.10}'
    head = b'{"specversion":"1.0","id":"x","source":"s","type":"t","n":3,"yes":true,"data":'
    found = opened(
        Record(ORIGIN, None, head + data + b"}", (("Content-Type", b"application/CloudEvents+json"),))
    )
    assert found.value == data
    assert found.headers == (
        ("ce_specversion", b"1.0"), ("ce_id", b"x"), ("ce_source", b"s"), ("ce_type", b"t"), ("ce_n", b"3"),
        ("ce_yes", b"true"), ("content-type", b"application/json"),
    )  # fmt: skip
    packed = head.replace(b'"data":', b'"data_base64":"') + base64.b64encode(data) + b'"}'
    assert (
        opened(Record(ORIGIN, None, packed, (("content-type", b"application/cloudevents+json"),))).value
        == data
    )


STRUCTURED = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def structured(**fields: object) -> Record:
    whole: dict[str, object] = {"specversion": "1.0", "id": "x", "source": "s", "type": "t", "data": JOB}
    return Record(
        ORIGIN,
        None,
        json.dumps({k: v for k, v in (whole | fields).items() if v is not None}).encode(),
        STRUCTURED,
    )


@pytest.mark.parametrize(
    ("record", "name", "message"),
    [
        (structured(specversion="0.3"), "x", "CloudEvents: expected specversion 1.0, got 0.3"),
        (structured(type=None), "x", "CloudEvents: expected type"),
        (structured(id=None), str(ORIGIN), "CloudEvents: expected id"),
        (structured(data=None), "x", "CloudEvents: expected a job as data"),
        (structured(data=None, data_base64="?"), "x", "CloudEvents: data_base64 is no base64"),
        (structured(datacontenttype="text/xml"), "x", "CloudEvents: expected data as application/json, got"),
        (structured(data={"a": 1}), "x", "Object missing required field `src_id`"),
        (event("binary", datacontenttype="application/json", id="a" * 2000), str(ORIGIN), None),
        (
            Record(ORIGIN, None, b"{}", (("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"t"))),
            "i",
            "CloudEvents: expected source",
        ),
    ],
)  # fmt: skip
async def test_an_event_that_holds_no_job(record: Record, name: str, message: str | None) -> None:
    found = read(record)
    if message is None:  # too long a name is none, and all else is right
        assert isinstance(found, Delivery)
        assert found.job.task_id == name
        return
    assert isinstance(found, Unreadable)
    assert isinstance(found.why, Invalid)
    assert (found.why.task_id, found.why.message[: len(message)]) == (name, message)
    out = encode_invalid(found.why, found.record, worker="w", now=NOW, limit_bytes=10**6)
    # The answer is no such event.
    assert out.headers == ()
    assert json.loads(out.value or b"")["error_code"] == "INVALID_JOB"


@pytest.mark.parametrize(
    "record",
    [
        Record(ORIGIN, None, b"junk", STRUCTURED),
        Record(ORIGIN, None, b"[1]", STRUCTURED),
        Record(ORIGIN, None, None, STRUCTURED),
        Record(
            ORIGIN, None, b"\x00avro", (("ce_specversion", b"1.0"), ("content-type", b"application/avro"))
        ),
    ],
)
async def test_what_is_no_json_object_is_a_dead_letter_as_it_came(record: Record) -> None:
    found = read(record)
    assert isinstance(found, Unreadable)
    assert isinstance(found.why, Undecodable)
    assert found.record is record


def answer(mode: Mode, *, failed: bool = False, limit_bytes: int = 10**6, **job: object) -> OutRecord:
    delivery = read(event("structured", JOB | job))
    assert isinstance(delivery, Delivery)
    outcome = Outcome(Status.SUCCESS, attempts=1)
    if failed:
        outcome = Outcome.failed(ErrorCode.IO_ERROR, "no", retriable=True)
    return encode_outcome(
        delivery.job, delivery.record, outcome, worker="w", now=NOW, limit_bytes=limit_bytes,
        events=Events(mode, "my group"),
    )  # fmt: skip


def as_event(out: OutRecord) -> Any:
    assert out.value is not None
    return kafka.from_kafka_event(kafka.KafkaMessage(dict(out.headers), out.key, out.value))


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("failed", [False, True])
async def test_an_answer_is_an_event_if_asked_for(mode: Mode, failed: bool) -> None:  # noqa: FBT001 - a row of a table
    out = answer(mode, failed=failed)
    bare = answer("off", failed=failed)
    found = as_event(out)
    assert found.get_id() == "ftp-tasks-3-17-18bcfe56800"
    assert found.get_source() == "/pooler/my%20group"
    assert found.get_type() == ("pooler.job.failed" if failed else "pooler.job.success")
    assert found.get_subject() == "e-1"
    assert found.get_time() == NOW
    assert found.get_datacontenttype() == "application/json"
    assert found.get_data() == json.loads(bare.value or b"")
    assert data_of(Record(ORIGIN, out.key, out.value, out.headers)) == bare.value
    # Nothing of the event that the job came in.
    assert dict(out.headers)["own"] == b"1"
    assert [name for name, _ in out.headers].count("ce_id") == (mode == "binary")


async def test_an_answer_that_is_none_has_nothing_of_the_event_that_the_job_came_in() -> None:
    assert answer("off").headers == (("own", b"1"),)


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_a_large_answer_is_cut_down_with_its_envelope(mode: Mode) -> None:
    # As it is it would just fit: not so in an envelope.
    job: dict[str, Any] = {"note": "x" * 10_000, "task_id": '"' * 300}
    limit_bytes = answer("off", **job).size_bytes
    out = answer(mode, limit_bytes=limit_bytes, **job)
    assert out.size_bytes <= limit_bytes
    assert as_event(out).get_subject() == '"' * 300


@pytest.mark.parametrize("mode", ["off", "binary", "structured"])
async def test_a_failure_that_is_an_event_can_be_submitted_anew(mode: Mode) -> None:
    out = answer(mode, failed=True, task_id="t")
    choice = Choice(Wanted(), 10)
    choice.failures([Record(Origin("ftp-failures", 0, 0), out.key, out.value, out.headers, 5)])
    (failed,) = choice.failed.values()
    assert json.loads(failed.value) == JOB | {"task_id": "t"}
    assert failed.headers == (("own", b"1"),)


async def test_an_event_is_parked_in_binary_mode_and_comes_back_as_it_was() -> None:
    before = read(event("structured"))
    assert isinstance(before, Delivery)
    out = park(before.record, Past(ORIGIN, 1), "parked 10", 0)
    record = Record(Origin("retry", 0, 0), out.key, out.value, out.headers)
    after = read(record, {"retry"})
    assert isinstance(after, Delivery)
    assert (after.job, after.record.headers) == (before.job, before.record.headers)


async def test_the_jobs_of_a_bulk_job_are_not_the_event_that_it_came_in() -> None:
    bulk = read(event("structured", JOB | {"src_path": "/out/", "dst_path": "/in/"}))
    assert isinstance(bulk, Delivery)
    made = children(
        Spread(bulk, Found((("a", 1), ("b", 2)), "b", more=False), 1, 0), first_seen_ms=1, now_ms=2
    )
    assert [json.loads(value)["task_id"] for _, value, _ in made.jobs] == ["e-1/a", "e-1/b"]
    assert {name for _, _, headers in made.jobs for name, _ in headers} == {"own", "pooler.batch"}
