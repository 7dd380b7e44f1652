"""How long the start of the service takes, and the drain of an idle one; what 100 sessions need of memory.

    python -m benchmarks.start [--turns 3] [--sessions 100] [--tls]

Needs root, a broker and vsftpd (``python -m tests.support.install broker servers``). Without a broker:
`pooler copy` from nothing to the answer to one small job, which is imports of compiled modules, a session,
and a transfer. With one: `pooler run` until it says that it is ready, and from SIGTERM to its end. The memory
is the most that `pooler run` had while that many sessions moved files of 300 kB.
"""

import argparse
import compileall
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pooler
from benchmarks import machine
from benchmarks.peers import ours
from benchmarks.usage import cpu_s, peak_bytes
from tests.support.kafka import produce, running_broker
from tests.support.servers import running_server
from tests.support.service import Site, wait_until

_FILES = 2000
_WITHIN_S = 600.0


def measure(folder: Path, sessions: int, *, tls: bool) -> dict[str, float]:
    """Tell seconds, and MB."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder / "kafka"))
        server = stack.enter_context(
            running_server(
                "vsftpd", folder / "far", tls=tls, extra=("log_ftp_protocol=NO", "xferlog_enable=NO")
            )
        )
        names = [f"{number:06}" for number in range(_FILES)]
        for name in names:
            server.put(f"/out/{name}", bytes(300_000))
        limits = ours.settings(sessions, "batch")
        limits["pool"] |= {"max_sessions_per_pod": sessions}
        site = Site(folder / "site", broker.bootstrap, {"far": server}, limits)
        site.create_topics()
        found = {"from nothing to one file copied, s": _one_file(site)}
        began = time.perf_counter()
        with site.running() as running:
            found["`pooler run` until ready, broker and all, s"] = time.perf_counter() - began
            # Whoever waits for a broker uses none: this is our own part.
            found["CPU that it took until then, s"] = sum(cpu_s(running.process.pid))
            found["drain of an idle service, s"] = _drain_s(running.process)
        produce(broker.bootstrap, "ftp-tasks", ours.jobs("down", names))
        with site.running() as running:
            wait_until(lambda: running.get("/v1/status")["succeeded"] >= _FILES, "all jobs", _WITHIN_S)
            found[f"memory with {sessions} sessions, MB"] = peak_bytes(running.process.pid) / 1e6
            _drain_s(running.process)
        return found


def _drain_s(process: subprocess.Popen[bytes]) -> float:
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    assert process.wait(_WITHIN_S) == 0
    return time.perf_counter() - began


def _one_file(site: Site) -> float:
    job = {"src_id": "far", "src_path": "/out/000000", "dst_id": "local", "dst_path": "/one"}
    (site.folder / "one.jsonl").write_text(json.dumps(job))
    began = time.perf_counter()
    words = site.command("copy", str(site.folder / "one.jsonl"))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
    assert json.loads(line)["status"] == "success", line
    return seconds


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--tls", action="store_true", help="the server speaks TLS")
    options = parser.parse_args()
    # As it is where it is installed.
    compileall.compile_dir(str(Path(pooler.__file__).parent), quiet=1)
    # So that what was started is taken down by a SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(machine.sentence(machine.describe()), flush=True)
    found: list[dict[str, float]] = []
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory(prefix="start-") as name:
            folder = Path(name)
            folder.chmod(0o755)  # the server's user must get in
            found.append(measure(folder, options.sessions, tls=options.tls))
    print("| | median | least to most |\n|---|---:|---:|")
    for key in found[0]:
        values = [one[key] for one in found]
        print(f"| {key} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} |")


if __name__ == "__main__":
    main()
