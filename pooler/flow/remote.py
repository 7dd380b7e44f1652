"""One remote: its lane, its limit, its breaker, and the workers alive in its nursery.

The set of workers is the session pool. A worker is begun when the lane has work that no other will
take, and every limit allows; `_may_begin` decides, in one place and without awaiting, and `run` acts. It
looks again whenever something changed: `wake`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf

import trio

from pooler.errors import PoolerError
from pooler.flow.bandwidth import Bandwidth
from pooler.flow.breaker import Breaker, State, Thresholds
from pooler.flow.budget import Budget, Claimant
from pooler.flow.group import LimitGroup, Tally
from pooler.flow.lane import Lane
from pooler.flow.leftovers import Leftovers
from pooler.flow.maintenance import Maintenance
from pooler.flow.opener import Opener
from pooler.flow.policy import RemotePolicy
from pooler.flow.room import Room
from pooler.flow.tools import Tools
from pooler.flow.verdict import Judge
from pooler.flow.work import Work
from pooler.flow.worker import Worker
from pooler.model.job import Direction
from pooler.ops.metrics import Metrics
from pooler.transfer.session import Connector, Session


class Remote:
    """A server with an account, and what is going on with it here.

    Args:
        name: its section in connections.ini.
        connector: opens sessions on it.
        policy: how it is driven.
        group: who shares its host, and with it the limit of sessions; joined here.
        breaker: when it is left alone.
        budget: the sessions of the whole process.
        others: who shares that budget.
        lane_room: jobs that can wait here; the bound on what is in hand makes sure that it is never full.
        tools: what all workers share.
        metrics: where retries and failed logins are counted.

    Attributes:
        paused: told to begin no job.
        last_error: why the newest connect or attempt failed; None while none has.
        tally: what it has moved.
        lane: where its jobs wait.
        room: whether there is room for uploads, and those that wait for it.
        bandwidth: how many bytes a second may pass in this process.
        maintenance: whether it is to be left alone now.
        removed: why it is no remote any more; None while it is one.
    """

    def __init__(
        self,
        name: str,
        connector: Connector,
        *,
        policy: RemotePolicy,
        group: LimitGroup,
        breaker: Breaker,
        budget: Budget,
        others: Callable[[], Sequence[Claimant]],
        lane_room: int,
        tools: Tools,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.policy = policy
        self.group = group
        self.tally = Tally()
        self.breaker = breaker
        self.paused = False
        self.removed: PoolerError | None = None
        self.last_error: str | None = None
        self.idle_s = policy.idle_s
        self.max_age_s = policy.max_age_s
        self.bandwidth = Bandwidth(policy.bytes_per_s)
        self.maintenance = Maintenance(name, policy.windows, self._maintenance_changed, policy.clock)
        self._opener = Opener(
            name, connector, group=group, breaker=breaker, backoff=policy.backoff, metrics=metrics
        )
        self.lane = Lane(
            lane_room, wants=tools.wants, end=tools.end, drop=tools.drop, why=self._why_nobody_comes
        )
        waiting = Lane(
            lane_room, wants=tools.wants, end=tools.end, drop=tools.drop, why=lambda: self.room.error
        )
        self.room = Room(name, self.lane, waiting, policy.backoff, self.wake)
        self._budget = budget
        self._others = others
        self._tools = tools
        self._metrics = metrics
        self._workers: set[Worker] = set()
        self._to_prewarm = policy.prewarm
        self._allowance: int | None = None
        self._leftovers = Leftovers(name, tools.removed)
        self._judge = Judge(self, tools, metrics)
        self._closing = False
        self._changed = trio.Event()
        group.join(self)

    # ---- what others call -----------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        """How many sessions it has, those being opened included."""
        return len(self._workers) + self._opener.opening

    @property
    def leaving(self) -> int:
        """How many of them end after the job in hand, or are ending."""
        return sum(worker.retiring for worker in self._workers)

    @property
    def opening(self) -> int:
        """How many sessions are being opened."""
        return self._opener.opening

    @property
    def most(self) -> int:
        """How many sessions it may have at most, whatever serves best."""
        most = self.policy.max_sessions
        return most if self._allowance is None else min(most, self._allowance)

    @property
    def idle(self) -> int:
        """How many of its sessions have no job."""
        return sum(worker.work is None for worker in self._workers)

    @property
    def bandwidths(self) -> tuple[Bandwidth, Bandwidth]:
        """What bounds the bytes that pass: its own bandwidth, and our part of that of all pods."""
        return self.bandwidth, self.group.bandwidth

    @property
    def busy(self) -> bool:
        """Whether jobs wait for a session, and may begin."""
        return self.waiting > 0 and not self._at_rest

    def allow(self, sessions: int | None) -> None:
        """Bound its sessions from outside, from now on; None to leave it to the configuration."""
        self._allowance = sessions
        self.group.bounds_changed()

    @property
    def working(self) -> int:
        """How many of its sessions have a job."""
        return sum(worker.work is not None for worker in self._workers)

    @property
    def wanted(self) -> int:
        """How many sessions it has work for; one is enough to find out whether the server is back."""
        if self._at_rest or self._closing:
            return 0
        working = self.working
        wanted = min(self.most, working + max(self.waiting, self._to_prewarm, self._leftovers.wait))
        return wanted if self.breaker.state is State.CLOSED else min(wanted, max(1, working))

    @property
    def workers(self) -> frozenset[Worker]:
        """The workers alive now."""
        return frozenset(self._workers)

    @property
    def away_since(self) -> float | None:
        """Since when no session can be had, in seconds of ``trio.current_time()``; None where one can."""
        if self.maintenance.since is not None:
            return self.maintenance.since
        return None if self._workers else self._opener.away_since

    @property
    def waiting(self) -> int:
        """How many jobs wait in the lane."""
        return self.lane.waiting

    def submit(self, work: Work) -> None:
        """Put a job into the lane."""
        if self.room.holds(work):
            return
        self.lane.put(work)
        self.group.stir()
        # With all the sessions that it may have, it could begin none: the end of one wakes it.
        if self.sessions < self.most:
            self.wake()

    def pause(self) -> None:
        """Begin no job until ``resume``; what is running goes on."""
        self.paused = True
        self._dismiss_idle()

    def resume(self) -> None:
        """Take ``pause`` back."""
        self.paused = False
        self.group.stir()
        self.wake()

    @property
    def _at_rest(self) -> bool:
        """Whether no job is begun for now: it is paused, or in maintenance."""
        return self.paused or self.removed is not None or self.maintenance.until is not None

    def _maintenance_changed(self) -> None:
        if self.maintenance.until is not None:
            self._dismiss_idle()
        self.group.stir()
        self.wake()

    def change(
        self, policy: RemotePolicy, thresholds: Thresholds, connector: Connector | None = None
    ) -> None:
        """Drive it by another configuration from now on; its jobs, and what was found out, stay.

        Args:
            policy: how it is driven.
            thresholds: of its breaker.
            connector: opens sessions on it; those that there are end after the job in hand. None to go on
                with them.
        """
        self.policy, self.idle_s, self.max_age_s = policy, policy.idle_s, policy.max_age_s
        self.removed = None
        self.bandwidth.limit(policy.bytes_per_s)
        self.breaker.judge_by(thresholds)
        self.maintenance.change(policy.windows)
        if connector is not None:
            self._opener.change(connector)
            self._dismiss_all()
            self.try_again()
        self.group.stir()
        self.wake()

    def remove(self, why: PoolerError) -> None:
        """Be no remote any more: running jobs are finished, and all others answered with why."""
        self.removed = why
        self._opener.close()
        self._dismiss_all()
        self.group.changed(self)

    def _dismiss_all(self) -> None:
        for worker in self._workers:
            worker.dismiss()

    def break_off(self) -> None:
        """End every session at once, those that are being opened too; their jobs are tried again."""
        self._opener.close()
        for worker in self._workers:
            worker.break_off()

    def try_again(self) -> None:
        """Try the server at once, whatever is known against it."""
        self.breaker.reset()
        self._opener.forget_failures()
        self.room.look_now()
        self.group.changed(self)
        self.wake()

    def why_no_probe(self) -> str | None:
        """Tell why it cannot be tried out now; None where it can."""
        now = trio.current_time()
        allowed = min(self.most, self.group.limit.current(now))
        if self._closing or self.removed is not None:
            return "this pod drains, or the remote was taken out of the configuration"
        if self.maintenance.until is not None:
            return f"it is in maintenance until {self.maintenance.until.isoformat()}"
        if self.sessions >= self.most or self.group.sessions >= allowed:
            return f"all of the {allowed} sessions that it may have are there: they show how it is"
        if self.group.logins.ready_at(now) > now:
            return "it has had as many logins as it may have in a minute"
        return None

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[tuple[Session | None, PoolerError | None]]:
        """Open a session that does no jobs, whatever the breaker says, after ``why_no_probe``.

        Yields:
            The session, or why there is none.

        Cancellation: nothing is left open.
        """
        self._opener.begin(trio.current_time())
        session = None
        try:
            session = await self._opener.open()
            yield session, None if session is not None else self._opener.last_error
        finally:
            self._opener.opening -= 1
            if session is not None:
                await session.aclose()  # noqa: ASYNC102 - cancelled, it is closed at once
            self.group.changed(self)
            self.wake()

    def close(self) -> None:
        """Begin no job any more; ``run`` ends once the running ones have."""
        self._closing = True
        self.lane.close()
        self.room.close()
        self._opener.close()
        self._dismiss_idle()
        self.wake()

    def wake(self) -> None:
        """Look again whether a worker may be begun."""
        self._changed.set()

    def give_up_one(self) -> bool:
        """Let one session go, an idle one at once, else one after its job; False where none is to be had."""
        for worker in sorted(self._workers, key=lambda worker: (worker.work is not None, worker.since)):
            if not worker.retiring:
                worker.dismiss()
                return True
        return False

    # ---- the remote's task ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Drive the remote until ``close``.

        Cancellation: every session is closed; parts left on the server are removed, if that is to be had
        within a few seconds.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.lane.run, self._given_up)
                nursery.start_soon(self.room.run, self._given_up)
                prewarm_until = trio.current_time() + self.policy.prewarm_s
                while not self._closing:
                    self._changed = trio.Event()
                    # One time for both questions: what comes due between two would be waited for for ever.
                    now = trio.current_time()
                    if now >= prewarm_until:
                        self._to_prewarm = 0
                    while self._may_begin(now):
                        self._opener.begin(now)
                        self._to_prewarm = max(0, self._to_prewarm - 1)
                        nursery.start_soon(self._work)
                    with trio.move_on_at(self._look_again_at(now)):
                        await self._changed.wait()
        finally:
            self.lane.forget()
            self.room.lane.forget()
            why_not = self._why_no_last_errand()
            await self._leftovers.sweep_at_the_end(self._opener, why_not)  # noqa: ASYNC102 - shielded

    def _may_begin(self, now: float) -> bool:
        """Decide whether one more worker is to be begun now."""
        if not (self.wants_one(now) and self.group.has_one_for(self, now)):
            # Who could not begin one must not stand in line before those who can.
            self._budget.withdraw(self)
            return False
        return self._budget.take(self, self._others)

    def wants_one(self, now: float) -> bool:
        """Tell whether it would begin one more worker now, if there is a session for it."""
        return (
            (self.waiting > self._opener.opening or self._to_prewarm > 0 or self._has_to_tidy)
            and not (self._at_rest or self._closing)
            and self.sessions < self.most
            and self._opener.allows(now, len(self._workers))
        )

    @property
    def _has_to_tidy(self) -> bool:
        """Whether a session is worth opening for what was left on the server: each tidies up as it begins."""
        return self._leftovers.wait and self._opener.opening == 0

    def _look_again_at(self, now: float) -> float:
        """Tell when time alone may change what ``_may_begin`` said ``now``."""
        if not (self.waiting or self._to_prewarm or self._has_to_tidy):
            return inf
        one_more_at = self.group.limit.cools_until(now)
        return min(self._opener.next_change(now), inf if one_more_at is None else one_more_at)

    async def _work(self) -> None:
        """Open a session and let a worker work on it."""
        opening = True
        try:
            session = await self._opener.open()
            self._opener.opening -= 1
            opening = False
            self.wake()  # a breaker that is half open, or was, lets others begin now
            if session is None:
                await self._could_not_open()
            else:
                await self._employ(session)
        finally:
            self._opener.opening -= opening
            self._budget.give_back()
            self.wake()
            self.group.changed(self)

    async def _could_not_open(self) -> None:
        self._to_prewarm = 0
        self._leftovers.not_reached()
        if self._opener.last_error is not None:  # else it was broken off
            self.last_error = str(self._opener.last_error)
        error = self._given_up()
        if error is not None:
            await self.lane.give_up(error)

    def _why_nobody_comes(self) -> str | None:
        """Tell what keeps sessions from being opened; None where nothing does."""
        if self.maintenance.until is not None:
            return f"in maintenance until {self.maintenance.until.isoformat()}"
        return None if self.away_since is None else str(self._opener.last_error)

    def _why_no_last_errand(self) -> str | None:
        """Tell what forbids to open a session when all have ended; None where nothing does."""
        if self.maintenance.until is not None:
            return self._why_nobody_comes()
        if self.removed is not None:
            return str(self.removed)
        return "no session is ours" if self.group.limit.shared(trio.current_time()) == 0 else None

    def _given_up(self) -> PoolerError | None:
        """Tell why nobody is going to come for the jobs that wait; None while somebody may."""
        if self.removed is not None:
            return self.removed
        return self._opener.unreachable() if self.policy.give_up else None

    async def _employ(self, session: Session) -> None:
        worker = Worker(session, self.lane, self, self._tools)
        # Before anything is awaited: the limit counts this session at every moment.
        self._workers.add(worker)
        self.group.opened(self.group.standing)
        self._budget.look_again()
        try:
            await self._leftovers.sweep(session)
            await worker.run()
        finally:
            worker.retiring = True
            worker.close()
            try:
                await session.aclose()
            finally:
                self._workers.discard(worker)

    # ---- what workers call ----------------------------------------------------------------------------

    def may_go_on(self, worker: Worker) -> bool:
        """Tell whether a worker should take another job."""
        if not self.waiting:
            self.group.changed(self)  # it is about to be idle, and others may need its session
        if self._leftovers.wait and not (self.waiting or self.leaving):
            return False  # the next session tidies up as it begins
        return not (self._at_rest or self._closing or worker.retiring)

    async def failed(self, work: Work, error: PoolerError, worker: Worker | None = None) -> None:
        """Take back a job whose attempt failed: to be tried again, or answered."""
        await self._judge.failed(work, error, None if worker is None else worker.session)

    async def wait(self, work: Work, pause_s: float) -> None:
        """Let a job wait for its next attempt: parked, or here."""
        if not await self._tools.park(work, pause_s):
            self.lane.put_later(work, pause_s, self.wake)

    def data_turn(self, now: float) -> float:
        """Count a data connection, as each attempt takes one; tell when it may begin, ``now`` or later."""
        return self.group.data_turn(now)

    def done(self, reply_s: float) -> None:
        """Count a transfer that went well, and took so long."""
        self.tally.files += 1
        self.tally.reply_s += reply_s

    def stored(self) -> None:
        """Take in that there was room for an upload."""
        self.room.stored()

    def moved(self, direction: Direction, size_bytes: int) -> None:
        """Count bytes that have passed."""
        self.tally.size_bytes += size_bytes
        self._metrics.bytes_moved(self.name, direction, size_bytes)

    def leave_behind(self, path: str) -> None:
        """Remember a part of a file on the server; a session is opened that removes it."""
        self._leftovers.add(path)
        if not self.waiting:
            self._dismiss_idle(1)
        self.wake()

    def _dismiss_idle(self, count: int | None = None) -> None:
        """End workers that have no job: so many of them, or all."""
        for worker in [worker for worker in self._workers if worker.work is None][:count]:
            worker.dismiss()
