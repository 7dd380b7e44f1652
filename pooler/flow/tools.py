"""What every worker of a process works with, and what stands in where there is no group or no logbook."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pooler.errors import LocalFileError
from pooler.flow.bandwidth import Bandwidth
from pooler.flow.logbook import Done, Recall, remember_nothing
from pooler.flow.parking import never_park
from pooler.flow.work import Landed, Work
from pooler.model.batch import Found
from pooler.model.job import Delivery
from pooler.model.outcome import Outcome
from pooler.storage.root import LocalRoot


async def spread_nothing(work: Work, _found: Found) -> None:
    """Stand in for what takes the files of a bulk job, where none is let in."""
    raise AssertionError(f"nobody to spread {work.delivery.job.task_id}")


class Membership(Protocol):
    """Whether we would know if our jobs were given to others."""

    @property
    def lasts(self) -> bool:
        """Whether it is sure that they are ours."""
        ...

    async def lasting(self) -> None:
        """Wait until it is."""
        ...

    async def exclusive(self) -> None:
        """Wait until nobody else has got them, nor is just getting them."""
        ...


class _AlwaysOurs:
    """Stands in for a membership, where there is no group that could give jobs to others."""

    lasts = True

    async def lasting(self) -> None:
        """Wait for nothing."""

    async def exclusive(self) -> None:
        """Wait for nothing."""


ALWAYS_OURS: Membership = _AlwaysOurs()


@dataclass(frozen=True, slots=True)
class Tools:
    """What every worker of the process shares.

    Attributes:
        roots: the local folders, by name.
        incarnation: this process, for temporary names, where a folder has no lease.
        serials: counts the attempts of the process, for the same.
        attempt_s: how long one attempt may take, in seconds.
        resume_above_bytes: from which size on a file is resumed, where its job asks for it.
        keepalive_s: how often an idle session says something, in seconds.
        wants: whether a delivery is still ours to do, as far as we know.
        membership: whether we would know if it were not.
        land: takes a download whose file has no name yet.
        end: takes the outcome of a job.
        drop: takes a job that is no longer ours.
        is_gone: whether a process, by its incarnation on a root, is provably no more. May block.
        hold: lets a job wait where its local folder cannot be used now; False where it can.
        doubt: takes a job whose local side failed, until it is known whether the job is to blame, and then
            calls what it is given; False where nobody can tell.
        removed: told of a path on a remote where no part of ours is any more.
        note: notes what is done for a job, for whoever has to answer it if we die before.
        recall: tells what was done for a job by those who had it before.
        park: takes a job that is to be tried again after a pause in seconds; False where it is to wait here.
        spread: takes the files of a bulk job that a visit at its folder has found.
        bandwidth: of the process.
    """

    roots: dict[str, LocalRoot]
    incarnation: str
    serials: Iterator[int]
    attempt_s: float
    resume_above_bytes: int
    keepalive_s: float
    wants: Callable[[Delivery], bool]
    land: Callable[[Landed], Awaitable[None]]
    end: Callable[[Work, Outcome], Awaitable[None]]
    drop: Callable[[Work], None]
    membership: Membership = ALWAYS_OURS
    is_gone: Callable[[str, str], bool] = lambda _root, _process: False
    hold: Callable[[Work], bool] = lambda _work: False
    doubt: Callable[[Work, LocalFileError, Callable[[], Awaitable[None]]], bool] = lambda *_: False
    removed: Callable[[str, str], None] = lambda _remote, _path: None
    note: Callable[[Done], Awaitable[object]] = remember_nothing
    recall: Recall = remember_nothing
    park: Callable[[Work, float], Awaitable[bool]] = never_park
    spread: Callable[[Work, Found], Awaitable[None]] = spread_nothing
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
