"""What a process has used, as the kernel counts it."""

import os
import re
from pathlib import Path


def cpu_s(pid: int) -> tuple[float, float]:
    """Tell the seconds of CPU that a process has spent, for itself and in the system."""
    # The name stands in brackets and may hold anything, so count from the last one.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def peak_bytes(pid: int) -> int:
    """Tell the most memory that a process has ever had."""
    return _bytes_of("VmHWM", pid)


def bytes_now(pid: int) -> int:
    """Tell the memory that a process has now."""
    return _bytes_of("VmRSS", pid)


def _bytes_of(what: str, pid: int) -> int:
    found = re.search(rf"{what}:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
