"""How many sessions there may be on one host, and why. Pure.

What is least counts: what the configuration allows, what an operator does, what the server lets in, and what
serves best (`pooler.flow.climb`).
"""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from pooler.flow.climb import Climb, Reason, Verdict
from pooler.flow.rates import Rates, Sample

_KEPT = 20
_LONGEST_PAUSE_S = 600.0


@dataclass(frozen=True, slots=True)
class Decision:
    """One change of a limit, or a try that led to none.

    Attributes:
        at: when, in the caller's clock.
        before: sessions that were allowed.
        after: sessions that are allowed since.
        reason: why.
        state: what the limit was about then, as ``SessionLimit.state`` tells it.
        seen: what was moved; None where that did not count.
        against: what it was compared with; None where it was not.
        gain: the one over the other, as a factor; None likewise.
        error: the server's words; None where it said nothing.
    """

    at: float
    before: int
    after: int
    reason: Reason
    state: str
    seen: Rates | None = None
    against: Rates | None = None
    gain: float | None = None
    error: str | None = None


class Share(NamedTuple):
    """What all pods together leave to one of them.

    Attributes:
        sessions: how many.
        until: when it has none any more, in the caller's clock; whoever slept through that finds out here.
    """

    sessions: int
    until: float


class SessionLimit:
    """How many sessions there may be now.

    The server's word counts at once: when it says "too many", no more are allowed than it has let in. After a
    pause one more may be tried, which doubles the pause if it is refused again.

    Args:
        ceiling: what the configuration allows.
        climb: finds out how many serve best; None to use all that are allowed.
        pause_s: how long to wait before one more is tried, in seconds.

    Attributes:
        ceiling: what the configuration allows.
        allowance: what else bounds it from outside; None for nothing. May be set at any time, to 0 too.
        share: what all pods together leave to this one; None where they share nothing.
        decisions: the newest ones, oldest first.
    """

    def __init__(self, ceiling: int, *, climb: Climb | None = None, pause_s: float = 30.0) -> None:
        self.ceiling = ceiling
        self.allowance: int | None = None
        self.share: Share | None = None
        self.decisions: deque[Decision] = deque(maxlen=_KEPT)
        self._climb = climb
        self._first_pause_s = self._pause_s = pause_s
        self._let_in: int | None = None
        self._cools_until = -inf

    @property
    def adaptive(self) -> bool:
        """Whether it looks for the number that serves best."""
        return self._climb is not None

    @property
    def let_in(self) -> int | None:
        """How many sessions the server has let in when it let no more in; None where it never said so."""
        return self._let_in

    @property
    def target(self) -> int:
        """How many would serve best as far as is known, whatever may be had."""
        return self.ceiling if self._climb is None else self._climb.held

    def shared(self, now: float) -> int | None:
        """Tell how many all pods together leave to this one now; None where they share nothing."""
        if self.share is None:
            return None
        return self.share.sessions if now < self.share.until else 0

    def cools_until(self, now: float) -> float | None:
        """Tell until when no more are tried than the server has let in; None where that is over."""
        return self._cools_until if now < self._cools_until else None

    def state(self, now: float) -> str:
        """Tell what it is about: ``cooling``, a phase of the climb, or ``fixed`` without one."""
        if now < self._cools_until:
            return "cooling"
        return "fixed" if self._climb is None else self._climb.phase.value

    def current(self, now: float) -> int:
        """Tell the limit, in sessions.

        Args:
            now: the time, in seconds.
        """
        bound = self._bound(now)
        return bound if self._climb is None else min(bound, self._climb.target)

    def observe(self, sample: Sample, now: float) -> Decision | None:
        """Take in what was moved, which may change the limit.

        Args:
            sample: since the last one.
            now: the time, in seconds.
        """
        if self._climb is None:
            return None
        before = self.current(now)
        verdict = self._climb.observe(sample, max(1, self._bound(now)))
        return None if verdict is None else self._note(now, before, verdict.reason, verdict)

    def too_many(self, open_sessions: int, now: float, error: str | None = None) -> Decision | None:
        """Take in that the server let no more in.

        Args:
            open_sessions: sessions that it has let in.
            now: the time, in seconds.
            error: its words.
        """
        before = self.current(now)
        # Those that were refused together are one refusal; one behind the pause is the answer to a try.
        if self._let_in is not None and now >= self._cools_until:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        news = self._let_in is None or now >= self._cools_until or open_sessions < self._let_in
        self._let_in = max(1, min(open_sessions, self.ceiling if self._let_in is None else self._let_in))
        self._cools_until = now + self._pause_s
        return self._note(now, before, Reason.REFUSED, error=error) if news else None

    def opened(self, sessions: int, now: float) -> Decision | None:
        """Take in that the server let one in.

        Args:
            sessions: how many it has let in now.
            now: the time, in seconds.
        """
        if self._let_in is None or sessions <= self._let_in:
            return None
        before = self.current(now)
        self._let_in = sessions if sessions < self.ceiling else None
        self._pause_s = self._first_pause_s
        self._cools_until = -inf if self._let_in is None else now + self._pause_s
        return self._note(now, before, Reason.LET_IN)

    def _bound(self, now: float) -> int:
        server = inf if self._let_in is None else self._let_in + (now >= self._cools_until)
        bounds = (self.ceiling, server, self.allowance, self.shared(now))
        return int(min(bound for bound in bounds if bound is not None))

    def _note(
        self,
        now: float,
        before: int,
        reason: Reason,
        verdict: Verdict | None = None,
        error: str | None = None,
    ) -> Decision:
        decision = Decision(
            now,
            before,
            self.current(now),
            reason,
            self.state(now),
            None if verdict is None else verdict.seen,
            None if verdict is None else verdict.against,
            None if verdict is None else verdict.gain,
            error,
        )
        self.decisions.append(decision)
        return decision
