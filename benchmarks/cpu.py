"""User CPU of the service a job, from Kafka to Kafka: files of 10 kB, down, vsftpd over loopback.

    python -m benchmarks.cpu [--jobs 2000] [--turns 3] [--profile]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Jobs are written to the
topic when the service is ready, and its CPU is read from the kernel before and after: the start does not
count. ``--profile`` writes benchmarks/profiles/service.txt with py-spy; read no figures then.
"""

import argparse
import collections
import contextlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import ours
from benchmarks.usage import cpu_s, peak_bytes
from tests.support.kafka import produce, running_broker
from tests.support.servers import running_server
from tests.support.service import Site, wait_until

PROFILE = Path(__file__).parent / "profiles" / "service.txt"
_LINE = re.compile(r":\d+\)$")
_SAMPLES_A_S = 200
_SHOWN = 40
_WITHIN_S = 600.0


def turn(folder: Path, count: int, sessions: int, profile: Path | None = None) -> dict[str, float]:
    """Have jobs done by a service that is ready; tell what it used."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder / "kafka"))
        server = stack.enter_context(
            running_server("vsftpd", folder / "far", extra=("log_ftp_protocol=NO", "xferlog_enable=NO"))
        )
        names = [f"{number:06}" for number in range(count)]
        for name in names:
            server.put(f"/out/{name}", bytes(10_000))
        site = Site(folder / "site", broker.bootstrap, {"far": server}, ours.settings(sessions, "batch"))
        site.create_topics()
        running = stack.enter_context(site.running())
        pid = running.process.pid
        watcher = None
        if profile is not None:
            words = ["py-spy", "record", "--pid", str(pid), "--format", "raw", "--output", str(profile)]
            words += ["--rate", str(_SAMPLES_A_S), "--duration", "3600", "--nonblocking"]
            watcher = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = cpu_s(pid)
        produce(broker.bootstrap, "ftp-tasks", ours.jobs("down", names))
        wait_until(lambda: running.get("/v1/status")["succeeded"] >= count, "all jobs", _WITHIN_S)
        after, peak = cpu_s(pid), peak_bytes(pid)
        if watcher is not None:
            watcher.send_signal(signal.SIGINT)
            watcher.wait()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        return {
            "user_ms_a_job": 1000 * (after[0] - before[0]) / count,
            "system_ms_a_job": 1000 * (after[1] - before[1]) / count,
            "jobs_per_s": count / ours.span_s(site, "ftp-results", count),
            "peak_mb": peak / 1e6,
        }


def digest(raw: str) -> str:
    """Make a short text of py-spy's stacks: where the time is spent, in the function and below it."""
    here: collections.Counter[str] = collections.Counter()
    below: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = [_LINE.sub(")", frame) for frame in stack.split(";")]
        here[frames[-1]] += int(samples)
        for frame in set(frames):
            below[frame] += int(samples)
    total = max(1, sum(here.values()))
    lines = [f"{total} samples", "", "| in it | with all it calls | function |", "|---:|---:|---|"]
    lines += [
        f"| {100 * count / total:.1f} % | {100 * below[frame] / total:.1f} % | {frame} |"
        for frame, count in here.most_common(_SHOWN)
    ]
    lines += ["", "| with all it calls | function of ours |", "|---:|---|"]
    lines += [
        f"| {100 * count / total:.1f} % | {frame} |"
        for frame, count in below.most_common()
        if "(pooler/" in frame and count >= total / 100
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found: list[dict[str, float]] = []
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory(prefix="cpu-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # the server's user must get in
            raw = folder / "raw" if options.profile else None
            found.append(turn(folder, options.jobs, options.sessions, raw))
            if raw is not None:
                PROFILE.write_text(digest(raw.read_text()))
    print("| a job | median | least to most |\n|---|---:|---:|")
    for key in found[0]:
        values = [one[key] for one in found]
        print(f"| {key} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


if __name__ == "__main__":
    main()
