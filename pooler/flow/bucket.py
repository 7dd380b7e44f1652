"""The arithmetic of a bandwidth. Pure."""

from math import inf

_BURST_S = 0.1
_NOTHING_BYTES = 1.0
"""Less than this is a fraction that sums have left over."""


class ByteBucket:
    """Counts bytes that have passed against those that may.

    It may be overdrawn: what has passed has passed, and then nothing more may until that is made up for.

    Args:
        bytes_per_s: how many may pass, in the long run; 0 for none.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._per_s = bytes_per_s
        self._most = bytes_per_s * _BURST_S
        self._left = self._most
        self._at = -inf

    def take(self, size_bytes: int, now: float) -> None:
        """Count bytes that have passed."""
        self._fill(now)
        self._left -= size_bytes

    def free_at(self, now: float) -> float:
        """Tell when more may pass; ``now`` where they may at once."""
        if not self._per_s:
            return inf
        self._fill(now)
        return now if self._left > -_NOTHING_BYTES else now - self._left / self._per_s

    def _fill(self, now: float) -> None:
        elapsed_s, self._at = now - self._at, now
        self._left = min(self._most, self._left + elapsed_s * self._per_s)
