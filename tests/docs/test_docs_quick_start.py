"""The quick start, typed line by line into a shell, in a folder where nothing is yet."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_docs_commands import dedented
from tests.support.process import free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quick-start.md").read_text("utf-8")


def typed(heading: str) -> list[str]:
    """Give what a section says is to be typed, a block each."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^ {4}.*\n(?:\n(?= {4}))*)+", section, re.MULTILINE)
    return [dedented(block.splitlines()) for block in found]


def test_files_of_one_s_own_are_copied_as_the_page_says(tmp_path: Path) -> None:
    port = free_port()
    server, *others = (
        block.replace("2121", str(port)) for block in typed("Copy files of your own, without Kafka")
    )
    assert "-m pyftpdlib" in server
    # A person is slower than a server.
    connected = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
    await_it = f'until python -c "{connected}" 2>/dev/null; do :; done'
    for name, module in (("pooler", "-m pooler"), ("python", "")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        program.chmod(0o755)
    script = "\n".join(["set -e", "trap 'kill %1' EXIT", server, await_it, *others])
    (tmp_path / "folder").mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path / "folder",
        env={
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path / "folder"),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ok: 1 remote, 1 local folder\n" in done.stdout
    assert all(f" {number}.bin\n" in done.stdout for number in (1, 2, 3))  # ls
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {one["task_id"]: one["status"] for one in answers} == dict.fromkeys("123", "success")


def test_the_page_says_the_exit_statuses_and_the_topics_that_there_are() -> None:
    [topics] = [block for block in typed_below_lists() if "kafka-topics.sh" in block]
    named = re.findall(r"(ftp-[\w-]+):\d+", topics)
    assert named == ["ftp-tasks", "ftp-results", "ftp-failures", "ftp-tasks-dlq"]


def typed_below_lists() -> list[str]:
    return [dedented(block.splitlines()) for block in re.findall(r"(?:^ {8}.*\n)+", PAGE, re.MULTILINE)]
