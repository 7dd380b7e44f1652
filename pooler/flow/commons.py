"""What all pods have together on each host: sessions, and bytes a second.

How much of it is ours is for `pooler.flow.shares` to say; here stands what is asked for, and what it is for.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple, Protocol

from pooler.flow.deployment import Deployment
from pooler.flow.group import LimitGroup
from pooler.flow.limit import Share
from pooler.flow.remote import Remote
from pooler.flow.shares import Need
from pooler.model.control import Knob

_STILL_S = 10.0
"""Who had work so recently keeps its bandwidth: jobs come in bursts."""
_ANY = 10**15


class Totals(NamedTuple):
    """What the configuration of a remote allows all pods together; None where it says nothing.

    Attributes:
        sessions: the most sessions.
        bytes_per_s: the most bytes a second.
    """

    sessions: int | None = None
    bytes_per_s: int | None = None


NOTHING = Totals()
"""Of a remote that was taken out of the configuration."""


class Common(Protocol):
    """Something that all pods have together."""

    @property
    def key(self) -> str:
        """What all pods call it."""
        ...

    def total(self, deployment: Deployment) -> int | None:
        """Tell how much there is; None where nobody has bounded it."""
        ...

    def need(self, now: float) -> Need:
        """Tell what we have and want of it."""
        ...

    def give(self, most: int | None, until: float) -> None:
        """Use so much at most.

        Args:
            most: how much; None for any number.
            until: when it is nothing any more, in seconds of ``trio.current_time()``.
        """
        ...


def commons(
    groups: Mapping[str, LimitGroup], remotes: Mapping[str, Remote], totals: Mapping[str, Totals]
) -> Iterator[Common]:
    """Tell what all pods have together.

    Args:
        groups: the limits of the remotes, by a name that all pods give them.
        remotes: by name.
        totals: what their configuration says, by name.
    """
    for key, group in groups.items():
        members = [remotes[member.name] for member in group.members]
        yield _Sessions(key, group, members, totals)
        yield _Bytes(key, group, members, totals)


class _Sessions:
    def __init__(
        self, key: str, group: LimitGroup, members: list[Remote], totals: Mapping[str, Totals]
    ) -> None:
        self.key = key
        self._group = group
        self._members = members
        self._totals = {member.name: totals.get(member.name, NOTHING).sessions for member in members}
        self._open = 0

    def total(self, deployment: Deployment) -> int | None:
        return _smallest(deployment, Knob.MAX_SESSIONS_TOTAL, self._totals)

    def need(self, now: float) -> Need:  # noqa: ARG002 - the others need it
        before, self._open = self._open, self._group.sessions
        wanted = sum(member.wanted for member in self._members)
        # What has just ended still counts for a moment: until the server, too, knows that it has.
        return Need(max(self._open, before), min(self._group.limit.ceiling, wanted))

    def give(self, most: int | None, until: float) -> None:
        self._group.share(None if most is None else Share(most, until))


class _Bytes:
    def __init__(
        self, key: str, group: LimitGroup, members: list[Remote], totals: Mapping[str, Totals]
    ) -> None:
        self.key = f"bandwidth of {key}"
        self._group = group
        self._members = members
        self._totals = {member.name: totals.get(member.name, NOTHING).bytes_per_s for member in members}
        self._worked_at = -inf

    def total(self, deployment: Deployment) -> int | None:
        return _smallest(deployment, Knob.BANDWIDTH, self._totals)

    def need(self, now: float) -> Need:
        # What runs goes on while a remote is paused, or closing.
        if any(member.wanted or member.working for member in self._members):
            self._worked_at = now
        # What is let go is let go at once: nothing is open.
        return Need(0, _ANY if now - self._worked_at < _STILL_S else 0)

    def give(self, most: int | None, until: float) -> None:  # noqa: ARG002 - somebody wakes us then
        self._group.bandwidth.limit(most)


def _smallest(deployment: Deployment, knob: Knob, configured: Mapping[str, int | None]) -> int | None:
    """Tell the smallest total that one of some remotes has: what an operator wants, else as configured."""

    def found() -> Iterable[int | None]:
        for name, total in configured.items():
            wanted = deployment.number(name, knob)
            yield total if wanted is None else wanted

    return min((total for total in found() if total is not None), default=None)
