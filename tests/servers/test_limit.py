"""The limit of sessions on a real server that has one of its own; as root."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_cli_copy import Place, job, section
from tests.support.servers import running_server

pytestmark = pytest.mark.servers

FILES = 300
SIZE = 60_000


def test_point_5_a_server_with_room_for_five_gets_five(tmp_path: Path) -> None:
    """Each session is slow, so that more of them help: about 2.5 files a second each."""
    jobs = [job(number, f"site:/f{number % 20}", f"local:/f{number}") for number in range(FILES)]
    with running_server("vsftpd", tmp_path / "server", max_clients=5, rate_bytes_s=150_000) as server:
        for number in range(20):
            server.put(f"/f{number}", bytes(SIZE))
        place = Place(tmp_path)
        place.configure(
            section(server, max_sessions=20), settings={"logging": {"format": "json", "level": "INFO"}}
        )
        done = place.copy(jobs, "--verbose")
        log = server.log.read_text()
    assert done.code == 0, done.err
    assert set(done.statuses.values()) == {"success"}
    assert {line["attempts"] for line in done.lines} == {1}
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    decided = [line for line in lines if line["event"] == "limit_decided"]
    refused = [line for line in lines if line["event"] == "connect_failed"]
    assert 1 <= len(refused) <= 5
    # It is 5 from the refusal on, but while it looks whether fewer do as well.
    refusal = next(number for number, line in enumerate(decided) if line["error"] is not None)
    assert {line["target"] for line in decided[refusal:]} <= {4, 5}
    assert decided[-1]["target"] == 5
    assert any(line["error"] is not None and "421" in line["error"] for line in decided)
    assert len(re.findall(r"\bPASS\b", log)) <= 5 + 3
