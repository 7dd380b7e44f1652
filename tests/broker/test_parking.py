"""Jobs on the retry topics of Apache Kafka: while a server is away, while processes die."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.kafka import Message, RunningBroker, produce, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker

RETRY_TOPICS = ("ftp-tasks-retry-1s", "ftp-tasks-retry-2s")
SETTINGS: dict[str, dict[str, Any]] = {
    "kafka": {"retry_delays_seconds": [1, 2], "retry_partitions": 2},
    "circuit_breaker": {"failure_threshold": 1, "success_threshold": 1, "timeout_seconds": 1},
}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "far") as running:
        running.put("/there", bytes(1000))
        yield running


@pytest.fixture
def near(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "near") as running:
        running.put("/there", bytes(1000))
        yield running


@pytest.fixture(params=["exactly_once", "at_least_once"])
def site(
    tmp_path: Path,
    broker: RunningBroker,
    far: RunningServer,
    near: RunningServer,
    request: pytest.FixtureRequest,
) -> Site:
    settings = {**SETTINGS, "kafka": {**SETTINGS["kafka"], "delivery": request.param}}
    made = Site(tmp_path / "site", broker.bootstrap, {"far": far, "near": near}, settings)
    made.create_topics()
    return made


def job(number: int, remote: str, **more: Any) -> Message:
    fields = {
        "src_id": remote,
        "src_path": "/there",
        "dst_id": "local",
        "dst_path": f"/in/{remote}-{number}",
        **more,
    }
    if number % 3:
        fields["task_id"] = f"{remote}-{number}"
    return Message(
        json.dumps(fields).encode(),
        key=None if number % 2 else b"key",
        headers=[("traceparent", str(number).encode())],
        partition=number % 4,
    )


def settled(site: Site) -> int:
    """How many jobs of the input topic need nothing more."""
    return sum(offset for (topic, _), (offset, _) in site.committed().items() if topic == "ftp-tasks")


def parked(running: RunningPooler) -> int:
    return int(running.get("/v1/remotes/far")["parked"])


def test_a_server_that_is_away_costs_no_attempt_whoever_dies_meanwhile(
    site: Site, broker: RunningBroker, far: RunningServer
) -> None:
    far.stop()
    written = produce(broker.bootstrap, "ftp-tasks", [job(number, "far") for number in range(60)])
    with site.running() as running:
        wait_until(lambda: parked(running) >= 60, "all to be parked once")
        produce(broker.bootstrap, "ftp-tasks", [job(number, "near") for number in range(60, 80)])
        site.wait_for_answers(20)
        # What waits, waits in Kafka: nothing of it keeps the input topic's offsets back.
        wait_until(lambda: settled(site) == 80, "the input topic to be settled")
        running.signal(signal.SIGKILL)
        running.wait()
    copies = [message for topic in RETRY_TOPICS for message in site.messages(topic)]
    assert len(copies) >= 60
    assert {copy.value for copy in copies} == {message.value for message in written}
    assert {(copy.key, copy.headers[0]) for copy in copies} == {
        (message.key, message.headers[0]) for message in written
    }
    with site.running() as running:
        far.start()
        answers = site.wait_for_answers(80)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert [event for event in running.events() if event["level"] == "error"] == []
    if site.settings["kafka"]["delivery"] == "exactly_once":
        assert [task_id for task_id, found in answers.items() if len(found) != 1] == []
    names = {message_id(json.loads(message.value or b""), message) for message in written}
    assert names <= set(answers)
    for found in answers.values():
        assert found[0]["status"] == "success"
        assert found[0]["attempts"] == 1
    assert min(answers[name][0]["queued_ms"] for name in names) >= 5000
    for answer in site.messages("ftp-results"):
        assert [name for name, _ in answer.headers] == ["traceparent"]


def message_id(fields: dict[str, Any], message: Message) -> str:
    return str(fields.get("task_id", f"ftp-tasks-{message.partition}-{message.offset}"))


def test_one_that_is_away_for_good_ends_its_jobs_by_their_deadline(
    site: Site, broker: RunningBroker, far: RunningServer
) -> None:
    far.stop()
    with site.running() as running:
        begun = time.monotonic()
        messages = [job(number, "far", options={"deadline_seconds": 12}) for number in range(8)]
        produce(broker.bootstrap, "ftp-tasks", messages)
        wait_until(lambda: parked(running) >= 8, "all to be parked")
        answers = site.wait_for_answers(8)
        assert time.monotonic() - begun > 11
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert len(answers) == 8
    for (answer,) in answers.values():
        assert answer["error_code"] == "DEADLINE_EXCEEDED"
        assert "at last: 127.0.0.1:" in answer["error_message"]
        assert answer["attempts"] == 0
        assert answer["retriable"] is True


def test_a_copy_in_a_transaction_that_was_aborted_is_no_job(site: Site, broker: RunningBroker) -> None:
    async def abort() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="somebody")
        await producer.start()
        try:
            await producer.begin_transaction()
            for number in range(10):
                await producer.send_and_wait(RETRY_TOPICS[0], job(number, "near").value, partition=0)
            await producer.abort_transaction()
        finally:
            await producer.stop()

    with site.running() as running:
        asyncio.run(abort())
        (copy,) = produce(broker.bootstrap, RETRY_TOPICS[0], [Message(job(100, "near").value, partition=0)])
        answers = site.wait_for_answers(1)
        wait_until(
            lambda: site.committed().get((RETRY_TOPICS[0], 0), (0, ""))[0] > (copy.offset or 0), "its commit"
        )
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert list(answers) == ["near-100"]
    assert (site.local / "in" / "near-100").exists()
    assert not (site.local / "in" / "near-1").exists()


def test_killed_again_and_again_while_parking_nothing_is_parked_twice(
    tmp_path: Path, broker: RunningBroker, far: RunningServer, near: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": far, "near": near}, SETTINGS)
    site.create_topics()
    far.stop()
    produce(broker.bootstrap, "ftp-tasks", [job(number, "far") for number in range(200)])
    for turn in range(4):
        with site.running() as running:
            wait_until(lambda: parked(running) >= 40, f"turn {turn}")
            running.signal(signal.SIGKILL)
            running.wait()
    far.start()
    with site.running() as running:
        answers = site.wait_for_answers(200)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert len(answers) == 200
    assert [task_id for task_id, found in answers.items() if len(found) != 1] == []
    assert {found[0]["attempts"] for found in answers.values()} == {1}
