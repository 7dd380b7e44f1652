"""Does the limit that is found come near the best fixed one? Over a link with a round trip.

    python -m benchmarks.limit [--round-trips 40 5] [--sessions 4 8 16 32 64]

Needs root, vsftpd (``python -m tests.support.install servers``), iproute2 and /dev/net/tun. `pooler copy`
downloads, with every safety on but the flush: first with each fixed number of sessions, then from nothing,
with the number left to itself. What it thinks best after 60 s and the best fixed number are then run in turn,
so that a machine whose speed changes slows both: read the ratio of their medians.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.link import Near, link
from tests.support.servers import RunningServer, running_server

FILES = 50
WARM_UP_S, FIXED_S = 8.0, 12.0
LEARNING_S, LEARNT_S = 60.0, 15.0
TURNS = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """One run.

    Attributes:
        rate: files a second in the time that counts.
        decisions: lines of the log about the limit.
    """

    rate: float
    decisions: list[dict[str, Any]]

    def target_at(self, seconds: float) -> int:
        """Tell what was thought to be the best number so long after the first decision."""
        began = datetime.fromisoformat(self.decisions[0]["time"])
        return [
            int(line["target"])
            for line in self.decisions
            if (datetime.fromisoformat(line["time"]) - began).total_seconds() <= seconds
        ][-1]


class Field:
    """One server behind a link, and more jobs than can be done."""

    def __init__(self, folder: Path, server: RunningServer, near: Near, jobs: int) -> None:
        self.folder, self.server, self.near = folder, server, near
        dice = random.Random(1)
        for number in range(FILES):
            server.put(f"/f{number}", dice.randbytes(dice.randrange(50_000, 150_000)))
        lines = (
            json.dumps(
                {
                    "src_id": "far",
                    "src_path": f"/f{job % FILES}",
                    "dst_id": "local",
                    "dst_path": f"/f{job % 500}",
                }
            )
            for job in range(jobs)
        )
        (folder / "jobs.jsonl").write_text("\n".join(lines))
        (folder / "local").mkdir()

    def turn(self, sessions: int, *, adaptive: bool, warm_up_s: float, counted_s: float) -> Turn:
        """Copy for a while, and count what ends after the warm-up."""
        server, folder = self.server, self.folder
        settings = {"transfer": {"flush": "never"}, "pool": {"adaptive_sessions": adaptive}}
        (folder / "config.yaml").write_text(json.dumps(settings))
        (folder / "connections.ini").write_text(
            f"[far]\ntype = ftp\nhost = {self.near.here}\nport = {server.port}\nuser = {server.user}\n"
            f"pass = {server.password}\nmax_sessions = {sessions}\n"
            f"[local]\ntype = local\nbase_path = {folder / 'local'}\n"
        )
        words = [sys.executable, "-m", "pooler", "copy", str(folder / "jobs.jsonl"), "--verbose"]
        words += ["--config", str(folder / "config.yaml"), "--connections", str(folder / "connections.ini")]
        with (folder / "log").open("w+") as log:
            with subprocess.Popen(self.near.command(words), stdout=subprocess.PIPE, stderr=log) as process:
                assert process.stdout is not None
                process.stdout.readline()
                began, ended = time.monotonic(), 0
                for line in process.stdout:
                    elapsed_s = time.monotonic() - began
                    if elapsed_s > warm_up_s + counted_s:
                        break
                    if json.loads(line)["status"] != "success":
                        raise SystemExit(f"a job failed: {line!r}")
                    ended += elapsed_s > warm_up_s
                else:
                    log.seek(0)
                    raise SystemExit(f"it ended too soon (more --jobs?): {log.read()[-500:]}")
                process.kill()
            log.seek(0)
            lines = [json.loads(line) for line in log if line.startswith("{")]
        return Turn(ended / counted_s, [line for line in lines if line["event"] == "limit_decided"])


def compare(field: Field, numbers: list[int]) -> None:
    def fixed(sessions: int) -> float:
        return field.turn(sessions, adaptive=False, warm_up_s=WARM_UP_S, counted_s=FIXED_S).rate

    sweep = {sessions: fixed(sessions) for sessions in numbers}
    for sessions, rate in sweep.items():
        print(f"| {sessions} | {rate:.1f} |", flush=True)
    found = field.turn(max(numbers), adaptive=True, warm_up_s=LEARNING_S, counted_s=LEARNT_S)
    best = max(sweep, key=lambda sessions: sweep[sessions])
    target = found.target_at(LEARNING_S)
    print(f"| left to itself, {target} after a minute | {found.rate:.1f} |\n")
    print("the limit went", *dict.fromkeys(str(line["limit"]) for line in found.decisions), flush=True)
    turns: dict[int, list[float]] = {best: [], target: []}
    for _ in range(TURNS):
        for sessions, rates in turns.items():
            rates.append(fixed(sessions))
    medians = {sessions: statistics.median(rates) for sessions, rates in turns.items()}
    print(
        f"in turn: {best} sessions {medians[best]:.1f}, {target} sessions {medians[target]:.1f} files/s;",
        end=" ",
    )
    print(f"ratio {medians[target] / medians[best]:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--round-trips", type=float, nargs="+", default=[40.0, 5.0], help="milliseconds")
    parser.add_argument("--sessions", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--jobs", type=int, default=60_000)
    options = parser.parse_args()
    # So that the link and the server are taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}")
    print(f"Python {platform.python_version()}, files of 50 to 150 kB, down, vsftpd")
    for milliseconds in options.round_trips:
        print(f"\n{milliseconds:g} ms of round trip\n\n| sessions | files/s |\n|---:|---:|", flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as name, link(milliseconds / 1000) as near:
            folder = Path(name)
            with running_server("vsftpd", folder / "vsftpd", host=near.here) as server:
                compare(Field(folder, server, near, options.jobs), options.sessions)


if __name__ == "__main__":
    main()
