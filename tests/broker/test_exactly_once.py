"""One answer to each job, on Apache Kafka, while processes die, sleep and wake."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.kafka import Message, RunningBroker, produce, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=1_000_000) as running:
        running.put("/there", bytes(100_000))
        yield running


def jobs(first: int, last: int) -> list[Message]:
    return [
        Message(
            json.dumps(
                {
                    "task_id": str(number),
                    "src_id": "far",
                    "src_path": "/there",
                    "dst_id": "local",
                    "dst_path": f"/in/{number}",
                }
            ).encode(),
            partition=number % 4,
        )
        for number in range(first, last)
    ]


def assert_once(site: Site, count: int) -> None:
    """Every job has one answer that was committed, and all offsets are."""
    answers = site.wait_for_answers(count)
    assert len(answers) == count
    assert [task_id for task_id, found in answers.items() if len(found) != 1] == []
    assert {found[0]["status"] for found in answers.values()} == {"success"}
    wait_until(lambda: sum(offset for offset, _ in site.committed().values()) == count, "the last commit")


def events(log: list[dict[str, object]], name: str) -> list[dict[str, object]]:
    return [event for event in log if event["event"] == name]


def test_a_process_that_slept_past_its_session_answers_nothing_twice(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    # Folders of one name: one group.
    first = Site(tmp_path / "first" / "site", broker.bootstrap, {"far": server})
    second = Site(tmp_path / "second" / "site", broker.bootstrap, {"far": server})
    first.create_topics()
    with first.running() as sleeper:
        produce(broker.bootstrap, "ftp-tasks", jobs(0, 600))
        wait_until(lambda: sleeper.get("/v1/status")["succeeded"] >= 30, "the middle")
        sleeper.signal(signal.SIGSTOP)
        with second.running() as heir:
            assert_once(first, 600)
            produce(broker.bootstrap, "ftp-tasks", jobs(600, 800))
            sleeper.signal(signal.SIGCONT)
            produce(broker.bootstrap, "ftp-tasks", jobs(800, 1000))
            assert_once(first, 1000)
            assert sleeper.process.poll() is None
            heir.signal(signal.SIGTERM)
            assert heir.wait() == 0
        produce(broker.bootstrap, "ftp-tasks", jobs(1000, 1040))
        assert_once(first, 1040)
        sleeper.signal(signal.SIGTERM)
        assert sleeper.wait() == 0


def test_killed_again_and_again_each_job_has_one_answer(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    site.create_topics()
    produce(broker.bootstrap, "ftp-tasks", jobs(0, 400))
    for turn in range(1, 5):
        with site.running() as running:
            wait_until(lambda: running.get("/v1/status")["succeeded"] >= 40, f"turn {turn}")
            running.signal(signal.SIGKILL)
            running.wait()
    with site.running() as running:
        assert_once(site, 400)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def commit(broker: RunningBroker, group: str, partition: int, offset: int) -> None:
    """Put an offset on record, as an operator might by mistake."""

    async def write() -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            place = TopicPartition("ftp-tasks", partition)
            consumer.assign([place])
            await consumer.commit({place: offset})
        finally:
            await consumer.stop()

    asyncio.run(write())


def test_an_offset_out_of_range_stops_its_partition_loudly_and_there_is_a_way_on(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    site.create_topics()
    produce(broker.bootstrap, "ftp-tasks", jobs(0, 40))
    commit(broker, site.group, 2, 5000)
    with site.running() as running:
        wait_until(lambda: running.get("/v1/status")["succeeded"] >= 30, "the other partitions")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        (stopped,) = events(running.events(), "partition_stopped")
    assert (stopped["partition"], stopped["level"]) == (2, "error")
    assert "5000" in str(stopped["reason"])
    assert len(site.answers()) == 30
    assert site.committed()["ftp-tasks", 2] == (5000, "")
    with site.running(POOLER__KAFKA__OUT_OF_RANGE="first") as running:
        assert_once(site, 40)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


AFTER = {"none": None, "delete": "deleted", "move:/done/{name}": "moved"}


def test_what_was_done_and_not_answered_is_answered_by_the_next_owner(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    site.create_topics()
    messages, told = [], {}
    for number in range(60):
        server.put(f"/out/{number}", bytes(1000))
        after = list(AFTER)[number % 3]
        job = json.loads(jobs(number, number + 1)[0].value or b"")
        job |= {"src_path": f"/out/{number}", "options": {"after": after}}
        messages.append(Message(json.dumps(job).encode(), partition=number % 4))
        told[str(number)] = AFTER[after]
    produce(broker.bootstrap, "ftp-tasks", messages)
    with site.running(POOLER__KAFKA__COMMIT_INTERVAL_MS="60000") as running:
        wait_until(lambda: running.get("/v1/status")["succeeded"] == 60, "all copies")
        running.signal(signal.SIGKILL)
        running.wait()
    assert site.answers() == {}
    with site.running() as running:
        assert_once(site, 60)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert len(events(running.events(), "transfer_recalled")) == 60
    assert {name: answer.get("after") for name, (answer,) in site.answers().items()} == told
