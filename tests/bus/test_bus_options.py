"""What the options of a record mean."""

import datetime as dt
import json
from typing import Any

import pytest

from pooler.bus.records import Invalid, decode, encode_outcome
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
    # That it is verified then is the plan's affair, which knows the remote's default too.
    assert (options.verify, options.checksum) == (None, Checksum("crc32", "0abcdef9"))
    assert job(verify="checksum").options.checksum is None


def test_an_urgent_job() -> None:
    assert job(priority="high").options.urgent
    assert not job(priority="normal").options.urgent


def test_an_order_key_is_text_that_says_something() -> None:
    assert job(order_key="press-4").options.order_key == "press-4"
    for wrong in ("", 4, "k" * 1025):
        fields = {"src_id": "a", "src_path": "/x", "dst_id": "b", "dst_path": "/x"}
        value = json.dumps({**fields, "options": {"order_key": wrong}}).encode()
        found = decode(Record(Origin("tasks", 0, 1), None, value))
        assert isinstance(found, Invalid)
        assert "order_key" in found.message


@pytest.mark.parametrize("how", Verify)
def test_how_to_verify(how: Verify) -> None:
    assert job(verify=how.value).options.verify is how


@pytest.mark.parametrize("how", ["checksum", "read_back"])
def test_a_checksum_may_be_expected_beside(how: str) -> None:
    options = job(verify=how, checksum="crc32:00000000").options
    assert (options.verify, options.checksum) == (Verify(how), Checksum("crc32", "00000000"))


@pytest.mark.parametrize("asked", [None, False, True])
@pytest.mark.parametrize("name", ["write_marker", "check"])
def test_switches(name: str, asked: bool | None) -> None:  # noqa: FBT001 - as records have it
    options: dict[str, Any] = {name: asked}
    assert getattr(job(**options).options, name) is bool(asked)


@pytest.mark.parametrize("asked", [None, False, True])
def test_where_to_upload_is_left_to_the_remote(asked: bool | None) -> None:  # noqa: FBT001 - as records have it
    assert job(in_place=asked).options.in_place is asked


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
        marked=True,
        check={"source_bytes": 3},
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
        "marker": "/x.ok",
        "check": {"source_bytes": 3},
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_a_result_has_nothing_to_say_of_what_was_not_asked() -> None:
    record = Record(Origin("tasks", 0, 1), None, b"{}")
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    out = encode_outcome(job(), record, Outcome(Status.SUCCESS), worker="w", now=now, limit_bytes=9999)
    assert out.value is not None
    assert not {"marker", "check", "checksum", "mtime", "after"} & set(json.loads(out.value))
