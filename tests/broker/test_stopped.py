"""Topics that change while they are read: partitions that are added, and topics that are made anew."""

import asyncio
import json
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.support.kafka import Message, RunningBroker, create_topics, produce, running_broker
from tests.support.servers import running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker

SOON = {"kafka": {"metadata_max_age_ms": 500, "session_timeout_ms": 30_000}}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker) -> Iterator[Site]:
    with running_server("vsftpd", tmp_path / "vsftpd") as server:
        server.put("/there", bytes(1000))
        made = Site(tmp_path / "site", broker.bootstrap, {"far": server}, SOON)
        made.create_topics()
        yield made


def jobs(first: int, last: int, *partitions: int) -> list[Message]:
    ends = {"src_id": "far", "src_path": "/there", "dst_id": "local"}
    return [
        Message(
            json.dumps({"task_id": str(number), "dst_path": f"/in/{number}", **ends}).encode(),
            partition=partitions[number % len(partitions)],
        )
        for number in range(first, last)
    ]


def administer(broker: RunningBroker, deed: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            await deed(admin)
        finally:
            await admin.close()

    asyncio.run(run())


def partitions(running: RunningPooler) -> list[dict[str, Any]]:
    found = running.get("/v1/partitions")["partitions"]
    return [partition for partition in found if partition["topic"] == "ftp-tasks"]


def states(running: RunningPooler) -> list[str]:
    return [partition["state"] for partition in partitions(running)]


def committed(site: Site) -> list[int]:
    return [offset for (topic, _), (offset, _) in sorted(site.committed().items()) if topic == "ftp-tasks"]


def stopped_gauges(running: RunningPooler) -> list[str]:
    with urllib.request.urlopen(f"{running.metrics}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    return [
        line[-3:] for line in lines if line.startswith("pooler_partition_stopped{") and '"ftp-tasks"' in line
    ]


def test_partitions_that_are_added_are_read_from_their_first_record(
    broker: RunningBroker, site: Site
) -> None:
    with site.running() as running:
        produce(broker.bootstrap, "ftp-tasks", jobs(0, 40, 0, 1, 2, 3))
        site.wait_for_answers(40)
        administer(broker, lambda admin: admin.create_partitions({"ftp-tasks": NewPartitions(6)}))
        # Long before anybody has noticed: where reading begins is not where the topic ends by then.
        produce(broker.bootstrap, "ftp-tasks", jobs(40, 100, 4, 5))
        answers = site.wait_for_answers(100)
        assert [task_id for task_id, found in answers.items() if len(found) != 1] == []
        wait_until(lambda: sum(committed(site)) == 100, "the last commit")
        assert states(running) == ["running"] * 6


def test_a_topic_made_anew_while_it_is_read_is_stopped_until_somebody_has_looked(
    broker: RunningBroker, site: Site
) -> None:
    with site.running() as running:
        produce(broker.bootstrap, "ftp-tasks", jobs(0, 40, 0, 1, 2, 3))
        site.wait_for_answers(40)
        wait_until(lambda: sum(committed(site)) == 40, "the last commit")
        # Asleep it sees neither that the topic is gone nor that it is back, and that there is more in it now.
        running.signal(signal.SIGSTOP)
        administer(broker, lambda admin: admin.delete_topics(["ftp-tasks"]))
        create_topics(broker.bootstrap, {"ftp-tasks": 4})
        produce(broker.bootstrap, "ftp-tasks", jobs(1000, 1200, 0, 1, 2, 3))
        running.signal(signal.SIGCONT)
        wait_until(lambda: states(running) == ["stopped"] * 4, "all partitions to be stopped")
        found = partitions(running)
        assert all("made anew" in partition["reason"] for partition in found)
        assert all("kafka.out_of_range" in partition["way_on"] for partition in found)
        assert [partition["lag"] for partition in found] == [50] * 4
        assert stopped_gauges(running) == ["1.0"] * 4
        assert running.get("/readyz")["status"] == "ok"
        wait_until(lambda: len(committed(site)) == 4, "what is on record to be there again")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert {event["level"] for event in running.events() if event["event"] == "partition_stopped"} == {
            "error"
        }
    with site.running() as running:
        assert states(running) == ["stopped"] * 4
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    with site.running(POOLER__KAFKA__OUT_OF_RANGE="first") as running:
        wait_until(
            lambda: {str(n) for n in range(1000, 1200)} <= set(site.answers()), "all that is in it now"
        )
        assert states(running) == ["running"] * 4
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    # Said once, it is not said again: what is on record is of this topic now.
    with site.running() as running:
        assert states(running) == ["running"] * 4


def test_with_out_of_range_first_a_topic_made_anew_is_read_from_its_first_record(
    broker: RunningBroker, site: Site
) -> None:
    with site.running(POOLER__KAFKA__OUT_OF_RANGE="first") as running:
        produce(broker.bootstrap, "ftp-tasks", jobs(0, 40, 0, 1, 2, 3))
        site.wait_for_answers(40)
        wait_until(lambda: sum(committed(site)) == 40, "the last commit")
        running.signal(signal.SIGSTOP)
        administer(broker, lambda admin: admin.delete_topics(["ftp-tasks"]))
        create_topics(broker.bootstrap, {"ftp-tasks": 4})
        produce(broker.bootstrap, "ftp-tasks", jobs(1000, 1200, 0, 1, 2, 3))
        running.signal(signal.SIGCONT)
        wait_until(
            lambda: {str(n) for n in range(1000, 1200)} <= set(site.answers()), "all that is in it now"
        )
        wait_until(lambda: states(running) == ["running"] * 4, "all partitions to be read again")
        wait_until(lambda: committed(site) == [50] * 4, "the last commit")
