"""Keeps one local root: its lease, its health, and the jobs that wait while it cannot be used.

That a local call failed says little about who is to blame, the job or the disk below it. So the job is set
aside and the root is looked at: does it still bear our lease, has it room, can a file be made in it? If so,
the failure is the job's own. If not, all jobs of this root wait, at no cost to their attempts; those of
others go on. The root is looked at again every few seconds, and once it is well they go on too.
"""

import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import structlog
import trio

from pooler.errors import ErrorCode, LocalFileError, PoolerError
from pooler.flow.lane import Lane
from pooler.flow.retry import Backoff
from pooler.flow.work import Work
from pooler.model.job import Direction
from pooler.ops.metrics import Metrics
from pooler.storage.lease import RENEWAL_S, LeaseLost
from pooler.storage.root import LocalRoot, at_once
from pooler.storage.tenancy import Tenancy
from pooler.storage.threads import Stalled

log = structlog.get_logger(__name__)

_SWEEP_S = 15.0

Reason = Literal["full", "read_only", "no_permission", "vanished", "stalled", "failing"]

_REASONS: dict[int | None, Reason] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.ENOENT: "vanished",
    errno.ENOTDIR: "vanished",
    errno.ENODEV: "vanished",
    errno.ENOTCONN: "vanished",
    errno.ESTALE: "vanished",
    errno.EHOSTDOWN: "vanished",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a root cannot be used.

    Attributes:
        reason: in a word.
        error: as it was found.
        since: since when, in seconds of ``trio.current_time()``.
        uploads_go_on: whether files can still be read from it.
    """

    reason: Reason
    error: LocalFileError
    since: float
    uploads_go_on: bool


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A job whose local side failed, and what is done where the root is well."""

    work: Work
    error: LocalFileError
    blame: Callable[[], Awaitable[None]]


class RootKeeper:
    """Keeps one root.

    Args:
        root: the root.
        tenancy: our place in it.
        waiting: where its jobs wait; this keeper's own.
        submit: takes a job that may go on.
        inherit: takes what those who are gone left on servers: the remote and the path.
        metrics: where pauses are counted.
        stall_s: how long a look may take before the root counts as stalled, in seconds.
        give_up: answer what waits, instead of letting it wait until its deadline: for a person at a terminal.

    Attributes:
        trouble: why it cannot be used; None while it can.
    """

    def __init__(
        self,
        root: LocalRoot,
        tenancy: Tenancy,
        waiting: Lane,
        *,
        submit: Callable[[Work], None],
        inherit: Callable[[str, str], None],
        metrics: Metrics,
        stall_s: float,
        give_up: bool = False,
    ) -> None:
        self.root = root
        self.trouble: Trouble | None = None
        self._tenancy = tenancy
        self._lane = waiting
        self._submit = submit
        self._inherit = inherit
        self._metrics = metrics
        self._stall_s = stall_s
        self._give_up = give_up
        self._doubts: list[_Doubt] = []
        self._looked_at_for: list[_Doubt] = []
        self._looks_in_vain = 0
        self._endings: list[Callable[[], None]] = []
        self._to_end = trio.Event()
        self._asked = trio.Event()
        self._known = trio.Event()
        self._closing = False
        self._closed = trio.Event()

    # ---- what others call -----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many jobs wait for the root."""
        return self._lane.waiting + len(self._doubts) + len(self._looked_at_for)

    @property
    def free_bytes(self) -> int | None:
        """How much room it had at the last look; None before the first."""
        return self._tenancy.free_bytes

    def is_gone(self, incarnation: str) -> bool:
        """Tell whether a process that had a lease on this root is provably no more. Quick."""
        return self._tenancy.living.is_gone(incarnation)

    def hold(self, work: Work) -> bool:
        """Let a job wait where the root cannot be used for it; False where it can."""
        if self._admits(work):
            return False
        self._keep(work)
        return True

    def doubt(self, work: Work, error: LocalFileError, blame: Callable[[], Awaitable[None]]) -> bool:
        """Take a job whose local side failed, until it is known who is to blame.

        Args:
            work: the job.
            error: why it failed.
            blame: called where the root is well.

        Returns:
            True: it is taken.
        """
        self._doubts.append(_Doubt(work, error, blame))
        self._asked.set()
        return True

    def let_nothing_wait(self) -> None:
        """Begin to drain: what waits has no outcome here."""
        self._closing = True
        self._lane.close()
        self._lane.forget()

    def close(self) -> None:
        """End ``run``: nobody uses the root any more."""
        self._closed.set()

    # ---- the keeper's tasks ---------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the root until ``close``; started once it is known how the root is.

        Cancellation: the lease is still held; see ``leave``.
        """
        self.root.later = self._later
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._lane.run, self._given_up)
                nursery.start_soon(self._look_again_and_again)
                nursery.start_soon(self._end_files)
                nursery.start_soon(self._sweep_again_and_again)
                await self._known.wait()
                task_status.started()
                await self._closed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._closing = True
            self.root.later = at_once
            self._lane.forget()
            for doubt in self._take_doubts():
                doubt.work.memory.release()

    async def leave(self) -> None:
        """Let go of the lease, once nobody writes in the root any more; what is to be closed or removed is.

        A cancellation ends workers and keepers together, and what the workers tidy up on servers is still to
        be struck off then: so this is called behind both.

        Cancellation: the lease lapses by itself.
        """
        await self.root.attend(self._leave)

    async def _look_again_and_again(self) -> None:
        while True:
            self._asked = trio.Event()
            await self._look()
            pause_s = RENEWAL_S
            if self._looks_in_vain:
                pause_s = Backoff(1.0, RENEWAL_S).after(self._looks_in_vain)
            if not self._doubts:
                with trio.move_on_after(pause_s):
                    await self._asked.wait()

    async def _look(self) -> None:
        """Look at the root, and decide what becomes of the jobs that are in doubt about it."""
        self._looked_at_for, self._doubts = self._doubts, []
        thorough = bool(self._looked_at_for) or self.trouble is not None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._call_it_stalled)
                await self.root.attend(self._tenancy.look, thorough)
                nursery.cancel_scope.cancel()
        except* LocalFileError as group:
            error = group.exceptions[0]
            assert isinstance(error, LocalFileError)  # noqa: S101 - one call, one error
            self._looks_in_vain += 1
            self._pause(error)
        else:
            self._looks_in_vain = 0
            self._resume()
        while self._looked_at_for:
            await self._decide(self._looked_at_for.pop(0))

    async def _call_it_stalled(self) -> None:
        await trio.sleep(self._stall_s)
        self._pause(Stalled(self.root.name, self._stall_s))
        while True:
            for doubt in self._take_doubts():
                self._set_aside(doubt)
            self._asked = trio.Event()
            await self._asked.wait()

    def _take_doubts(self) -> list[_Doubt]:
        taken = [*self._looked_at_for, *self._doubts]
        self._looked_at_for, self._doubts = [], []
        return taken

    async def _decide(self, doubt: _Doubt) -> None:
        if isinstance(doubt.error, LeaseLost) or not self._admits(doubt.work):
            self._set_aside(doubt)
            return
        try:
            await doubt.blame()
        except BaseException:
            doubt.work.memory.release()  # the job is not done, and not by us
            raise

    def _set_aside(self, doubt: _Doubt) -> None:
        """Let a job wait for the root, or go on, at no cost to its attempts."""
        work = doubt.work
        work.forgiven += 1
        work.last_error = str(doubt.error)
        if isinstance(doubt.error, LeaseLost):
            work.memory.release()  # what bears the old incarnation may be another's by now
        if not self.hold(work):
            self._submit(work)

    def _pause(self, error: LocalFileError) -> None:
        cause = error.__cause__
        reason: Reason = _REASONS.get(cause.errno if isinstance(cause, OSError) else None, "failing")
        if isinstance(error, Stalled):
            reason = "stalled"
        elif error.code is ErrorCode.DISK_FULL:
            reason = "full"
        before = self.trouble
        lease = self.root.lease
        self.trouble = Trouble(
            reason,
            error,
            trio.current_time() if before is None else before.since,
            uploads_go_on=reason == "full" and lease is not None and lease.holds,
        )
        if before is None or before.reason != reason:
            log.warning("root_paused", root=self.root.name, reason=reason, error=str(error))
            self._metrics.root_paused(self.root.name, reason)
        self._known.set()
        self._let_go_on()

    def _resume(self) -> None:
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            paused_s = round(trio.current_time() - trouble.since, 3)
            log.info("root_resumed", root=self.root.name, reason=trouble.reason, paused_s=paused_s)
        self._known.set()
        self._let_go_on()

    def _let_go_on(self) -> None:
        """Hand on what need not wait any more."""
        for work in self._lane.take_all():
            if not self.hold(work):
                self._submit(work)

    def _admits(self, work: Work) -> bool:
        trouble = self.trouble
        return trouble is None or (trouble.uploads_go_on and work.plan.direction is Direction.UPLOAD)

    def _keep(self, work: Work) -> None:
        if self._closing:
            work.memory.release()  # it has no outcome, and is the next owner's
        else:
            self._lane.put(work)

    def _given_up(self) -> PoolerError | None:
        return self.trouble.error if self._give_up and self.trouble is not None else None

    # ---- what need not be waited for ------------------------------------------------------------------

    def _later(self, ending: Callable[[], None]) -> None:
        if trio.lowlevel.in_trio_run():
            # As many as there are open files: sessions, and what lands.
            self._endings.append(ending)
            self._to_end.set()
        else:
            ending()  # we are in a thread

    async def _end_files(self) -> None:
        while True:
            await self._to_end.wait()
            self._to_end = trio.Event()
            await self.root.complete_brief(self._end_what_is_to_end)

    def _end_what_is_to_end(self) -> None:
        endings, self._endings = self._endings, []
        for ending in endings:
            ending()

    def _leave(self) -> None:
        self._end_what_is_to_end()
        self._tenancy.leave()

    async def _sweep_again_and_again(self) -> None:
        while True:
            await trio.sleep(_SWEEP_S)
            if self.trouble is not None:
                continue
            try:
                for gone in await self.root.complete(self._tenancy.find_gone):
                    await self._sweep(gone)
            except PoolerError as error:
                log.warning("sweep_failed", root=self.root.name, error=str(error))

    async def _sweep(self, gone: str) -> None:
        swept = await self.root.complete(self._tenancy.sweep, gone)
        if swept is None:
            return
        for entry in swept.on_servers:
            self._inherit(entry.remote, entry.path)
        log.info(
            "parts_swept",
            root=self.root.name,
            process=gone,
            removed=swept.removed,
            on_servers=len(swept.on_servers),
        )
