"""What readers of ``/v1/live`` cost the transfers: a slow one, a stuck one, and a thousand.

    python -m benchmarks.readers [--turns 4] [--seconds 20] [--idle]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Two services copy files
of 1,000 bytes all the time, from one server, beside each other: so whatever else the machine does slows both
alike. One of them has readers, and then the other one, turn by turn, for each kind of them. A window begins
when all of its readers have had an event. Told are files a second, and CPU a file; read the ratios.
``--idle`` has no jobs, and tells which share of a core a service takes with readers, and without.
"""

import argparse
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import trio

from benchmarks.backlog import fill
from benchmarks.peers import ours
from benchmarks.usage import cpu_s
from tests.support.kafka import create_topics, running_broker
from tests.support.servers import running_server
from tests.support.service import TOPICS, RunningPooler, Site, wait_until

KINDS = {"slow": 1, "stuck": 1, "thousand": 1000}
_HEAD = "| readers | files/s with them | without | ratio | CPU ms a file with them | without | ratio |"
_QUIET = ("log_ftp_protocol=NO", "xferlog_enable=NO")
_REQUEST = b"GET /v1/live HTTP/1.1\r\nHost: %s\r\n\r\n"
_SMALL = 4096
_SLOWLY_S = 0.5
_SETTLE_S = 3.0
_WITHIN_S = 300.0
_AT_ONCE = 50
_WARM = 2000


async def read(kind: str, count: int, host: str, port: int) -> None:
    """Read events, as so many of a kind, until standard input ends; say so when all have had one."""
    have: set[int] = set()
    everybody = trio.Event()
    room = trio.Semaphore(_AT_ONCE)

    async def reader(number: int) -> None:
        while True:  # who is broken off comes again
            try:
                with trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
                    async with room:
                        if kind != "thousand":
                            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
                        await stream.connect((host, port))
                        await stream.send(_REQUEST % host.encode())
                        await stream.recv(_SMALL)
                    have.add(number)
                    if len(have) == count:
                        everybody.set()
                    while kind == "stuck" or await stream.recv(_SMALL if kind == "slow" else 1 << 20):
                        if kind != "thousand":
                            await trio.sleep(_SLOWLY_S if kind == "slow" else 2 * _WITHIN_S)
            except OSError:
                await trio.sleep(_SLOWLY_S)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(reader, number)
        await everybody.wait()
        print("reading", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


def look(services: Sequence[RunningPooler]) -> list[tuple[float, float, int]]:
    """Tell of each service when it was looked at, its seconds of CPU, and its jobs."""
    return [
        (time.monotonic(), sum(cpu_s(one.process.pid)), int(one.get("/v1/status")["succeeded"]))
        for one in services
    ]


def window(services: Sequence[RunningPooler], kind: str, seconds: float) -> list[tuple[float, float, int]]:
    """Have the first of the services read; tell of each the seconds, those of CPU, and its jobs."""
    place = urlsplit(services[0].api)
    words = [sys.executable, "-m", "benchmarks.readers", "--read-as", kind, f"{place.hostname}:{place.port}"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        time.sleep(_SETTLE_S)
        before = look(services)
        time.sleep(seconds)
        after = look(services)
        process.stdin.close()
    assert process.returncode == 0
    time.sleep(_SETTLE_S)  # until the service knows that they are gone
    return [(b[0] - a[0], b[1] - a[1], b[2] - a[2]) for a, b in zip(before, after, strict=True)]


def measure(services: Sequence[RunningPooler], turns: int, seconds: float, *, idle: bool) -> None:
    """Have all turns, and print a table."""
    print("| readers | % of a core with them | without | more |" if idle else _HEAD)
    print("|---|---:|---:|---:|" if idle else "|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for kind in KINDS:
        figures: list[list[float]] = []
        for turn in range(turns):
            (_, cpu, files), (other_s, other_cpu, other_files) = found = window(
                services if turn % 2 == 0 else services[::-1], kind, seconds
            )
            assert idle or (files and other_files), "there are no jobs left"
            if idle:
                shares = [100 * one[1] / one[0] for one in found]
                figures.append([*shares, shares[0] - shares[1]])
            else:
                rates = files / found[0][0], other_files / other_s
                used = 1000 * cpu / files, 1000 * other_cpu / other_files
                figures.append([*rates, rates[0] / rates[1], *used, used[0] / used[1]])
            told = ", ".join(f"{figure:.3f}" for figure in figures[-1])
            print(f"turn {turn + 1}, {kind}: {told}", file=sys.stderr, flush=True)
        medians = [statistics.median(column) for column in zip(*figures, strict=True)]
        print(f"| {kind} | " + " | ".join(f"{median:.3f}" for median in medians) + " |", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a window")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=200_000, help="that wait, enough for all windows")
    parser.add_argument("--idle", action="store_true", help="have no jobs")
    parser.add_argument("--read-as", nargs=2, metavar=("KIND", "HOST:PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.read_as:
        kind, place = options.read_as
        host, _, port = place.rpartition(":")
        trio.run(read, kind, KINDS[kind], host, int(port))
        return
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="readers-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's user must get in
        with (
            running_broker(folder / "kafka") as broker,
            running_server("vsftpd", folder / "far", extra=_QUIET) as server,
        ):
            server.put("/there", bytes(1000))
            create_topics(broker.bootstrap, {name: TOPICS[name] for name in TOPICS if name != "ftp-tasks"})
            sites = []
            for which in ("one", "other"):
                topic = f"jobs-{which}"
                settings = ours.settings(options.sessions, "never") | {"kafka": {"input_topic": topic}}
                sites.append(Site(folder / which, broker.bootstrap, {"far": server}, settings))
                create_topics(broker.bootstrap, {topic: TOPICS["ftp-tasks"]})
                if not options.idle:
                    fill(broker.bootstrap, options.jobs, topic=topic)
            with sites[0].running() as one, sites[1].running() as other:
                for running in () if options.idle else (one, other):
                    wait_until(lambda at=running: _has_begun(at), "a start", _WITHIN_S)  # type: ignore[misc] # of the loop
                measure([one, other], options.turns, options.seconds, idle=options.idle)
                for running in (one, other):
                    running.signal(signal.SIGTERM)
                    assert running.wait() == 0


def _has_begun(running: RunningPooler) -> bool:
    return int(running.get("/v1/status")["succeeded"]) >= _WARM


if __name__ == "__main__":
    main()
