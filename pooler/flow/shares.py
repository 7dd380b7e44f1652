"""How many of the sessions that all pods may have together are ours: agreed on by nothing but a log. Pure.

All pods write to one partition, so all read the same records in the same order. What each keeps to:

1. A pod says how many sessions it *holds*, and how many it *asks* for. To the others it has the larger of
   the two.
2. It may use what it asked for once it has read its own record back, and as much of it as the records
   before that one leave of the total. Of two who ask at once the first in the log is served.
3. It says that it holds fewer only when it has fewer. So whatever it may use is covered by its newest
   record, at every moment, and the sum of what is used is never above the total.
4. What it may use it may use for a *lease*, from when it wrote the newest record that it has read back.
   Then it has nothing, and begins anew. The others wait for longer than that before they count it as gone:
   counted from when they read its last record, which is no earlier than when it was written, up to when
   they *wrote* what they ask with. So a pod that was asleep for longer than the others waited finds that it
   has nothing, before it does anything else.

Nothing here relies on clocks that agree, only on clocks that go at about the same pace. Who joins counts
everybody whose record stands in the log, until it has been silent in its own time; since a record's number
is as good without the ones before it, it does not matter that compaction has removed those.

What each ought to have is another question, and only a matter of fairness: `fair_shares`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from pooler.model.control import Claim

_MOST_PODS = 1_000
"""Of those that hold nothing no more than these are kept in mind; those that hold something always are."""


class Terms(NamedTuple):
    """What all pods have to agree on.

    Attributes:
        lease_s: how long a pod may use what it holds without having been heard, in seconds.
        gone_after_s: how long the others wait for it; longer than the lease by what it takes to close
            sessions.
    """

    lease_s: float
    gone_after_s: float


class Need(NamedTuple):
    """What a pod has and wants.

    Attributes:
        open: sessions that it has, those that are being opened or closed included.
        wants: sessions that it has work for.
    """

    open: int
    wants: int


@dataclass(slots=True)
class _Other:
    serial: int
    claims: Mapping[str, Claim]
    heard_at: float


class _Pending(NamedTuple):
    serial: int
    sent_at: float
    claims: Mapping[str, Claim]


class Shares:
    """One pod's view of who may have how many sessions, and its own part in it.

    Args:
        me: our incarnation.
        terms: the same for all pods.

    Attributes:
        until: when we lose what we hold unless we are heard, in the caller's clock; infinity while we hold
            nothing.
        losses: how often we have lost everything.
    """

    def __init__(self, me: str, terms: Terms) -> None:
        self.until = inf
        self.losses = 0
        self._me = me
        self._terms = terms
        self._totals: dict[str, int] = {}
        self._others: dict[str, _Other] = {}
        # What we may use as far as the others are concerned, and what we let ourselves use.
        self._granted: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._pending: _Pending | None = None

    # ---- what stands in the log ------------------------------------------------------------------------

    def heard(self, pod: str, serial: int, claims: Mapping[str, Claim], now: float) -> None:
        """Take in another pod's record; one that is older than what is known of it is passed over."""
        known = self._others.get(pod)
        if known is None and len(self._others) >= _MOST_PODS and not any(map(_taken, claims.values())):
            return
        if known is None or serial >= known.serial:
            self._others[pod] = _Other(serial, claims, now)

    def gone(self, pod: str) -> None:
        """Take in that a pod has ended, or was silent for so long that it has nothing."""
        self._others.pop(pod, None)

    def read_back(self, serial: int, now: float) -> None:
        """Take in our own record: what we have asked for may be ours now, and our lease is renewed."""
        self.expire(now)
        pending = self._pending
        if pending is None or pending.serial != serial:
            return
        self._pending = None
        self.until = pending.sent_at + self._terms.lease_s
        if self.expire(now):
            return
        for key, claim in pending.claims.items():
            # Who was silent for long enough is judged by when we wrote, not by when we came to read it.
            left = self._total(key, pending.sent_at) - sum(
                _taken(theirs) for _, theirs in self._living(key, pending.sent_at)
            )
            got = min(claim.asks, left)
            if claim.asks > claim.holds and got > self._granted.get(key, 0):
                self._granted[key] = self._used[key] = got

    # ---- what we do ------------------------------------------------------------------------------------

    def bound(self, key: str, total: int) -> None:
        """Set how many sessions all pods may have together."""
        self._totals[key] = total

    def unbound(self, key: str) -> None:
        """Know that there is no such number any more: what was granted of it is void, should there be one."""
        for known in (self._totals, self._granted, self._used):
            known.pop(key, None)

    @property
    def waiting(self) -> bool:
        """Whether a record of ours is written and not read back."""
        return self._pending is not None

    def allowance(self, key: str, now: float) -> int:
        """Tell how many sessions we may have until ``until``."""
        return 0 if now >= self.until else self._used.get(key, 0)

    def expire(self, now: float) -> bool:
        """Lose everything if we were not heard for a lease; tell whether that has happened now."""
        if now < self.until:
            return False
        self._granted.clear()
        self._used.clear()
        self.losses += 1
        self.until = inf
        return True

    def forfeit(self) -> None:
        """Lose everything: the others count us as gone."""
        self.until = -inf
        self.expire(0.0)

    def plan(self, needs: Mapping[str, Need], now: float, turn: int) -> dict[str, Claim]:
        """Work out what to say next.

        Args:
            needs: what we have and want, for everything that is bounded.
            now: the time, in seconds.
            turn: about the same for all pods; where there are more pods than sessions each number favours
                others.
        """
        self.expire(now)
        return {key: self._plan(key, need, now, turn) for key, need in needs.items()}

    def send(self, serial: int, claims: Mapping[str, Claim], now: float) -> None:
        """Say it: called right before the record is written, and not again before it was read back.

        From here on we use no more than we say that we hold.
        """
        assert self._pending is None, "one record at a time"  # noqa: S101 - ours to keep
        self._pending = _Pending(serial, now, claims)
        for key, claim in claims.items():
            self._granted[key] = min(self._granted.get(key, 0), claim.holds)
            self._used[key] = min(self._granted[key], self._used.get(key, 0))

    def _plan(self, key: str, need: Need, now: float, turn: int) -> Claim:
        total, granted = self._total(key, now), self._granted.get(key, 0)
        wants = min(need.wants, total)
        others = dict(self._living(key, now))
        taken = {pod: _taken(theirs) for pod, theirs in others.items()}
        shares = fair_shares(
            total,
            {self._me: wants, **{pod: theirs.wants for pod, theirs in others.items()}},
            {self._me: granted, **taken},
            turn,
        )
        free = total - sum(taken.values()) - max(granted, need.open)
        lacking = sum(max(0, shares[pod] - taken[pod]) for pod in others)
        others_lack = free < 0 or lacking > free
        used = min(granted, shares[self._me]) if others_lack else granted
        self._used[key] = used
        holds = max(used, need.open)
        asks = holds if used < granted else holds + max(0, min(shares[self._me] - holds, free))
        return Claim(holds, asks, wants, self._totals[key])

    def _total(self, key: str, now: float) -> int:
        """Tell the total: the smallest that one of the living knows."""
        return min([self._totals[key], *(theirs.total for _, theirs in self._living(key, now))])

    def _living(self, key: str, now: float) -> Iterable[tuple[str, Claim]]:
        for pod, other in self._others.items():
            if key in other.claims and now - other.heard_at < self._terms.gone_after_s:
                yield pod, other.claims[key]


def _taken(claim: Claim) -> int:
    return max(claim.holds, claim.asks)


def fair_shares(total: int, wants: Mapping[str, int], holds: Mapping[str, int], turn: int) -> dict[str, int]:
    """Share out a total as evenly as it goes: nobody has more than they want, and nothing is left over.

    What cannot be shared evenly stays with those who have most, so that nothing moves for nothing. Where
    there are more pods than sessions it goes round with the turns instead.

    Args:
        total: how many there are.
        wants: how many each wants.
        holds: how many each has.
        turn: whose turn it is.
    """
    shares = dict.fromkeys(wants, 0)
    hungry = sorted(pod for pod, wanted in wants.items() if wanted > 0)
    rounds = total < len(hungry)
    while hungry and total >= len(hungry):
        level = total // len(hungry)
        for pod in hungry:
            more = min(level, wants[pod] - shares[pod])
            shares[pod] += more
            total -= more
        hungry = [pod for pod in hungry if shares[pod] < wants[pod]]
    hungry.sort(key=lambda pod: _lot(pod, turn) if rounds else b"")
    if not rounds:
        hungry.sort(key=lambda pod: -holds[pod])
    for pod in hungry[:total]:
        shares[pod] += 1
    return shares


def _lot(pod: str, turn: int) -> bytes:
    return hashlib.blake2b(f"{turn} {pod}".encode(), digest_size=8).digest()
