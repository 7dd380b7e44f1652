"""Much more waits than is taken in: memory stays what it is, in records and in bytes."""

from pathlib import Path

import pytest

from benchmarks.backlog import LARGE_BYTES, measure
from tests.support.kafka import running_broker
from tests.support.servers import running_server

pytestmark = pytest.mark.broker

LIMIT_BYTES = 200_000_000


@pytest.mark.parametrize(("count", "extra_bytes", "done"), [(60_000, 0, 1_000), (300, LARGE_BYTES, 150)])
def test_a_backlog_costs_no_memory(tmp_path: Path, count: int, extra_bytes: int, done: int) -> None:
    with running_broker(tmp_path / "kafka") as broker, running_server("vsftpd", tmp_path / "far") as server:
        peak = measure(tmp_path / "site", broker, server, count=count, extra_bytes=extra_bytes, done=done)
    assert peak < LIMIT_BYTES
