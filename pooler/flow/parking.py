"""Parks jobs: hands them to the retry topics, where waiting costs no memory and no place in the window.

What can wait only here stays: a job with an ``order_key``, one that others wait behind for its destination,
one that is too large for a retry topic, and one that is done and not yet answered.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Protocol

import structlog
import trio

from pooler.errors import LocalFileError
from pooler.flow.endings import Endings
from pooler.flow.ladder import Backlog, Ladder, relieve
from pooler.flow.lane import Lane
from pooler.flow.order import Order
from pooler.flow.pace import TokenBucket
from pooler.flow.room import Room
from pooler.flow.work import Work
from pooler.model.job import Delivery

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_AWAY_S = 5.0
_PROBING = 10
"""Jobs that stay while a session is being opened, for it to begin with."""
_HUNGRY_S = 300.0
_SOON_PER_S, _SOON = 50.0, 500
"""Jobs of one remote that come back after the shortest step: a second, and at once. More would be read only
to be parked again, which costs the others time."""
_SAY_AGAIN_S = 10.0


class Place(Protocol):
    """A remote, as far as its waiting jobs are concerned."""

    name: str
    lane: Lane
    room: Room
    paused: bool
    last_error: str | None

    @property
    def opening(self) -> int:
        """How many sessions are being opened."""
        ...

    @property
    def away_since(self) -> float | None:
        """Since when no session can be had, in seconds of ``trio.current_time()``; None where one can."""
        ...

    def submit(self, work: Work) -> None:
        """Let a job wait for a session."""
        ...


class Part(Protocol):
    """A part of the window, which is filled by some topics alone.

    Attributes:
        size: how many jobs there may be.
    """

    size: int

    def holds(self, topic: str) -> bool:
        """Tell whether the jobs of a topic count here."""
        ...

    def fill(self) -> float:
        """Tell how much of it is taken, in jobs or in bytes: 1 for all of it."""
        ...


class Window(Protocol):
    """How much is in hand."""

    @property
    def parts(self) -> Sequence[Part]:
        """Its parts: none can keep another from being filled."""
        ...

    def heads(self) -> Mapping[tuple[str, int], int]:
        """Tell which partitions are held up by the few oldest of their jobs; below which offset these are."""
        ...


async def never_park(_work: Work, _pause_s: float) -> bool:
    """Stand in for parking, where there are no retry topics."""
    await trio.lowlevel.checkpoint()
    return False


class Parking:
    """Decides when jobs are parked, and does it.

    Args:
        ladder: the steps.
        endings: the door through which they leave.
        order: who waits behind whom.
        remotes: whose jobs they are, by name.
        window: how much is in hand.
        is_done: whether a job was done already by somebody who could not answer it.
        fits: whether the retry topics take a job's record.
    """

    def __init__(
        self,
        ladder: Ladder,
        endings: Endings,
        order: Order,
        remotes: Mapping[str, Place],
        *,
        window: Window,
        is_done: Callable[[Work], Awaitable[bool]],
        fits: Callable[[Delivery], bool],
    ) -> None:
        self._ladder = ladder
        self._endings = endings
        self._order = order
        self._remotes = remotes
        self._window = window
        self._is_done = is_done
        self._fits = fits
        # When jobs came in last, by remote and topic.
        self._fed_at: dict[tuple[str, str], float] = {}
        self._begun = -inf
        self._soon: dict[str, TokenBucket] = {}
        self._said_at: dict[tuple[str, str], float] = {}
        self._unsaid: Counter[tuple[str, str]] = Counter()
        self._scope = trio.CancelScope()

    async def retry(self, work: Work, pause_s: float) -> bool:
        """Park a job that is to be tried again after a pause, where that is worth it.

        Returns:
            Whether it is parked; else it is the caller's to wait with.

        Cancellation: either it is parked, or the caller has it still.
        """
        now = trio.current_time()
        step_s = self._ladder.step_for(pause_s, work.deadline - now)
        # What an attempt has left for the next one would be lost, and an urgent job come back among others.
        stays = work.memory.holds or (work.delivery.urgent and self._has_room(work))
        if step_s is None or stays or not self._may_leave(work):
            return False
        await self._endings.park(work, step_s, not_before=now + pause_s, reason="retry")
        self._say(work.plan.remote, "retry", 1)
        return True

    async def run(self) -> None:
        """Look over what waits once a second, until ``close``.

        Cancellation: what was being parked is still ours, and has no outcome.
        """
        self._begun = trio.current_time()
        with self._scope:
            while self._ladder:
                await trio.sleep(_LOOK_S)
                await self._leave_those_alone_who_are_away()
                await self._leave_those_alone_who_are_full()
                await self._free_heads()
                await self._relieve()

    def close(self) -> None:
        """Park nothing more that waits: ``run`` ends."""
        self._scope.cancel()

    async def _leave_those_alone_who_are_away(self) -> None:
        for remote in self._remotes.values():
            if self._is_away(remote):
                kept = _PROBING if remote.opening else 0
                await self._park_from(remote, remote.lane.waiting - kept, "away")

    def _is_away(self, remote: Place) -> bool:
        since = remote.away_since
        return since is not None and trio.current_time() - since >= _AWAY_S

    async def _leave_those_alone_who_are_full(self) -> None:
        for remote in self._remotes.values():
            since = remote.room.since
            if since is not None and trio.current_time() - since >= _AWAY_S:
                lane = remote.room.lane
                await self._park_from(remote, lane.waiting - _PROBING, "full", lane=lane)

    async def _free_heads(self) -> None:
        """Park what holds up a partition of which nearly all else is settled."""
        heads = self._window.heads()
        if not heads:
            return

        def holds_up(work: Work) -> bool:
            origin = work.delivery.record.origin
            return origin.offset < heads.get(origin[:2], -1)

        for remote in self._remotes.values():
            await self._park_from(remote, remote.lane.waiting, "window", holds_up)

    async def _relieve(self) -> None:
        """Park what would fill all of a part of the window."""
        now = trio.current_time()
        for name, remote in self._remotes.items():
            self._fed_at.update(((name, topic), now) for topic in remote.lane.take_news())
        for part in self._window.parts:
            fill = part.fill()
            if fill >= 0.5:  # noqa: PLR2004 - spares counting: nobody is in anybody's way
                await self._relieve_part(part, fill)

    async def _relieve_part(self, part: Part, fill: float) -> None:
        def counts(work: Work) -> bool:
            return part.holds(work.delivery.record.origin.topic)

        served = {name for name, remote in self._remotes.items() if self._is_served(remote)}
        hungry = {
            name
            for name in served
            # One that has got nothing for so long, though others were parked, has nothing in the topic.
            if trio.current_time() - self._last_fed(name, part) < _HUNGRY_S
            and not self._remotes[name].lane.has(counts)
        }
        if not hungry and len(served) == len(self._remotes):
            return  # nothing would be gained, and to count a long backlog takes its time
        backlogs = {
            name: Backlog(
                remote.lane.count(lambda work: counts(work) and self._may_leave(work)),
                served=name in served,
                hungry=name in hungry,
            )
            for name, remote in self._remotes.items()
        }
        for name, jobs in relieve(backlogs, part.size, fill).items():
            await self._park_from(self._remotes[name], jobs, "window", counts)

    def _last_fed(self, remote: str, part: Part) -> float:
        """Tell when a remote got a job that counts in a part, or when we began to look."""
        fed = (at for (name, topic), at in self._fed_at.items() if name == remote and part.holds(topic))
        return max(fed, default=self._begun)

    def _is_served(self, remote: Place) -> bool:
        return not remote.paused and remote.away_since is None

    async def _park_from(
        self,
        remote: Place,
        jobs: int,
        reason: str,
        is_meant: Callable[[Work], bool] = lambda _: True,
        lane: Lane | None = None,
    ) -> None:
        """Park so many jobs of a lane, the last ones first: the first ones have their turn next."""
        if jobs <= 0:
            return
        lane = remote.lane if lane is None else lane
        now = trio.current_time()
        steps: dict[Work, float] = {}

        def may(work: Work) -> bool:
            step_s = self._ladder.next_step(now - work.delivery.received, work.deadline - now)
            if step_s is None or not (is_meant(work) and self._may_leave(work)):
                return False
            steps[work] = step_s
            return True

        taken = lane.take_last(jobs, may)
        parked = 0
        try:
            while taken:
                work = taken[-1]
                if await self._is_noted(work):
                    remote.submit(taken.pop())
                    continue
                if reason == "away":
                    work.last_error = remote.last_error or work.last_error
                elif reason == "full":
                    work.last_error = remote.room.error
                step_s = self._spread(work, steps[work])
                await self._endings.park(work, step_s, not_before=-inf, reason=reason)
                taken.pop()
                parked += 1
        finally:
            _release(taken)
            self._say(remote.name, reason, parked)

    def _spread(self, work: Work, step_s: float) -> float:
        """Let a job take a longer step where enough of its remote come back soon."""
        now = trio.current_time()
        longer_s = self._ladder.longer(step_s, work.deadline - now)
        if longer_s is None or work.delivery.urgent:
            return step_s
        soon = self._soon.setdefault(work.plan.remote, TokenBucket(_SOON_PER_S, _SOON))
        if soon.ready_at(now) > now:
            return longer_s
        soon.take(now)
        return step_s

    def _has_room(self, work: Work) -> bool:
        """Tell whether a job's part of the window is less than half full."""
        topic = work.delivery.record.origin.topic
        return all(part.fill() < 0.5 for part in self._window.parts if part.holds(topic))  # noqa: PLR2004

    def _may_leave(self, work: Work) -> bool:
        return (
            work.plan.options.order_key is None
            and work.copy is None  # only here it is known to be there
            and work.cancelled is None  # likewise
            and not self._order.is_followed(work)
            and self._fits(work.delivery)
        )

    async def _is_noted(self, work: Work) -> bool:
        try:
            return await self._is_done(work)
        except LocalFileError:
            return True  # nobody can tell now: it waits here until somebody can

    def _say(self, remote: str, reason: str, jobs: int) -> None:
        """Log that jobs are parked, not more often than somebody wants to read it."""
        about, now = (remote, reason), trio.current_time()
        self._unsaid[about] += jobs
        if self._unsaid[about] and now - self._said_at.get(about, -inf) >= _SAY_AGAIN_S:
            log.info("jobs_parked", remote=remote, reason=reason, jobs=self._unsaid.pop(about))
            self._said_at[about] = now


def _release(works: Iterable[Work]) -> None:
    """Go on with nothing of what is left: nobody has it in hand any more."""
    for work in works:
        work.memory.release()
