"""Cancels at every single point at which something can be cancelled."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import trio


@dataclass(slots=True, eq=False)
class _At(trio.abc.Instrument):
    task: trio.lowlevel.Task
    scope: trio.CancelScope
    point: int
    seen: int = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.seen += 1
            if self.seen == self.point:
                self.scope.cancel()


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run ended.

    Attributes:
        point: at which of its suspensions it was cancelled, from 1; 0 for before the first.
        cancelled: whether that took effect.
    """

    point: int
    cancelled: bool


async def everywhere(run: Callable[[], Awaitable[object]]) -> AsyncIterator[Ending]:
    """Run something again and again, cancelled at its first suspension, at its second, and so on.

    Args:
        run: begins anew at each call.

    Yields:
        How each run ended; the last one has had no suspension left to be cancelled at.
    """
    point, over = 0, False
    while not over:
        with trio.CancelScope() as scope:
            at = _At(trio.lowlevel.current_task(), scope, point)
            if point == 0:
                scope.cancel()
            trio.lowlevel.add_instrument(at)
            try:
                await run()
            finally:
                trio.lowlevel.remove_instrument(at)
        over = not scope.cancel_called
        yield Ending(point, scope.cancelled_caught)
        point += 1
