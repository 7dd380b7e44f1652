"""A crash of the test's own process is no verdict; all else is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Ends as it is told to. One that crashes leaves a child that has a child: neither may outlive it.
SCRIPT = """
import os, signal, subprocess, sys
count, ends, told = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
times = len(open(count).read()) if os.path.exists(count) else 0
open(count, "a").write("x")
if ends[times] == "crash":
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    nested = f"import os, subprocess; print(os.getpid(), subprocess.Popen({sleeping}).pid, flush=True); "
    child = subprocess.Popen(
        [sys.executable, "-c", nested + "import time; time.sleep(600)"], stdout=subprocess.PIPE, text=True
    )
    open(told, "w").write(child.stdout.readline())
    os.kill(os.getpid(), signal.SIGSEGV)
sys.exit(int(ends[times]))
"""
# In a process of its own: it takes and kills all children that it has.
RUN = "import sys; from tests.chaos.supervised import run; sys.exit(run(sys.argv[1:], 'ending') & 0xFF)"


@pytest.mark.parametrize(
    ("ends", "code", "times"),
    [("0", 0, 1), ("1", 1, 1), ("crash,0", 0, 2), ("crash,3", 3, 2), ("crash,crash", -signal.SIGSEGV, 2)],
)
def test_only_a_crash_is_tried_again_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, code: int, times: int
) -> None:
    (tmp_path / "ending.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    count, told = tmp_path / "count", tmp_path / "child"
    ended = subprocess.run([sys.executable, "-c", RUN, str(count), ends, str(told)], check=False, timeout=60)
    assert ended.returncode == code & 0xFF
    assert len(count.read_text()) == times
    if told.exists():
        assert [Path(f"/proc/{child}").exists() for child in told.read_text().split()] == [False, False]
