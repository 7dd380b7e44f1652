"""``pooler doctor`` asks Apache Kafka about the topics."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pooler.cli import exits
from tests.support.kafka import running_broker
from tests.support.service import Site

pytestmark = pytest.mark.broker


def ask(site: Site) -> tuple[int, list[dict[str, Any]]]:
    command = site.command("doctor", "--only", "kafka", "--output", "json")
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def test_the_brokers_and_the_topics(tmp_path: Path) -> None:
    with running_broker(tmp_path / "kafka") as broker:
        site = Site(tmp_path / "site", broker.bootstrap, {})
        site.create_topics()
        code, found = ask(site)
        assert code == exits.OK
        assert {one["text"] for one in found if one["subject"] == "kafka"} == {f"{broker.bootstrap} answers"}
        warned = {one["subject"] for one in found if "replication factor 1" in one["text"]}
        assert {"topic ftp-tasks", "topic ftp-results", "topic ftp-failures"} <= warned
    code, found = ask(site)
    assert code == exits.FATAL
    (kafka,) = [one for one in found if one["subject"] == "kafka"]
    assert (kafka["status"], broker.bootstrap in kafka["text"]) == ("fail", True)
