"""Urgent jobs on a topic of their own: they overtake a backlog that nobody has even read."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.cli import exits
from tests.support.kafka import Message, RunningBroker, create_topics, produce, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site

pytestmark = pytest.mark.broker

URGENT = "ftp-tasks-urgent"
WINDOW = 20
BACKLOG, IN_A_HURRY = 150, 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "vsftpd") as running:
        running.put("/there", bytes(10_000))
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker, server: RunningServer) -> Site:
    settings = {"kafka": {"priority_topic": URGENT, "window_records": WINDOW, "max_poll_records": 10}}
    made = Site(tmp_path / "site", broker.bootstrap, {"far": server}, settings)
    connections = made.folder / "connections.ini"
    # Some ten files a second, one after the other.
    connections.write_text(f"{connections.read_text()}max_sessions = 1\nbandwidth = 100K\n")
    made.create_topics()
    create_topics(broker.bootstrap, {URGENT: 2})
    return made


def jobs(kind: str, count: int) -> list[Message]:
    ends = {"src_id": "far", "src_path": "/there", "dst_id": "local"}
    return [
        Message(json.dumps({"task_id": f"{kind}-{n}", "dst_path": f"/{kind}/{n}", **ends}).encode())
        for n in range(count)
    ]


def test_they_overtake_what_is_not_even_read_and_starve_nobody_and_each_is_answered_once(
    broker: RunningBroker, site: Site
) -> None:
    produce(broker.bootstrap, "ftp-tasks", jobs("ordinary", BACKLOG))
    with site.running() as running:
        site.wait_for_answers(5)
        produce(broker.bootstrap, URGENT, jobs("urgent", IN_A_HURRY))
        while sum(name.startswith("urgent") for name in site.answers()) < IN_A_HURRY:
            site.wait_for_answers(1)
        before = sum(name.startswith("ordinary") for name in site.answers())
        # In turns of four to one, but for what was moved while they were on their way.
        assert 5 + IN_A_HURRY // 4 <= before < BACKLOG // 2
        # And so are those that an owner which dies has read and not answered.
        produce(broker.bootstrap, URGENT, jobs("later", IN_A_HURRY))
        site.wait_for_answers(before + IN_A_HURRY + 3)
        running.signal(signal.SIGKILL)
        running.wait()
    with site.running():
        answers = site.wait_for_answers(BACKLOG + 2 * IN_A_HURRY)
    assert {len(found) for found in answers.values()} == {1}
    assert {found["status"] for (found,) in answers.values()} == {"success"}
    last = max(found["timestamp"] for name, (found,) in answers.items() if name.startswith("later"))
    assert sum(found["timestamp"] > last for (found,) in answers.values()) > BACKLOG // 4


def test_a_priority_topic_that_is_not_there_stops_the_start(site: Site) -> None:
    command = site.command("doctor", "--only", "kafka")
    command[command.index("--config") + 1] = str(site.folder / "other.yaml")
    settings = {**site.settings, "kafka": {**site.settings["kafka"], "priority_topic": "nowhere"}}
    (site.folder / "other.yaml").write_text(json.dumps(settings))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == exits.FATAL
    assert "topic nowhere: there is none" in done.stdout
