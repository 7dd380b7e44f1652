"""Any pod answers for all of them: what they tell is put together, and those who say nothing are named."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from pooler.errors import BusError
from pooler.ops.http.app import create_app
from pooler.ops.http.questions import answer
from tests.support.api import TOKENS, assert_problem, bearer, serving
from tests.support.http_client import Address, ask
from tests.support.service_double import COPIED, FAILED, RUNNING, ServiceDouble


@pytest.fixture
def other() -> ServiceDouble:
    other = ServiceDouble()
    other.pod = "pooler-1"
    other.in_hand = [replace(RUNNING, task_id="theirs", bytes_per_s=1)]
    other.ended_jobs = [replace(FAILED, task_id="theirs-b", at="2026-11-25T00:00:00.000+00:00")]
    return other


@pytest.fixture
def service(other: ServiceDouble) -> ServiceDouble:
    service = ServiceDouble()
    service.others = {other.pod: other}
    service.silent = ("pooler-2",)
    return service


@pytest.fixture
async def api(service: ServiceDouble) -> AsyncIterator[Address]:
    async with serving(create_app(service, TOKENS)) as (address, _):
        yield address


async def get(api: Address, path: str, scope: str = "read") -> Any:
    answer = await ask(api, "GET", f"/v1/{path}", bearer(scope))
    assert answer.status == 200, answer.json
    return answer.json


async def test_the_jobs_of_all_pods_each_with_its_pod(api: Address) -> None:
    told = await get(api, "jobs/running")
    assert [(job["task_id"], job["pod"]) for job in told["jobs"]] == [
        ("theirs", "pooler-1"),  # the slower one
        ("task-1", "pooler-0"),
    ]
    assert told["silent"] == ["pooler-2"]
    assert [job["pod"] for job in (await get(api, "jobs/running?pods=me"))["jobs"]] == ["pooler-0"]


async def test_what_ended_is_read_by_the_page(api: Address) -> None:
    first = await get(api, "jobs/ended?limit=2")
    assert [job["task_id"] for job in first["jobs"]] == ["theirs-b", FAILED.task_id]
    second = await get(api, f"jobs/ended?limit=2&cursor={first['next']}")
    assert [job["task_id"] for job in second["jobs"]] == [COPIED.task_id]
    assert second["next"] is None


@pytest.mark.parametrize("cursor", ["nonsense", "WzFd", "bnVsbA", "%ff", "WyJhIl0"])
async def test_a_cursor_of_nobody_s(api: Address, cursor: str) -> None:
    answered = await ask(api, "GET", f"/v1/jobs/ended?cursor={cursor}", bearer("read"))
    assert_problem(answered, 400, "/v1/jobs/ended")


async def test_a_job_is_found_and_cancelled_wherever_it_is(api: Address, other: ServiceDouble) -> None:
    found = await get(api, "jobs/find?task_id=theirs")
    assert found["in_hand"][0]["pod"] == "pooler-1"
    answered = await ask(api, "POST", "/v1/jobs/cancel?task_id=theirs&why=late", bearer("operate"))
    assert answered.json["in_hand"][0]["cancelled"] == "cancelled by operate-name: late"
    assert other.calls == [("cancel", "theirs", "cancelled by operate-name: late")]
    nowhere = await ask(api, "GET", "/v1/jobs/find?task_id=none", bearer("read"))
    assert_problem(nowhere, 404, "/v1/jobs/find")
    assert "Not heard: pooler-2." in nowhere.json["detail"]


async def test_reasons_are_added_up(api: Address) -> None:
    (cause,) = (await get(api, "failures"))["causes"]
    assert (cause["jobs"], cause["error_code"]) == (6, "CONNECTION_ERROR")


async def test_the_service_as_a_whole(api: Address, other: ServiceDouble) -> None:
    other.change_status(oldest_job_age_s=99.0)
    told = await get(api, "service")
    assert (told["succeeded"], told["lag"], told["oldest_job_age_s"]) == (200, 10, 99.0)
    assert sorted(told["pods"]) == ["pooler-0", "pooler-1"]
    held = (await get(api, "partitions"))["partitions"]
    assert [(one["partition"], one["pod"]) for one in held] == [
        (0, "pooler-0"), (0, "pooler-1"), (1, "pooler-0"), (1, "pooler-1"),
    ]  # fmt: skip


async def test_all_pods_reload_and_tell_what_came_of_it(api: Address, other: ServiceDouble) -> None:
    other.report = replace(other.report, done=False, changed=(), mistakes=("config.yaml:3:1: no such key",))
    assert_problem(await ask(api, "POST", "/v1/reload", bearer("operate")), 403, "/v1/reload")
    told = (await ask(api, "POST", "/v1/reload", bearer("admin"))).json
    assert told["pods"]["pooler-0"]["changed"] == ["remote site-c: added"]
    assert told["pods"]["pooler-1"]["mistakes"] == ["config.yaml:3:1: no such key"]
    assert told["silent"] == ["pooler-2"]
    assert other.calls == [("reload", "admin-name")]


async def test_another_pod_is_drained_by_its_name(
    api: Address, service: ServiceDouble, other: ServiceDouble
) -> None:
    answered = await ask(api, "POST", "/v1/drain?pod=pooler-1", bearer("admin"))
    assert (answered.status, answered.json) == (202, {"pod": "pooler-1"})
    assert (service.calls, other.calls) == ([], [("drain",)])
    assert_problem(await ask(api, "POST", "/v1/drain?pod=pooler-9", bearer("admin")), 404, "/v1/drain")


async def test_who_cannot_ask_the_others_answers_for_itself_and_says_so(
    api: Address, service: ServiceDouble
) -> None:
    service.deaf = BusError("no broker")
    told = await get(api, "jobs/running")
    assert [job["pod"] for job in told["jobs"]] == ["pooler-0"]
    assert told["silent"] == ["all others: the control topic cannot be written to now"]


async def test_what_was_done_and_refused_is_remembered_of_all_pods(
    api: Address, other: ServiceDouble
) -> None:
    other.ledger.note("pause", "anna", "192.0.2.7", {"remote": "site-a", "why": ""})
    await ask(api, "POST", "/v1/remotes/site-b/pause?why=disk", bearer("operate"))
    await ask(api, "POST", "/v1/drain", bearer("read"))
    deeds = (await get(api, "audit", "admin"))["deeds"]
    assert [(deed["action"], deed["by"], deed["pod"]) for deed in deeds] == [
        ("refused", "read-name", "pooler-0"),
        ("pause", "operate-name", "pooler-0"),
        ("pause", "anna", "pooler-1"),
    ]
    assert deeds[1]["details"]["why"] == "disk"
    first = await get(api, "audit?limit=1", "admin")
    second = await get(api, f"audit?limit=1&cursor={first['next']}", "admin")
    assert second["deeds"] == deeds[1:2]
    assert_problem(await ask(api, "GET", "/v1/audit", bearer("operate")), 403, "/v1/audit")


async def test_the_configuration_and_a_probe(api: Address, service: ServiceDouble) -> None:
    told = await get(api, "config", "operate")
    assert told["settings"]["logging"]["level"] == {"value": "INFO", "from": "default"}
    probed = await ask(api, "POST", "/v1/remotes/site-a/probe", bearer("operate"))
    assert (probed.status, probed.json["ok"], probed.json["dialogue"]) == (200, True, ["< 220 hello"])
    path = "/v1/remotes/none/probe"
    assert_problem(await ask(api, "POST", path, bearer("operate")), 404, path)
    service.busy_with = "all of the 2 sessions are there"
    path = "/v1/remotes/site-a/probe"
    assert_problem(await ask(api, "POST", path, bearer("operate")), 409, path)


async def test_a_question_of_a_newer_pod_is_told_to_be_unknown(service: ServiceDouble) -> None:
    with pytest.raises(LookupError, match="weather"):
        await answer(service, "weather", {})
