"""Calls that block, in threads of which each root has its own few.

A thread cannot be cancelled. A call that is not waited for any more, because it takes too long or because of
a cancellation, is left alone: it keeps its thread, what it was given stays open until it returns, and what it
opens is closed by itself.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from math import inf
from typing import Any, Generic, TypeVar, TypeVarTuple

import trio

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.held import Held

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_GRACE_S = 1.0
"""How long a cancellation waits for a call that has begun: one on a healthy disk is over by then."""


class Stalled(LocalFileError):
    """A call into a root did not come back in time; it may still be going on.

    Args:
        root: the root's name.
        limit_s: how long it was waited for, in seconds.
    """

    session_survives = False  # its buffer belongs to that call from now on

    def __init__(self, root: str, limit_s: float) -> None:
        super().__init__(ErrorCode.IO_ERROR, f"{root}:/: no answer for {limit_s:g} s; it may still be done")


class _Here(threading.local):
    call: "_Call[Any] | None" = None


_here = _Here()


def goes_on() -> None:
    """Tell, from within a call that may rightly take long, that it does not stand still. Quick."""
    if _here.call is not None:
        _here.call.goes_on()


class Threads:
    """The threads of one root.

    Args:
        name: the root's name, for messages.
        count: how many there are.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name = name
        self._limiter = trio.CapacityLimiter(count)

    @property
    def busy(self) -> int:
        """How many calls are going on, those that nobody waits for included."""
        return int(self._limiter.borrowed_tokens)

    async def run(self, limit_s: float, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Make a call that blocks.

        Args:
            limit_s: how long it may take, in seconds, the wait for a thread included.
            function: what to call.
            args: with what. What is ``Held`` among them, or is what ``function`` belongs to, stays open until
                the call returns.

        Raises:
            Stalled: it did not return in time.

        Cancellation: a call that has begun is waited for, for a second; then it is left alone. What it
            has opened is closed.
        """
        call = _Call(function, args, limit_s)
        try:
            with call.scope:
                return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)
        except trio.Cancelled:
            with trio.move_on_after(_GRACE_S, shield=True):
                await call.leave(wait=True)
            raise
        with trio.move_on_after(_GRACE_S, shield=True):
            await call.leave(wait=False)
        raise Stalled(self._name, limit_s)


class _Call(Generic[_T]):
    """A call and what becomes of it. Made in the loop, called in a thread."""

    def __init__(self, function: Callable[..., _T], args: tuple[Any, ...], limit_s: float) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + limit_s)
        self._function = function
        self._args = args
        self._limit_s = limit_s
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._running = False
        self._abandoned = False
        self._result: object = None
        self._over = trio.Event()

    def __call__(self) -> _T:
        with self._lock:
            self._running = not self._abandoned
        if not self._running:
            raise RuntimeError("nobody waits for this call")
        _here.call = self
        try:
            with ExitStack() as using:
                for given in (getattr(self._function, "__self__", None), *self._args):
                    if isinstance(given, Held):
                        using.enter_context(given.in_use())
                result = self._function(*self._args)
            self._hand_over(result)
            return result
        finally:
            _here.call = None
            with self._lock:
                self._running = False
                abandoned = self._abandoned
            if abandoned:
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._over.set)

    def _hand_over(self, result: _T) -> None:
        with self._lock:
            if not self._abandoned:
                self._result = result
                return
        if isinstance(result, Held):
            result.let_go()

    async def leave(self, *, wait: bool) -> None:
        """Leave it alone.

        Args:
            wait: until it has returned, so that nothing is left of it.
        """
        with self._lock:
            self._abandoned = True
            running, result = self._running, self._result
        if isinstance(result, Held):
            # It came back in the very moment in which nobody waited for it any more.
            await trio.to_thread.run_sync(result.let_go, abandon_on_cancel=True)
        elif running and wait:
            await self._over.wait()

    def goes_on(self) -> None:
        if self._limit_s < inf:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._extend)

    def _extend(self) -> None:
        self.scope.deadline = trio.current_time() + self._limit_s
