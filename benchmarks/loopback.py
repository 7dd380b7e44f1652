"""`pooler copy` beside lftp, in turn, on one vsftpd over loopback: ratios within one run.

    python -m benchmarks.loopback [--files 400] [--sessions 8] [--turns 3]

Needs root, vsftpd (``python -m tests.support.install servers``) and lftp. Files have 200 to 800 KiB, and each
turn begins with nothing at the destination. lftp mirrors a folder, with as many transfers at once as ours
has sessions; ours has every safety on but the flush, which lftp has not: temporary names, size checks,
renames. Its start counts: half a second of imports. Read the ratios: no two machines have the same figures.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.servers import RunningServer, running_server


class Field:
    """One server, one local folder, and the same files on both."""

    def __init__(self, folder: Path, server: RunningServer, count: int, sessions: int) -> None:
        self.folder, self.server, self.sessions = folder, server, sessions
        self.names = [f"{number:05}.bin" for number in range(count)]
        dice = random.Random(1)
        (folder / "out").mkdir()
        self.bytes = 0
        for name in self.names:
            content = dice.randbytes(dice.randrange(200 * 1024, 800 * 1024))
            self.bytes += len(content)
            (folder / "out" / name).write_bytes(content)
            server.put(f"/out/{name}", content)
        self._configure()

    def _configure(self) -> None:
        server = self.server
        (self.folder / "config.yaml").write_text(json.dumps({"transfer": {"flush": "never"}}))
        (self.folder / "connections.ini").write_text(
            f"[far]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
            f"pass = {server.password}\nmax_sessions = {self.sessions}\n"
            f"[local]\ntype = local\nbase_path = {self.folder}\n"
        )
        for way, source, destination in (("down", "far", "local"), ("up", "local", "far")):
            lines = (
                json.dumps(
                    {
                        "src_id": source,
                        "src_path": f"/out/{name}",
                        "dst_id": destination,
                        "dst_path": f"/in/{name}",
                    }
                )
                for name in self.names
            )
            (self.folder / f"{way}.jsonl").write_text("\n".join(lines))

    def clear(self) -> None:
        """Leave nothing at either destination."""
        for place in (self.folder / "in", self.server.root / "in"):
            shutil.rmtree(place, ignore_errors=True)
        self.server.make_folder("/in")

    def pooler(self, way: str) -> None:
        command = [sys.executable, "-m", "pooler", "copy", str(self.folder / f"{way}.jsonl")]
        command += [
            "--config",
            str(self.folder / "config.yaml"),
            "--connections",
            str(self.folder / "connections.ini"),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def lftp(self, way: str) -> None:
        server, local = self.server, self.folder
        ends = f"/out {local}/in" if way == "down" else f"-R {local}/out /in"
        script = (
            f"set ftp:ssl-allow no; set mirror:parallel-transfer-count {self.sessions}; set xfer:clobber on;"
        )
        script += f"open -u {server.user},{server.password} -p {server.port} {server.host}; mirror {ends}"
        subprocess.run(["lftp", "-e", f"{script}; exit"], check=True, stdout=subprocess.DEVNULL)

    def check(self, way: str) -> None:
        place = self.folder / "in" if way == "down" else self.server.root / "in"
        for name in self.names:
            if (place / name).read_bytes() != (self.folder / "out" / name).read_bytes():
                raise SystemExit(f"{place / name} is not what was sent")


def measure(field: Field, work: Callable[[str], None], way: str) -> float:
    field.clear()
    began = time.perf_counter()
    work(way)
    seconds = time.perf_counter() - began
    field.check(way)
    return len(field.names) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_server("vsftpd", folder / "vsftpd") as server:
            (folder / "local").mkdir()
            field = Field(folder / "local", server, options.files, options.sessions)
            peers = {"lftp": field.lftp, "pooler copy": field.pooler}
            found: dict[tuple[str, str], list[float]] = {}
            for _ in range(options.turns):
                for way in ("down", "up"):
                    for peer, work in peers.items():
                        found.setdefault((peer, way), []).append(measure(field, work, way))
    medians = {key: statistics.median(rates) for key, rates in found.items()}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}")
    print(f"Python {platform.python_version()}, {options.sessions} sessions, median of {options.turns}")
    print(f"{options.files} files, {field.bytes / 1e6:.0f} MB\n")
    print("| files/s | down | up |\n|---|---:|---:|")
    for peer in peers:
        print(f"| {peer} | {medians[peer, 'down']:.0f} | {medians[peer, 'up']:.0f} |")
    ratios = [medians["pooler copy", way] / medians["lftp", way] for way in ("down", "up")]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
