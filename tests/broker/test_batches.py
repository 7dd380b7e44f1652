"""Bulk jobs on Apache Kafka: each file has one job, each bulk job one closing answer, while processes die."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Message, RunningBroker, produce, read_topic, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site, wait_until

pytestmark = pytest.mark.broker

FILES = 1_500


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "vsftpd") as running:
        for number in range(FILES):
            running.put(f"/out/f{number:04}", b"x")
        running.put("/one/a", b"a")
        yield running


def bulk(task_id: str, source: str, **more: object) -> Message:
    ends = {"src_id": "far", "src_path": source, "dst_id": "local", "dst_path": f"/{task_id}/"}
    return Message(json.dumps({"task_id": task_id, **ends, **more}).encode(), key=None)


def answers(broker: RunningBroker) -> Counter[str]:
    """Count the committed answers by their task_id."""
    found = [*read_topic(broker.bootstrap, "ftp-results"), *read_topic(broker.bootstrap, "ftp-failures")]
    return Counter(str(json.loads(message.value or b"{}")["task_id"]) for message in found)


def closing(broker: RunningBroker, task_id: str) -> list[dict[str, object]]:
    found = (json.loads(message.value or b"{}") for message in read_topic(broker.bootstrap, "ftp-results"))
    return [answer["batch"] for answer in found if answer["task_id"] == task_id]


def test_killed_again_and_again_no_file_has_two_jobs_and_the_end_is_told_once(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    site.create_topics()
    # A large record makes for small visits: four of them here.
    produce(broker.bootstrap, "ftp-tasks", [bulk("many", "/out/f*", metadata="x" * 4_000)])
    expected = Counter({f"many/f{number:04}": 1 for number in range(FILES)} | {"many": 1})
    for visits, kill_at in ((1, 0), (1, 0), (2, 0), (0, 400), (0, 900)):
        with site.running() as running:
            # In the middle of what a visit has found being written, or of the jobs.
            log = running.log
            wait_until(lambda: log.read_text().count('"job_spread"') >= visits, f"{visits} visits")  # noqa: B023 - called within the turn
            wait_until(lambda: sum(answers(broker).values()) >= kill_at, f"{kill_at} answers")  # noqa: B023 - as above
            running.signal(signal.SIGKILL)
            running.wait()
    with site.running() as running:
        wait_until(lambda: answers(broker)["many"] > 0, "the closing answer", within_s=120)
        assert answers(broker) == expected
        (batch,) = closing(broker, "many")
        assert (batch["files"], batch["succeeded"], batch["failed"]) == (FILES, FILES, 0)
        wait_until(lambda: running.get("/v1/status")["window_records"] == 0, "all to be settled")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    # What the killed ones were writing is swept later.
    assert len([path for path in (site.local / "many").iterdir() if path.name[0] != "."]) == FILES


def test_two_pods_share_the_jobs_and_an_empty_folder_has_its_end_too(
    tmp_path: Path, broker: RunningBroker, server: RunningServer
) -> None:
    first = Site(tmp_path / "first" / "site", broker.bootstrap, {"far": server})
    second = Site(tmp_path / "second" / "site", broker.bootstrap, {"far": server})
    first.create_topics()
    with first.running() as one, second.running() as other:
        jobs = [bulk(f"b{number}", "/one/*") for number in range(40)]
        produce(broker.bootstrap, "ftp-tasks", [*jobs, bulk("none", "/one/*.csv"), bulk("gone", "/missing/")])
        wait_until(lambda: sum(answers(broker).values()) >= 82, "all answers", within_s=120)
        for pod in (one, other):
            pod.signal(signal.SIGTERM)
            assert pod.wait() == 0
    assert answers(broker) == Counter(
        {f"b{number}": 1 for number in range(40)}
        | {f"b{number}/a": 1 for number in range(40)}
        | {"none": 1, "gone": 1}
    )
    assert [batch["files"] for batch in closing(broker, "none")] == [0]
