"""What so many sessions move in a few seconds, measured until it is known well enough. Pure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_FEW_FILES = 8
"""Fewer than this in a window say too little by their number."""
_SETTLE_S = (0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was moved in a moment just past.

    Attributes:
        seconds: how long it was.
        sessions: how many there were at its end.
        full: whether there was work for all of them all the time.
        files: transfers that ended well.
        size_bytes: bytes that went over.
        reply_s: how long those transfers took, in seconds, together.
    """

    seconds: float
    sessions: int
    full: bool
    files: int
    size_bytes: int
    reply_s: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What so many sessions moved in a window.

    Attributes:
        sessions: how many.
        seconds: how long.
        files: transfers that ended well.
        size_bytes: bytes that went over.
        reply_s: how long one of those transfers took, in seconds; None where none ended.
    """

    sessions: int
    seconds: float
    files: int
    size_bytes: int
    reply_s: float | None

    @property
    def files_per_s(self) -> float:
        """Files a second."""
        return self.files / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second."""
        return self.size_bytes / self.seconds

    def over(self, other: "Rates") -> float:
        """Tell how much more this is than another, as a factor."""
        factors = []
        if min(self.files, other.files) >= _FEW_FILES or not (self.size_bytes and other.size_bytes):
            factors.append(self.files_per_s / other.files_per_s if other.files else 1.0)
        if self.size_bytes and other.size_bytes:
            factors.append(self.bytes_per_s / other.bytes_per_s)
        return math.prod(factors) ** (1 / len(factors))


def together(windows: Sequence[Rates]) -> Rates:
    """Add up windows of the same number of sessions."""
    files = sum(window.files for window in windows)
    reply_s = sum((window.reply_s or 0.0) * window.files for window in windows)
    return Rates(
        windows[-1].sessions,
        sum(window.seconds for window in windows),
        files,
        sum(window.size_bytes for window in windows),
        reply_s / files if files else None,
    )


class Window:
    """Samples of one number of sessions, until they are enough to judge by.

    Args:
        reply_s: how long a transfer takes about, in seconds, as what began before that is not counted; None
            where so many sessions have been at work all the time.
        limits_s: the shortest and longest window, in seconds.
        precision: the standard error at which a window is long enough, as a share.
    """

    def __init__(self, reply_s: float | None, limits_s: tuple[float, float], precision: float) -> None:
        shortest, longest = _SETTLE_S
        self._to_settle_s = 0.0 if reply_s is None else min(max(reply_s, shortest), longest)
        self._limits_s = limits_s
        self._precision = precision
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> Rates | None:
        """Take in a sample; return the rates once they are known well enough."""
        if self._to_settle_s > 0:
            self._to_settle_s -= sample.seconds
            return None
        if not (self._samples or sample.files or sample.size_bytes):
            return None  # it stands still, and no number of sessions is known to be at fault
        self._samples.append(sample)
        seconds = sum(sample.seconds for sample in self._samples)
        shortest, longest = self._limits_s
        if seconds < shortest or (seconds < longest and self._error() > self._precision):
            return None
        files = sum(sample.files for sample in self._samples)
        size_bytes = sum(sample.size_bytes for sample in self._samples)
        reply_s = sum(sample.reply_s for sample in self._samples)
        return Rates(sample.sessions, seconds, files, size_bytes, reply_s / files if files else None)

    def _error(self) -> float:
        """Tell the standard error of the mean rate, as a share of it."""
        by_files = sum(sample.files for sample in self._samples) >= _FEW_FILES
        rates = [
            (sample.files if by_files else sample.size_bytes) / sample.seconds for sample in self._samples
        ]
        mean = statistics.fmean(rates)
        if len(rates) < 2 or not mean:  # noqa: PLR2004 - of one there is no deviation
            return math.inf
        return statistics.stdev(rates) / math.sqrt(len(rates)) / mean
