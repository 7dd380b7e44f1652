"""What the options of a record mean."""

import datetime as dt
import json
from typing import Any

import pytest

from pooler.bus.records import decode, encode_outcome
from pooler.model.job import After, Checksum, Job, Options, Origin, Overwrite, Record, Verify
from pooler.model.outcome import Outcome, Status

NOON_MS = round(dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp() * 1000)


def job(source: str = "/out/a.tar.gz", timestamp_ms: int = NOON_MS, **options: Any) -> Job:
    fields = {
        "task_id": "a/b",
        "src_id": "site",
        "src_path": source,
        "dst_id": "disk",
        "dst_path": "/x",
        "options": options,
    }
    found = decode(Record(Origin("tasks", 0, 1), None, json.dumps(fields).encode(), (), timestamp_ms))
    assert isinstance(found, Job), found
    return found


def test_no_options_are_the_defaults() -> None:
    assert job().options == Options()


def test_null_is_no_option() -> None:
    nothing = ["retry_count", "deadline_seconds", "verify", "checksum", "preserve_mtime", "resume", "after"]
    options: dict[str, Any] = dict.fromkeys([*nothing, "delete_source", "priority", "order_key"])
    assert job(**options).options == Options()


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (True, Overwrite.ALWAYS),
        (False, Overwrite.NEVER),
        *((how.value, how) for how in Overwrite),
    ],
)
def test_when_to_overwrite(asked: bool | str, meant: Overwrite) -> None:  # noqa: FBT001 - as records have it
    assert job(overwrite=asked).options.overwrite is meant


def test_an_expected_checksum_is_verified() -> None:
    options = job(checksum="crc32:0ABCDEF9").options
    assert (options.verify, options.checksum) == (Verify.CHECKSUM, Checksum("crc32", "0abcdef9"))
    assert job(verify="checksum").options.checksum is None


@pytest.mark.parametrize("options", [{"after": "delete"}, {"delete_source": True}])
def test_a_source_to_be_deleted(options: dict[str, Any]) -> None:
    found = job(**options).options
    assert (found.after, found.move_to) == (After.DELETE, None)


@pytest.mark.parametrize(
    ("template", "source", "moved_to"),
    [
        ("/done/{name}", "/out/a.tar.gz", "/done/a.tar.gz"),
        ("/done/", "/out/a.tar.gz", "/done/a.tar.gz"),
        ("done/{date}/{time}-{stem}_{task_id}{suffix}", "a.tar.gz", "done/2026-11-23/120000-a.tar_a_b.gz"),
        ("/done/{stem}|{suffix}", "/out/.hidden", "/done/.hidden|"),
        ("/done/{stem}|{suffix}", "/out/plain", "/done/plain|"),
        ("/{", "/f", "/{"),
    ],
)
def test_where_a_source_is_moved_to(template: str, source: str, moved_to: str) -> None:
    options = job(source, after=f"move:{template}").options
    assert (options.after, options.move_to) == (After.MOVE, moved_to)


def test_a_job_from_a_list_has_the_date_of_today() -> None:
    today = {dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")}
    found = job(timestamp_ms=0, after="move:{date}").options.move_to
    assert found in today | {dt.datetime.now(dt.UTC).strftime("%Y-%m-%d")}


def test_a_result_says_what_became_of_it() -> None:
    outcome = Outcome(
        Status.SUCCESS,
        verified="checksum",
        source_checked="time",
        checksum="crc32:00000000",
        mtime_kept=False,
        resumed_from=7,
        after="left",
        after_error="no",
    )
    record = Record(Origin("tasks", 0, 1), None, b"{}")
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    out = encode_outcome(job(), record, outcome, worker="w", now=now, limit_bytes=9999)
    assert out.value is not None
    found = json.loads(out.value)
    wanted = {
        "verified": "checksum",
        "source_checked": "time",
        "checksum": "crc32:00000000",
        "mtime": "not kept",
        "resumed_from": 7,
        "after": "left",
        "after_error": "no",
    }
    assert {name: found.get(name) for name in wanted} == wanted
