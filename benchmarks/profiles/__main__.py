"""Where `pooler copy` spends its time on loopback, as text: the functions that cost most, and calls a file.

    python -m benchmarks.profiles [--files 400] [--sessions 8]

Needs root and vsftpd. Calls a file are the steady figure; cProfile makes what calls much look dearer than it
is. What imports is left out.
"""

import argparse
import pstats
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.loopback import Field
from tests.support.servers import running_server

_SHOWN = 20
_IMPORTING = (
    r"importlib|compile|\bexec|marshal|build_class|/re/|dataclasses|typing|abc\b|enum.py|inspect|pydantic"
)


def profile(field: Field, way: str, into: Path) -> pstats.Stats:
    field.clear()
    command = [sys.executable, "-m", "cProfile", "-o", str(into), "-m", "pooler", "copy"]
    command += [str(field.folder / f"{way}.jsonl"), "--config", str(field.folder / "config.yaml")]
    command += ["--connections", str(field.folder / "connections.ini")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    field.check(way)
    return pstats.Stats(str(into))


def show(stats: pstats.Stats, way: str, files: int) -> None:
    rows = []
    for (file, _, function), (_, calls, own_s, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        name = "/".join(Path(file).parts[-2:]) if file != "~" else ""
        text = re.sub(" at 0x[0-9a-f]+", "", f"{name} {function}".strip())
        if calls >= files and not re.search(_IMPORTING, f"{file} {function}"):
            rows.append((own_s, calls / files, text))
    whole_s = sum(own_s for own_s, _, _ in rows)
    print(f"\n{way}: {sum(calls for _, calls, _ in rows):.0f} calls a file\n\n   share   calls a file")
    for own_s, calls, name in sorted(rows, reverse=True)[:_SHOWN]:
        print(f"{100 * own_s / whole_s:7.1f}% {calls:9.1f}   {name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--sessions", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with running_server("vsftpd", folder / "vsftpd") as server:
            (folder / "local").mkdir()
            field = Field(folder / "local", server, options.files, options.sessions)
            for way in ("down", "up"):
                show(profile(field, way, folder / "profile"), way, options.files)


if __name__ == "__main__":
    main()
