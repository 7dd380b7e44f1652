"""A breaker for each remote: when nobody answers there, stop asking for a while. Pure.

What it counts is whether the server can be reached and logged in to, not how jobs end: a missing file says
nothing about the server. While it is open no session is begun; jobs wait, and lose no attempt by it.

The whole behaviour is this table; `_threshold` says when the third column applies:

| state     | event     | once enough of them in a row | then      |
|-----------|-----------|------------------------------|-----------|
| closed    | failure   | failure_threshold            | open      |
| closed    | refusal   | 1                            | open      |
| open      | time      | timeout_s has passed         | half open |
| half open | success   | success_threshold            | closed    |
| half open | failure   | 1                            | open      |
| half open | refusal   | 1                            | open      |
"""

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(enum.Enum):
    """What happened at the remote."""

    SUCCESS = "success"
    """A session was opened."""
    FAILURE = "failure"
    """None could be."""
    REFUSAL = "refusal"
    """The server refused the account: every further try may lock it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a breaker changes its state.

    Attributes:
        failures: failures in a row that open it.
        successes: successes in a row, while half open, that close it.
        timeout_s: how long it stays open, in seconds.
        probes: sessions that may be begun at once while half open.
    """

    failures: int
    successes: int
    timeout_s: float
    probes: int


_TABLE: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.FAILURE): State.OPEN,
    (State.CLOSED, Event.REFUSAL): State.OPEN,
    (State.HALF_OPEN, Event.SUCCESS): State.CLOSED,
    (State.HALF_OPEN, Event.FAILURE): State.OPEN,
    (State.HALF_OPEN, Event.REFUSAL): State.OPEN,
}


class Breaker:
    """The breaker of one remote.

    Args:
        thresholds: when it changes its state.

    Attributes:
        state: where it stands; open becomes half open only when somebody asks (``allows``).
        opens_until: when it will be half open, in the caller's clock; None unless it is open.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self.state = State.CLOSED
        self.opens_until: float | None = None
        self._in_a_row = 0
        self._last: Event | None = None

    def allows(self, now: float, begun: int) -> bool:
        """Tell whether one more session may be begun.

        Args:
            now: the time, in seconds.
            begun: sessions that are being opened right now.
        """
        if self.opens_until is not None and now >= self.opens_until:
            self._become(State.HALF_OPEN, now)
        if self.state is State.HALF_OPEN:
            return begun < self._thresholds.probes
        return self.state is State.CLOSED

    def note(self, event: Event, now: float) -> bool:
        """Take in what happened.

        Args:
            event: what happened.
            now: the time, in seconds.

        Returns:
            Whether the state has changed.
        """
        self._in_a_row = self._in_a_row + 1 if event is self._last else 1
        self._last = event
        then = _TABLE.get((self.state, event))
        if then is None or self._in_a_row < self._threshold(event):
            return False
        self._become(then, now)
        return True

    def judge_by(self, thresholds: Thresholds) -> None:
        """Change its state by these from now on; what was counted stays."""
        self._thresholds = thresholds

    def reset(self) -> None:
        """Close it, and forget what has happened."""
        self._become(State.CLOSED, 0.0)

    def _threshold(self, event: Event) -> int:
        if event is Event.SUCCESS:
            return self._thresholds.successes
        if event is Event.FAILURE and self.state is State.CLOSED:
            return self._thresholds.failures
        return 1

    def _become(self, state: State, now: float) -> None:
        self.state = state
        self.opens_until = now + self._thresholds.timeout_s if state is State.OPEN else None
        self._in_a_row = 0
        self._last = None
