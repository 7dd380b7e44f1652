"""Does it settle at what a full server lets in? Against vsftpd with room for a few.

    python -m benchmarks.crowded [--room 5] [--files 1500]

Needs root and vsftpd (``python -m tests.support.install servers``). Each session of the server is slow, so
that more of them would help. `pooler copy` may have twenty; then runs one that is told how many there are.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.servers import RunningServer, running_server

SIZE, RATE, NAMES = 60_000, 150_000, 20


@dataclass(frozen=True, slots=True)
class Turn:
    """One run.

    Attributes:
        seconds: how long it took.
        statuses: how its jobs ended.
        attempts: the most that a job took.
        events: its log.
        logins: how often a password was sent to the server.
    """

    seconds: float
    statuses: set[str]
    attempts: int
    events: list[dict[str, Any]]
    logins: int


def turn(folder: Path, server: RunningServer, files: int, *, adaptive: bool, sessions: int) -> Turn:
    local = folder / f"local-{adaptive}"
    local.mkdir()
    settings = {
        "transfer": {"flush": "never"},
        "pool": {"adaptive_sessions": adaptive},
        "logging": {"format": "json"},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))
    (folder / "connections.ini").write_text(
        f"[far]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
        f"pass = {server.password}\nmax_sessions = {sessions}\n[local]\ntype = local\nbase_path = {local}\n"
    )
    ends = {"src_id": "far", "dst_id": "local"}
    jobs = [
        {"task_id": str(n), "src_path": f"/f{n % NAMES}", "dst_path": f"/f{n}", **ends} for n in range(files)
    ]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, jobs)))
    words = [sys.executable, "-m", "pooler", "copy", str(folder / "jobs.jsonl"), "--verbose"]
    words += ["--config", str(folder / "config.yaml"), "--connections", str(folder / "connections.ini")]
    before, began = _logins(server), time.monotonic()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    seconds = time.monotonic() - began
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"task_id')]
    if len(answers) != files:
        raise SystemExit(f"{len(answers)} of {files} jobs were answered: {done.stderr[-500:]}")
    return Turn(
        seconds,
        {answer["status"] for answer in answers},
        max(answer["attempts"] for answer in answers),
        [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")],
        _logins(server) - before,
    )


def _logins(server: RunningServer) -> int:
    return len(re.findall(r"\bPASS\b", server.log.read_text()))


def report(found: Turn, fixed: Turn, files: int) -> None:
    refused = [event for event in found.events if event["event"] == "connect_failed"]
    decided = [event for event in found.events if event["event"] == "limit_decided"]
    print(f"{files} files in {found.seconds:.1f} s: {sorted(found.statuses)}, {found.attempts} attempt(s)")
    print(f"refused: {len(refused)}; passwords sent: {found.logins}")
    targets = [(event["time"], event["target"]) for event in decided]
    begun = datetime.fromisoformat(targets[0][0])
    for at, target in targets:
        print(f"  {(datetime.fromisoformat(at) - begun).total_seconds():6.1f} s: {target} sessions are best")
    print(f"told how many there are: {fixed.seconds:.1f} s; ratio {fixed.seconds / found.seconds:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--room", type=int, default=5, help="sessions that the server lets in")
    parser.add_argument("--files", type=int, default=1500)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}")
    print(
        f"Python {platform.python_version()}, files of {SIZE} bytes, down, vsftpd, {RATE} bytes/s a session"
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        room = {"max_clients": options.room, "rate_bytes_s": RATE}
        with running_server("vsftpd", folder / "vsftpd", **room) as server:
            for number in range(NAMES):
                server.put(f"/f{number}", bytes(SIZE))
            found = turn(folder, server, options.files, adaptive=True, sessions=20)
            fixed = turn(folder, server, options.files, adaptive=False, sessions=options.room)
    report(found, fixed, options.files)


if __name__ == "__main__":
    main()
