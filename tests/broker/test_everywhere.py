"""Three pods on a real broker: whichever is asked answers for all, and what it is told reaches all."""

import contextlib
import json
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.test_control import job, pod
from tests.support.kafka import RunningBroker, produce, running_broker
from tests.support.servers import running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker

PODS = 3
JOBS = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker) -> Iterator[Site]:
    # A file takes a quarter of an hour: what runs stays.
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=1_000) as server:
        server.put("/there", bytes(1_000_000))
        settings: dict[str, dict[str, Any]] = {
            "transfer": {"drain_seconds": 1},
            "pool": {"adaptive_sessions": False},
        }
        made = Site(tmp_path / "site", broker.bootstrap, {"far": server}, settings)
        made.create_topics()
        yield made


def in_hand(asked: RunningPooler) -> dict[str, str]:
    """Tell which pod has which job, as one of them says."""
    found = asked.get("/v1/jobs/running?limit=100")["jobs"]
    return {one["task_id"]: one["pod"] for one in found}


def names(asked: RunningPooler) -> tuple[list[str], list[str]]:
    whole: dict[str, Any] = asked.get("/v1/service")
    return sorted(whole["pods"]), whole["silent"]


def shown(asked: RunningPooler, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read what the page shows until it is so."""
    with urllib.request.urlopen(f"{asked.api}/v1/live", timeout=30) as stream:
        for line in stream:
            if line.startswith(b"data: ") and what(state := json.loads(line[6:])):
                found: dict[str, Any] = state
                return found
    raise AssertionError("the stream has ended")


def told(state: dict[str, Any]) -> list[str]:
    return [one["pod"] for one in state["pods"] if one["told"] and not one["silent"]]


def test_any_pod_answers_for_all_cancels_on_all_and_names_who_is_silent(
    broker: RunningBroker, site: Site
) -> None:
    everybody = [f"pooler-{number}" for number in range(PODS)]
    with contextlib.ExitStack() as stack:
        pods = [stack.enter_context(pod(site, number)) for number in range(PODS)]
        wait_until(
            lambda: all(one.get("/v1/status")["partitions"] for one in pods), "each to have partitions"
        )
        produce(broker.bootstrap, "ftp-tasks", [job(number) for number in range(JOBS)])
        wait_until(lambda: len(in_hand(pods[0])) == JOBS, "all jobs to run")
        spread = in_hand(pods[0])
        assert sorted(set(spread.values())) == everybody
        assert in_hand(pods[1]) == in_hand(pods[2]) == spread
        assert [names(one) for one in pods] == [(everybody, [])] * PODS
        page = shown(pods[1], lambda state: told(state) == everybody)
        assert {one["task_id"]: one["pod"] for one in page["running"]} == spread
        assert page["remotes"][0]["busy"] == page["service"]["running"] == JOBS
        assert sorted({at["pod"] for at in page["partitions"] if at["topic"] == "ftp-tasks"}) == everybody

        elsewhere, *_ = (task_id for task_id, holder in spread.items() if holder == everybody[2])
        (found,) = pods[0].get(f"/v1/jobs/find?task_id={elsewhere}")["in_hand"]
        assert found["pod"] == everybody[2]
        assert pods[0].post(f"/v1/jobs/cancel?task_id={elsewhere}&why=they%20asked") == 200
        ended = {one: found[0]["error_code"] for one, found in site.wait_for_answers(1).items()}
        assert ended == {elsewhere: "CANCELLED"}
        wait_until(lambda: elsewhere not in in_hand(pods[1]), "all to know of it")

        pods[2].signal(signal.SIGSTOP)
        try:
            assert names(pods[0]) == (everybody[:2], everybody[2:])
            assert set(in_hand(pods[1]).values()) == set(everybody[:2])
            page = shown(
                pods[0], lambda state: told(state) == everybody[:2] and bool(state["pods"][2]["silent"])
            )
            assert page["service"]["running"] < JOBS
        finally:
            pods[2].signal(signal.SIGCONT)
        wait_until(lambda: names(pods[1]) == (everybody, []), "it to be heard again")
