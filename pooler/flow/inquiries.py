"""Asks all other pods something over the control topic, and answers what they ask.

What pods announce of themselves all the time is short. What a person asks for now and then, such as all
transfers that run, is asked for when somebody wants to know it; and what each pod is to do once, such as to
cancel a job, is said the same way. Who asks takes question and answers back afterwards; what nobody takes
back, as its asker died, is swept by whoever forgets pods that are gone.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

import structlog
import trio

from pooler.errors import BusError, PoolerError
from pooler.model.control import Ask, Gone, News, Tell

log = structlog.get_logger(__name__)

Answerer = Callable[[str, Mapping[str, Any]], Awaitable[bytes]]
"""Answers a question with JSON; raises `PoolerError` or `LookupError` where it cannot."""

Writer = Callable[[News | Gone], Awaitable[None]]
"""Writes to the control topic; raises `BusError` where it is not known to be written."""

_ROOM = 64
"""Questions that wait to be answered; one more is passed over, and this pod counts as silent."""
_AT_ONCE = 4
_LITTER = 10_000
_LITTER_AFTER_S = 600.0


class Inquiries:
    """The questions of one pod, and those to it.

    Args:
        pod: our name.

    Attributes:
        answer: answers what others ask; None while nothing can be answered yet.
    """

    def __init__(self, pod: str) -> None:
        self.answer: Answerer | None = None
        self._pod = pod
        self._to_answer, self._asked = trio.open_memory_channel[Ask](_ROOM)
        self._told: dict[str, dict[str, Tell]] = {}
        self._news = trio.Event()
        # What stands on the topic, with when it was read: it is taken back soon, or is litter.
        self._standing: dict[Gone, float] = {}
        self._done: list[Gone] = []
        self._swept = trio.Event()

    def hear(self, news: Ask | Tell | Gone, incarnation: str, now: float, *, live: bool) -> None:
        """Take in a record.

        Args:
            news: what was read.
            incarnation: ours.
            now: the time, in seconds.
            live: whether it was written since we are here; what is older is none of our business.
        """
        match news:
            case Ask():
                self._stands(Gone("ask", (news.name,)), now)
                if live and news.by != incarnation and self.answer is not None:
                    try:
                        self._to_answer.send_nowait(news)
                    except trio.WouldBlock:
                        log.warning("question_passed_over", what=news.what)
            case Tell():
                self._stands(Gone("tell", (news.name, news.by)), now)
                if news.name in self._told:
                    self._told[news.name][news.by] = news
                    self._news.set()
                    self._news = trio.Event()
            case Gone():
                self._standing.pop(news, None)

    def _stands(self, gone: Gone, now: float) -> None:
        if len(self._standing) < _LITTER:
            self._standing[gone] = now

    def litter(self, now: float) -> Iterator[Gone]:
        """Tell what stands on the topic though nobody can want it any more."""
        return (gone for gone, at in self._standing.items() if now - at > _LITTER_AFTER_S)

    async def ask(
        self,
        what: str,
        query: Mapping[str, Any],
        *,
        by: str,
        whom: Collection[str],
        within_s: float,
        write: Writer,
    ) -> dict[str, Tell]:
        """Ask other pods something.

        Args:
            what: out of a list that all know.
            query: what else there is to say of it.
            by: our incarnation.
            whom: the incarnations of those who are waited for; others may answer as well.
            within_s: how long they are waited for, in seconds.
            write: writes to the topic.

        Returns:
            What was told in time, by incarnation.

        Raises:
            BusError: the question is not known to be written.

        Cancellation: who does what it was asked for is not known.
        """
        if not whom:
            await trio.lowlevel.checkpoint()
            return {}
        name = secrets.token_hex(8)
        told = self._told[name] = {}
        try:
            await write(Ask(name, by, time.time(), what, query))
            with trio.move_on_after(within_s):
                while not told.keys() >= set(whom):
                    await self._news.wait()
            return dict(told)
        finally:
            del self._told[name]
            self._done += [Gone("ask", (name,)), *(Gone("tell", (name, teller)) for teller in told)]
            self._swept.set()

    async def run(self, incarnation: Callable[[], str], write: Writer) -> None:
        """Answer what is asked, and take back what was asked, until cancelled.

        Args:
            incarnation: tells ours.
            write: writes to the topic.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep, write)
            for _ in range(_AT_ONCE):
                nursery.start_soon(self._answer_all, incarnation, write)

    async def _answer_all(self, incarnation: Callable[[], str], write: Writer) -> None:
        async for asked in self._asked:
            told = await self._answer(asked, incarnation())
            try:
                await write(told)
            except BusError as error:
                log.warning("answer_not_told", what=asked.what, error=str(error))

    async def _answer(self, asked: Ask, incarnation: str) -> Tell:
        assert self.answer is not None  # noqa: S101 - nothing is taken in before
        try:
            body = await self.answer(asked.what, asked.query)
        except (PoolerError, LookupError, ValueError) as error:
            return Tell(asked.name, incarnation, self._pod, time.time(), error=str(error))
        return Tell(asked.name, incarnation, self._pod, time.time(), body)

    async def _sweep(self, write: Writer) -> None:
        while True:
            await self._swept.wait()
            self._swept = trio.Event()
            while self._done:
                gone = self._done.pop()
                try:
                    await write(gone)
                except BusError:
                    break  # it is litter, then
