"""Does the speed stay as time goes by? One service, fed for an hour without a pause.

    python -m benchmarks.hour [--minutes 60] [--window 5]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Files of 1,000 bytes,
down, 8 sessions; new jobs are written while less than 10,000 wait. Each window of so many minutes is told by
itself, and the last one to the second: in the first one the service looks for its number of sessions. The
destinations are 20,000, over and over, so the disk does not fill.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.backlog import fill_with
from benchmarks.peers import ours
from benchmarks.usage import bytes_now, cpu_s
from tests.support.kafka import running_broker
from tests.support.servers import running_server
from tests.support.service import RunningPooler, Site

_QUIET = ("log_ftp_protocol=NO", "xferlog_enable=NO")
_BYTES = 1000
_SESSIONS = 8
_PLACES = 20_000
_WAITING = 10_000
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known at one moment.

    Attributes:
        at_s: the moment, in seconds of ``time.monotonic``.
        done: jobs that had succeeded.
        failed: jobs that had failed.
        user_s: the processor's time so far, the system's left out.
        memory_bytes: what the process has now.
    """

    at_s: float
    done: int
    failed: int
    user_s: float
    memory_bytes: int


def jobs(first: int, count: int) -> Iterator[bytes]:
    """Make jobs, the numbers of which go on from ``first``."""
    for number in range(first, first + count):
        place = number % _PLACES
        job = {
            "task_id": str(number),
            "src_id": "far",
            "src_path": "/there",
            "dst_id": "local",
            "dst_path": f"/in/{place % 100}/{place}",
        }
        yield json.dumps(job).encode()


def watch(bootstrap: str, running: RunningPooler, minutes: float, window: float) -> Iterator[Mark]:
    """Feed a service for so many minutes; give a mark at the beginning, and one for each window."""
    written, next_at = 0, time.monotonic()
    ends_at = next_at + minutes * 60
    while True:
        status: dict[str, Any] = running.get("/v1/status")
        now, done = time.monotonic(), int(status["succeeded"])
        if now >= next_at:
            pid = running.process.pid
            yield Mark(now, done, int(status["failed"]), cpu_s(pid)[0], bytes_now(pid))
            next_at += window * 60
            if next_at > ends_at + window:
                return
        if written - done < _WAITING:
            fill_with(bootstrap, jobs(written, _WAITING))
            written += _WAITING
        time.sleep(_LOOK_S)


def main() -> None:
    """Measure, and print a table as it grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--window", type=float, default=5.0, help="in minutes")
    options = parser.parse_args()
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="hour-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # the server's user must get in
        with (
            running_broker(folder / "kafka") as broker,
            running_server("vsftpd", folder / "far", extra=_QUIET) as server,
        ):
            server.put("/there", bytes(_BYTES))
            site = Site(folder / "near", broker.bootstrap, {"far": server}, ours.settings(_SESSIONS, "never"))
            site.create_topics()
            with site.running() as running:
                rates = _told(watch(broker.bootstrap, running, options.minutes, options.window))
                running.signal(signal.SIGTERM)
                assert running.wait() == 0
    if len(rates) > 1:
        print(f"\nthe last window to the second: {rates[-1] / rates[1]:.2f}")


def _told(marks: Iterator[Mark]) -> list[float]:
    """Print a line for each window; tell the rates."""
    print("| minutes | jobs done | failed | jobs/s | user ms a job | memory, MB |\n|---:|" + "---:|" * 5)
    first = before = next(marks)
    rates = []
    for mark in marks:
        done = mark.done - before.done
        rates.append(done / (mark.at_s - before.at_s))
        user_ms = 1000 * (mark.user_s - before.user_s) / max(1, done)
        cells = f"{(mark.at_s - first.at_s) / 60:.0f} | {mark.done} | {mark.failed} | {rates[-1]:.1f}"
        print(f"| {cells} | {user_ms:.2f} | {mark.memory_bytes / 1e6:.0f} |", flush=True)
        before = mark
    return rates


if __name__ == "__main__":
    main()
