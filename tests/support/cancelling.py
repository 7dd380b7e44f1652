"""Cancels something at each of its waits in turn."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import trio


class _CancelAt(trio.abc.Instrument):
    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, waits: int) -> None:
        self._scope, self._task, self._left = scope, task, waits

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def at_every_wait(life: Callable[[], Awaitable[None]], *, most: int = 1000) -> AsyncIterator[int]:
    """Run ``life`` again and again, cancelled at its first wait, its second, and so on, until it ends.

    Gives how many waits it had, after each run that was cancelled, for looking at what is left.
    """
    for waits in range(1, most):
        with trio.CancelScope() as scope:
            instrument = _CancelAt(scope, trio.lowlevel.current_task(), waits)
            trio.lowlevel.add_instrument(instrument)
            try:
                await life()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        if not scope.cancelled_caught:
            return
        yield waits
    raise AssertionError(f"still not through after {most} waits")


def descriptors() -> int:
    """Count the open files and sockets of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not used as paths
