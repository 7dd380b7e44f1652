"""Records in both forms, records that are none, and what is written in answer."""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.bus.records import (
    Invalid,
    OutRecord,
    Undecodable,
    dead_letter,
    decode,
    encode_invalid,
    encode_outcome,
)
from pooler.errors import ErrorCode
from pooler.model.job import Direction, Endpoint, Job, Origin, Overwrite, Record
from pooler.model.outcome import Outcome, Peer, Status

NOW = dt.datetime(2026, 11, 23, 9, 30, 0, 123456, dt.timezone(dt.timedelta(hours=9)))
SAMPLES = Path(__file__).parent / "samples" / "records.jsonl"
FLAT = {"task_id": "t", "src_id": "a", "src_path": "/x", "dst_id": "local", "dst_path": "/y"}


def record(value: object, **more: Any) -> Record:
    raw = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return Record(Origin("tasks", 3, 41), more.pop("key", b"k"), raw, **more)


def job(value: object) -> Job:
    found = decode(record(value))
    assert isinstance(found, Job)
    return found


def invalid(value: object) -> Invalid:
    found = decode(record(value))
    assert isinstance(found, Invalid)
    return found


def answer(out: OutRecord) -> dict[str, Any]:
    assert out.value is not None
    found = json.loads(out.value)
    assert isinstance(found, dict)
    return found


def test_records_as_they_exist_are_taken_as_they_are() -> None:
    jobs = [job(line) for line in SAMPLES.read_bytes().splitlines()]
    assert [found.task_id for found in jobs] == ["7f1c", "7f1d", "tasks-3-41", "7f1f"]
    assert jobs[0].metadata == {"order": 17}
    assert jobs[0].source == Endpoint("remote-server-a", "/out/20261123/a 1.bin")
    assert jobs[1].options.retry_count == 3
    assert jobs[1].operation is Direction.DOWNLOAD
    assert jobs[2].destination == Endpoint("remote-server-b", "/받은함/보고서.pdf")
    assert jobs[3].options.overwrite is Overwrite.NEVER


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "Tombstone"),
        (b"", "DecodeError"),
        (b"\xff\xfe", "DecodeError"),
        (b"[" * 500_000, "RecursionError"),
        (b'{"a":' * 200_000, "RecursionError"),
        (b"x" * 1_000_000, "DecodeError"),
        (b"[]", "NotAnObject"),
        (b"null", "NotAnObject"),
        (b'"text"', "NotAnObject"),
        (b'{"task_id": "\\ud800"}', "DecodeError"),
        (b'{"a": NaN}', "DecodeError"),
    ],
)
def test_what_is_no_json_object_is_a_dead_letter(value: bytes | None, why: str) -> None:
    found = decode(record(value))
    assert isinstance(found, Undecodable)
    assert found.exception == why
    assert found.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"src_id": 1}, "$.src_id"),
        ({"src_path": None}, "$.src_path"),
        ({"task_id": 7}, "$.task_id"),
        ({"task_id": ""}, "$.task_id"),
        ({"operation": "move"}, "$.operation"),
        ({"options": []}, "$.options"),
        ({"options": {"overwrit": True}}, "overwrit"),
        ({"options": {"overwrite": "if_older"}}, "$.options.overwrite"),
        ({"options": {"retry_count": -1}}, "$.options.retry_count"),
        ({"options": {"retry_count": 1.5}}, "$.options.retry_count"),
        ({"options": {"deadline_seconds": 0}}, "$.options.deadline_seconds"),
        ({"options": {"verify": "by eye"}}, "$.options.verify"),
        ({"options": {"checksum": "sha256:12"}}, "$.options.checksum"),
        ({"options": {"checksum": "crc32:12345678", "verify": "size"}}, "$.options.verify"),
        ({"options": {"after": "burn"}}, "$.options.after"),
        ({"options": {"after": "move:"}}, "$.options.after"),
        ({"options": {"after": "move:/done/{nmae}"}}, "$.options.after"),
        ({"options": {"after": "delete", "verify": "none"}}, "$.options.verify"),
        ({"options": {"after": "move:/done/", "delete_source": True}}, "$.options.delete_source"),
        ({"options": {"check": "yes"}}, "$.options.check"),
        ({"source": {"connection_id": "a", "path": "/x"}}, "Both forms"),
    ],
)
def test_an_object_that_is_no_job_says_what_is_wrong(change: dict[str, Any], message: str) -> None:
    assert message in invalid(FLAT | change).message


@pytest.mark.parametrize("missing", ["src_id", "src_path", "dst_id", "dst_path"])
def test_a_missing_field_is_named(missing: str) -> None:
    assert missing in invalid({name: value for name, value in FLAT.items() if name != missing}).message


def test_an_invalid_job_keeps_its_task_id_where_that_is_one() -> None:
    assert invalid(FLAT | {"src_id": 1}).task_id == "t"
    assert invalid(FLAT | {"task_id": ["t"]}).task_id == "tasks-3-41"


def test_options_that_ask_for_nothing_are_taken() -> None:
    options = {
        "after": "none",
        "delete_source": False,
        "checksum": None,
        "overwrite": True,
        "retry_count": None,
    }
    assert job(FLAT | {"options": options}).options.overwrite is Overwrite.ALWAYS
    assert job(FLAT | {"options": None}).options.verify is None


def test_fields_that_we_do_not_know_come_back() -> None:
    found = job(FLAT | {"batch": [1, 2], "status": "theirs"})
    out = answer(
        encode_outcome(found, record(FLAT), Outcome(Status.SUCCESS), worker="w", now=NOW, limit_bytes=9999)
    )
    assert out["batch"] == [1, 2]
    assert out["status"] == "success"


def test_a_result_says_what_was_done() -> None:
    raw = record(FLAT | {"metadata": {"n": 1}}, headers=(("traceparent", b"00-1"),))
    found = decode(raw)
    assert isinstance(found, Job)
    outcome = Outcome(
        Status.SUCCESS, 2, 100, 30, 5, "size", Peer("10.0.0.1:21", "TLSv1.3", "ab"), "226 Transfer complete."
    )
    out = encode_outcome(found, raw, outcome, worker="pod-0", now=NOW, limit_bytes=9999)
    assert (out.kind, out.key, out.headers) == ("result", b"t", (("traceparent", b"00-1"),))
    assert answer(out) == {
        "task_id": "t",
        "status": "success",
        "src_id": "a",
        "src_path": "/x",
        "dst_id": "local",
        "dst_path": "/y",
        "bytes_transferred": 100,
        "duration_ms": 30,
        "timestamp": "2026-11-23T00:30:00.123Z",
        "attempts": 2,
        "queued_ms": 5,
        "worker": "pod-0",
        "verified": "size",
        "source_checked": "none",
        "metadata": {"n": 1},
        "peer": {"address": "10.0.0.1:21", "tls_version": "TLSv1.3", "certificate_sha256": "ab"},
        "reply": "226 Transfer complete.",
    }


def test_a_failure_carries_the_job_whole() -> None:
    raw = record(b'{"src_id":"a","src_path":"/x",  "dst_id":"local","dst_path":"/y","n":1e2}')
    found = decode(raw)
    assert isinstance(found, Job)
    outcome = Outcome.failed(ErrorCode.FILE_NOT_FOUND, "no such file", attempts=1)
    out = encode_outcome(found, raw, outcome, worker="w", now=NOW, limit_bytes=9999)
    assert out.kind == "failure"
    assert out.value is not None
    assert raw.value is not None
    assert raw.value in out.value
    assert answer(out)["error_code"] == "FILE_NOT_FOUND"
    assert answer(out)["retriable"] is False


def test_an_invalid_object_is_answered_with_what_it_said() -> None:
    raw = record(FLAT | {"src_id": 1})
    found = decode(raw)
    assert isinstance(found, Invalid)
    out = answer(encode_invalid(found, raw, worker="w", now=NOW, limit_bytes=9999))
    assert (out["task_id"], out["error_code"], out["src_id"]) == ("t", "INVALID_JOB", 1)
    assert out["job"] == FLAT | {"src_id": 1}


@pytest.mark.parametrize("where", ["metadata", "src_path", "extra", "header"])
def test_an_answer_that_would_be_too_large_points_to_what_is_left_out(where: str) -> None:
    big = "x" * 1_000_000
    value = dict(FLAT)
    headers: tuple[tuple[str, bytes], ...] = ()
    if where == "header":
        headers = (("big", big.encode()),)
    else:
        value[where] = big
    raw = record(value, headers=headers)
    found = decode(raw)
    assert isinstance(found, Job)
    for outcome in (Outcome(Status.SUCCESS), Outcome.failed(ErrorCode.IO_ERROR, "x")):
        out = encode_outcome(found, raw, outcome, worker="w", now=NOW, limit_bytes=10_000)
        assert out.size_bytes <= 10_000
        told = answer(out)
        assert told["task_id"] == "t"
        if outcome.status is Status.FAILED and where != "header":
            assert told["job"]["sha256"] == hashlib.sha256(raw.value or b"").hexdigest()
            assert (told["job"]["topic"], told["job"]["partition"], told["job"]["offset"]) == ("tasks", 3, 41)


def test_a_dead_letter_has_key_and_value_byte_for_byte() -> None:
    raw = record(b"\xff\x00junk", key=b"\x00\x01", headers=(("h", b"v"),))
    found = decode(raw)
    assert isinstance(found, Undecodable)
    out = dead_letter(raw, found, limit_bytes=9999)
    assert (out.kind, out.key, out.value) == ("dead_letter", b"\x00\x01", b"\xff\x00junk")
    headers = dict(out.headers)
    assert headers["h"] == b"v"
    assert headers["__connect.errors.topic"] == b"tasks"
    assert headers["__connect.errors.partition"] == b"3"
    assert headers["__connect.errors.offset"] == b"41"
    assert headers["__connect.errors.exception.class.name"] == b"DecodeError"
    assert headers["__connect.errors.exception.message"]


def test_a_dead_letter_that_would_be_too_large_keeps_its_hash() -> None:
    raw = record(b"x" * 5000, key=b"k" * 3000, headers=(("h", b"v" * 3000),))
    out = dead_letter(raw, Undecodable("E", "m"), limit_bytes=4000)
    assert out.value is None
    assert out.size_bytes <= 4000
    assert dict(out.headers)["pooler.value.sha256"] == hashlib.sha256(b"x" * 5000).hexdigest().encode()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "task_id",
        "src_id",
        "src_path",
        "dst_id",
        "dst_path",
        "source",
        "destination",
        "options",
        "metadata",
        "operation",
    ]
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(FIELDS | st.text(max_size=4), JSON, max_size=8).map(lambda v: json.dumps(v).encode())
)
def test_any_record_is_a_job_or_gets_an_answer_that_fits(value: bytes) -> None:
    raw = record(value)
    found = decode(raw)
    if isinstance(found, Job):
        out = encode_outcome(
            found, raw, Outcome.failed(ErrorCode.IO_ERROR, "x"), worker="w", now=NOW, limit_bytes=4096
        )
    elif isinstance(found, Invalid):
        out = encode_invalid(found, raw, worker="w", now=NOW, limit_bytes=4096)
    else:
        out = dead_letter(raw, found, limit_bytes=4096)
        assert out.value == value
        return
    assert answer(out)["task_id"]
    assert answer(out)["job"] == json.loads(value)
