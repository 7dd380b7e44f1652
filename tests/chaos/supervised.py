"""Runs chaos in a process of its own, and once more where that process dies of SIGSEGV.

    python -m tests.chaos.supervised [arguments of tests.chaos]

What puts jobs on the topics and reads the answers is librdkafka, which has died so in about one run of twenty
on a busy machine. That says nothing about the service, and nothing is known then: so the same run is made
again, once. Any other end is the run's own.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_CRASHED = -signal.SIGSEGV


def run(arguments: Sequence[str], module: str = "tests.chaos") -> int:
    """Run it; tell its exit status."""
    code = _run_once(arguments, module)
    if code == _CRASHED:
        sys.stderr.write("the test's own process died of SIGSEGV; once more\n")
        code = _run_once(arguments, module)
    return code


def _run_once(arguments: Sequence[str], module: str) -> int:
    # A folder of its own, by which all that it has started is known should it die.
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the servers' users must get in
        code = subprocess.run(
            [sys.executable, "-m", module, *arguments], env={**os.environ, "TMPDIR": folder}, check=False
        ).returncode
        if code < 0:
            _kill_all_of(folder)
        elif code:
            # Its logs are what somebody will want to look at.
            kept = Path(tempfile.mkdtemp(prefix="chaos-failed-"))
            subprocess.run(["cp", "-r", f"{folder}/.", str(kept)], check=False)
            sys.stderr.write(f"all of it is kept in {kept}\n")
        return code


def _kill_all_of(folder: str) -> None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            if folder.encode() in words:
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended meanwhile


if __name__ == "__main__":
    code = run(sys.argv[1:])
    raise SystemExit(code if code >= 0 else 128 - code)
