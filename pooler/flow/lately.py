"""How the jobs of each remote have ended of late: what of an hour a person wants to see at a glance. Pure.

Kept in bounded memory, whatever ends: sixty counts of five seconds each, sixty of a minute, and of the last
five minutes how long jobs took, in steps of about nine per cent.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

STEP_S: Final = 5
"""What one count of ``files`` stands for, in seconds."""

STEPS: Final = 60
"""So many of them: five minutes."""

_MINUTES: Final = 60
_FEW_MINUTES: Final = 5
_MINUTE_S: Final = 60
_FINENESS: Final = 8  # steps to a doubling
_P95: Final = 0.95


@dataclass(frozen=True, slots=True)
class Recent:
    """How jobs have ended of late.

    Attributes:
        done_5min: jobs that succeeded, or found their file there, within five minutes.
        failed_5min: jobs that failed within five minutes.
        done_1h: as ``done_5min``, within an hour.
        failed_1h: as ``failed_5min``, within an hour.
        took: how long the last attempts of those done within five minutes took: how many by step, for
            `p95_s`.
        files: jobs done, for each five seconds of the last five minutes, the newest last; empty for none.
    """

    done_5min: int = 0
    failed_5min: int = 0
    done_1h: int = 0
    failed_1h: int = 0
    took: Mapping[int, int] = field(default_factory=dict)
    files: tuple[int, ...] = ()

    @property
    def p95_s(self) -> float | None:
        """Within how many seconds 95 of a hundred jobs were done; None where none was."""
        left = math.ceil(_P95 * sum(self.took.values()))
        for step in sorted(self.took):
            left -= self.took[step]
            if left <= 0:
                return round(2 ** (step / _FINENESS) / 1000, 4)
        return None


NOTHING: Final = Recent()
"""Where nothing has ended of late."""


def together(several: Iterable[Recent]) -> Recent:
    """Add up how jobs have ended at several pods."""
    told = [recent for recent in several if recent is not NOTHING]
    if len(told) <= 1:
        return told[0] if told else NOTHING
    took: Counter[int] = Counter()
    files = [0] * STEPS
    for recent in told:
        took.update(recent.took)
        for at, count in enumerate(recent.files, STEPS - len(recent.files)):
            files[at] += count
    return Recent(
        sum(recent.done_5min for recent in told),
        sum(recent.failed_5min for recent in told),
        sum(recent.done_1h for recent in told),
        sum(recent.failed_1h for recent in told),
        dict(took),
        tuple(files) if any(files) else (),
    )


@dataclass(slots=True)
class _Minute:
    number: int
    done: int = 0
    failed: int = 0
    took: Counter[int] = field(default_factory=Counter)


class _Remote:
    """What is kept of one remote."""

    def __init__(self) -> None:
        self._minutes: deque[_Minute] = deque(maxlen=_MINUTES)
        self._steps: deque[list[int]] = deque(maxlen=STEPS)  # [number, done]
        self._closed_at = -1
        self._closed = NOTHING

    def add(self, now: float, took_s: float | None, *, done: bool) -> None:
        minute, step = int(now // _MINUTE_S), int(now // STEP_S)
        if not self._minutes or self._minutes[-1].number != minute:
            if len(self._minutes) >= _FEW_MINUTES:
                self._minutes[-_FEW_MINUTES].took.clear()  # nobody asks for it any more
            self._minutes.append(_Minute(minute))
        at = self._minutes[-1]
        if not done:
            at.failed += 1
            return
        at.done += 1
        if took_s is not None:
            at.took[round(_FINENESS * math.log2(max(1.0, took_s * 1000)))] += 1
        if not self._steps or self._steps[-1][0] != step:
            self._steps.append([step, 0])
        self._steps[-1][1] += 1

    def recent(self, now: float) -> Recent:
        minute, step = int(now // _MINUTE_S), int(now // STEP_S)
        if self._closed_at != minute:
            self._closed_at, self._closed = minute, self._sum(minute)
        closed, files = self._closed, [0] * STEPS
        for number, done in self._steps:
            if number > step - STEPS:
                files[number - step - 1] = done
        told = (closed.done_5min, closed.failed_5min, closed.done_1h, closed.failed_1h, closed.took)
        if self._minutes and self._minutes[-1].number == minute:
            at = self._minutes[-1]
            told = (told[0] + at.done, told[1] + at.failed, told[2] + at.done, told[3] + at.failed, at.took)
            if closed.took:
                told = (*told[:4], at.took + Counter(closed.took))
        elif not (closed.done_1h or closed.failed_1h):
            return NOTHING
        return Recent(*told[:4], dict(told[4]), tuple(files) if any(files) else ())

    def _sum(self, minute: int) -> Recent:
        """Add up the minutes that are over: that is done once a minute."""
        hour = [at for at in self._minutes if minute - _MINUTES < at.number < minute]
        few = [at for at in hour if at.number > minute - _FEW_MINUTES]
        took: Counter[int] = Counter()
        for at in few:
            took.update(at.took)
        return Recent(
            sum(at.done for at in few),
            sum(at.failed for at in few),
            sum(at.done for at in hour),
            sum(at.failed for at in hour),
            dict(took),
        )


class Lately:
    """Counts how jobs end, by remote; None stands for those that never had one."""

    def __init__(self) -> None:
        self._remotes: dict[str | None, _Remote] = {}

    def ended(self, remote: str | None, now: float, took_s: float | None, *, done: bool) -> None:
        """Count a job.

        Args:
            remote: whose it was.
            now: the time, in seconds of any clock that goes on.
            took_s: how long its last attempt took, in seconds; None where there was none.
            done: whether it succeeded, or found its file there.
        """
        if remote not in self._remotes:
            self._remotes[remote] = _Remote()
        self._remotes[remote].add(now, took_s, done=done)

    def recent(self, now: float) -> dict[str | None, Recent]:
        """Tell how jobs have ended of late, by remote; without those where none has for an hour."""
        told = {name: kept.recent(now) for name, kept in self._remotes.items()}
        return {name: recent for name, recent in told.items() if recent is not NOTHING}
