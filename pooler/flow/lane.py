"""The jobs of one remote that wait: for a worker, or for the time of their next attempt.

Workers wait at a memory channel of turns: there is one in it for each job, and who gets one takes the job
that is to go next (`pooler.flow.turns`). What waits is looked over now and then, since a remote may be
away, or paused, for good: then no worker comes, and somebody else must end the jobs whose deadline has
passed, and drop those that a rebalance took from us.
"""

from collections.abc import Awaitable, Callable

import trio

from pooler.errors import PoolerError
from pooler.flow.turns import Turns
from pooler.flow.work import Work
from pooler.model.job import Delivery
from pooler.model.outcome import Outcome

_LOOK_OVER_S = 5.0


class Lane:
    """What waits for one remote.

    Args:
        room: jobs that can wait; the bound on what is in hand makes sure that it is never full.
        wants: whether a delivery is still ours to do.
        end: takes the outcome of a job.
        drop: takes a job that is no longer ours.
        why: tells what keeps its jobs waiting; None where nothing is wrong.
    """

    def __init__(
        self,
        room: int,
        *,
        wants: Callable[[Delivery], bool],
        end: Callable[[Work, Outcome], Awaitable[None]],
        drop: Callable[[Work], None],
        why: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._grant, self._granted = trio.open_memory_channel[None](room)
        self._turns = Turns()
        self._wants = wants
        self._end = end
        self._drop = drop
        self._why = why
        self._news: set[str] = set()
        self._filled = trio.Event()
        self._scope = trio.CancelScope()
        self._later: trio.Nursery | None = None

    @property
    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return self._granted.statistics().current_buffer_used

    async def next(self) -> Work:
        """Wait for a job, and take it out.

        Cancellation: none is taken out.
        """
        while True:
            await self._granted.receive()
            work = self._turns.take()
            # Between the turn and the worker's waking somebody may have taken the job out.
            if work is not None:
                return work

    def put(self, work: Work) -> None:
        """Let a job wait for a worker."""
        while True:
            try:
                self._grant.send_nowait(None)
            except trio.WouldBlock:
                # What is ours fits; so there are jobs here that a rebalance took from us.
                if not self._drop_lost():
                    raise
            else:
                self._turns.add(work)
                self._filled.set()
                self._news.add(work.delivery.record.origin.topic)
                return

    def put_later(self, work: Work, after_s: float, arrived: Callable[[], None]) -> None:
        """Let a job wait for the time of its next attempt, and then for a worker.

        Args:
            work: the job; as many wait so as are in hand at most.
            after_s: how long, in seconds.
            arrived: called once it waits for a worker.
        """
        if self._later is not None:
            self._later.start_soon(self._wait, work, after_s, arrived)
        else:
            work.memory.release()  # the remote has ended, and the job is the next owner's

    async def run(self, given_up: Callable[[], PoolerError | None]) -> None:
        """Mind what waits, until ``close``.

        Args:
            given_up: tells why nobody is going to come for the jobs here; None while somebody may.

        Cancellation: what waits here has no outcome.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._later = nursery
                try:
                    await self._look_over(given_up)
                finally:
                    # Before it closes: `put_later` must not find it closed.
                    self._later = None

    def close(self) -> None:
        """Let nothing wait any more: ``run`` ends."""
        self._scope.cancel()

    def forget(self) -> None:
        """Take out all that waits: nobody goes on with it here, and it has no outcome."""
        for work in self.take_all():
            work.memory.release()

    def take_all(self) -> list[Work]:
        """Take out all that waits, to go on with it elsewhere."""
        return self.take_out(lambda _: True)

    def take_out(self, is_meant: Callable[[Work], bool]) -> list[Work]:
        """Take out all that are meant; the others keep their order."""
        return self._without_turns(self._turns.take_out(is_meant))

    def take_first(self) -> Work | None:
        """Take out the job whose turn it is; None where there is none, or a worker has got its turn."""
        if not self.waiting:
            return None
        work = self._turns.take()
        if work is not None:
            self._granted.receive_nowait()
        return work

    def take_news(self) -> set[str]:
        """Tell from which topics a job has come in since this was asked last."""
        news, self._news = self._news, set()
        return news

    def has(self, is_meant: Callable[[Work], bool]) -> bool:
        """Tell whether any of the jobs that wait is meant."""
        return any(map(is_meant, self._turns))

    def count(self, is_meant: Callable[[Work], bool]) -> int:
        """Tell how many of the jobs that wait are meant."""
        return sum(map(is_meant, self._turns))

    def take_last(self, count: int, is_meant: Callable[[Work], bool]) -> list[Work]:
        """Take out jobs, so many at most: see `pooler.flow.turns.Turns.take_last`."""
        return self._without_turns(self._turns.take_last(count, is_meant))

    async def give_up(self, error: PoolerError) -> None:
        """End every job that waits for a worker: nobody is going to come for it."""
        while (work := self.take_first()) is not None:
            await self._end(work, work.failure(error.code, str(error), retriable=error.retriable))

    async def _look_over(self, given_up: Callable[[], PoolerError | None]) -> None:
        while True:
            while not self.waiting:
                self._filled = trio.Event()
                await self._filled.wait()
            await trio.sleep(_LOOK_OVER_S)
            for work in self.take_out(self._is_stale):
                work.last_error = self._why() or work.last_error
                refusal = work.refusal(trio.current_time())
                if refusal is None or not self._wants(work.delivery):
                    self._drop(work)
                else:
                    await self._end(work, refusal)
            error = given_up()
            if error is not None:
                await self.give_up(error)

    def _is_stale(self, work: Work) -> bool:
        return work.refusal(trio.current_time()) is not None or not self._wants(work.delivery)

    async def _wait(self, work: Work, after_s: float, arrived: Callable[[], None]) -> None:
        try:
            await trio.sleep(after_s)
        except BaseException:
            work.memory.release()  # nobody goes on with it here
            raise
        self.put(work)
        arrived()

    def _drop_lost(self) -> bool:
        lost = self.take_out(lambda work: not self._wants(work.delivery))
        for work in lost:
            self._drop(work)
        return bool(lost)

    def _without_turns(self, taken: list[Work]) -> list[Work]:
        """Take back the turns of jobs that were taken out, but for those that a worker has got already."""
        for _ in range(min(len(taken), self.waiting)):
            self._granted.receive_nowait()
        return taken
