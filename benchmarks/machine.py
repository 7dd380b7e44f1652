"""On what a benchmark ran: nothing that names the machine, and all that explains its figures."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "lftp": ("lftp", "--version"),
    "rclone": ("rclone", "version"),
    "curl": ("curl", "--version"),
}
_NUMBER = re.compile(r"\d+\.\d+[\w.-]*")


def describe() -> dict[str, str]:
    """Tell the processor, the system, how busy it is, and the versions of the peers."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
    for name, words in _VERSIONS.items():
        if shutil.which(name):
            answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            number = _NUMBER.search(answer)
            found[name] = number[0] if number else "?"
    for package in ("aioftp", "trio"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def sentence(machine: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
