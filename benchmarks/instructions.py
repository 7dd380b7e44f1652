"""Instructions of `pooler copy` a file, as valgrind counts them: the figure that other work does not move.

    python -m benchmarks.instructions [--files 120] [--size 10000] [--way down|up] [--tls]

Needs root, vsftpd and valgrind. A run with few files is taken from one with many, so the start is not in it.
Only instructions of the process itself count, none of the kernel's.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.field import Way
from benchmarks.peers import ours
from tests.support.servers import RunningServer, running_server
from tests.support.service import Site

_FEW = 20
_NO_BROKER = "127.0.0.1:9"


def count(folder: Path, server: RunningServer, way: Way, files: int, size: int) -> int:
    """Count the instructions of a process that copies so many."""
    site = Site(folder, _NO_BROKER, {"far": server}, ours.settings(8, "never"))
    names = [f"{number:06}" for number in range(files)]
    (site.local / "out").mkdir()
    for name in names:
        (site.local / "out" / name).write_bytes(bytes(size))
    (folder / "jobs.jsonl").write_bytes(b"\n".join(ours.jobs(way, names)))
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    words = site.command("copy", str(folder / "jobs.jsonl"))
    found = subprocess.run([*command, *words], env=environment, check=True, capture_output=True, text=True)
    done = sum(json.loads(line)["status"] == "success" for line in found.stdout.splitlines())
    match = re.search(r"Collected : (\d+)", found.stderr)
    if match is None or done != files:
        raise SystemExit(f"{done} of {files} files\n{found.stderr}")
    return int(match[1])


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--way", choices=["down", "up"], default="down")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        running_server("vsftpd", Path(name) / "far", tls=options.tls) as server,
    ):
        Path(name).chmod(0o755)  # the server's user must get in
        for number in range(options.files):
            server.put(f"/out/{number:06}", bytes(options.size))
        server.make_folder("/in")
        many, few = (
            count(Path(name) / str(files), server, options.way, files, options.size)
            for files in (options.files, _FEW)
        )
    print(f"{options.way}: {(many - few) / (options.files - _FEW) / 1e6:.2f} million instructions a file")


if __name__ == "__main__":
    main()
