"""All remotes, and the way a delivery takes to one of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import trio
from msgspec.structs import replace

from pooler.config.remotes import Connections
from pooler.errors import ErrorCode, JobError, PoolerError
from pooler.flow.endings import Endings
from pooler.flow.logins import CautiousConnector
from pooler.flow.order import Order
from pooler.flow.parking import Parking
from pooler.flow.remote import Remote
from pooler.flow.work import Work
from pooler.model.job import Delivery
from pooler.model.outcome import Outcome
from pooler.transfer.plan import Plan, plan

BULK_RECORD_BYTES = 16 * 1024
"""The largest record of a bulk job: each of its jobs is as large, and thousands are written together."""
_VISIT_FILES = 2_000
_VISIT_BYTES = 2 * 1024 * 1024
"""Of the jobs that a visit makes: they go out in one transaction, which a slow broker has to end in time."""
_ADDED_BYTES = 600


def bulk_room(record_bytes: int) -> int:
    """Tell how many jobs may be made of a bulk job at once, which are written in one transaction.

    Args:
        record_bytes: the size of its record's value.
    """
    if record_bytes > BULK_RECORD_BYTES:
        return 0
    return min(_VISIT_FILES, _VISIT_BYTES // (record_bytes + _ADDED_BYTES))


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
        bulk_room: how many files a visit at the folder of a bulk job may find, by the size of its record in
            bytes; 0 where such a job is not let in.
        connectors: look for a new secret where the one there is was refused, by remote.
    """

    def __init__(
        self,
        connections: Connections,
        remotes: dict[str, Remote],
        endings: Endings,
        order: Order,
        *,
        attempts: int,
        deadline_s: float,
        hold: Callable[[Work], bool] = lambda _work: False,
        parking: Parking | None = None,
        bulk_room: Callable[[int], int] = lambda _size: 0,
        connectors: Mapping[str, CautiousConnector] = MappingProxyType({}),
    ) -> None:
        self._remotes = remotes
        self._closing = False
        self._connections = connections
        self._endings = endings
        self._order = order
        self._attempts = attempts
        self._deadline_s = deadline_s
        self._hold = hold
        self._parking = parking
        self._bulk_room = bulk_room
        self._connectors = dict(connectors)
        self._looking: trio.Nursery | None = None
        self._driving: trio.Nursery | None = None
        self._secrets: dict[str, trio.CancelScope] = {}
        self._minded: set[str] = set()
        endings.go_on = self.submit

    @property
    def remotes(self) -> Mapping[str, Remote]:
        """By name; those that were removed from the configuration, too."""
        return self._remotes

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive every remote until ``close``; each in a nursery of its own.

        Cancellation: every session is closed.
        """
        async with trio.open_nursery() as looking:
            self._looking = looking
            for group in {remote.group: None for remote in self.remotes.values()}:
                if group.limit.adaptive:
                    looking.start_soon(group.run)
            for remote in self.remotes.values():
                self._mind_windows(remote)
            for name, connector in self._connectors.items():
                self._mind_secret(name, connector)
            if self._parking is not None:
                looking.start_soon(self._parking.run)
            try:
                async with trio.open_nursery() as self._driving:
                    for remote in self.remotes.values():
                        self._driving.start_soon(remote.run)
                    task_status.started()
            finally:
                self._driving = self._looking = None
            looking.cancel_scope.cancel()

    @property
    def open_to_change(self) -> bool:
        """Whether remotes can be added: it runs, and was not closed."""
        return self._driving is not None and not self._closing

    def go_by(self, connections: Connections, *, attempts: int, deadline_s: float) -> None:
        """Take jobs by another configuration from now on; those that are in hand stay as they are."""
        self._connections, self._attempts, self._deadline_s = connections, attempts, deadline_s

    def add(self, remote: Remote, connector: CautiousConnector) -> None:
        """Drive one more remote, while ``open_to_change``."""
        assert self._driving is not None  # noqa: S101 - said so
        assert self._looking is not None  # noqa: S101 - likewise
        known = any(other.group is remote.group for other in self.remotes.values())
        self._remotes[remote.name] = remote
        if remote.group.limit.adaptive and not known:
            self._looking.start_soon(remote.group.run)
        self._mind_windows(remote)
        self._mind_secret(remote.name, connector)
        self._driving.start_soon(remote.run)

    def changed(self, remote: Remote, connector: CautiousConnector | None) -> None:
        """Mind the windows and the secret of a remote that was changed."""
        self._mind_windows(remote)
        if connector is not None:
            self._mind_secret(remote.name, connector)

    def _mind_windows(self, remote: Remote) -> None:
        if remote.policy.windows and remote.name not in self._minded and self._looking is not None:
            self._minded.add(remote.name)
            remote.maintenance.look()  # before the first session is begun
            self._looking.start_soon(remote.maintenance.run)

    def _mind_secret(self, name: str, connector: CautiousConnector) -> None:
        if name in self._secrets:
            self._secrets[name].cancel()
        scope = self._secrets[name] = trio.CancelScope()
        if self._looking is not None:
            self._looking.start_soon(self._watch_secret, connector, self._remotes[name].try_again, scope)

    @staticmethod
    async def _watch_secret(
        connector: CautiousConnector, try_again: Callable[[], None], scope: trio.CancelScope
    ) -> None:
        with scope:
            await connector.run(try_again)

    def close(self) -> None:
        """Begin no job any more; ``run`` ends once the running ones have."""
        self._closing = True
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
            planned = self._visit(plan(delivery.job, self._connections), delivery)
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

    def _visit(self, planned: Plan, delivery: Delivery) -> Plan:
        """Say where a bulk job goes on, and how far.

        Raises:
            JobError: ``INVALID_JOB``: it cannot be spread.
        """
        if planned.spread is None:
            return planned
        room = self._bulk_room(len(delivery.record.value or b""))
        if not room:
            raise JobError(
                ErrorCode.INVALID_JOB,
                f"{delivery.job.source}: a job of many files takes a kafka.batch_topic, and a record of "
                f"{BULK_RECORD_BYTES} bytes at most",
            )
        return replace(planned, spread=planned.spread._replace(cursor=delivery.spreading.cursor, room=room))

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
