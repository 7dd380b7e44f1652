"""The control topic on a real broker: what holds for all pods, who starts later, and what stops a start."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka import Message, RunningBroker, create_topics, produce, read_topic, running_broker
from tests.support.process import free_port
from tests.support.secret_volume import SecretVolume
from tests.support.servers import RunningServer, running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker

CONTROL = "ftp-tasks-control"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "vsftpd") as running:
        running.put("/there", bytes(1000))
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker, server: RunningServer) -> Site:
    made = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    made.create_topics()
    return made


@contextlib.contextmanager
def pod(site: Site, number: int) -> Iterator[RunningPooler]:
    port = free_port()
    environment = {
        "POD_NAME": f"pooler-{number}",
        "POOLER__API__PORT": str(port),
        "POOLER__METRICS__ENABLED": "false",
    }
    with site.running(ready=False, **environment) as running:
        found = dataclasses.replace(running, api=f"http://127.0.0.1:{port}")
        wait_until(lambda: ready(found), f"pooler-{number} to be ready")
        yield found


def ready(running: RunningPooler) -> bool:
    with contextlib.suppress(OSError):
        return bool(running.get("/v1/status")["ready"])
    return False


def remote(running: RunningPooler) -> Any:
    return running.get("/v1/remotes/far")


def job(number: int) -> Message:
    fields = {"task_id": str(number), "src_id": "far", "src_path": "/there", "dst_id": "local"}
    return Message(json.dumps({**fields, "dst_path": f"/in/{number}"}).encode(), partition=number % 4)


def test_what_one_pod_is_told_holds_for_all_and_for_one_that_starts_later(
    broker: RunningBroker, site: Site
) -> None:
    with pod(site, 0) as first, pod(site, 1) as second:
        assert first.post("/v1/remotes/far/pause?why=they%20asked") == 200
        assert remote(first)["paused"]
        wait_until(lambda: bool(remote(second)["paused"]), "the other to hear of it")
        assert second.post("/v1/remotes/far/limit?max_sessions=3") == 200
        wait_until(lambda: remote(first)["limits"]["most"] == 3, "the one to hear of that")
        produce(broker.bootstrap, CONTROL, [Message(b"{", b"remote/far/work"), Message(b"1", b"pod/x")])
        produce(broker.bootstrap, CONTROL, [Message(b'{"v": 9}', b"remote/far/colour")])
        with pod(site, 2) as third:
            assert remote(third)["paused"]
            assert remote(third)["limits"]["most"] == 3
            produce(broker.bootstrap, "ftp-tasks", [job(number) for number in range(12)])
            wait_until(
                lambda: sum(remote(one)["waiting"] for one in (first, second, third)) == 12,
                "the jobs to wait",
            )
            found = third.get("/v1/pods")
            assert {one["pod"] for one in found["pods"]} == {"pooler-0", "pooler-1", "pooler-2"}
            assert [one["silent"] for one in found["pods"]] == [False] * 3
            (together,) = found["remotes"]
            (work,) = [wanted for wanted in together["wanted"] if wanted["what"] == "work"]
            assert (work["value"], work["by"], work["why"]) == ("pause", "anonymous", "they asked")
            assert third.post("/v1/remotes/far/resume") == 200
            site.wait_for_answers(12)
        wait_until(lambda: len(first.get("/v1/pods")["pods"]) == 3, "the pods to be read")
        wait_until(
            lambda: [one["silent"] for one in first.get("/v1/pods")["pods"]].count(True) == 1,
            "the one that was killed to be missed",
        )
    events = [event["event"] for event in first.events()]
    assert events.count("control_record_wrong") == 2
    assert events.count("control_record_unknown") == 1


def test_a_wrong_password_is_tried_once_by_three_pods(
    broker: RunningBroker, server: RunningServer, site: Site
) -> None:
    volume = with_a_wrong_password(site, server)
    produce(broker.bootstrap, "ftp-tasks", [job(number) for number in range(12)])
    with pod(site, 0) as first, pod(site, 1) as second, pod(site, 2) as third:
        pods = (first, second, third)
        wait_until(
            lambda: (
                sum("not tried again" in str(remote(one)["last_error"]) for one in pods) == 2
                and all(remote(one)["state"] == "open" for one in pods)
            ),
            "all to know that it is wrong",
        )
        assert refused(server) == 1
        (together,) = second.get("/v1/pods")["remotes"]
        (refusal,) = together["refused"]
        assert refusal["pod"] in {"pooler-0", "pooler-1", "pooler-2"}
        volume.rotate(far=f"{server.password}\n")
        # Long before the breaker would let one through.
        wait_until(lambda: all(remote(one)["state"] == "closed" for one in pods), "all to see it", 15)
        site.wait_for_answers(12)
        assert refused(server) == 1
    written = [
        part for message in read_topic(broker.bootstrap, CONTROL) for part in (message.key, message.value)
    ]
    assert not any(b"wrong" in part or server.password.encode() in part for part in written if part)


def with_a_wrong_password(site: Site, server: RunningServer) -> SecretVolume:
    volume = SecretVolume(site.folder / "secrets", far="wrong\n")
    connections = site.folder / "connections.ini"
    password, file = f"pass = {server.password}", f"pass_file = {volume.path('far')}"
    connections.write_text(connections.read_text().replace(password, file))
    return volume


def refused(server: RunningServer) -> int:
    return server.log.read_text().count("FAIL LOGIN")


def test_a_topic_that_forgets_stops_the_start_and_says_how_to_mend_it(
    broker: RunningBroker, site: Site
) -> None:
    create_topics(broker.bootstrap, {CONTROL: 1})
    with site.running(ready=False) as running:
        assert running.wait() != 0
        log = running.log.read_text()
    assert "cleanup.policy is delete" in log
    assert "kafka-configs --bootstrap-server" in log


def test_without_a_control_topic_each_pod_is_for_itself(site: Site) -> None:
    with site.running(POOLER__KAFKA__CONTROL_TOPIC="") as running:
        assert running.post("/v1/remotes/far/pause") == 200
        assert remote(running)["paused"]
        assert running.get("/v1/pods") == {"together": False, "pods": [], "remotes": []}


def test_without_a_control_topic_too_a_wrong_password_is_tried_once(
    broker: RunningBroker, server: RunningServer, site: Site
) -> None:
    volume = with_a_wrong_password(site, server)
    produce(broker.bootstrap, "ftp-tasks", [job(number) for number in range(12)])
    with site.running(
        POOLER__KAFKA__CONTROL_TOPIC="", POOLER__CIRCUIT_BREAKER__TIMEOUT_SECONDS="1"
    ) as running:
        wait_until(
            lambda: "not tried again" in str(remote(running)["last_error"]), "it not to be tried again"
        )
        assert refused(server) == 1
        assert running.post("/v1/remotes/far/reset") == 200
        wait_until(lambda: refused(server) == 2, "it to be tried once more")
        volume.rotate(far=f"{server.password}\n")
        site.wait_for_answers(12)
        assert refused(server) == 2
