"""`pooler run --processes 2` on a real broker and a real server: one command, two members of the group."""

import contextlib
import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka import Message, produce, running_broker
from tests.support.process import free_ports
from tests.support.servers import running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker

JOBS = 40


def jobs() -> list[Message]:
    ends = {"src_id": "far", "src_path": "/out", "dst_id": "local"}
    return [
        Message(json.dumps({"task_id": str(n), "dst_path": f"/{n}", **ends}).encode(), partition=n % 4)
        for n in range(JOBS)
    ]


def reads(running: RunningPooler) -> int:
    """Tell how many partitions of the jobs are a process's own."""
    with contextlib.suppress(OSError):
        held = running.get("/v1/status")["partitions"]
        return sum(one["topic"] == "ftp-tasks" for one in held)
    return 0


def test_two_processes_share_the_jobs_and_end_as_one(tmp_path: Path) -> None:
    port = free_ports(2)
    at = {"host": "127.0.0.1", "port": port}
    settings: dict[str, dict[str, Any]] = {
        "api": at,
        "metrics": {"enabled": False},
        "kafka": {"group_instance_id": "pod"},
    }
    with running_broker(tmp_path / "kafka") as broker, running_server("vsftpd", tmp_path / "far") as server:
        server.put("/out", b"what is copied")
        site = Site(tmp_path / "site", broker.bootstrap, {"far": server}, settings)
        site.create_topics()
        with site.running("--processes", "2", ready=False, POD_NAME="pod") as running:
            each = [dataclasses.replace(running, api=f"http://127.0.0.1:{port + k}") for k in range(2)]
            wait_until(lambda: [reads(one) for one in each] == [2, 2], "half of the partitions for each")
            produce(broker.bootstrap, "ftp-tasks", jobs())
            answers = site.wait_for_answers(JOBS)
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
    assert {len(found) for found in answers.values()} == {1}
    assert {found[0]["worker"] for found in answers.values()} == {"pod.0", "pod.1"}
