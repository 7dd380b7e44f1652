"""Fuzz one target, or all of them: ``python -m tests.fuzz TARGET --seconds N``.

It takes atheris. New inputs go to a folder of their own outside the repository; one that breaks a target is
kept there, its path is printed, and the exit code is not 0. In corpus/ it would be replayed for good.

``all`` shares its seconds out, one process for each CPU at a time, and says at the end how many inputs each
target was given.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(folder.name for folder in (HERE / "corpus").iterdir())
MAX_INPUT_BYTES = 20_000  # above the longest line that a parser takes
_EXECUTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["pooler"]):
        targets = importlib.import_module("tests.fuzz.targets")
    found = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    print(f"{name}: inputs go to {found}", flush=True)  # noqa: T201 - a command
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


def fuzz_all(seconds: int) -> int:
    """Fuzz every target in a process of its own; the sum of failures is the exit code."""
    importlib.import_module("atheris")  # one clear error, where it is missing
    at_once = len(os.sched_getaffinity(0))
    share = max(1, seconds * at_once // len(NAMES))

    def run(name: str) -> tuple[int, bool]:
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(share)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        executed = sum(map(int, _EXECUTED.findall(ended.stderr)))
        failed = ended.returncode != 0 or not executed
        if failed:
            print(ended.stdout + ended.stderr, end="")  # noqa: T201 - a command
        print(f"{name:12} {executed:9} inputs  {'FAILED' if failed else 'clean'}", flush=True)  # noqa: T201 - the terminal is where it tells
        return executed, failed

    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(run, NAMES))
    executed, failures = sum(inputs for inputs, _ in results), sum(failed for _, failed in results)
    print(f"{executed} inputs in all, {failures} of {len(NAMES)} targets failed")  # noqa: T201 - as above
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["all", *NAMES])
    parser.add_argument("--seconds", type=int, default=60, help="in all (%(default)s)")
    arguments = parser.parse_args()
    if arguments.target == "all":
        return fuzz_all(arguments.seconds)
    fuzz(arguments.target, arguments.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
