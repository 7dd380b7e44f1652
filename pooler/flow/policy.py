"""How a remote is driven, as its configuration says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from math import inf

from pooler.config.maintenance import NO_WINDOWS, Windows
from pooler.flow.maintenance import wall_clock
from pooler.flow.retry import Backoff


@dataclass(frozen=True, slots=True)
class RemotePolicy:
    """How a remote is driven.

    Attributes:
        max_sessions: the most sessions on it.
        backoff: pauses, after failed attempts and after failed connects.
        idle_s: how long a session may be idle, in seconds.
        prewarm: sessions to open before there is work.
        prewarm_s: how long after the start that may be tried, in seconds.
        give_up: answer all waiting jobs once the breaker opens, instead of letting them wait for the
            server until their deadline: for a person who waits at a terminal.
        max_age_s: how old a session may become, in seconds; the job in hand then is still done.
        bytes_per_s: how many bytes a second may pass; None for any number.
        windows: when it is left alone.
        clock: tells the time for that, with its zone.
    """

    max_sessions: int
    backoff: Backoff
    idle_s: float
    prewarm: int = 0
    prewarm_s: float = inf
    give_up: bool = False
    max_age_s: float = inf
    bytes_per_s: float | None = None
    windows: Windows = NO_WINDOWS
    clock: Callable[[], datetime] = wall_clock
