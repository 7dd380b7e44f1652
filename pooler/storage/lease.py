"""A process's lease on a root: a file whose time it renews, by which every other process sees that it lives.

Locks would tell at once that their holder is gone, but not on every file system that pods share, nor while a
network is cut. A time that is renewed works on all of them, as long as it is the file system that tells it,
and not the machines. A holder counts for itself, by a clock that goes on while it is stopped: once it has
not renewed for `HOLDS_S` it gives nothing its name any more, long before the others take it for gone. A lease
that has lapsed is never taken up again; the process goes on as a new incarnation.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.control import FOLDER, JOURNAL, LEASE, control_folder
from pooler.storage.failures import translated
from pooler.storage.journal import Entry, Journal

RENEWAL_S = 5.0
HOLDS_S = 30.0
GONE_S = 120.0
"""After how long without a renewal its holder is taken for gone."""
_TRIES = 100
"""To make a file in a folder that others remove: each takes one who leaves just in between."""


class LeaseLost(LocalFileError):
    """The process was stopped, or cut off from the root, for so long that others may take it for gone."""


def boot_clock() -> float:
    """Tell a time in seconds that also passes while the process is stopped, or the machine asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of one incarnation on one root. Its methods may be called in any thread; most block.

    Args:
        root: the root's folder.
        incarnation: in the names of all parts that it covers.
        clock: tells seconds.

    Attributes:
        journal: what is to be tidied up should the process die.
        renewed_ns: when it was renewed last, by the clock of the file system, in nanoseconds since 1970.

    Raises:
        LocalFileError: it cannot be had.
    """

    def __init__(self, root: Path, incarnation: str, clock: Callable[[], float] = boot_clock) -> None:
        self.incarnation = incarnation
        self.renewed_ns = 0
        self._root = root
        self._clock = clock
        self._name = incarnation + LEASE
        self._renewed = clock()
        with translated(root):
            found = self._make()
        self.renewed_ns = found.st_mtime_ns
        self._inode = found.st_dev, found.st_ino
        self.journal = Journal(root, incarnation + JOURNAL)
        self._shown = str(root / FOLDER)

    def _make(self) -> os.stat_result:
        """Make its file, and the folder for it. Who leaves it as the last one may just remove that again."""
        for tries_left in reversed(range(_TRIES)):
            with suppress(FileExistsError):
                (self._root / FOLDER).mkdir()
            try:
                with control_folder(self._root) as folder:
                    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                    descriptor = os.open(self._name, how, 0o666, dir_fd=folder)
            except FileNotFoundError:
                if not tries_left:
                    raise
                continue
            try:
                return os.fstat(descriptor)
            finally:
                os.close(descriptor)
        raise AssertionError("the last try returns or raises")

    @property
    def holds(self) -> bool:
        """Whether nobody can have taken its holder for gone yet. Quick."""
        return self._clock() - self._renewed < HOLDS_S

    def renew(self) -> None:
        """Renew it. Blocks.

        Raises:
            LeaseLost: it had lapsed, or was taken away.
            LocalFileError: the root is not what it was, or cannot be reached.
        """
        began = self._clock()
        self._check()
        # By its path: a root that is no longer mounted must not be taken for one that is.
        with self._own() as descriptor:
            os.utime(descriptor)
            self.renewed_ns = os.fstat(descriptor).st_mtime_ns
        self._renewed = began

    def confirm(self) -> None:
        """See that what is made in the root now is ours, and stays. Blocks.

        Raises:
            LeaseLost: it lapsed, or was taken away.
            LocalFileError: the root is not what it was, or cannot be reached.
        """
        self._check()
        with self._own():
            pass
        self._check()

    def check(self, part: str) -> None:
        """See that a part is of this incarnation, and the lease holds. Quick.

        Raises:
            LeaseLost: it is not, or does not.
        """
        if f"pooler-{self.incarnation}-" not in part:
            raise self._lost()
        self._check()

    def note(self, entry: Entry, part: str) -> None:
        """Write a part down before it is made. Blocks.

        Raises:
            LeaseLost: as for ``check``.
            LocalFileError: it cannot be written down.
        """
        self.check(part)
        with translated(self._shown):
            self.journal.note(entry, part)

    def inherit(self, entry: Entry) -> None:
        """Write down a part on a server that is ours to remove, since its writer is gone. Blocks.

        Raises:
            LocalFileError: it cannot be written down.
        """
        with translated(self._shown):
            self.journal.note(entry, entry.path)

    def end(self) -> None:
        """Let go of it: where nothing is left to be tidied up it vanishes, else others may begin at once.

        Never raises. Blocks.
        """
        with suppress(OSError):
            with control_folder(self._root) as folder:
                if not self.journal.empty:
                    os.utime(self._name, ns=(0, 0), dir_fd=folder, follow_symlinks=False)
                    return
                for name in (self.incarnation + JOURNAL, self._name):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
            (self._root / FOLDER).rmdir()  # it was the last one

    def give_up(self) -> None:
        """Hold it no more: it lapses, and others tidy up. Quick."""
        self._renewed = -inf

    def _check(self) -> None:
        if not self.holds:
            raise self._lost()

    @contextmanager
    def _own(self) -> Iterator[int]:
        with translated(self._root):
            try:
                with control_folder(self._root) as folder:
                    descriptor = os.open(
                        self._name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder
                    )
            except FileNotFoundError:
                # Without its folder it is the root that is gone; with it, somebody took the lease away.
                if (self._root / FOLDER).is_dir():
                    raise self._lost() from None
                raise
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._lost()
                yield descriptor
            finally:
                os.close(descriptor)

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            ErrorCode.IO_ERROR, f"{self._root}: stopped, or cut off from it, for more than {HOLDS_S:g} s"
        )
