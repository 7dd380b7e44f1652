"""All remotes, and the way a delivery takes to one of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import trio

from pooler.config.remotes import Connections
from pooler.errors import JobError, PoolerError
from pooler.flow.endings import Endings
from pooler.flow.logins import CautiousConnector
from pooler.flow.order import Order
from pooler.flow.parking import Parking
from pooler.flow.remote import Remote
from pooler.flow.work import Work
from pooler.model.job import Delivery
from pooler.model.outcome import Outcome
from pooler.transfer.plan import plan


class Fleet:
    """The remotes of this process.

    Args:
        connections: every remote and local folder that there is.
        remotes: by name.
        endings: where outcomes go.
        order: who waits behind whom.
        attempts: attempts in all for a job that says nothing.
        deadline_s: how long a job that says nothing may be tried, in seconds.
        hold: lets a job wait where its local folder cannot be used now; False where it can.
        parking: parks jobs that wait; None where none is parked.
        connectors: look for a new secret where the one there is was refused, by remote.
    """

    def __init__(
        self,
        connections: Connections,
        remotes: Mapping[str, Remote],
        endings: Endings,
        order: Order,
        *,
        attempts: int,
        deadline_s: float,
        hold: Callable[[Work], bool] = lambda _work: False,
        parking: Parking | None = None,
        connectors: Mapping[str, CautiousConnector] = MappingProxyType({}),
    ) -> None:
        self.remotes = remotes
        self._connections = connections
        self._endings = endings
        self._order = order
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._hold = hold
        self._parking = parking
        self._connectors = connectors
        endings.go_on = self.submit

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive every remote until ``close``; each in a nursery of its own.

        Cancellation: every session is closed.
        """
        async with trio.open_nursery() as looking:
            for group in {remote.group: None for remote in self.remotes.values()}:
                if group.limit.adaptive:
                    looking.start_soon(group.run)
            for remote in self.remotes.values():
                if remote.policy.windows:
                    remote.maintenance.look()  # before the first session is begun
                    looking.start_soon(remote.maintenance.run)
            for name, connector in self._connectors.items():
                looking.start_soon(connector.run, self.remotes[name].try_again)
            if self._parking is not None:
                looking.start_soon(self._parking.run)
            async with trio.open_nursery() as nursery:
                for remote in self.remotes.values():
                    nursery.start_soon(remote.run)
                task_status.started()
            looking.cancel_scope.cancel()

    def close(self) -> None:
        """Begin no job any more; ``run`` ends once the running ones have."""
        if self._parking is not None:
            self._parking.close()
        for remote in self.remotes.values():
            remote.close()

    def abandon_lost(self) -> None:
        """Break off what is no longer ours to do; what waits is dropped when its turn comes."""
        for remote in self.remotes.values():
            for worker in remote.workers:
                worker.abandon_lost()

    async def intake(self, deliveries: trio.MemoryReceiveChannel[Delivery]) -> None:
        """Take deliveries until the channel ends: each to its lane, or answered at once.

        Cancellation: what is not in a lane yet is nobody's, and comes again.
        """
        with deliveries:
            async for delivery in deliveries:
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        options = delivery.job.options
        try:
            planned = plan(delivery.job, self._connections)
        except JobError as error:
            await self._endings.refuse(delivery, Outcome.failed(error.code, str(error)))
            return
        deadline_s = self._deadline_s if options.deadline_seconds is None else options.deadline_seconds
        allowed = self._attempts if options.retry_count is None else options.retry_count + 1
        work = Work(delivery, planned, delivery.received + deadline_s, allowed)
        if delivery.past is not None:
            work.attempts, work.forgiven = delivery.past.attempts, delivery.past.forgiven
            work.last_error = delivery.past.error
        self._endings.admitted(work)
        if self._order.admit(work):
            await self._begin(work)

    async def _begin(self, work: Work) -> None:
        """Let a job wait for a session, unless it is too late for that, or too early."""
        now = trio.current_time()
        refusal = work.refusal(now)
        if refusal is not None:
            await self._endings.end(work, refusal)
        elif now < work.delivery.not_before:
            # A deadline that comes first is told of in time: in the lane.
            pause_s = min(work.delivery.not_before, work.deadline) - now
            await self.remotes[work.plan.remote].wait(work, pause_s)
        else:
            self.submit(work)

    def submit(self, work: Work) -> None:
        """Let a job whose turn has come wait for a session, or for its local folder."""
        if not self._hold(work):
            self.remotes[work.plan.remote].submit(work)

    def cancel(self, task_id: str, why: str) -> list[Work]:
        """Cancel the jobs of a name that are in hand.

        A transfer that runs is broken off, and what waits for a session is ended within seconds; what waits
        behind another job, or for the time of its next attempt, is ended when its turn comes. What is done
        already is answered as done.

        Args:
            task_id: the sender's name for it.
            why: who cancels it, and why, for people.

        Returns:
            Those jobs, the first one first; none where no such job is in hand.
        """
        meant = [work for work in self._endings.in_flow if work.delivery.job.task_id == task_id]
        for work in meant:
            work.cancelled = why
            for worker in self.remotes[work.plan.remote].workers:
                if worker.work is work:
                    worker.cancel_job()
        return meant

    def inherit(self, remote: str, path: str) -> None:
        """Have a part removed from a server, where a process that is gone has left it."""
        if remote in self.remotes:
            self.remotes[remote].leave_behind(path)

    async def failed(self, work: Work, error: PoolerError) -> None:
        """Take back a job whose file did not get its name."""
        await self.remotes[work.plan.remote].failed(work, error)
