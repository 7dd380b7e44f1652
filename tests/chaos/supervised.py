"""Runs chaos in a process of its own, and once more where that process dies of SIGSEGV.

    python -m tests.chaos.supervised [arguments of tests.chaos]

What puts jobs on the topics and reads the answers is librdkafka, which has died so in about one run of twenty
on a busy machine. That says nothing about the service, and nothing is known then: so the same run is made
again, once. Any other end is the run's own.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_CRASHED = -signal.SIGSEGV
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def run(arguments: Sequence[str], module: str = "tests.chaos") -> int:
    """Run it; tell its exit status.

    Of a run that died nothing is left: this process takes its children as its own, and kills them.
    """
    _adopt_orphans()
    code = _run_once(arguments, module)
    if code == _CRASHED:
        sys.stderr.write("the test's own process died of SIGSEGV; once more\n")
        code = _run_once(arguments, module)
    return code


def _run_once(arguments: Sequence[str], module: str) -> int:
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the servers' users must get in
        code = subprocess.run(
            [sys.executable, "-m", module, *arguments], env={**os.environ, "TMPDIR": folder}, check=False
        ).returncode
        if code < 0:
            _kill_what_is_left()
        elif code:
            # Its logs are what somebody will want to look at.
            kept = Path(tempfile.mkdtemp(prefix="chaos-failed-"))
            subprocess.run(["cp", "-r", f"{folder}/.", str(kept)], check=False)
            sys.stderr.write(f"all of it is kept in {kept}\n")
        return code


def _adopt_orphans() -> None:
    """Make this process the parent of all whose own parent dies, down to their grandchildren."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _kill_what_is_left() -> None:
    """Kill all children of this process, and theirs, which become its own, until there is none."""
    while True:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)  # a child is there until it is waited for
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    code = run(sys.argv[1:])
    raise SystemExit(code if code >= 0 else 128 - code)
