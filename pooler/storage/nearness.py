"""Whether short calls into a root may be made in the loop, or have to go to a thread.

To go to a thread and back costs ten times as much as to open a file, or to write half a megabyte into the
page cache. On a file system of this machine such a call is over in microseconds; over a network it may
stall for ever. So the kind of the file system decides, and what it is like: after a slow call threads are
used for a while. What may rightly take long, a flush or a sum, goes to a thread in any case.
"""

import ctypes
import os
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import TracebackType

SLOW_S = 0.05
"""What takes longer has held up every session."""
AVOIDED_S = 1.0, 60.0
"""For how long the loop is spared after that, in seconds: at first, and at most.

A machine that has other work may take the processor away in the middle of a call, so one slow call says
little. Each further one within a minute doubles the time.
"""

# f_type of statfs(2). Nothing that has a network, or another process, behind it.
_OF_THIS_MACHINE = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x01021994,  # tmpfs
        0x794C7630,  # overlayfs: what containers have
    }
)
_STATFS_BYTES = 256
"""More than any machine's struct statfs has."""
_libc = ctypes.CDLL(None, use_errno=True)


def is_of_this_machine(path: Path) -> bool:
    """Tell whether a folder is on a disk, or in the memory, of this machine. Blocks."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), found) != 0:
        return False
    # It begins with f_type, a long whose upper half says nothing.
    return ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF in _OF_THIS_MACHINE


class Nearness:
    """What is known of one root. Use it as a context around each call in the loop.

    Args:
        clock: tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._is_local = False
        self._avoided_until = -inf
        self._avoided_s = 0.0
        self._began = 0.0

    def look(self, path: Path) -> None:
        """See what the root is on now. Blocks."""
        self._is_local = is_of_this_machine(path)

    @property
    def near(self) -> bool:
        """Whether a short call may be made in the loop now."""
        return self._is_local and self._clock() >= self._avoided_until

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = self._clock()
        if ended - self._began > SLOW_S:
            at_first, at_most = AVOIDED_S
            again = ended < self._avoided_until + at_most
            self._avoided_s = min(2 * self._avoided_s, at_most) if again else at_first
            self._avoided_until = ended + self._avoided_s
