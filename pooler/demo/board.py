"""What a person sees: the story line by line, and a bar for each server, or a line now and then."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

_REFRESH_S = 0.25
_LINE_S = 2.0
_SUBJECT_WIDTH = 9


class Standing(NamedTuple):
    """How far one server's jobs are.

    Attributes:
        remote: the server.
        done: jobs answered.
        total: all of them.
        note: the state of its breaker and sessions, for people.
    """

    remote: str
    done: int
    total: int
    note: str


class Board:
    """Tells the story of a demo on a console: lines, and bars where it is a terminal.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, subject: str, text: str) -> None:
        """Tell one line of the story.

        Args:
            subject: what it is about, in a word.
            text: what there is to say.
        """
        self.print(f"{subject:<{_SUBJECT_WIDTH}} {text}")

    def print(self, text: str) -> None:
        """Print lines as they are."""
        self._console.print(Text(text), soft_wrap=True)

    @asynccontextmanager
    async def following(self, read: Callable[[], Sequence[Standing]]) -> AsyncIterator[None]:
        """Show how far the jobs are for as long as the block lasts.

        Args:
            read: tells it, at any time.
        """
        async with trio.open_nursery() as nursery:
            redraws = self._console.is_terminal and not self._console.is_dumb_terminal
            nursery.start_soon(self._bars if redraws else self._lines, read)
            yield
            nursery.cancel_scope.cancel()

    async def _bars(self, read: Callable[[], Sequence[Standing]]) -> None:
        columns = (
            TextColumn(f"{{task.description:<{_SUBJECT_WIDTH}}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, auto_refresh=False) as progress:
            bars: dict[str, TaskID] = {}
            try:
                while True:
                    _draw(progress, bars, read())
                    await trio.sleep(_REFRESH_S)
            finally:
                _draw(progress, bars, read())

    async def _lines(self, read: Callable[[], Sequence[Standing]]) -> None:
        while True:
            await trio.sleep(_LINE_S)
            parts = [f"{at.remote} {at.done}/{at.total} ({at.note})" for at in read()]
            self.say("", ", ".join(parts))


def _draw(progress: Progress, bars: dict[str, TaskID], standings: Sequence[Standing]) -> None:
    for at in standings:
        if at.remote not in bars:
            bars[at.remote] = progress.add_task(at.remote, total=at.total, completed=at.done, note=at.note)
        progress.update(bars[at.remote], completed=at.done, note=at.note)
    progress.refresh()
