"""Fifty remotes, one of them a black hole with thousands of jobs in front of all others: what it costs these.

    python -m benchmarks.blackhole [--remotes 50] [--jobs 4000] [--hole 10000] [--turns 3]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). The others are accounts
on one vsftpd, with files of 10 kB. All jobs wait in the same four partitions before the service starts, those
of the black hole first; without it they are not there. For each of the others' jobs the time is counted from
when the service is ready to its answer. With and without in turn; read the ratios.
"""

import argparse
import datetime as dt
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.backlog import fill_with
from tests.support.black_hole import black_hole
from tests.support.kafka import RunningBroker, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site, wait_until

_BYTES = 10_000
_WITHIN_S, _PAUSE_S = 600.0, 2.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn has shown of the other remotes.

    Attributes:
        p99_s: the time to an answer that all but a hundredth of them had, in seconds.
        files_per_s: until the last of them.
    """

    p99_s: float
    files_per_s: float


def job(remote: str, number: int) -> bytes:
    """Write a job that fetches the one file there is."""
    ends = {"src_id": remote, "src_path": "/there", "dst_id": "local", "dst_path": f"/in/{remote}/{number}"}
    return json.dumps({"task_id": f"{remote}-{number}", **ends}).encode()


def run(
    folder: Path, broker: RunningBroker, servers: dict[str, RunningServer], jobs: Sequence[bytes]
) -> Turn:
    """Have the jobs done; those of the black hole wait on."""
    site = Site(folder, broker.bootstrap, servers, {"transfer": {"connect_timeout_seconds": 30}})
    site.create_topics()
    fill_with(broker.bootstrap, jobs)
    others = sum(b'"hole"' not in one for one in jobs)
    with site.running() as running:
        ready = dt.datetime.now(dt.UTC)
        # Whoever asks costs time: not often.
        while running.get("/v1/status")["succeeded"] < others:
            time.sleep(_PAUSE_S)
        wait_until(lambda: len(site.messages("ftp-results")) >= others, "their answers", _WITHIN_S)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    answered = sorted(
        (dt.datetime.fromisoformat(json.loads(message.value or b"")["timestamp"]) - ready).total_seconds()
        for message in site.messages("ftp-results")
    )
    assert len(answered) == others
    return Turn(answered[len(answered) * 99 // 100], others / answered[-1])


def turn(remotes: int, count: int, hole: int) -> Turn:
    """Run the service once, on a broker and a server of its own."""
    names = [f"site-{number}" for number in range(remotes - 1)]
    jobs = [job("hole", number) for number in range(hole)]
    jobs += [job(names[number % len(names)], number) for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="blackhole-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # the server's user must get in
        with (
            black_hole() as port,
            running_broker(folder / "kafka") as broker,
            running_server("vsftpd", folder / "far") as server,
        ):
            server.put("/there", bytes(_BYTES))
            servers = {**dict.fromkeys(names, server), "hole": replace(server, port=port)}
            return run(folder / "site", broker, servers, jobs)


def main() -> None:
    """Measure, and print a table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--remotes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=4000, help="of all others together")
    parser.add_argument("--hole", type=int, default=10_000, help="jobs of the black hole")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[bool, list[Turn]] = {False: [], True: []}
    for number in range(arguments.turns):
        for there in (False, True) if number % 2 == 0 else (True, False):
            found[there].append(turn(arguments.remotes, arguments.jobs, arguments.hole if there else 0))
    print("| the others | p99 of the time to an answer, s | files/s |\n|---|---:|---:|")
    medians = {}
    for there, turns in found.items():
        p99_s = statistics.median(one.p99_s for one in turns)
        files_per_s = statistics.median(one.files_per_s for one in turns)
        medians[there] = p99_s, files_per_s
        name = "beside a black hole" if there else "alone"
        print(f"| {name} | {p99_s:.1f} | {files_per_s:.1f} |")
    ratios = {
        "p99": round(medians[True][0] / medians[False][0], 3),
        "files_per_s": round(medians[True][1] / medians[False][1], 3),
    }
    print(json.dumps({"ratios": ratios}))


if __name__ == "__main__":
    main()
