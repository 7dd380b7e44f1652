"""Does a second process of the service gain anything here: `pooler run --processes N`, 1 and 2 in turn.

    python -m benchmarks.processes [--jobs 3000] [--turns 3] [--sessions 8] [--counts 1 2] [--size 10000]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``), which are on the same
cores. All have the same sessions together, files, and flush. Jobs are written, evenly over the
partitions, when each process has its part of them; the seconds are those from the first answer to the last,
as the answers tell. CPU is that of all processes of the service, from before the jobs until after them.
"""

import argparse
import contextlib
import dataclasses
import itertools
import signal
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import machine, table
from benchmarks.peers import ours
from benchmarks.usage import cpu_s
from tests.support.kafka import Message, produce, running_broker
from tests.support.process import family, free_ports
from tests.support.servers import running_server
from tests.support.service import TOPICS, RunningPooler, Site, wait_until

_WITHIN_S = 600.0
_PARTITIONS = TOPICS["ftp-tasks"]


def _reads(running: RunningPooler) -> int:
    with contextlib.suppress(OSError):
        return sum(one["topic"] == "ftp-tasks" for one in running.get("/v1/status")["partitions"])
    return 0


def turn(folder: Path, processes: int, count: int, sessions: int, size: int) -> dict[str, float]:
    """Have jobs done by so many processes that are ready."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder / "kafka"))
        server = stack.enter_context(
            running_server("vsftpd", folder / "far", extra=("log_ftp_protocol=NO", "xferlog_enable=NO"))
        )
        names = [f"{number:06}" for number in range(count)]
        for name in names:
            server.put(f"/out/{name}", bytes(size))
        port = free_ports(processes)
        settings = ours.settings(sessions // processes, "batch")
        settings |= {"api": {"host": "127.0.0.1", "port": port}, "metrics": {"enabled": False}}
        site = Site(folder / "site", broker.bootstrap, {"far": server}, settings)
        site.create_topics()
        running = stack.enter_context(site.running("--processes", str(processes), ready=False))
        each = [dataclasses.replace(running, api=f"http://127.0.0.1:{port + k}") for k in range(processes)]
        part = _PARTITIONS // processes
        wait_until(lambda: all(_reads(one) == part for one in each), "a part for each")
        pids = family(running.process.pid)
        before = [cpu_s(pid) for pid in pids]
        jobs = zip(itertools.cycle(range(_PARTITIONS)), ours.jobs("down", names), strict=False)
        produce(broker.bootstrap, "ftp-tasks", [Message(value, partition=number) for number, value in jobs])
        wait_until(
            lambda: sum(one.get("/v1/status")["succeeded"] for one in each) >= count,
            "all jobs",
            _WITHIN_S,
        )
        after = [cpu_s(pid) for pid in pids]
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        used = [sum(late[k] - early[k] for early, late in zip(before, after, strict=True)) for k in range(2)]
        return {
            "jobs_per_s": count / ours.span_s(site, "ftp-results", count),
            "user_ms_a_job": 1000 * used[0] / count,
            "system_ms_a_job": 1000 * used[1] / count,
        }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(machine.sentence(machine.describe()), flush=True)
    found: dict[int, list[dict[str, float]]] = {count: [] for count in options.counts}
    for number in range(options.turns):
        # Who is first in one turn is last in the next.
        for count in options.counts[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(prefix="processes-") as name:
                folder = Path(name)
                folder.chmod(0o755)  # the server's user must get in
                found[count].append(turn(folder, count, options.jobs, options.sessions, options.size))
    rates = {str(count): [one["jobs_per_s"] for one in of] for count, of in found.items()}
    ratios = table.ratios(rates, str(options.counts[0]))
    print("| processes | jobs/s | least to most | ratio in one turn | user ms a job | system ms a job |")
    print("|---:|---:|---:|---:|---:|---:|")
    for count, of in found.items():
        seen = rates[str(count)]
        cpu = [statistics.median(one[key] for one in of) for key in ("user_ms_a_job", "system_ms_a_job")]
        print(
            f"| {count} | {statistics.median(seen):.0f} | {min(seen):.0f} to {max(seen):.0f} |"
            f" {ratios[str(count)]:.2f} | {cpu[0]:.2f} | {cpu[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
