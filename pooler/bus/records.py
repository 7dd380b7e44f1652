"""Bytes to jobs, and outcomes to bytes. Pure; formats are those of docs/records.md.

Three things can come of a record: a job, an object that is no valid job (answered by a failure record), and
something that is no JSON object at all (for the dead-letter topic).
"""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from pooler.bus.events import NO_EVENTS, Events, Headers, name_of, plain
from pooler.bus.options import AskedOptions, options_of
from pooler.errors import ErrorCode
from pooler.model.job import Direction, Endpoint, Job, Record, marker_of
from pooler.model.outcome import Outcome, Status


class OutRecord(NamedTuple):
    """A record to be written.

    Attributes:
        kind: which of the topics it is for.
        key: its key; None where it has none.
        value: its value; None for a tombstone.
        headers: its headers, in order.
    """

    kind: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size_bytes(self) -> int:
        """Its size in Kafka's record format, to within the few bytes of its lengths."""
        return record_size(self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True)
class Invalid:
    """A JSON object that is no valid job.

    Attributes:
        task_id: the sender's where it is a usable one, else made from where the record stands.
        message: what is wrong, for the sender.
        fields: those of the object's fields that a failure record repeats.
    """

    task_id: str
    message: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Bytes that are no JSON object.

    Attributes:
        exception: the class of the error, as Kafka Connect's headers name it.
        message: what is wrong.
    """

    exception: str
    message: str


class _End(msgspec.Struct):
    connection_id: str
    path: str


class _Nested(msgspec.Struct):
    source: _End
    destination: _End
    task_id: str | None = None
    operation: Literal["download", "upload"] | None = None
    options: AskedOptions = msgspec.field(default_factory=AskedOptions)
    metadata: Any = None


class _Flat(msgspec.Struct):
    src_id: str
    src_path: str
    dst_id: str
    dst_path: str
    task_id: str | None = None
    operation: Literal["download", "upload"] | None = None
    options: AskedOptions = msgspec.field(default_factory=AskedOptions)
    metadata: Any = None


_KNOWN = frozenset(_Nested.__struct_fields__) | frozenset(_Flat.__struct_fields__)
_FLAT_FIELDS = ("src_id", "src_path", "dst_id", "dst_path")
TRACEPARENT = "traceparent"
"""Which span a record is part of (W3C Trace Context)."""
SUBMITTER_HEADER = "pooler.submitted-by"
"""Who has submitted a job: whatever its sender says; the admin API says whose token it was."""
TASK_ID_LIMIT = 1024
_SUBMITTER_LIMIT = 256
_STUB_FROM_BYTES = 512  # what is smaller is hardly larger than what would stand in its place
_STUB_NOTE = "too large for this topic; the record that this answers has it whole"


def job_schema() -> dict[str, Any]:
    """Make the JSON Schema of a job: one of its two forms, and nothing of the other."""
    forms, parts = msgspec.json.schema_components([_Flat, _Nested], ref_template="#/$defs/{name}")
    others = (("source", "destination"), _FLAT_FIELDS)
    return {
        "oneOf": [
            {"allOf": [form, {"not": {"anyOf": [{"required": [name]} for name in names]}}]}
            for form, names in zip(forms, others, strict=True)
        ],
        "$defs": parts,
    }


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Tell how many bytes a record takes, to within the few bytes of its lengths."""
    return len(key or b"") + len(value or b"") + sum(len(name) + len(content) for name, content in headers)


def decode(record: Record) -> Job | Invalid | Undecodable:
    """Read a record of the input topic.

    Args:
        record: as it was read.

    Returns:
        The job, or why it is none.
    """
    if record.value is None:
        return Undecodable("Tombstone", "a record without a value")
    try:
        fields = msgspec.json.decode(record.value)
    except RecursionError:
        return Undecodable("RecursionError", "nested too deeply")
    except ValueError as error:  # msgspec's errors, and UnicodeDecodeError
        return Undecodable(type(error).__name__, str(error))
    if not isinstance(fields, dict):
        return Undecodable("NotAnObject", f"a JSON {type(fields).__name__}, not an object")
    return _job(fields, record)


def _job(fields: dict[str, Any], record: Record) -> Job | Invalid:
    task_id = fields.get("task_id")
    usable = isinstance(task_id, str) and 0 < len(task_id) <= TASK_ID_LIMIT
    named: str = (
        task_id if isinstance(task_id, str) and usable else name_of(record.headers) or str(record.origin)
    )
    try:
        asked = _asked(fields)
        source, destination = _ends(asked)
        options = options_of(asked.options, source_path=source.path, task_id=named, record=record)
    except ValueError as error:
        return Invalid(named, str(error), {name: fields[name] for name in _repeated(fields)})
    if task_id is not None and not usable:
        message = f"Expected a `str` of 1 to {TASK_ID_LIMIT} characters - at `$.task_id`"
        return Invalid(named, message, {name: fields[name] for name in _repeated(fields)})
    return Job(
        named,
        source,
        destination,
        options,
        operation=None if asked.operation is None else Direction(asked.operation),
        metadata=asked.metadata,
        extra={name: value for name, value in fields.items() if name not in _KNOWN},
    )


def _ends(asked: _Nested | _Flat) -> tuple[Endpoint, Endpoint]:
    if isinstance(asked, _Flat):
        return Endpoint(asked.src_id, asked.src_path), Endpoint(asked.dst_id, asked.dst_path)
    source, destination = asked.source, asked.destination
    return (
        Endpoint(source.connection_id, source.path),
        Endpoint(destination.connection_id, destination.path),
    )


def _asked(fields: dict[str, Any]) -> _Nested | _Flat:
    nested = "source" in fields or "destination" in fields
    flat = [name for name in _FLAT_FIELDS if name in fields]
    if nested and flat:
        raise ValueError(f"Both forms at once: `source` or `destination` beside `{flat[0]}`")
    if fields.get("options") is None:
        fields = {name: value for name, value in fields.items() if name != "options"}
    return msgspec.convert(fields, _Nested) if nested else msgspec.convert(fields, _Flat)


def _repeated(fields: dict[str, Any]) -> list[str]:
    return [
        name for name in (*_FLAT_FIELDS, "source", "destination", "operation", "metadata") if name in fields
    ]


def encode_outcome(
    job: Job,
    record: Record,
    outcome: Outcome,
    *,
    worker: str,
    now: dt.datetime,
    limit_bytes: int,
    events: Events = NO_EVENTS,
) -> OutRecord:
    """Write the answer to a job.

    Args:
        job: what was asked for.
        record: what it was read from; a failure carries its value whole.
        outcome: how it ended.
        worker: who did it, such as the pod's name.
        now: the time of the answer, with a time zone.
        limit_bytes: the largest record that the topic takes. What would exceed it is replaced by its hash
            and where to find it.
        events: what makes a CloudEvent of it, or does not.
    """
    answer: dict[str, Any] = {
        "task_id": job.task_id,
        "status": outcome.status.value,
        "src_id": job.source.remote,
        "src_path": job.source.path,
        "dst_id": job.destination.remote,
        "dst_path": job.destination.path,
        "bytes_transferred": outcome.bytes_transferred,
        "duration_ms": outcome.duration_ms,
        "timestamp": timestamp(now),
        "attempts": outcome.attempts,
        "queued_ms": outcome.queued_ms,
        "worker": worker,
        "verified": outcome.verified,
        "source_checked": outcome.source_checked,
    }
    for name in ("checksum", "resumed_from", "after", "after_error", "check", "batch"):
        if (value := getattr(outcome, name)) is not None:
            answer[name] = value
    if outcome.mtime_kept is not None:
        answer["mtime"] = "kept" if outcome.mtime_kept else "not kept"
    if outcome.marked:
        answer["marker"] = marker_of(job.destination.path)
    if job.operation is not None:
        answer["operation"] = job.operation
    if job.metadata is not None:
        answer["metadata"] = job.metadata
    answer |= _audit_fields(record, outcome)
    if outcome.failure is not None:
        answer["error_code"] = outcome.failure.code.value
        answer["error_message"] = outcome.failure.message
        answer["retriable"] = outcome.failure.retriable
    bulky: dict[str, Any] = {name: value for name, value in job.extra.items() if name not in answer}
    failed = outcome.status is Status.FAILED
    return _answer(
        record, answer | bulky, tuple(bulky), failed=failed, limit_bytes=limit_bytes, events=events
    )


def encode_invalid(
    invalid: Invalid,
    record: Record,
    *,
    worker: str,
    now: dt.datetime,
    limit_bytes: int,
    events: Events = NO_EVENTS,
) -> OutRecord:
    """Write the failure of an object that is no valid job. Arguments as for ``encode_outcome``."""
    answer = {
        **invalid.fields,
        "task_id": invalid.task_id,
        "status": Status.FAILED.value,
        "bytes_transferred": 0,
        "duration_ms": 0,
        "timestamp": timestamp(now),
        "attempts": 0,
        "queued_ms": 0,
        "worker": worker,
        "verified": "none",
        "source_checked": "none",
        "error_code": ErrorCode.INVALID_JOB.value,
        "error_message": invalid.message,
        "retriable": False,
    }
    return _answer(record, answer, tuple(invalid.fields), failed=True, limit_bytes=limit_bytes, events=events)


def _audit_fields(record: Record, outcome: Outcome) -> dict[str, Any]:
    """Tell who asked for it, whom we spoke to, and what they said at last."""
    told: dict[str, Any] = {}
    if (submitter := submitter_of(record)) is not None:
        told["submitted_by"] = submitter
    if outcome.peer is not None:
        told["peer"] = {name: value for name, value in outcome.peer._asdict().items() if value is not None}
    if outcome.reply is not None:
        told["reply"] = outcome.reply
    return told


def traced(record: Record, traceparent: bytes | None) -> Record:
    """Give a record with the span that its answer tells of; as it is where there is none."""
    if traceparent is None:
        return record
    own = tuple(pair for pair in record.headers if pair[0] != TRACEPARENT)
    return replace(record, headers=(*own, (TRACEPARENT, traceparent)))


def submitter_of(record: Record) -> str | None:
    """Tell who has submitted a job, as its header says; None where there is none."""
    for name, content in record.headers:
        if name == SUBMITTER_HEADER:
            return content[:_SUBMITTER_LIMIT].decode(errors="replace")
    return None


def _answer(
    record: Record,
    answer: dict[str, Any],
    bulky: tuple[str, ...],
    *,
    failed: bool,
    limit_bytes: int,
    events: Events,
) -> OutRecord:
    kind: Literal["result", "failure"] = "failure" if failed else "result"
    task_id: str = answer["task_id"]
    if failed:
        # Raw: the job goes back as it came, neither parsed nor written anew.
        answer["job"] = msgspec.Raw(record.value or b"null")
    out = OutRecord(kind, task_id.encode(), msgspec.json.encode(answer), plain(record.headers))
    limit_bytes -= events.overhead_bytes(task_id)
    # The largest first; what is small stays as it is.
    for name in ("job", *bulky, "metadata", "src_path", "dst_path", "marker", "error_message", "after_error"):
        if out.size_bytes <= limit_bytes:
            break
        if name in answer and len(written := msgspec.json.encode(answer[name])) > _STUB_FROM_BYTES:
            answer[name] = stub(record, written)
            out = out._replace(value=msgspec.json.encode(answer))
    if out.size_bytes > limit_bytes:
        out = out._replace(headers=())
    value, headers = events.wrap(out.value or b"null", out.headers, of=record, told=answer)
    return out._replace(value=value, headers=headers)


def stub(record: Record, content: bytes) -> dict[str, Any]:
    """Say where to find what is too large to be repeated, and how to know it again."""
    topic, partition, offset = record.origin
    return {
        "note": _STUB_NOTE,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def dead_letter(record: Record, why: Undecodable, *, limit_bytes: int | None) -> OutRecord:
    """Write a dead letter: key and value byte for byte, and Kafka Connect's headers that say why.

    Args:
        record: as it was read.
        why: why it could not be.
        limit_bytes: the largest record that the topic takes; None for any. A value that would exceed it
            with these headers is left out, and a header ``pooler.value.sha256`` names it.
    """
    topic, partition, offset = record.origin
    added: Headers = (
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.partition", str(partition).encode()),
        ("__connect.errors.offset", str(offset).encode()),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.exception.class.name", why.exception.encode()),
        ("__connect.errors.exception.message", why.message.encode()[:1000]),
    )
    out = OutRecord("dead_letter", record.key, record.value, record.headers + added)
    if limit_bytes is None:
        return out
    if out.size_bytes > limit_bytes and record.value is not None:
        digest = hashlib.sha256(record.value).hexdigest().encode()
        out = out._replace(value=None, headers=(*record.headers, *added, ("pooler.value.sha256", digest)))
    if out.size_bytes > limit_bytes:
        out = out._replace(key=None, headers=out.headers[len(record.headers) :])
    return out


def timestamp(moment: dt.datetime) -> str:
    """Write a time as RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
