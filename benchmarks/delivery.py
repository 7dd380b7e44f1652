"""What one answer to each job costs: the two kinds of ``kafka.delivery``, in turn, on one broker.

    python -m benchmarks.delivery [--jobs 2000] [--turns 3]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Files have 1,000 bytes,
so that what is compared is not lost in their bytes. Jobs wait in the topic before the service starts; the
time runs from its first answer to its last, as the results' own times tell; CPU is that of the whole process,
its start too. Read the ratios: no two machines have the same figures.
"""

import argparse
import datetime as dt
import json
import os
import signal
import statistics
import tempfile
from pathlib import Path

from benchmarks.backlog import fill
from tests.support.kafka import running_broker
from tests.support.servers import running_server
from tests.support.service import Site, wait_until

MODES = ("exactly_once", "at_least_once")
SETTINGS = {"kafka": {"commit_interval_ms": 500}}
_WITHIN_S = 600.0


def run(site: Site, mode: str, count: int) -> tuple[float, float]:
    """Have the jobs done that wait; tell jobs a second, and milliseconds of CPU a job."""
    with site.running(POOLER__KAFKA__DELIVERY=mode) as running:
        wait_until(lambda: _committed(site) >= count, "all jobs", _WITHIN_S)
        fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    times = sorted(
        dt.datetime.fromisoformat(json.loads(message.value or b"")["timestamp"])
        for message in site.messages("ftp-results")
    )
    assert len(times) == count
    return count / (times[-1] - times[0]).total_seconds(), 1000 * cpu_s / count


def _committed(site: Site) -> int:
    return sum(offset for offset, _ in site.committed().values())


def main() -> None:
    """Measure, and print a table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    speeds: dict[str, list[float]] = {mode: [] for mode in MODES}
    costs: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(arguments.turns):
        for mode in MODES if turn % 2 == 0 else reversed(MODES):
            with tempfile.TemporaryDirectory(prefix="delivery-") as name:
                folder = Path(name)
                folder.chmod(0o755)  # the server's user must get in
                with (
                    running_broker(folder / "kafka") as broker,
                    running_server("vsftpd", folder / "far") as server,
                ):
                    server.put("/there", bytes(1000))
                    site = Site(folder / "site", broker.bootstrap, {"far": server}, SETTINGS)
                    site.create_topics()
                    fill(broker.bootstrap, arguments.jobs)
                    speed, cost = run(site, mode, arguments.jobs)
            speeds[mode].append(speed)
            costs[mode].append(cost)
    print("| delivery | jobs/s | ms of CPU a job |\n|---|---|---|")
    for mode in MODES:
        print(f"| {mode} | {statistics.median(speeds[mode]):.0f} | {statistics.median(costs[mode]):.2f} |")
    ratios = {
        "jobs_per_s": statistics.median(speeds[MODES[0]]) / statistics.median(speeds[MODES[1]]),
        "cpu": statistics.median(costs[MODES[0]]) / statistics.median(costs[MODES[1]]),
    }
    print(json.dumps({"ratios": {name: round(ratio, 3) for name, ratio in ratios.items()}}))


if __name__ == "__main__":
    main()
