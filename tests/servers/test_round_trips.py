"""Round trips, counted from packets, over a link that has one. Needs iproute2 and /dev/net/tun."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.link import link
from tests.support.servers import Kind, TlsVersion, running_server

pytestmark = pytest.mark.links
ROUND_TRIP_S = 0.2
"""Long enough for a loaded machine to answer in much less."""
SLOW_START = 1
"""What so small a file takes in any case."""


def counted(folder: Path, kind: Kind, version: TlsVersion | None) -> dict[str, list[int]]:
    """Count what each file takes beyond slow start; the first of either direction asks what can be done."""
    (local := folder / "local").mkdir()
    with (
        link(ROUND_TRIP_S) as near,
        running_server(
            kind, folder / "server", host=near.here, tls=version is not None, tls_version=version
        ) as server,
    ):
        words = [sys.executable, "-m", "tests.support.round_trips", server.host, str(server.port)]
        words += [server.user, server.password, str(local), str(ROUND_TRIP_S)]
        words += [] if version is None else ["tls"]
        found = subprocess.run(near.command(words), check=True, capture_output=True, timeout=120)
    rounds: dict[str, list[int]] = json.loads(found.stdout)
    return {way: [count - SLOW_START for count in counts] for way, counts in rounds.items()}


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd"])
def test_a_file_takes_as_few_round_trips_as_is_safe(tmp_path: Path, kind: Kind) -> None:
    rounds = counted(tmp_path, kind, None)
    assert rounds["down"][1:] == [1, 1, 1]
    assert rounds["up"][2:] == [2, 2]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_tls_takes_two_or_three_more_down_and_one_up(tmp_path: Path, kind: Kind, version: TlsVersion) -> None:
    # Down: the handshake begins when the connection stands and takes two, and the 226 waits for our
    # close_notify: vsftpd is asked beside it. Up: data waits for the handshake, which begins as the server
    # agrees. proftpd in TLS 1.3 takes its time now and then, and one more.
    rounds = counted(tmp_path, kind, version)
    assert min(rounds["down"][2:]) == (3 if kind == "vsftpd" else 4)
    assert min(rounds["up"][2:]) == 3
