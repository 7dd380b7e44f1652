"""`pooler run` as a process, where no broker is needed: what stops it before it begins."""

import signal
import socket
from pathlib import Path

import pytest

from tests.support.service import Site, wait_until

NO_BROKER = "127.0.0.1:9"


@pytest.mark.parametrize("section", ["api", "metrics"])
def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = Site(tmp_path / "site", NO_BROKER, {}, {section: {"host": "127.0.0.1", "port": port}})
        with site.running(ready=False) as running:
            assert running.wait() == 7
            *_, line = running.log.read_text().splitlines()
    assert line.startswith(f"{section}: cannot listen on 127.0.0.1:{port}: ")
    assert "in use" in line


def test_a_drain_does_not_wait_for_brokers_that_are_away(tmp_path: Path) -> None:
    patience = {"max_retries": 1000, "base_backoff_ms": 30_000}
    site = Site(tmp_path / "site", NO_BROKER, {}, {"kafka": patience})
    with site.running(ready=False) as running:
        wait_until(lambda: "broker_unreachable" in running.log.read_text(), "the first try")
        assert running.get("/v1/status")["reasons"] == ["connecting to Kafka"]
        running.signal(signal.SIGTERM)
        assert running.wait(within_s=10) == 0
        assert running.events()[-1]["event"] == "service_stopped"
