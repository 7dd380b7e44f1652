"""A million jobs wait in the topic: what the service needs of memory meanwhile.

    python -m benchmarks.backlog [--jobs 1000000] [--large 500] [--done 2000]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). First small jobs wait,
then jobs of nearly a mebibyte each. Either time the service runs until some are done, and the most memory
that it ever had is read from the kernel. Nothing is timed.
"""

import argparse
import json
import re
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from confluent_kafka import Producer

from tests.support.kafka import RunningBroker, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site, wait_until

LARGE_BYTES = 1_000_000
"""Below a broker's own limit for a record, which is 1,048,588 bytes with all that is around it."""
_PARTITIONS = 4
_WITHIN_S = 900.0


def jobs(count: int, extra_bytes: int) -> Iterator[bytes]:
    """Make jobs that fetch one small file, each to a place of its own."""
    metadata = "x" * extra_bytes
    for number in range(count):
        job = {
            "task_id": str(number),
            "src_id": "far",
            "src_path": "/there",
            "dst_id": "local",
            "dst_path": f"/in/{number % 1000}/{number}",
            "metadata": metadata,
        }
        yield json.dumps(job).encode()


def fill(bootstrap: str, count: int, extra_bytes: int = 0, topic: str = "ftp-tasks") -> None:
    """Have jobs wait in the topic.

    Args:
        bootstrap: the broker.
        count: how many.
        extra_bytes: how much each carries along.
        topic: where, of four partitions.
    """
    fill_with(bootstrap, jobs(count, extra_bytes), topic)


def fill_with(bootstrap: str, values: Iterable[bytes], topic: str = "ftp-tasks") -> None:
    """Have records wait in a topic of four partitions, in each of them in their order."""
    failed: list[object] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 50, "message.max.bytes": LARGE_BYTES + 10_000}
    )
    for number, value in enumerate(values):
        while True:
            try:
                producer.produce(
                    topic,
                    value,
                    partition=number % _PARTITIONS,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(_WITHIN_S) == 0
    assert not failed, failed[0]


def peak_bytes(site: Site, done: int) -> int:
    """Run the service until so many jobs are done; tell the most memory that it had.

    Args:
        site: jobs wait there.
        done: how many to wait for.
    """
    with site.running() as running:
        wait_until(lambda: running.get("/v1/status")["succeeded"] >= done, f"{done} jobs", _WITHIN_S)
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def measure(
    folder: Path, broker: RunningBroker, server: RunningServer, *, count: int, extra_bytes: int, done: int
) -> int:
    """Have jobs wait, run the service, and tell the most memory that it had, in bytes."""
    server.put("/there", bytes(1000))
    site = Site(folder, broker.bootstrap, {"far": server})
    site.create_topics()
    fill(broker.bootstrap, count, extra_bytes)
    return peak_bytes(site, done)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1_000_000, help="small ones that wait")
    parser.add_argument("--large", type=int, default=500, help="large ones that wait")
    parser.add_argument("--done", type=int, default=2_000, help="to be done before memory is read")
    arguments = parser.parse_args()
    print("| waiting | each, in bytes | done | most memory, in MB |\n|---|---|---|---|")
    for count, extra_bytes in ((10_000, 0), (arguments.jobs, 0), (arguments.large, LARGE_BYTES)):
        done = min(arguments.done, count)
        with tempfile.TemporaryDirectory(prefix="backlog-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # the server's user must get in
            with (
                running_broker(folder / "kafka") as broker,
                running_server("vsftpd", folder / "far") as server,
            ):
                peak = measure(
                    folder / "site", broker, server, count=count, extra_bytes=extra_bytes, done=done
                )
        print(f"| {count} | {len(next(jobs(1, extra_bytes)))} | {done} | {peak / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
