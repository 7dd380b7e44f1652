"""A bandwidth on a real server, as a ratio: the machine may be as slow as it likes."""

from pathlib import Path
from typing import Literal

import pytest

from tests.cli.test_cli_copy import Place, job, section
from tests.support.servers import Kind, running_server

pytestmark = pytest.mark.servers

FILES, SIZE_BYTES = 4, 512 * 1024


@pytest.mark.parametrize(("kind", "direction"), [("vsftpd", "down"), ("proftpd", "up")])
@pytest.mark.parametrize("security", ["plain", "TLS"])
def test_a_fourth_of_the_bandwidth_takes_four_times_as_long(
    tmp_path: Path, kind: Kind, direction: Literal["down", "up"], security: Literal["plain", "TLS"]
) -> None:
    tls = security == "TLS"
    with running_server(kind, tmp_path / "server", tls=tls) as server:
        place = Place(tmp_path)
        place.local.mkdir()
        jobs = []
        for number in range(FILES):
            if direction == "down":
                server.put(f"/f{number}", bytes(SIZE_BYTES))
                jobs.append(job(number, f"site:/f{number}", f"local:/f{number}"))
            else:
                (place.local / f"f{number}").write_bytes(bytes(SIZE_BYTES))
                jobs.append(job(number, f"local:/f{number}", f"site:/f{number}"))
        options = {"explicit_tls": "true", "ca_file": str(server.ca_file)} if tls else {}

        def seconds(bandwidth: str) -> float:
            place.configure(section(server, max_sessions=1, bandwidth=bandwidth, **options))
            done = place.copy(jobs)
            assert done.code == 0, done.err
            return sum(float(line["duration_ms"]) for line in done.lines) / 1000

        slow, quick = seconds("512K"), seconds("2M")
        assert slow > FILES * SIZE_BYTES / (512 * 1024) * 0.9
        assert slow / quick > 2
