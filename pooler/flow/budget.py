"""The sessions of this process, shared out among its remotes. Pure."""

from collections.abc import Callable, Sequence
from typing import Protocol


class Claimant(Protocol):
    """Who shares the process's sessions: a remote."""

    @property
    def sessions(self) -> int:
        """How many it has, those being opened included."""
        ...

    @property
    def leaving(self) -> int:
        """How many of them end after the job in hand, or are ending."""
        ...

    def give_up_one(self) -> bool:
        """Let one session go, an idle one at once, else one after its job; False where none is to be had."""
        ...

    def wake(self) -> None:
        """Look again whether a session may be begun."""
        ...


class Budget:
    """The sessions of the whole process, shared out so that nobody waits behind somebody's backlog.

    Of those who ask in vain the one with the fewest sessions is served first, and among equals the one who
    came first. If somebody else has at least two more than the one who asks, or has any where that one has
    none, it is told to let one go. Those who wait are woken whenever something changed, since what was
    nobody's to give then may be now.

    Args:
        total: how many there may be.

    Attributes:
        used: how many there are.
    """

    def __init__(self, total: int) -> None:
        self.used = 0
        self._total = total
        # A dict for its order: first come, first served.
        self._waiting: dict[Claimant, None] = {}

    def bound(self, total: int) -> None:
        """Have so many from now on; where there are more, no new one is given until enough have ended."""
        self._total = total
        self.look_again()

    def take(self, claimant: Claimant, others: Callable[[], Sequence[Claimant]]) -> bool:
        """Take a session, if there is one for this claimant now.

        Args:
            claimant: who asks; it is woken when one comes free.
            others: who might let one go.
        """
        self._waiting.setdefault(claimant)
        before = self._before(claimant)
        if self.used < self._total and not before:
            del self._waiting[claimant]
            self.used += 1
            self.look_again()
            return True
        if self.used >= self._total:
            self._make_room(claimant, before, others())
        return False

    def give_back(self) -> None:
        """Take back a session that has ended."""
        self.used -= 1
        self.look_again()

    def withdraw(self, claimant: Claimant) -> None:
        """Forget that somebody asked: it needs none now, or could not begin one."""
        if claimant in self._waiting:
            del self._waiting[claimant]
            self.look_again()

    def look_again(self) -> None:
        """Wake those who wait: a session came free, or may now be let go."""
        for claimant in self._waiting:
            claimant.wake()

    def _before(self, claimant: Claimant) -> int:
        """Tell how many are served before somebody who waits."""
        line = sorted(self._waiting, key=lambda waiting: waiting.sessions)
        return line.index(claimant)

    def _make_room(self, claimant: Claimant, before: int, others: Sequence[Claimant]) -> None:
        if sum(other.leaving for other in others) > before:
            return  # one for it is on its way already
        richest = sorted(
            (other for other in others if other is not claimant),
            key=lambda other: other.leaving - other.sessions,
        )
        for other in richest:
            # Who has none is given a turn even by those who have but one.
            if other.sessions - other.leaving < claimant.sessions + (2 if claimant.sessions else 1):
                return
            if other.give_up_one():
                # Where it waits for more itself, that is behind the one whom it makes room for.
                if other in self._waiting:
                    del self._waiting[other]
                    self._waiting[other] = None
                return
