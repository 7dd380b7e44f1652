"""Do four processes keep to what all of them may have together, and use it, and take over from a dead one?

    python -m benchmarks.shares [--total 10] [--seconds 30]

Needs root, vsftpd and Kafka (``python -m tests.support.install servers broker``). The sessions at the server
are counted as the kernel has them, a hundred times a second. Each file takes a second.
"""

import argparse
import contextlib
import os
import platform
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.broker.test_shares import FILES, Counter, holding, jobs, pod
from tests.support.kafka import produce, running_broker
from tests.support.servers import running_server
from tests.support.service import Site, wait_until

SESSION_S = 6
PODS = 4


def enough(counter: Counter, since: int, total: int) -> str:
    seen = counter.seen[since:]
    shown = sum(count >= total - 1 for count in seen) / len(seen)
    return f"{sum(seen) / len(seen):.2f} in use on average, at least {total - 1} in {shown:.1%} of the time"


def run(folder: Path, total: int, seconds: float) -> None:
    fair = total // PODS
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder / "kafka"))
        server = stack.enter_context(running_server("vsftpd", folder / "vsftpd", rate_bytes_s=100_000))
        for number in range(FILES):
            server.put(f"/{number}", bytes(100_000))
        settings: dict[str, dict[str, Any]] = {
            "kafka": {"session_timeout_ms": SESSION_S * 1000},
            "pool": {"adaptive_sessions": False},
        }
        site = Site(folder / "site", broker.bootstrap, {"far": server}, settings)
        with (site.folder / "connections.ini").open("a") as connections:
            connections.write(f"max_sessions_total = {total}\n")
        site.create_topics()
        produce(broker.bootstrap, "ftp-tasks", jobs(20_000))
        counter = Counter(server.port)
        stack.enter_context(counter.counting())
        pods = [stack.enter_context(pod(site, number)) for number in range(PODS)]
        wait_until(lambda: all(holding(running) >= fair for running in pods), "each to have its share")
        wait_until(lambda: counter.now >= total - 1, "all sessions to be in use")
        begun = len(counter.seen)
        time.sleep(seconds)  # how long it is looked at
        print(f"four processes: {enough(counter, begun, total)}; the most at once {counter.most}", flush=True)
        pods[0].signal(signal.SIGKILL)
        killed = time.monotonic()
        wait_until(lambda: counter.now < total - 1, "its sessions to end")
        wait_until(lambda: counter.now >= total - 1, "the others to have them", 60)
        print(
            f"after one was killed: at least {total - 1} again after {time.monotonic() - killed:.1f} s"
            f" (session timeout {SESSION_S} s); the most at once {counter.most}"
        )
        begun = len(counter.seen)
        time.sleep(seconds)  # likewise
        print(f"three processes: {enough(counter, begun, total)}; the most at once {counter.most}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--total", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}")
    print(f"Python {platform.python_version()}, max_sessions_total {options.total}, vsftpd", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        run(Path(name), options.total, options.seconds)


if __name__ == "__main__":
    main()
