"""A delivery on its way through the flow, with what has become of it so far."""

from dataclasses import dataclass, field
from typing import NamedTuple

import trio
from msgspec.structs import replace

from pooler.errors import ErrorCode, PoolerError
from pooler.model.job import Delivery
from pooler.model.outcome import Outcome, Peer
from pooler.storage.landing import PartFile
from pooler.transfer.attempt import Transferred
from pooler.transfer.memory import Memory
from pooler.transfer.plan import Plan


class Copy(NamedTuple):
    """A copy that has its name, and is durable; with its source something may still have to be done.

    Attributes:
        outcome: how the job ends but for its source.
        transferred: what came of the attempt that made it.
    """

    outcome: Outcome
    transferred: Transferred


@dataclass(slots=True, eq=False)
class Work:
    """A delivery that has a plan. One task at a time has it in hand.

    Attributes:
        delivery: what is asked for, and where it came from.
        plan: what is to be done.
        deadline: when it may no longer be tried, in seconds of ``trio.current_time()``.
        attempts_allowed: attempts in all.
        attempts: attempts begun so far.
        forgiven: those of them that do not count, because the job was not to blame.
        started: when the last attempt began; None before the first.
        last_error: what went wrong at last, for people; None where nothing has.
        memory: what one attempt leaves for the next; released when there is to be no next one here.
        copy: what is there already: nothing but the source is left to be dealt with. None before.
        cancelled: who has cancelled it, and why, for people; None while nobody has.
        arrived: when the bytes of a download were all there, but not under their name; None before.
    """

    delivery: Delivery
    plan: Plan
    deadline: float
    attempts_allowed: int
    attempts: int = 0
    forgiven: int = 0
    started: float | None = None
    last_error: str | None = None
    memory: Memory = field(default_factory=Memory)
    copy: Copy | None = None
    cancelled: str | None = None
    arrived: float | None = None

    @property
    def queued_ms(self) -> int:
        """From the first reading to the start of the last attempt, in milliseconds."""
        return 0 if self.started is None else round((self.started - self.delivery.received) * 1000)

    def begin(self, now: float) -> None:
        """Begin an attempt."""
        self.attempts += 1
        self.started = now
        self.arrived = None

    def failure(
        self,
        code: ErrorCode,
        message: str,
        *,
        retriable: bool = False,
        duration_s: float = 0.0,
        peer: Peer | None = None,
        reply: str | None = None,
        dialogue: tuple[str, ...] = (),
    ) -> Outcome:
        """Make the outcome of the job as failed, with what is known of its attempts.

        A job whose copy is there has not failed: its source is left, and the reason told.
        """
        if self.copy is not None:
            return replace(self.copy.outcome, after="left", after_error=message)
        return Outcome.failed(
            code,
            message,
            retriable=retriable,
            attempts=self.attempts,
            duration_ms=round(duration_s * 1000),
            queued_ms=self.queued_ms,
            peer=peer,
            reply=reply,
            dialogue=dialogue,
        )

    def refusal(self, now: float) -> Outcome | None:
        """Make the outcome of a job that is not to be begun any more; None where it may be.

        Args:
            now: in seconds of ``trio.current_time()``.
        """
        if self.cancelled is not None:
            return self.failure(ErrorCode.CANCELLED, self.cancelled)
        if now >= self.deadline:
            return self.failure(ErrorCode.DEADLINE_EXCEEDED, self.overdue(), retriable=True)
        return None

    def overdue(self) -> str:
        """Say that its deadline has passed, and what went wrong at last."""
        reason = "" if self.last_error is None else f"; at last: {self.last_error}"
        return f"not done by its deadline{reason}"


class Reply:
    """Where a worker waits for what became of its file."""

    def __init__(self) -> None:
        self._told = trio.Event()
        self._error: PoolerError | None = None

    def tell(self, error: PoolerError | None) -> None:
        """Tell that the file has its name and is durable, or why not."""
        self._error = error
        self._told.set()

    async def wait(self) -> PoolerError | None:
        """Wait for it."""
        await self._told.wait()
        return self._error


@dataclass(frozen=True, slots=True)
class Landed:
    """A download whose bytes have arrived; its file has no name of its own yet.

    Attributes:
        work: what it was done for.
        part: the file.
        outcome: how the job ends if the file gets its name; the duration is still to be filled in.
        reply: the worker that waits for the file's name, and ends the job itself; None where nobody does.
    """

    work: Work
    part: PartFile
    outcome: Outcome
    reply: Reply | None = None
