"""A crash of the test's own process is no verdict; all else is."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.chaos.supervised import run

SCRIPT = """
import os, signal, subprocess, sys, tempfile
count, ends, told = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
times = len(open(count).read()) if os.path.exists(count) else 0
open(count, "a").write("x")
if ends[times] == "crash":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", tempfile.gettempdir()])
    open(told, "w").write(str(child.pid))
    os.kill(os.getpid(), signal.SIGSEGV)
sys.exit(int(ends[times]))
"""


@pytest.mark.parametrize(
    ("ends", "code", "times"),
    [("0", 0, 1), ("1", 1, 1), ("crash,0", 0, 2), ("crash,3", 3, 2), ("crash,crash", -signal.SIGSEGV, 2)],
)
def test_only_a_crash_is_tried_again_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, code: int, times: int
) -> None:
    (tmp_path / "ending.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    count, told = tmp_path / "count", tmp_path / "child"
    assert run([str(count), ends, str(told)], "ending") == code
    assert len(count.read_text()) == times
    if told.exists():
        # Nothing that it had started outlives it.
        found = subprocess.run(
            ["ps", "-o", "stat=", "-p", told.read_text()], capture_output=True, text=True, check=False
        )
        assert found.stdout[:1] in {"", "Z"}
