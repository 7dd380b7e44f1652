"""One task, one session: opens it, does jobs on it one after another, closes it.

A worker lives as long as its session. When the session dies under a job, the job goes back to its remote,
and the remote decides whether another worker is begun: so nothing is ever leased, and nothing leaks.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Protocol

import structlog
import trio
from msgspec.structs import replace

from pooler.errors import (
    ErrorCode,
    JobCancelled,
    PoolerError,
    RemoteError,
    SessionLost,
    TransferTimeout,
)
from pooler.flow.bandwidth import Bandwidth, SessionThrottle
from pooler.flow.lane import Lane
from pooler.flow.logbook import Done
from pooler.flow.tools import Tools
from pooler.flow.work import Copy, Landed, Reply, Work
from pooler.model.job import After, Direction
from pooler.model.outcome import Outcome, Status
from pooler.storage.pipe import Pipes
from pooler.storage.threads import Stalled
from pooler.transfer import mover
from pooler.transfer.after import after_action
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.check import check
from pooler.transfer.download import download
from pooler.transfer.names import Author
from pooler.transfer.session import Session
from pooler.transfer.spread import spread
from pooler.transfer.upload import upload

log = structlog.get_logger(__name__)

_EARLIEST_END = 0.9
"""Of its age, where a session may be replaced: those that began together must not all end together."""


class Employer(Protocol):
    """What a worker asks of its remote.

    Attributes:
        idle_s: how long a session may be idle, in seconds.
        max_age_s: how old a session may become, in seconds.
    """

    idle_s: float
    max_age_s: float

    @property
    def bandwidths(self) -> Sequence[Bandwidth]:
        """What bounds the bytes that pass on it."""
        ...

    def may_go_on(self, worker: "Worker") -> bool:
        """Tell whether the worker should take another job."""
        ...

    async def failed(self, work: Work, error: PoolerError, worker: "Worker | None" = None) -> None:
        """Take back a job whose attempt failed."""
        ...

    def data_turn(self, now: float) -> float:
        """Count a data connection, as each attempt takes one; tell when it may begin, ``now`` or later."""
        ...

    async def wait(self, work: Work, pause_s: float) -> None:
        """Let a job wait for its next attempt."""
        ...

    def done(self, reply_s: float) -> None:
        """Count a transfer that went well, and took so long."""
        ...

    def stored(self) -> None:
        """Take in that there was room for an upload."""
        ...

    def moved(self, direction: Direction, size_bytes: int) -> None:
        """Count bytes that have passed."""
        ...

    def leave_behind(self, path: str) -> None:
        """Remember a part of a file that could not be removed."""
        ...


class Worker:
    """One session and the job on it.

    Args:
        session: opened, and this worker's alone; the worker does not close it.
        lane: where jobs come from.
        employer: the remote that it belongs to.
        tools: what all workers share.

    Attributes:
        work: the job in hand; None while idle.
        bytes_moved: of the attempt in hand.
        since: when the worker became busy or idle, in seconds of ``trio.current_time()``.
        retiring: to end after the job in hand.
    """

    def __init__(self, session: Session, lane: Lane, employer: Employer, tools: Tools) -> None:
        self.session = session
        self.work: Work | None = None
        self.bytes_moved = 0
        self.since = trio.current_time()
        self.retiring = False
        self._lane = lane
        self._employer = employer
        self._tools = tools
        # A scope serves once: each wait has one of its own.
        self._idle = trio.CancelScope()
        self._doing = trio.CancelScope()
        self._trying = trio.CancelScope()
        self._turn = trio.CancelScope()
        self._broken_off = False
        self._fetches_small_ones = False
        """Whether the last file was too small to be resumed, and so the next one is likely to be."""
        self._throttle = SessionThrottle(*employer.bandwidths, tools.bandwidth, holding=self._stop_the_clock)
        self._pipes = Pipes()
        self._buffer = mover.new_buffer()

    async def run(self) -> None:
        """Do jobs until the session dies, is idle for too long or too old, or the remote wants no more of it.

        Cancellation: the job in hand has no outcome; the session is dead.
        """
        age_s = min(self._employer.max_age_s, self.session.lifetime_s)
        # Counted from here, and not from the login: however short it is, a session gets the job that waits.
        too_old_at = trio.current_time() + age_s * random.uniform(_EARLIEST_END, 1)  # noqa: S311 - no secret
        is_first = True
        while self.session.usable and not self.retiring and self._employer.may_go_on(self):
            work = await self._next(too_old_at)
            if work is None:
                return
            if not is_first:  # of the first one the login is told as well
                self.session.turn_page()
            is_first = False
            self.work, self.since, self.bytes_moved = work, trio.current_time(), 0
            try:
                await self._do(work)
            except BaseException:
                work.memory.release()  # the job is not done, and not by us
                raise
            finally:
                self.work, self.since = None, trio.current_time()

    def close(self) -> None:
        """Let go of what it keeps from one job to the next, behind ``run``."""
        self._pipes.close()

    def dismiss(self) -> None:
        """End the worker: at once where it is idle, or waits for its turn, else after its job."""
        self.retiring = True
        self._idle.cancel()
        self._turn.cancel()

    def abandon_lost(self) -> None:
        """Break off the job in hand if it is no longer ours; its session goes with it."""
        if self.work is not None and not self._tools.wants(self.work.delivery):
            self._doing.cancel()

    def break_off(self) -> None:
        """End the session at once; the job in hand is tried again on another, at no cost to its attempts."""
        self._broken_off = True
        self.dismiss()
        self._trying.cancel()

    def cancel_job(self) -> None:
        """End the transfer of the job in hand, which is marked as cancelled; what is done is not undone."""
        self._turn.cancel()
        self._trying.cancel()

    async def _next(self, too_old_at: float) -> Work | None:
        """Wait for a job, keeping the session alive; None when there is none for too long, or it is old."""
        if self._tools.membership.lasts and trio.current_time() < too_old_at:
            work = self._lane.take_first()
            if work is not None:
                return work
        give_up_at = min(trio.current_time() + self._employer.idle_s, too_old_at)
        self._idle = trio.CancelScope()
        try:
            with self._idle:
                while trio.current_time() < give_up_at:
                    with trio.move_on_at(min(give_up_at, trio.current_time() + self._tools.keepalive_s)):
                        await self._tools.membership.lasting()
                        return await self._lane.next()
                    if trio.current_time() < give_up_at:
                        await self.session.keep_alive()
        except RemoteError:
            return None
        return None

    async def _do(self, work: Work) -> None:
        if not self._tools.wants(work.delivery):
            self._tools.drop(work)
            return
        refusal = work.refusal(trio.current_time())
        if refusal is not None:
            await self._tools.end(work, refusal)
            return
        if self._tools.hold(work):
            return
        with trio.CancelScope() as self._doing:
            now = trio.current_time()
            at = self._employer.data_turn(now)
            if at > now or not self._tools.membership.lasts:
                with trio.CancelScope() as self._turn:
                    await trio.sleep_until(at)
                    # Last of all: we may have been frozen at any of these waits.
                    await self._tools.membership.lasting()
                if self._turn.cancelled_caught:
                    await self._leave(work)
                    return
            left_s = max(0.0, work.deadline - trio.current_time())
            await self._try(work, min(left_s, self._tools.attempt_s))
        if self._doing.cancelled_caught:
            self.retiring = True
            self._tools.drop(work)

    async def _leave(self, work: Work) -> None:
        """Leave a job that was not begun to others, or end it where somebody has cancelled it."""
        refusal = work.refusal(trio.current_time())
        if refusal is not None:
            await self._tools.end(work, refusal)
        else:
            await self._employer.wait(work, 0.0)

    async def _try(self, work: Work, limit_s: float) -> None:
        """Make one attempt, and hand on what came of it."""
        work.begin(trio.current_time())
        attempt = self._begin(work)
        try:
            again = work.copy is not None or await self._recall(work)
            done = None if again else await self._copy(work, attempt, limit_s)
        except PoolerError as error:
            await self._failed(work, error)
        except Exception as error:
            # The one place where a bug becomes an outcome: it ends this job and this session, no more.
            log.exception("transfer_crashed", task_id=work.delivery.job.task_id)
            self.retiring = True
            await self._tools.end(
                work, work.failure(ErrorCode.UNKNOWN_ERROR, f"{type(error).__name__}: {error}")
            )
        else:
            if done is not None:
                await self._hand_on(work, attempt, done)
            else:
                await self._conclude(work, attempt, again=True)

    async def _failed(self, work: Work, error: PoolerError) -> None:
        self.retiring |= not error.session_survives
        work.forgiven += self._broken_off
        await self._employer.failed(work, error, self)

    def _begin(self, work: Work) -> Attempt:
        root = self._tools.roots[work.plan.folder]
        process = self._tools.incarnation if root.lease is None else root.lease.incarnation
        return Attempt(
            plan=work.plan,
            session=self.session,
            root=root,
            author=Author(process, work.delivery.record.origin, next(self._tools.serials)),
            buffer=self._buffer,
            moved=self._count,
            left_behind=self._employer.leave_behind,
            resume_above_bytes=self._tools.resume_above_bytes,
            memory=work.memory,
            is_gone=partial(self._tools.is_gone, work.plan.folder),
            throttle=self._throttle,
            pipes=self._pipes,
            asks_along=self._fetches_small_ones,
            more_waits=self._more_waits,
        )

    def _more_waits(self) -> bool:
        return not self.retiring and self._lane.waiting > 0

    async def _copy(self, work: Work, attempt: Attempt, limit_s: float) -> Transferred | None:
        """Make the copy; None where somebody else has made it meanwhile."""
        try:
            return await self._run(work, attempt, limit_s)
        except PoolerError as error:
            # A former owner that was frozen does not know yet that it is none. What it does with a source it
            # notes before: so if that is gone, there may be a note by now.
            goes = error.code is ErrorCode.FILE_NOT_FOUND and work.plan.options.after is not After.NONE
            if goes and await self._recall(work, anew=True):
                return None
            raise

    async def _run(self, work: Work, attempt: Attempt, limit_s: float) -> Transferred:
        transfer = download if attempt.plan.direction is Direction.DOWNLOAD else upload
        if attempt.plan.spread is not None:
            transfer = spread
        elif attempt.plan.options.check:
            transfer = check
        with trio.move_on_after(limit_s) as self._trying:
            if self._broken_off or work.cancelled is not None:
                self._trying.cancel()  # while it was getting ready
            begun = trio.current_time()
            done = await transfer(attempt)
            self._employer.done(trio.current_time() - begun)
            if transfer is upload and not done.skipped:
                self._employer.stored()
            if transfer is download and not done.skipped:
                self._fetches_small_ones = done.bytes_transferred < attempt.resume_above_bytes
            return done
        if work.cancelled is not None:
            raise JobCancelled(work.cancelled)
        if self._broken_off:
            raise SessionLost("broken off: other pods may have these sessions now")
        raise TransferTimeout(f"no end after {limit_s:g} s, {self.bytes_moved} bytes")

    async def _hand_on(self, work: Work, attempt: Attempt, done: Transferred) -> None:
        if done.found is not None:
            await self._tools.spread(work, done.found)
            return
        outcome = Outcome(
            Status.SKIPPED if done.skipped else Status.SUCCESS,
            attempts=work.attempts,
            bytes_transferred=done.bytes_transferred,
            duration_ms=_since_ms(work),
            queued_ms=work.queued_ms,
            verified=done.verified,
            peer=self.session.peer,
            reply=self.session.last_reply,
            source_checked=done.source_checked,
            checksum=done.checksum,
            mtime_kept=done.mtime_kept,
            resumed_from=done.resumed_from,
            marked=done.marked,
            check=done.check,
            after=done.after,
        )
        if done.check is not None:
            await self._tools.end(work, outcome)
            return
        if done.part is not None:
            # Only a source that is to go is worth a session that waits for the flush of its copy.
            reply = None if work.plan.options.after is After.NONE else Reply()
            work.arrived = trio.current_time()
            try:
                await self._tools.land(Landed(work, done.part, outcome, reply))
            except BaseException:
                done.part.discard()
                raise
            if reply is None:
                return
            # A disk that stalls must not hold a session; what lands late lands before what is tried again.
            error: PoolerError | None = Stalled(work.plan.folder, self._tools.attempt_s)
            with trio.move_on_after(self._tools.attempt_s):
                error = await reply.wait()
            if error is not None:
                await self._employer.failed(work, error, self)
                return
            outcome = replace(outcome, duration_ms=_since_ms(work), marked=work.plan.options.write_marker)
        source = None if work.plan.options.after is After.NONE else done.source
        await self._tools.note(Done(work, outcome, source))
        work.copy = Copy(outcome, done)
        await self._conclude(work, attempt)

    async def _recall(self, work: Work, *, anew: bool = False) -> bool:
        """Tell whether the job was done by somebody who could not answer it any more."""
        known = await self._tools.recall(work, anew=anew)
        if known is None:
            return False
        outcome = known.outcome
        log.info("transfer_recalled", task_id=work.delivery.job.task_id)
        done = Transferred(
            verified=outcome.verified,
            skipped=outcome.status is Status.SKIPPED,
            source=known.source,
            after=outcome.after,
        )
        work.copy = Copy(outcome, done)
        return True

    async def _conclude(self, work: Work, attempt: Attempt, *, again: bool = False) -> None:
        """Do with the source what is to be done, and end the job."""
        assert work.copy is not None  # noqa: S101 - it is what there is to conclude
        outcome, done = work.copy
        if work.plan.options.after is not After.NONE:
            # The next owner must find our note, and reads the notes once it is one: so nobody may be it yet.
            await self._tools.membership.exclusive()
            if not self._tools.wants(work.delivery):
                self._tools.drop(work)
                return
        try:
            after = await after_action(attempt, done, again=again)
        except RemoteError as error:
            await self._failed(work, error)
        else:
            if after.done is not None or after.error is not None:
                outcome = replace(outcome, after=after.done, after_error=after.error)
            await self._tools.end(work, outcome)

    @contextmanager
    def _stop_the_clock(self) -> Iterator[None]:
        """Count no time against an attempt for which we hold it back ourselves; the job's deadline holds."""
        deadline = inf if self.work is None else self.work.deadline
        left_s = self._trying.deadline - trio.current_time()
        self._trying.deadline = deadline
        try:
            yield
        finally:
            self._trying.deadline = min(trio.current_time() + left_s, deadline)

    def _count(self, size_bytes: int) -> None:
        self.bytes_moved += size_bytes
        if self.work is not None:
            self._employer.moved(self.work.plan.direction, size_bytes)


def _since_ms(work: Work) -> int:
    return round((trio.current_time() - (work.started or 0)) * 1000)
