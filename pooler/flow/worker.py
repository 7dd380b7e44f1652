"""One task, one session: opens it, does jobs on it one after another, closes it.

A worker lives as long as its session. When the session dies under a job, the job goes back to its remote,
and the remote decides whether another worker is begun: so nothing is ever leased, and nothing leaks.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog
import trio

from pooler.errors import ErrorCode, LocalFileError, PoolerError, RemoteError, TransferTimeout
from pooler.flow.work import Landed, Reply, Work
from pooler.model.job import After, Delivery, Direction
from pooler.model.outcome import Outcome, Status
from pooler.storage.root import LocalRoot
from pooler.storage.threads import Stalled
from pooler.transfer import mover
from pooler.transfer.after import after_action
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.check import check
from pooler.transfer.download import download
from pooler.transfer.names import Author
from pooler.transfer.session import Session
from pooler.transfer.upload import upload

log = structlog.get_logger(__name__)


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
        wants: whether a delivery is still ours to do.
        land: takes a download whose file has no name yet.
        end: takes the outcome of a job.
        drop: takes a job that is no longer ours.
        is_gone: whether a process, by its incarnation on a root, is provably no more. May block.
        hold: lets a job wait where its local folder cannot be used now; False where it can.
        doubt: takes a job whose local side failed, until it is known whether the job is to blame, and then
            calls what it is given; False where nobody can tell.
        removed: told of a path on a remote where no part of ours is any more.
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
    is_gone: Callable[[str, str], bool] = lambda _root, _process: False
    hold: Callable[[Work], bool] = lambda _work: False
    doubt: Callable[[Work, LocalFileError, Callable[[], Awaitable[None]]], bool] = lambda *_: False
    removed: Callable[[str, str], None] = lambda _remote, _path: None


class Employer(Protocol):
    """What a worker asks of its remote."""

    idle_s: float

    def may_go_on(self, worker: "Worker") -> bool:
        """Tell whether the worker should take another job."""
        ...

    async def failed(self, work: Work, error: PoolerError, worker: "Worker | None" = None) -> None:
        """Take back a job whose attempt failed."""
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
        lane: where jobs come from; this worker's own clone.
        employer: the remote that it belongs to.
        tools: what all workers share.

    Attributes:
        work: the job in hand; None while idle.
        bytes_moved: of the attempt in hand.
        since: when the worker became busy or idle, in seconds of ``trio.current_time()``.
        retiring: to end after the job in hand.
    """

    def __init__(
        self, session: Session, lane: trio.MemoryReceiveChannel[Work], employer: Employer, tools: Tools
    ) -> None:
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
        self._buffer = memoryview(bytearray(mover.BUFFER_BYTES))

    async def run(self) -> None:
        """Do jobs until the session dies, is idle for too long, or the remote wants no more of it.

        Cancellation: the job in hand has no outcome; the session is dead.
        """
        while self.session.usable and not self.retiring and self._employer.may_go_on(self):
            work = await self._next()
            if work is None:
                return
            self.work, self.since, self.bytes_moved = work, trio.current_time(), 0
            try:
                await self._do(work)
            except BaseException:
                work.memory.release()  # the job is not done, and not by us
                raise
            finally:
                self.work, self.since = None, trio.current_time()

    def dismiss(self) -> None:
        """End the worker: at once where it is idle, else after its job."""
        self.retiring = True
        self._idle.cancel()

    def abandon_lost(self) -> None:
        """Break off the job in hand if it is no longer ours; its session goes with it."""
        if self.work is not None and not self._tools.wants(self.work.delivery):
            self._doing.cancel()

    async def _next(self) -> Work | None:
        """Wait for a job, keeping the session alive; None when there is none for too long."""
        give_up_at = trio.current_time() + self._employer.idle_s
        self._idle = trio.CancelScope()
        try:
            with self._idle:
                while trio.current_time() < give_up_at:
                    with trio.move_on_at(min(give_up_at, trio.current_time() + self._tools.keepalive_s)):
                        return await self._lane.receive()
                    if trio.current_time() < give_up_at:
                        await self.session.keep_alive()
        except (RemoteError, trio.EndOfChannel):
            return None
        return None

    async def _do(self, work: Work) -> None:
        if not self._tools.wants(work.delivery):
            self._tools.drop(work)
            return
        left_s = work.deadline - trio.current_time()
        if left_s <= 0:
            await self._tools.end(work, work.expiry())
            return
        if self._tools.hold(work):
            return
        with trio.CancelScope() as self._doing:
            await self._try(work, min(left_s, self._tools.attempt_s))
        if self._doing.cancelled_caught:
            self.retiring = True
            self._tools.drop(work)

    async def _try(self, work: Work, limit_s: float) -> None:
        """Make one attempt, and hand on what came of it."""
        work.begin(trio.current_time())
        attempt = self._begin(work)
        try:
            done = await self._run(attempt, limit_s)
        except PoolerError as error:
            self.retiring |= not error.session_survives
            await self._employer.failed(work, error, self)
        except Exception as error:
            # The one place where a bug becomes an outcome: it ends this job and this session, no more.
            log.exception("transfer_crashed", task_id=work.delivery.job.task_id)
            self.retiring = True
            await self._tools.end(
                work, work.failure(ErrorCode.UNKNOWN_ERROR, f"{type(error).__name__}: {error}")
            )
        else:
            await self._hand_on(work, attempt, done)

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
        )

    async def _run(self, attempt: Attempt, limit_s: float) -> Transferred:
        transfer = download if attempt.plan.direction is Direction.DOWNLOAD else upload
        if attempt.plan.options.check:
            transfer = check
        with trio.move_on_after(limit_s):
            return await transfer(attempt)
        raise TransferTimeout(f"no end after {limit_s:g} s, {self.bytes_moved} bytes")

    async def _hand_on(self, work: Work, attempt: Attempt, done: Transferred) -> None:
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
        )
        if done.check is not None:
            await self._tools.end(work, outcome)
            return
        if done.part is not None:
            # Only a source that is to go is worth a session that waits for the flush of its copy.
            reply = None if work.plan.options.after is After.NONE else Reply()
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
        after = await after_action(attempt, done)
        await self._tools.end(work, replace(outcome, after=after.done, after_error=after.error))

    def _count(self, size_bytes: int) -> None:
        self.bytes_moved += size_bytes
        if self.work is not None:
            self._employer.moved(self.work.plan.direction, size_bytes)


def _since_ms(work: Work) -> int:
    return round((trio.current_time() - (work.started or 0)) * 1000)
