"""How often something may be begun: logins, and data connections. Pure."""

from collections import deque
from math import inf

_RECENT_S = 10.0
_LOWERED = 0.7
_RAISED = 1.1
_RAISE_AFTER_S = 10.0
_SAME_MOMENT_S = 5.0
"""Refusals this close together are one."""
_LEAST_PER_S = 0.1
_ROUNDING = 1e-9


class TokenBucket:
    """Lets so many through at once, and then so many a second.

    Args:
        per_s: how many a second.
        burst: how many at once, after a pause.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._tokens = burst
        self._at = -inf

    @classmethod
    def per_minute(cls, count: int) -> "TokenBucket":
        """Make one that lets at most ``count`` through in any minute, a quarter of them at once."""
        burst = max(1, count // 4)
        return cls(max(1, count - burst) / 60, burst)

    def ready_at(self, now: float) -> float:
        """Tell when one may pass; a time that is over where one may now."""
        self._fill(now)
        # Who waited until it was ready must find it so, whatever fractions add up to.
        return now if self._tokens >= 1 - _ROUNDING else now + (1 - self._tokens) / self.per_s

    def take(self, now: float) -> float:
        """Let one through, who is to wait until the time that is returned; those behind it wait longer."""
        at = self.ready_at(now)
        self._tokens -= 1
        return at

    def _fill(self, now: float) -> None:
        elapsed_s, self._at = now - self._at, now
        self._tokens = min(self.burst, self._tokens + elapsed_s * self.per_s)


class DataPace:
    """How many data connections may be begun in a second.

    Servers have a range of ports for them, and each port rests for a minute after use. When they run out
    there are refusals, and then fewer connections a second are what helps.

    Args:
        per_s: the most.

    Attributes:
        per_s: how many there may be now.
        ceiling: the most, by the configuration.
    """

    def __init__(self, per_s: float) -> None:
        self.per_s = self.ceiling = per_s
        self._bucket = self._new_bucket(0.0)
        self._begun: deque[float] = deque()
        self._changed_at = -inf

    def begin(self, now: float) -> float:
        """Count a data connection; return when it is to be begun, ``now`` or later."""
        self._forget(now)
        if self.per_s < self.ceiling and now >= self._changed_at + _RAISE_AFTER_S:
            self._change(self.per_s * _RAISED, now)
        at = self._bucket.take(now)
        self._begun.append(at)
        return at

    def crowded(self, now: float) -> bool:
        """Take in that a data connection was refused as if ports ran out; return whether that is news."""
        if now < self._changed_at + _SAME_MOMENT_S and self.per_s < self.ceiling:
            return False
        self._forget(now)
        seen = sum(at <= now for at in self._begun) / _RECENT_S
        self._change(max(_LEAST_PER_S, _LOWERED * min(seen or _LEAST_PER_S, self.per_s)), now)
        return True

    def _change(self, per_s: float, now: float) -> None:
        self.per_s = min(per_s, self.ceiling)
        self._bucket = self._new_bucket(now)
        self._changed_at = now

    def _new_bucket(self, now: float) -> TokenBucket:
        bucket = TokenBucket(self.per_s, max(1.0, self.per_s / 4))
        bucket.ready_at(now)
        return bucket

    def _forget(self, now: float) -> None:
        while self._begun and self._begun[0] < now - _RECENT_S:
            self._begun.popleft()
