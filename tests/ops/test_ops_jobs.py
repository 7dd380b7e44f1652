"""Jobs over the admin API, over real sockets: what runs, what ended, why jobs fail, and cancelling one."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import pytest

from pooler.errors import ErrorCode
from pooler.flow.chronicle import Chronicle, chapter
from pooler.model.job import Delivery, Direction, Endpoint, Job, Origin, Record
from pooler.model.outcome import Outcome, Status
from pooler.ops.http.app import create_app
from pooler.ops.http.jobs import ended_job, failure_causes
from tests.support.api import TOKENS, assert_problem, bearer, logged, serving
from tests.support.http_client import Address, ask
from tests.support.service_double import COPIED, FAILED, RUNNING, WAITING, ServiceDouble


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def api(service: ServiceDouble) -> AsyncIterator[Address]:
    async with serving(create_app(service, TOKENS)) as (address, _):
        yield address


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


async def test_what_runs(api: Address) -> None:
    (job,) = (await ask(api, "GET", "/v1/jobs/running", bearer("read"))).json["jobs"]
    assert job["task_id"] == RUNNING.task_id
    assert (job["bytes"], job["bytes_per_s"], job["peer"]) == (4096, 8192, "192.0.2.1:21")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [FAILED, COPIED]),
        ("?limit=1", [FAILED]),
        ("?remote=site-a", [COPIED]),
        ("?status=failed", [FAILED]),
        ("?error_code=CONNECTION_ERROR", [FAILED]),
        ("?remote=site-a&status=failed", []),
    ],
)
async def test_what_ended(api: Address, query: str, found: list[object]) -> None:
    jobs = (await ask(api, "GET", f"/v1/jobs/ended{query}", bearer("read"))).json["jobs"]
    assert [job["task_id"] for job in jobs] == [job.task_id for job in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "many"])
async def test_a_limit_that_cannot_be_meant(api: Address, limit: str) -> None:
    answer = await ask(api, "GET", f"/v1/jobs/ended?limit={limit}", bearer("read"))
    assert_problem(answer, 400, "/v1/jobs/ended")
    assert "limit" in answer.json["detail"]


async def test_a_job_is_found_wherever_it_is(api: Address) -> None:
    waiting = (await ask(api, "GET", f"/v1/jobs/find?task_id={quote(WAITING.task_id)}", bearer("read"))).json
    assert [job["running"] for job in waiting["in_hand"]] == [False]
    assert waiting["ended"] == []
    ended = (await ask(api, "GET", "/v1/jobs/find?task_id=task-b", bearer("read"))).json
    assert ended["in_hand"] == []
    assert ended["ended"][0]["error"] == FAILED.error


@pytest.mark.parametrize(("verb", "path"), [("GET", "find"), ("POST", "cancel")])
async def test_a_job_that_nobody_knows(api: Address, verb: str, path: str) -> None:
    answer = await ask(api, verb, f"/v1/jobs/{path}?task_id=none", bearer("operate"))
    assert_problem(answer, 404, f"/v1/jobs/{path}")
    assert_problem(await ask(api, verb, f"/v1/jobs/{path}", bearer("operate")), 400, f"/v1/jobs/{path}")


async def test_why_jobs_fail(api: Address) -> None:
    (cause,) = (await ask(api, "GET", "/v1/failures", bearer("read"))).json["causes"]
    assert (cause["remote"], cause["error_code"], cause["jobs"]) == ("site-b", "CONNECTION_ERROR", 3)
    assert cause["newest"]["task_id"] == "task-b"


async def test_cancelling_says_who_and_why_and_is_logged(
    api: Address, service: ServiceDouble, log: io.StringIO
) -> None:
    answer = await ask(api, "POST", "/v1/jobs/cancel?task_id=task-1&why=too%20big", bearer("operate"))
    assert answer.status == 200
    assert answer.json["in_hand"][0]["cancelled"] == "cancelled by operate-name: too big"
    assert service.calls == [("cancel", "task-1", "cancelled by operate-name: too big")]
    (line,) = map(json.loads, log.getvalue().splitlines())
    assert (line["event"], line["action"], line["task_id"]) == ("api_action", "cancel", "task-1")


async def test_cancelling_takes_more_than_reading(api: Address, service: ServiceDouble) -> None:
    answer = await ask(api, "POST", "/v1/jobs/cancel?task_id=task-1", bearer("read"))
    assert_problem(answer, 403, "/v1/jobs/cancel")
    assert service.calls == []


async def test_what_has_ended_cannot_be_cancelled(api: Address, service: ServiceDouble) -> None:
    answer = await ask(api, "POST", "/v1/jobs/cancel?task_id=task-b", bearer("operate"))
    assert_problem(answer, 404, "/v1/jobs/cancel")
    assert "it has ended" in answer.json["detail"]
    assert service.calls == []


def delivery(task_id: str) -> Delivery:
    job = Job(task_id, Endpoint("site-a", "/a"), Endpoint("local", "/b"))
    return Delivery(job, Record(Origin("ftp-tasks", 0, 7), None, b"x" * 1_000_000), 0.0)


def test_the_chronicle_forgets_the_oldest_and_no_reason() -> None:
    chronicle = Chronicle(room=2)
    refused = Outcome.failed(ErrorCode.LOGIN_REFUSED, "530 no", reply="530 no")
    chronicle.add(chapter(delivery("one"), "site-a", Direction.DOWNLOAD, refused, 1.0))
    chronicle.add(chapter(delivery("two"), "site-a", Direction.DOWNLOAD, refused, 2.0))
    for number in range(2):
        done = Outcome(Status.SUCCESS, attempts=1)
        chronicle.add(chapter(delivery(f"well-{number}"), "site-a", Direction.DOWNLOAD, done, 3.0))
    chronicle.add(chapter(delivery("bad"), None, None, Outcome.failed(ErrorCode.INVALID_JOB, "no"), 4.0))
    assert [ended.task_id for ended in chronicle] == ["bad", "well-1"]
    newest, older = failure_causes(chronicle)
    assert (newest.remote, newest.error_code, newest.jobs) == (None, "INVALID_JOB", 1)
    assert (older.remote, older.error_code, older.jobs) == ("site-a", "LOGIN_REFUSED", 2)
    assert older.newest.task_id == "two"


def test_a_chapter_is_short_however_long_its_job_is() -> None:
    outcome = Outcome.failed(ErrorCode.IO_ERROR, "e" * 10_000, reply="r" * 10_000)
    kept = chapter(delivery("t" * 10_000), "site-a", Direction.DOWNLOAD, outcome, 0.0)
    told = ended_job(kept)
    assert len(told.task_id) == len(told.error or "") == len(told.reply or "") == 1001
    assert told.at == "1970-01-01T00:00:00.000+00:00"
