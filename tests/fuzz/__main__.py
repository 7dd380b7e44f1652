"""Fuzz one target, or all of them one after another: ``python -m tests.fuzz TARGET --seconds N``.

It takes atheris. New inputs go to a folder of their own outside the repository; one that breaks a target is
kept there, its path is printed, and the exit code is not 0. In corpus/ it would be replayed for good.
"""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(folder.name for folder in (HERE / "corpus").iterdir())
MAX_INPUT_BYTES = 20_000  # above the longest line that a parser takes


def fuzz(name: str, seconds: int, found: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["pooler"]):
        targets = importlib.import_module("tests.fuzz.targets")
    seeds = found / "seeds"
    seeds.mkdir()
    for path in targets.corpus(name):
        shutil.copy(path, seeds)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            f"-artifact_prefix={found}{os.sep}",
            str(seeds),
        ],
        targets.TARGETS[name],
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["all", *NAMES])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    arguments = parser.parse_args()
    if arguments.target != "all":
        found = Path(tempfile.mkdtemp(prefix=f"fuzz-{arguments.target}-"))
        print(f"{arguments.target}: inputs go to {found}", flush=True)  # noqa: T201 - a command
        fuzz(arguments.target, arguments.seconds, found)
        return 0
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(arguments.seconds)]
    codes = [subprocess.run([*command, name], check=False).returncode for name in NAMES]
    return max(map(abs, codes))


if __name__ == "__main__":
    sys.exit(main())
