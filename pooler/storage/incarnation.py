"""Which processes live, by their leases on a root, and which of them are provably gone.

A lease is only believed to have lapsed if both say so: its time, by the clock of the file system, and what
was seen with our own eyes, that it did not change for as long as it would have held. So neither a clock that
jumps nor a process that has only just begun to look takes anybody for dead. Whom nobody knows is not gone: he
may live where we cannot see him.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pooler.storage.control import LEASE, control_folder
from pooler.storage.failures import translated
from pooler.storage.lease import GONE_S, HOLDS_S, boot_clock

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Seen:
    """A lease: its time, and since when it has it, by our own clock."""

    renewed_ns: int
    since: float
    unchanged_s: float = 0.0


class LivingOnes:
    """Who has a lease on a root.

    Args:
        root: the root's folder.
        clock: tells seconds.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = boot_clock) -> None:
        self._root = root
        self._clock = clock
        self._now_ns = 0
        # Replaced as a whole, as other threads read it.
        self._seen: dict[str, _Seen] = {}

    def look(self, now_ns: int) -> None:
        """Look at all leases. Blocks.

        Args:
            now_ns: the time by the clock of the file system, in nanoseconds since 1970.

        Raises:
            LocalFileError: they cannot be seen.
        """
        now, seen = self._clock(), {}
        with translated(self._root), control_folder(self._root) as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - by its descriptor
                if name.endswith(LEASE):
                    found = _time(name, folder)
                    if found is not None:
                        seen[name.removesuffix(LEASE)] = self._compared(name, found, now)
        self._seen, self._now_ns = seen, now_ns

    def _compared(self, name: str, found_ns: int, now: float) -> _Seen:
        before = self._seen.get(name.removesuffix(LEASE))
        if before is None or before.renewed_ns != found_ns:
            return _Seen(found_ns, now)
        return _Seen(found_ns, before.since, now - before.since)

    def is_gone(self, incarnation: str) -> bool:
        """Tell whether a process is provably no more. Quick."""
        return self._is_silent(incarnation, GONE_S)

    def silent(self, for_s: float) -> list[str]:
        """Tell who is gone, and has been silent for so many seconds."""
        return [name for name in self._seen if self._is_silent(name, max(for_s, GONE_S))]

    def lives(self, incarnation: str) -> bool:
        """Tell whether a process has a lease and is not gone. Quick."""
        return incarnation in self._seen and not self.is_gone(incarnation)

    def _is_silent(self, incarnation: str, for_s: float) -> bool:
        seen = self._seen.get(incarnation)
        if seen is None or seen.unchanged_s < HOLDS_S:
            return False
        return self._now_ns - seen.renewed_ns >= for_s * _NS


def _time(name: str, folder: int) -> int | None:
    """Tell when a lease was renewed; None where it is gone meanwhile."""
    # Opened, not just looked at: a network file system answers a look from what it knew a while ago.
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
