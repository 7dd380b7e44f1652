"""`pooler` with an eye on its event loop, which kills it at one await of its publish path.

``python -m tests.support.suspensions SEEN MOMENT run …`` is ``pooler run …``. While a publication is in hand
(`KafkaBridge.publish` was called and has not returned) it looks at every asyncio task that publishes,
whenever it is suspended and whenever it goes on, and writes each such *moment* that it has not met before to
the file SEEN. At the moment called MOMENT it kills itself; an empty MOMENT is none.

A task publishes where one of its frames is in `pooler.bus`, the consumer pump's module left out, or in
aiokafka's producer: the requests that are on their way wait there. Nothing here knows a function of theirs.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import trio_asyncio

from pooler.bus.bridge import KafkaBridge
from pooler.cli.main import main

_OURS = f"pooler{os.sep}bus{os.sep}"
_THEIRS = f"aiokafka{os.sep}"
_PRODUCERS = f"{_THEIRS}producer{os.sep}"
_READER = f"{_OURS}reader.py"


class Watch:
    """Sees moments, and kills at one.

    Args:
        seen: where moments are written, one a line.
        moment: at which to kill; empty for none.
    """

    def __init__(self, seen: Path, moment: str) -> None:
        self.in_hand = 0
        self._file = seen
        self._seen = set(seen.read_text().splitlines())
        self._moment = moment

    def make_task(self, loop: asyncio.AbstractEventLoop, inner: Any, **more: Any) -> "asyncio.Task[Any]":
        """Make a task that is looked at; an event loop's task factory."""
        return asyncio.Task(Watched(inner, self), loop=loop, **more)

    def look(self, when: str, place: str | None) -> None:
        """Take note of a moment of a task that publishes."""
        if place is None or not self.in_hand:
            return
        moment = f"{when} {place}"
        if moment == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)
        if moment not in self._seen:
            self._seen.add(moment)
            with self._file.open("a") as file:
                file.write(f"{moment}\n")


class Watched(Coroutine[Any, Any, Any]):
    """A task's coroutine, looked at from outside."""

    def __init__(self, inner: Coroutine[Any, Any, Any], watch: Watch) -> None:
        self._inner = inner
        self._watch = watch
        self._place: str | None = None

    def send(self, value: Any) -> Any:
        """Go on to the next suspension."""
        return self._step(self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        return self._step(self._inner.throw, *error)

    def close(self) -> None:
        """End."""
        self._inner.close()

    def __await__(self) -> Any:
        raise AssertionError("it is a task's own, and nobody awaits it")

    def _step(self, step: Callable[..., Any], *args: Any) -> Any:
        self._watch.look("behind", self._place)
        self._place = None
        awaited = step(*args)
        self._place = _place(self._inner)
        self._watch.look("at", self._place)
        return awaited


def _place(coroutine: Any) -> str | None:
    """Name the await at which a coroutine is suspended; None where it does not publish."""
    frames = list(_frames(coroutine))
    files = [frame.f_code.co_filename for frame in frames]
    if any(_READER in file for file in files):
        return None
    if not any(_OURS in file or _PRODUCERS in file for file in files):
        return None
    known = [frame for frame, file in zip(frames, files, strict=True) if _OURS in file or _THEIRS in file]
    return " > ".join(f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in known)


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """Give the frames of what awaits what, from the task's own inwards."""
    while coroutine is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                yield frame
        inner = (getattr(coroutine, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
        coroutine = next(filter(None, inner), None)


def install(watch: Watch) -> None:
    """Have every asyncio task of this process watched, from the next loop on."""
    open_loop, publish = trio_asyncio.open_loop, KafkaBridge.publish

    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        async with open_loop() as loop:
            loop.set_task_factory(watch.make_task)
            yield loop

    async def publishing(*args: Any) -> Any:
        watch.in_hand += 1
        try:
            return await publish(*args)
        finally:
            watch.in_hand -= 1

    trio_asyncio.open_loop = opening
    KafkaBridge.publish = publishing  # type: ignore[method-assign, assignment]  # whatever it takes


if __name__ == "__main__":
    file, moment_of_death, *words = sys.argv[1:]
    install(Watch(Path(file), moment_of_death))
    sys.argv = ["pooler", *words]
    sys.exit(main())
