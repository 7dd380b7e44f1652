"""What becomes of uploads while their server has no room for them.

They wait, at no cost to their attempts, and one after the other is let through to look: after pauses that
grow as those of other failures do. As soon as one is stored all go on. Downloads never wait for room.
"""

from collections.abc import Callable
from math import inf

import structlog
import trio

from pooler.errors import PoolerError
from pooler.flow.lane import Lane
from pooler.flow.retry import Backoff
from pooler.flow.work import Work
from pooler.model.job import Direction

log = structlog.get_logger(__name__)

_SAME_TROUBLE_S = 600.0
"""A server that is full again so soon has room for some only, which may be the job's own fault."""


class Room:
    """Whether a server has room for uploads, and those that wait until it has.

    Args:
        name: the remote.
        ready: where its jobs wait for a session.
        waiting: where uploads wait for room.
        backoff: pauses between two looks.
        wake: called when a job waits for a session that did not before.

    Attributes:
        lane: where uploads wait for room.
        since: since when there is none, in seconds of ``trio.current_time()``; None while there is.
        error: the server's words when it was full last; None where it never was.
    """

    def __init__(
        self, name: str, ready: Lane, waiting: Lane, backoff: Backoff, wake: Callable[[], None]
    ) -> None:
        self.lane = waiting
        self.since: float | None = None
        self.error: str | None = None
        self._name = name
        self._ready = ready
        self._backoff = backoff
        self._wake = wake
        self._in_a_row = 0
        self._told_at = self._ended_at = -inf
        self._look_at = inf
        self._lets_one = False
        self._filled = trio.Event()
        self._scope = trio.CancelScope()
        self._hurry = trio.CancelScope()

    def holds(self, work: Work) -> bool:
        """Let an upload wait where there is no room for it; False where there is, or it is to look."""
        if self.since is None or not _needs_room(work):
            return False
        if self._lets_one:
            self._lets_one = False
            return False
        self.lane.put(work)
        return True

    def full(self, work: Work, error: str) -> bool:
        """Take in that there was no room for a job.

        Args:
            work: the job; it is still the caller's.
            error: the server's words.

        Returns:
            Whether the job is to blame: there was room for others since the server was full before.
        """
        now = trio.current_time()
        again = now - self._ended_at < _SAME_TROUBLE_S
        blame = self.since is None and again
        # Those that had begun before the newest refusal was known are part of it.
        if work.started is None or work.started >= self._told_at:
            self._in_a_row = self._in_a_row + 1 if again or self.since is not None else 1
            self._told_at = now
            self._look_at = now + self._backoff.after(self._in_a_row)
            self._lets_one = False
        self.error = error
        if self.since is None:
            self.since = now
            log.warning("remote_full", remote=self._name, error=error)
            for other in self._ready.take_out(_needs_room):
                self.lane.put(other)
            self._filled.set()
        return blame

    def stored(self) -> None:
        """Take in that there was room for a file: all go on."""
        if self.since is None:
            return
        now = trio.current_time()
        log.info("remote_has_room", remote=self._name, full_s=round(now - self.since, 3))
        self.since, self._ended_at = None, now
        self._lets_one = False
        for work in self.lane.take_all():
            self._ready.put(work)
        self._wake()

    def look_now(self) -> None:
        """Let one look at once: somebody says that there is room."""
        self._look_at = trio.current_time()
        self._hurry.cancel()

    async def run(self, given_up: Callable[[], PoolerError | None]) -> None:
        """Mind what waits for room, until ``close``.

        Args:
            given_up: tells why nobody is going to come for the jobs here; None while somebody may.

        Cancellation: what waits here has no outcome.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.lane.run, given_up)
                while True:
                    while self.since is None:
                        self._filled = trio.Event()
                        await self._filled.wait()
                    with trio.move_on_at(self._look_at) as self._hurry:
                        await trio.sleep_forever()
                    if trio.current_time() >= self._look_at:
                        self._let_one_look()

    def close(self) -> None:
        """Let nothing wait any more: ``run`` ends."""
        self._scope.cancel()

    def _let_one_look(self) -> None:
        if self.since is None:
            self._look_at = inf
            return
        # Whatever becomes of that one, it may be another's turn after as long a pause.
        self._look_at = trio.current_time() + self._backoff.after(self._in_a_row)
        first = self.lane.take_first()
        if first is None:
            self._lets_one = True
        else:
            self._ready.put(first)
            self._wake()


def _needs_room(work: Work) -> bool:
    return work.plan.direction is Direction.UPLOAD and work.copy is None
