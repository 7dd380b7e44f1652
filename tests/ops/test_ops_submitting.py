"""Jobs by a request: handed to the brokers whole or not at all, and once for a key."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from pooler.errors import BusError
from pooler.ops.http.app import create_app
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.submitting import Receipts
from tests.support.api import TOKENS, assert_problem, bearer, serving
from tests.support.http_client import Address, Answer, ask, encode, read_answer
from tests.support.service_double import ServiceDouble

JOB = {"task_id": "a", "src_id": "site-a", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def api(service: ServiceDouble) -> AsyncIterator[Address]:
    async with serving(create_app(service, TOKENS)) as (address, _):
        yield address


async def submit(
    api: Address, jobs: Any, key: str | None = None, query: str = "", who: str = "operate"
) -> Answer:
    headers = {**bearer(who), "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    body = jobs if isinstance(jobs, bytes) else json.dumps(jobs).encode()
    return await ask(api, "POST", f"/v1/jobs{query}", headers, body)


async def test_one_job_or_many(api: Address, service: ServiceDouble) -> None:
    answer = await submit(api, JOB)
    assert answer.status == 202
    assert answer.json == {
        "topic": "ftp-tasks", "jobs": [{"task_id": "a", "remote": "site-a"}], "again": False,
    }  # fmt: skip
    many = await submit(
        api, [{**JOB, "task_id": str(number)} for number in range(1000)], query="?urgent=true"
    )
    assert len(many.json["jobs"]) == 1000
    one, thousand = service.submitted
    assert (one.by, one.urgent, one.jobs) == ("operate-name", False, (JOB,))
    assert thousand.urgent
    assert next(iter(service.ledger)).details["jobs"] == "1000"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b"[1]", b"{", b"[" * 10_000, json.dumps([JOB] * 1001).encode()]
)
async def test_what_cannot_be_meant(api: Address, service: ServiceDouble, body: bytes) -> None:
    assert_problem(await submit(api, body), 400, "/v1/jobs")
    assert service.submitted == []


async def test_too_large_and_not_allowed(api: Address) -> None:
    async with await trio.open_tcp_stream(*api) as stream:
        head = encode("POST", "/v1/jobs", bearer("operate")).replace(b"Length: 0", b"Length: 1048577")
        await stream.send_all(head)
        assert_problem(await read_answer(stream), 413, "/v1/jobs")
    assert_problem(await submit(api, JOB, who="read"), 403, "/v1/jobs")


async def test_refused_and_unknown_whether_it_is_there(api: Address, service: ServiceDouble) -> None:
    service.refuses = "Nothing is submitted: job 1: UNKNOWN_REMOTE"
    answer = await submit(api, JOB)
    assert_problem(answer, 400, "/v1/jobs")
    assert answer.json["detail"] == service.refuses
    service.refuses, service.deaf = "", BusError("no broker answers")
    answer = await submit(api, JOB)
    assert_problem(answer, 503, "/v1/jobs")


async def test_a_request_that_is_made_again_is_answered_as_before(
    api: Address, service: ServiceDouble
) -> None:
    first = await submit(api, JOB, "monday")
    again = await submit(api, JOB, "monday")
    assert (again.status, again.json) == (202, {**first.json, "again": True})
    assert len(service.submitted) == 1
    assert (await submit(api, JOB, "monday", who="admin")).json["again"] is False  # another caller's own name
    other = await submit(api, {**JOB, "task_id": "b"}, "monday")
    assert_problem(other, 422, "/v1/jobs")
    assert_problem(await submit(api, JOB, "k" * 256), 400, "/v1/jobs")


async def test_what_failed_may_be_tried_again_with_its_key(api: Address, service: ServiceDouble) -> None:
    service.refuses = "Nothing is submitted: job 1"
    assert_problem(await submit(api, JOB, "monday"), 400, "/v1/jobs")
    service.refuses = ""
    assert (await submit(api, JOB, "monday")).json["again"] is False


async def test_a_request_that_was_made_at_another_pod(api: Address, service: ServiceDouble) -> None:
    other = ServiceDouble()
    service.others = {"pooler-1": other}
    async with serving(create_app(other, TOKENS)) as (there, _):
        await submit(there, JOB, "monday")
    assert (await submit(api, JOB, "monday")).json["again"] is True
    assert service.submitted == []


def test_receipts_are_kept_for_a_day() -> None:
    now = 0.0
    receipts = Receipts(lambda: now)
    receipts.keep("monday", Receipt("digest", "{}"))
    now = 86_399.0
    assert receipts.get("monday") == Receipt("digest", "{}")
    now = 86_400.0
    assert receipts.get("monday") is None
    for number in range(10_000):
        receipts.keep(str(number), Receipt("", ""))
    assert len(receipts._kept) == 10_000
