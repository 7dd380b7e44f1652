"""A line of a crontab beside what is made of it: compared first, then copied, then compared again."""

import json
import subprocess
import sys
from pathlib import Path

from pooler.cli import exits, main
from tests.cli.test_cli_copy import LIMIT_S, ROOT
from tests.support.servers import RunningServer, running_server


def copied(folder: Path) -> dict[str, object]:
    """Copy the only list of a folder that was made; tell of each file in what it differed."""
    [jobs] = folder.glob("*.jsonl")
    done = subprocess.run(
        [sys.executable, "-m", "pooler", "copy", str(jobs), "--connections", str(folder / "connections.ini")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == exits.OK, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        answer["task_id"]: answer["check"]["differs"] if "check" in answer else answer["status"]
        for answer in answers
        if "batch" not in answer
    }


def imported(tmp_path: Path, server: RunningServer, name: str, *options: str) -> Path:
    line = (
        f"0 3 * * * lftp -u {server.user},{server.password} -p {server.port} "
        f"-e 'set ftp:ssl-allow no; mirror -r -I \"*.csv\" /out {tmp_path}/in; bye' {server.host}\n"
    )
    (tmp_path / "crontab").write_text(line)
    assert main.main(["job", "import", str(tmp_path / "crontab"), str(tmp_path / name), *options]) == exits.OK
    return tmp_path / name


def test_a_line_is_compared_copied_and_compared(tmp_path: Path) -> None:
    with running_server("pyftpdlib", tmp_path / "server") as server:
        for name in ("same.csv", "old.csv", "new.csv", "other.txt"):
            server.put(f"/out/{name}", name.encode())
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "old.csv").write_bytes(b"another size")
        comparing = imported(tmp_path, server, "comparing", "--check")
        differences = copied(comparing)
        assert differences == {
            "line-1-1/new.csv": "missing", "line-1-1/old.csv": "size", "line-1-1/same.csv": "missing",
        }  # fmt: skip
        assert [path.name for path in (tmp_path / "in").iterdir()] == ["old.csv"]
        assert set(copied(imported(tmp_path, server, "copying")).values()) == {"success"}
        assert (tmp_path / "in" / "old.csv").read_bytes() == b"old.csv"
        assert set(copied(comparing).values()) == {"nothing"}
        assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["new.csv", "old.csv", "same.csv"]
