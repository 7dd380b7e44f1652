"""How many sessions serve a remote best, found by trying. Pure.

A climb compares what was moved in a few seconds at one number of sessions with what was moved at another:

| phase    | what is tried                                           | until                         |
|----------|---------------------------------------------------------|-------------------------------|
| starting | twice as many                                           | that no longer helps          |
| probing  | half the way to what was found too many, or too few     | there is nothing in between   |
| steady   | one more or one fewer, after longer and longer pauses   | the remote's speed changes    |

Only what was moved while there was work for all sessions counts: with nothing to do nobody learns anything,
and the number stays. Fewer sessions that do as well are kept, so it ends at the lower side of what is best.

Files and bytes are judged together, by the mean of their gains: a run of larger files lowers one and raises
the other, more sessions on a remote that has room raise both. Where too few files end in a few seconds the
bytes count alone.
"""

import enum
from collections import deque
from dataclasses import dataclass

from pooler.flow.rates import Rates, Sample, Window, together

_GAIN_SHARE = 0.05
"""Of what as many more sessions would bring at best, to be worth having them."""
_NOISE = 0.02
"""A gain or a loss below this is none."""
_HURT = 0.95
_CLEARLY = 0.75
"""Of what the sessions would bring at best: with less there may be a better number in between."""
_SLOWER, _FASTER = 0.7, 1.4
"""Against the last windows: the remote has changed, and what was learnt is void."""
_IN_A_ROW = 2
"""Once may be a hiccup."""
_FINE_ABOVE = 32
"""Up to here sessions come and go one by one once it is steady."""
_TRIAL_S = (2.0, 6.0)
_STEP_S = (4.0, 8.0)
_TRIAL_PRECISION, _STEP_PRECISION = 0.04, 0.02
_CLOSE_CALL = 0.04
"""So near to what decides, a try is looked at for as long again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 160.0


class Phase(enum.StrEnum):
    """What a climb is about; the module's table."""

    STARTING = "starting"
    PROBING = "probing"
    STEADY = "steady"


class Reason(enum.StrEnum):
    """Why the number of sessions is changed, or stays."""

    MORE_HELP = "more sessions help"
    MORE_DO_NOT_HELP = "more sessions do not help"
    MORE_HURT = "more sessions hurt"
    FEWER_DO_AS_WELL = "fewer sessions do as well"
    FEWER_DO_LESS = "fewer sessions do less"
    SLOWER = "the remote has become slower"
    FASTER = "the remote has become faster"
    TRY = "to see what another number does"
    REFUSED = "the server takes no more"
    LET_IN = "the server takes one more again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a window.

    Attributes:
        reason: why.
        seen: what it was.
        against: what it was compared with.
        gain: the one over the other, as a factor.
    """

    reason: Reason
    seen: Rates
    against: Rates
    gain: float


class Climb:
    """The search for the number of sessions that serves best.

    Args:
        start: how many to begin with.

    Attributes:
        phase: what it is about.
        target: how many there should be now: what is held, or what is being tried.
        held: the best number so far.
    """

    def __init__(self, start: int) -> None:
        self.phase = Phase.STARTING
        self.target = self.held = start
        self._reference: Rates | None = None
        """What ``held`` moves, as far as is known."""
        self._anchor: Rates | None = None
        """What it moved before any were given up: else a hundred small losses would add up."""
        self._recent: deque[Rates] = deque(maxlen=3)
        self._odd = 0
        self._too_few: int | None = None
        self._too_many: int | None = None
        self._downwards = False
        self._capped = False
        """Whether nothing but the bound has ended the doubling."""
        self._helped = 0
        """How often in a row one more has helped."""
        self._pause_s = _FIRST_PAUSE_S
        self._paused_s = 0.0
        self._doubtful: Rates | None = None
        """What a try has shown so far, where that was too close."""
        self._window = self._new_window()

    def observe(self, sample: Sample, bound: int) -> Verdict | None:
        """Take in what was moved, and decide what to try next.

        Args:
            sample: since the last one.
            bound: the most sessions that there may be.

        Returns:
            What came of a window, where one is over and it led to something.
        """
        self._keep_within(bound)
        if self.phase is Phase.STEADY:
            self._paused_s += sample.seconds
        if not sample.full or sample.sessions != self.target:
            return None
        seen = self._window.add(sample)
        if seen is None:
            return None
        if self._reference is None or self.target != self.held:
            return self._judge(seen, bound)
        return self._watch(seen, bound)

    def _keep_within(self, bound: int) -> None:
        if self.held > bound:
            self.held, self._reference = bound, None
            self._recent.clear()
        if self.target > bound:
            self._go_on(bound)
        elif self._capped and self.held < bound:
            # It was the bound that ended the doubling, and there is more room now.
            self.phase, self._capped = Phase.STARTING, False
            self._go_on(bound)

    def _judge(self, seen: Rates, bound: int) -> Verdict | None:
        """Judge a try."""
        reference = self._reference
        if reference is None:
            self._hold(seen)
            self._anchor = seen
            self._go_on(bound)
            return None if self.target == self.held else Verdict(Reason.TRY, seen, seen, 1.0)
        if self._doubtful is not None:
            seen = together([self._doubtful, seen])
        gain, needed = self._gain(seen, reference)
        if self._doubtful is None and abs(gain - needed) < _CLOSE_CALL:
            self._doubtful = seen
            self._window = self._new_window(settled=True)
            return None
        before, more, better = self.held, seen.sessions > self.held, gain >= needed
        if better:
            self._move_to(seen, gain)
        elif more:
            self._too_many = seen.sessions
            # After a little gain the place to look is above what is held, after a loss below.
            self._downwards = gain < _HURT
        else:
            self._too_few = seen.sessions
        if self.phase is Phase.STEADY:
            self._pause_s = _FIRST_PAUSE_S if better else min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._downwards = more != better
            self._helped = self._helped + 1 if more and better else 0
            if self._helped >= _IN_A_ROW:
                self.phase, self._helped = Phase.STARTING, 0
        elif not (better and more) or (seen.sessions == bound and gain < _CLEARLY * seen.sessions / before):
            self.phase = Phase.PROBING
        self._go_on(bound)
        return Verdict(_reason(more=more, better=better, hurt=gain < _HURT), seen, reference, gain)

    def _gain(self, seen: Rates, reference: Rates) -> tuple[float, float]:
        """Tell what a try brings, as a factor, and what it has to bring."""
        gain = seen.over(reference)
        if seen.sessions > self.held:
            return gain, 1 + max(_NOISE, _GAIN_SHARE * (seen.sessions / self.held - 1))
        return gain if self._anchor is None else min(gain, seen.over(self._anchor)), 1 - _NOISE

    def _move_to(self, seen: Rates, gain: float) -> None:
        """Hold another number, since that is better."""
        if seen.sessions < self.held:
            self._too_many, self._capped = self.held, False
        else:
            if gain > 2 - _HURT:
                self._too_few = self.held
            self._anchor = seen
        self._hold(seen)

    def _watch(self, seen: Rates, bound: int) -> Verdict | None:
        """Look whether the remote is still what it was, and whether it is time for another try."""
        reference = together(self._recent)
        gain = seen.over(reference)
        self._odd = self._odd + 1 if not _SLOWER <= gain <= _FASTER else 0
        if self._odd >= _IN_A_ROW:
            slower = gain < 1
            self._hold(seen)
            self._anchor = seen
            self._too_few = self._too_many = None
            self._downwards = slower
            self.phase = Phase.PROBING if slower else Phase.STARTING
            self._go_on(bound)
            return Verdict(Reason.SLOWER if slower else Reason.FASTER, seen, reference, gain)
        if not self._odd:
            self._recent.append(seen)
            self._reference = together(self._recent)
        if self._odd or self._paused_s < self._pause_s or len(self._recent) < _IN_A_ROW:
            self._window = self._new_window(settled=True)
            return None
        self.target = self._one_step(bound)
        self._paused_s = 0.0
        self._window = self._new_window()
        if self.target == self.held:
            return None
        return Verdict(Reason.TRY, seen, reference, gain)

    def _hold(self, seen: Rates) -> None:
        self.held, self._reference = seen.sessions, seen
        self._recent.clear()
        self._recent.append(seen)
        self._odd = 0

    def _go_on(self, bound: int) -> None:
        """Choose what to try next."""
        if self.phase is Phase.STARTING:
            self.target = min(2 * self.held, bound)
        elif self.phase is Phase.PROBING:
            self.target = self._between(bound)
        else:
            self.target = self.held
        if self.target == self.held and self.phase is not Phase.STEADY:
            self._capped = self.phase is Phase.STARTING
            self.phase = Phase.STEADY
            self._pause_s, self._downwards = _FIRST_PAUSE_S, False
        self._paused_s = 0.0
        self._window = self._new_window()

    def _between(self, bound: int) -> int:
        """Tell what to try between too few and too many; what is held where nothing is in between."""
        above = min(bound, 2 * self.held if self._too_many is None else (self.held + self._too_many) // 2)
        below = max(1, (self.held + (self._too_few or 0) + 1) // 2)
        resolution = max(1, self.held // 8)
        ups = above if above - self.held >= resolution else self.held
        downs = below if self.held - below >= resolution else self.held
        first, second = (downs, ups) if self._downwards else (ups, downs)
        return first if first != self.held else second

    def _one_step(self, bound: int) -> int:
        step = max(1, self.held // 16) if self.held > _FINE_ABOVE else 1
        above, below = min(bound, self.held + step), max(1, self.held - step)
        first, second = (below, above) if self._downwards else (above, below)
        return first if first != self.held else second

    def _new_window(self, *, settled: bool = False) -> Window:
        if not settled:
            self._doubtful = None
        reply_s = 0.0 if self._reference is None else self._reference.reply_s or 0.0
        if self.phase is Phase.STEADY:
            return Window(None if settled else reply_s, _STEP_S, _STEP_PRECISION)
        return Window(None if settled else reply_s, _TRIAL_S, _TRIAL_PRECISION)


def _reason(*, more: bool, better: bool, hurt: bool) -> Reason:
    if not more:
        return Reason.FEWER_DO_AS_WELL if better else Reason.FEWER_DO_LESS
    if better:
        return Reason.MORE_HELP
    return Reason.MORE_HURT if hurt else Reason.MORE_DO_NOT_HELP
