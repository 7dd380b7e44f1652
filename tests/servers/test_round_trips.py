"""Round trips, counted from packets, over a link that has one. Needs iproute2 and /dev/net/tun."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.link import link
from tests.support.servers import Kind, running_server

pytestmark = pytest.mark.links
ROUND_TRIP_S = 0.2
"""Long enough for a loaded machine to answer in much less."""
SLOW_START = 1
"""What so small a file takes in any case."""


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd"])
def test_a_file_takes_as_few_round_trips_as_is_safe(tmp_path: Path, kind: Kind) -> None:
    (folder := tmp_path / "local").mkdir()
    with link(ROUND_TRIP_S) as near, running_server(kind, tmp_path / "server", host=near.here) as server:
        words = [sys.executable, "-m", "tests.support.round_trips", server.host, str(server.port)]
        words += [server.user, server.password, str(folder), str(ROUND_TRIP_S)]
        found = subprocess.run(near.command(words), check=True, capture_output=True, timeout=120)
    counted = json.loads(found.stdout)
    # The first file of each direction asks what the server can do; from the second on that is known.
    assert [count - SLOW_START for count in counted["down"][1:]] == [2, 2, 2]
    assert [count - SLOW_START for count in counted["up"][2:]] == [4, 4]
