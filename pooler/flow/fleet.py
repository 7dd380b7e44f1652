"""All remotes, and the way a delivery takes to one of them."""

from collections.abc import Mapping

import trio

from pooler.config.remotes import Connections
from pooler.errors import JobError, PoolerError
from pooler.flow.endings import Endings
from pooler.flow.order import DestinationOrder
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
    """

    def __init__(
        self,
        connections: Connections,
        remotes: Mapping[str, Remote],
        endings: Endings,
        order: DestinationOrder,
        *,
        attempts: int,
        deadline_s: float,
    ) -> None:
        self.remotes = remotes
        self._connections = connections
        self._endings = endings
        self._order = order
        self._attempts = attempts
        self._deadline_s = deadline_s
        endings.go_on = self._submit

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive every remote until ``close``; each in a nursery of its own.

        Cancellation: every session is closed.
        """
        async with trio.open_nursery() as nursery:
            for remote in self.remotes.values():
                nursery.start_soon(remote.run)
            task_status.started()

    def close(self) -> None:
        """Begin no job any more; ``run`` ends once the running ones have."""
        for remote in self.remotes.values():
            remote.close()

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
        self._endings.admitted(work)
        if self._order.admit(work):
            self._submit(work)

    def _submit(self, work: Work) -> None:
        self.remotes[work.plan.remote].submit(work)

    async def failed(self, work: Work, error: PoolerError) -> None:
        """Take back a job whose file did not get its name."""
        await self.remotes[work.plan.remote].failed(work, error)
