"""Keeps the maintenance windows of one remote: when they begin and end, by the clock on the wall."""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
import trio

from pooler.config.maintenance import Windows

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 30.0
"""The clock on the wall may be put right at any time."""


def wall_clock() -> datetime:
    """Tell the time, in UTC."""
    return datetime.now(UTC)


class Maintenance:
    """Whether a remote is to be left alone now.

    Args:
        remote: its name, for the log.
        windows: when it is.
        changed: called when a window has begun or ended.
        clock: tells the time, with its zone.

    Attributes:
        until: when it may be used again, in UTC; None while it may be.
        since: since when it may not, in seconds of ``trio.current_time()``; None while it may be.
    """

    def __init__(
        self,
        remote: str,
        windows: Windows,
        changed: Callable[[], None],
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        self.until: datetime | None = None
        self.since: float | None = None
        self._remote = remote
        self._windows = windows
        self._changed = changed
        self._clock = clock

    def change(self, windows: Windows) -> None:
        """Keep to these windows from now on."""
        self._windows = windows
        self.look()

    async def run(self) -> None:
        """Watch the clock, for ever."""
        while True:  # noqa: ASYNC110 - a clock tells nobody that it moves on
            await trio.sleep(self.look())

    def look(self) -> float:
        """See whether a window has begun or ended; tell when to look again, in seconds from now."""
        now = self._clock()
        until = self._windows.closed_until(now)
        if until != self.until:
            self._become(until)
        at = until or self._windows.next_begin(now)
        return _LOOK_AGAIN_S if at is None else min(_LOOK_AGAIN_S, max(0.0, (at - now).total_seconds()))

    def _become(self, until: datetime | None) -> None:
        self.until = until
        if until is None:
            self.since = None
            log.info("maintenance_ended", remote=self._remote)
        else:
            if self.since is None:
                self.since = trio.current_time()
            log.info("maintenance_began", remote=self._remote, until=until.isoformat())
        self._changed()
