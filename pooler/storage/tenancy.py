"""Our place in a root among the processes that share it: a lease, who else has one, what the dead left.

Every method blocks. ``look`` and ``leave`` are called one at a time; the others may run beside them.
"""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import structlog

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.control import FOLDER
from pooler.storage.failures import translated
from pooler.storage.incarnation import LivingOnes
from pooler.storage.journal import Entry
from pooler.storage.lease import Lease, LeaseLost, boot_clock
from pooler.storage.logbook import remove_old
from pooler.storage.probe import free_bytes, probe
from pooler.storage.root import LocalRoot
from pooler.storage.sweep import sweep

log = structlog.get_logger(__name__)


class Swept(NamedTuple):
    """What a process that is gone had left.

    Attributes:
        removed: how many parts there were in the root.
        on_servers: those that are on servers, and ours to remove now.
    """

    removed: int
    on_servers: list[Entry]


class Tenancy:
    """Our place in one root.

    Args:
        root: the root; its lease is kept by this.
        incarnation: makes a name that no process has had.
        min_free_bytes: with less room than this it counts as full.
        sweep_after_s: how long a process is silent before what it left is removed, in seconds.
        clock: tells seconds.

    Attributes:
        living: who has a lease on it.
        free_bytes: its room at the last look; None before the first.
    """

    def __init__(
        self,
        root: LocalRoot,
        incarnation: Callable[[], str],
        *,
        min_free_bytes: int,
        sweep_after_s: float,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self.living = LivingOnes(root.path, clock)
        self.free_bytes: int | None = None
        self._root = root
        self._incarnation = incarnation
        self._min_free_bytes = min_free_bytes
        self._sweep_after_s = sweep_after_s
        self._clock = clock
        self._place: tuple[int, int] | None = None

    def look(self, thorough: bool) -> None:  # noqa: FBT001 - called through a thread
        """Renew the lease, and see how the root is.

        Args:
            thorough: make a file in it, too.

        Raises:
            LocalFileError: it cannot be used.
        """
        lease = self._root.lease
        self._root.look_near()
        if lease is None:
            self._move_in()
        else:
            try:
                lease.renew()
            except LeaseLost as error:
                log.warning("lease_lost", root=self._root.name, process=lease.incarnation, error=str(error))
                lease.give_up()
                self._move_in()
        self.free_bytes = free_bytes(self._root)
        if thorough:
            assert self._root.lease is not None  # noqa: S101 - it was renewed or made above
            probe(self._root, self._root.lease.incarnation)
        if self.free_bytes < self._min_free_bytes:
            raise LocalFileError(
                ErrorCode.DISK_FULL,
                f"{self._root.name}:/: {self.free_bytes} bytes are free, "
                f"transfer.min_free_bytes is {self._min_free_bytes}",
            )

    def _move_in(self) -> None:
        with translated(self._root.path):
            found = self._root.path.stat()
        place = found.st_dev, found.st_ino
        if self._place not in {None, place} and not (self._root.path / FOLDER).is_dir():
            raise LocalFileError(ErrorCode.IO_ERROR, f"{self._root.path}: not the volume that it was")
        self._root.lease = Lease(self._root.path, self._incarnation(), self._clock)
        self._place = place

    def find_gone(self) -> list[str]:
        """See who else lives; tell who is gone for so long that what they left is to be removed.

        Raises:
            LocalFileError: it cannot be seen.
        """
        lease = self._root.lease
        if lease is None or not lease.holds:
            return []
        self.living.look(lease.renewed_ns)
        remove_old(self._root.path, lease.renewed_ns)
        return [gone for gone in self.living.silent(self._sweep_after_s) if gone != lease.incarnation]

    def sweep(self, gone: str) -> Swept | None:
        """Remove what a process that is gone has left in the root.

        What it left on servers is written down as ours first: should we die before it is removed, the next
        one takes it over.

        Returns:
            What was found; None where another process is at it.

        Raises:
            PoolerError: it could not be done to the end; it is to be tried again.
        """
        lease, left = self._root.lease, list[Entry]()
        if lease is None:
            return None

        def inherit(entry: Entry) -> None:
            lease.inherit(entry)
            left.append(entry)

        removed = sweep(self._root, gone, lease.incarnation, self.living, inherit)
        return None if removed is None else Swept(removed, left)

    def leave(self) -> None:
        """Let go of the lease. Never raises."""
        lease, self._root.lease = self._root.lease, None
        if lease is not None:
            lease.end()


def try_out(root: LocalRoot, incarnation: Callable[[], str]) -> int:
    """See whether a root can be used, and leave it as it was. Blocks.

    Args:
        root: the root; nobody has a lease for us on it.
        incarnation: makes a name that no process has had.

    Returns:
        How many bytes are free.

    Raises:
        LocalFileError: it cannot be used.
    """
    # With a lease: should we be killed meanwhile, others see that what we have made is to go.
    tenancy = Tenancy(root, incarnation, min_free_bytes=0, sweep_after_s=inf)
    try:
        tenancy.look(thorough=True)
    finally:
        tenancy.leave()
    return tenancy.free_bytes or 0
