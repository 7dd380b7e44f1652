"""What a scrape reads of the running service; the snapshots of `pooler.ops.http.service` have it all."""

from collections.abc import Sequence
from typing import Literal, Protocol

BreakerState = Literal["closed", "half_open", "open"]
"""Whether a remote's jobs may run: yes; a few, on trial; no."""

PartitionState = Literal["running", "paused", "stopped"]
"""Whether a partition is read: yes; not now; not until somebody has looked at it."""


class RemoteReading(Protocol):
    """What a scrape reads of one remote."""

    @property
    def name(self) -> str:
        """Its section of connections.ini."""
        ...

    @property
    def state(self) -> BreakerState:
        """Its breaker."""
        ...

    @property
    def owner(self) -> str:
        """Who is told of trouble with it; empty for nobody in particular."""
        ...

    @property
    def paused(self) -> bool:
        """Whether an operator has paused it."""
        ...

    @property
    def maintenance_until(self) -> str | None:
        """When its maintenance ends; None where it is in none."""
        ...

    @property
    def busy(self) -> int:
        """Sessions that work on a job."""
        ...

    @property
    def idle(self) -> int:
        """Sessions that wait for one."""
        ...

    @property
    def limit(self) -> int:
        """Sessions that are allowed now."""
        ...

    @property
    def target(self) -> int:
        """Sessions that would serve best, as far as is known."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs that wait for it."""
        ...

    @property
    def full_s(self) -> float | None:
        """Since when it has no room for uploads, in seconds; None while it has."""
        ...


class FolderReading(Protocol):
    """What a scrape reads of one local folder."""

    @property
    def name(self) -> str:
        """Its section of connections.ini."""
        ...

    @property
    def paused(self) -> bool:
        """Whether it cannot be used now."""
        ...

    @property
    def waiting(self) -> int:
        """Jobs that wait for it."""
        ...

    @property
    def free_bytes(self) -> int | None:
        """Its room; None while that is not known."""
        ...


class PartitionReading(Protocol):
    """What a scrape reads of one partition."""

    @property
    def topic(self) -> str:
        """The topic."""
        ...

    @property
    def partition(self) -> int:
        """The partition's number."""
        ...

    @property
    def state(self) -> PartitionState:
        """Whether it is read."""
        ...

    @property
    def lag(self) -> int | None:
        """Records not settled yet; None while the end is not known."""
        ...


class ServiceReading(Protocol):
    """What a scrape reads of the service as a whole."""

    @property
    def window_records(self) -> int:
        """Records read and not settled."""
        ...

    @property
    def window_bytes(self) -> int:
        """Their bytes."""
        ...

    @property
    def oldest_job_age_s(self) -> float | None:
        """Seconds since the oldest of them was first read; None where there are none."""
        ...

    @property
    def commit_age_s(self) -> float | None:
        """Seconds since the last commit; None before the first."""
        ...

    @property
    def partitions(self) -> Sequence[PartitionReading]:
        """The partitions that this pod holds."""
        ...


class Readable(Protocol):
    """The running service, as far as a scrape reads it; `pooler.ops.http.service.Service` is one."""

    def status(self) -> ServiceReading:
        """Tell the state of the service at this moment."""
        ...

    def remotes(self) -> Sequence[RemoteReading]:
        """Tell the state of every configured remote at this moment."""
        ...

    def folders(self) -> Sequence[FolderReading]:
        """Tell the state of every local folder at this moment."""
        ...
