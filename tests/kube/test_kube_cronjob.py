"""The script of the CronJob among the examples, run as the container would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pooler.cli import exits
from tests.support.servers import RunningServer, running_server

ROOT = Path(__file__).parents[2]
EXAMPLE = YAML(typ="safe").load((ROOT / "kube" / "examples" / "cronjob.yaml").read_text("utf-8"))
[CONTAINER] = EXAMPLE["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def volumes(tmp_path: Path, server: RunningServer) -> Path:
    """Mount what the example mounts: its secret, its claim; and the image's program."""
    for child in server.root.iterdir():
        subprocess.run(["rm", "-r", str(child)], check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "connections.ini").write_text(
        f"[site-a]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
        f"pass = {server.password}\n[local]\ntype = local\nbase_path = {tmp_path / 'data'}\n"
    )
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pooler"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pooler "$@"\n')
    program.chmod(0o755)
    return tmp_path


def run(volumes: Path) -> tuple[int, list[dict[str, Any]]]:
    """Run the container's own command, in its environment, on these volumes."""
    given = {one["name"]: one["value"] for one in CONTAINER["env"]}
    assert given == {"POOLER_CONNECTIONS": "/etc/pooler/connections.ini"}
    environment = {
        "PATH": f"{volumes / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "POOLER_CONNECTIONS": str(volumes / "connections.ini"),
    }
    done = subprocess.run(
        [*CONTAINER["command"], *CONTAINER["args"]],
        env=environment, cwd=volumes, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def copied(volumes: Path) -> dict[str, str]:
    root = volumes / "data"
    return {str(one.relative_to(root)): one.read_text() for one in root.rglob("*") if one.is_file()}


def statuses(answers: list[dict[str, Any]]) -> dict[str, str]:
    return {one["task_id"]: one.get("error_code", one["status"]) for one in answers}


def test_it_fetches_what_is_new_and_no_more(volumes: Path, server: RunningServer) -> None:
    for name in ("a.csv", "b.csv", "c.txt"):
        server.put(f"/out/{name}", name.encode())
    code, answers = run(volumes)
    assert code == exits.OK
    assert copied(volumes) == {"in/a.csv": "a.csv", "in/b.csv": "b.csv"}
    assert statuses(answers) == dict.fromkeys(("fetch-csv", "fetch-csv/a.csv", "fetch-csv/b.csv"), "success")
    server.put("/out/d.csv", b"d")
    code, answers = run(volumes)
    assert code == exits.OK
    assert statuses(answers) == {
        "fetch-csv": "success", "fetch-csv/a.csv": "skipped", "fetch-csv/b.csv": "skipped",
        "fetch-csv/d.csv": "success",
    }  # fmt: skip


def test_a_folder_without_such_files_is_no_failure(volumes: Path, server: RunningServer) -> None:
    server.put("/out/c.txt", b"c")
    code, answers = run(volumes)
    assert (code, statuses(answers), copied(volumes)) == (exits.OK, {"fetch-csv": "success"}, {})


def test_a_folder_that_cannot_be_listed_is_one(volumes: Path) -> None:
    code, answers = run(volumes)
    assert code == exits.JOBS_FAILED
    assert statuses(answers) == {"fetch-csv": "FILE_NOT_FOUND"}
