"""What a person sees while jobs run: bars on a terminal, a line of statistics now and then elsewhere."""

import json
import sys
from typing import Any

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pooler.bus.jobfile import JobFile
from pooler.crew import Crew
from pooler.model.outcome import Status

_REFRESH_S = 0.25
_LINE_S = 5.0


class Progress:
    """The figures of a run.

    Args:
        crew: who does it.
        jobs: the list.
    """

    def __init__(self, crew: Crew, jobs: JobFile) -> None:
        self._crew = crew
        self._jobs = jobs
        self._started = trio.current_time()

    def figures(self) -> dict[str, Any]:
        """Tell how far the run is, as plain values."""
        seconds = max(trio.current_time() - self._started, 1e-9)
        counts = dict.fromkeys(Status, 0)
        for (_, status), count in self._crew.endings.counts.items():
            counts[status] += count
        done = sum(counts.values())
        return {
            "elapsed_s": round(seconds, 1),
            "read": self._jobs.taken,
            "succeeded": counts[Status.SUCCESS],
            "skipped": counts[Status.SKIPPED],
            "failed": sum(self._jobs.codes.values()),
            "in_hand": len(self._crew.endings.in_flow),
            "bytes": self._crew.endings.bytes_transferred,
            "files_per_s": round(done / seconds, 1),
            "mb_per_s": round(self._crew.endings.bytes_transferred / seconds / 1e6, 1),
        }

    def table(self) -> Table:
        """Draw the figures for a terminal: the whole, and a line for each remote."""
        at = self.figures()
        table = Table(box=None, pad_edge=False, show_edge=False)
        for title in ("remote", "sessions", "waiting", "done", "failed", ""):
            table.add_column(title, justify="left" if title in {"remote", ""} else "right")
        counts = self._crew.endings.counts
        for name, remote in self._crew.fleet.remotes.items():
            done = counts[name, Status.SUCCESS] + counts[name, Status.SKIPPED]
            failed = counts[name, Status.FAILED]
            if done or failed or remote.waiting or remote.sessions:
                note = remote.last_error or ""
                cells = (remote.sessions, remote.waiting, done, failed)
                table.add_row(Text(name), *map(str, cells), _plain(note[:60]))
        table.caption = (
            f"{at['succeeded']} copied, {at['skipped']} skipped, {at['failed']} failed, "
            f"{at['in_hand']} in hand, "
            f"{at['files_per_s']} files/s, {at['mb_per_s']} MB/s, {at['elapsed_s']} s"
        )
        table.caption_justify = "left"
        return table


def _plain(words: str) -> Text:
    """Show a server's words as they are: neither as markup nor as commands to the terminal."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in words))


async def showing(
    progress: Progress, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Show the figures on the standard error until cancelled, and once more then."""
    console = Console(stderr=True)
    task_status.started()
    if console.is_terminal:
        await _bars(progress, console)
    else:
        await _lines(progress)


async def _bars(progress: Progress, console: Console) -> None:
    with Live(progress.table(), console=console, auto_refresh=False) as live:
        try:
            while True:
                await trio.sleep(_REFRESH_S)
                live.update(progress.table(), refresh=True)
        finally:
            live.update(progress.table(), refresh=True)


async def _lines(progress: Progress) -> None:
    try:
        while True:
            await trio.sleep(_LINE_S)
            _print(progress)
    finally:
        _print(progress)


def _print(progress: Progress) -> None:
    print(json.dumps(progress.figures()), file=sys.stderr, flush=True)
