"""`pooler ftp` beside each of the four servers, plain and under TLS: the same commands, the same answers."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pooler.cli import exits
from tests.cli.test_cli_ftp import Shell
from tests.support.servers import KINDS, Kind, RunningServer, running_server

pytestmark = pytest.mark.servers

NAME = "한국어 보고서.csv"
MOMENT = datetime(2020, 2, 29, 12, 34, 56, tzinfo=UTC)
REMOTES = [
    pytest.param((kind, tls), id=f"{kind}-{'tls' if tls else 'plain'}")
    for kind in KINDS
    for tls in (False, True)
]


@pytest.fixture(scope="module", params=REMOTES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    kind, tls = request.param
    with running_server(kind, tmp_path_factory.mktemp("s"), tls=tls) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, server: RunningServer) -> Shell:
    made = Shell(tmp_path)
    made.configure(server, base_path="/base")
    return made


def test_a_file_is_put_seen_fetched_and_removed(shell: Shell, server: RunningServer) -> None:
    content = os.urandom(300_000)
    (shell.folder / NAME).write_bytes(content)
    assert shell.run("put", NAME, "site:/new/").code == exits.OK
    there = server.root / "base/new" / NAME
    assert there.read_bytes() == content
    os.utime(there, (0, MOMENT.timestamp()))
    (listed,) = shell.run("ls", "site:/new", "-o", "json").json
    assert (listed["name"], listed["kind"], listed["size_bytes"]) == (NAME, "file", len(content))
    (found,) = shell.run("stat", f"site:/new/{NAME}", "-o", "json").json
    assert (found["size_bytes"], found["modified"]) == (len(content), "2020-02-29T12:34:56Z")
    assert shell.run("get", f"site:/new/{NAME}", "back.csv").code == exits.OK
    assert (shell.folder / "back.csv").read_bytes() == content
    assert shell.run("rm", f"site:/new/{NAME}").code == exits.OK
    assert not there.exists()
    assert shell.run("stat", f"site:/new/{NAME}").code == exits.JOBS_FAILED


def test_a_probe_tells_what_the_server_is(shell: Shell, server: RunningServer) -> None:
    server.make_folder("/base/drop")
    (found,) = shell.run("probe", "site", "-o", "json", "--write", "drop").json
    kinds: dict[Kind, str] = {"pure-ftpd": "pure-ftpd", "vsftpd": "vsftpd", "proftpd": "proftpd"}
    assert found["server"].startswith(kinds.get(server.kind, "pyftpdlib"))
    assert (found["listing"], found["write"], found["epsv"], found["size"]) == ("ok", "ok", True, True)
    assert found["mlsd"] is (None if server.kind == "vsftpd" else True)
    assert (found["tls_version"] is None) is (server.ca_file is None)
    assert list((server.root / "base/drop").iterdir()) == []
