"""What remotes on one host share: the limit of sessions, and the rate of logins and data connections.

Most remotes are a group of their own; those with one `limit_group` are one together, since a server's limits
are often those of a client's address, whatever the account. Every moment the group looks at what its members
have moved, tells the limit, and lets sessions go where there are more than that allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio

from pooler.flow.bandwidth import Bandwidth
from pooler.flow.budget import Claimant
from pooler.flow.limit import Decision, SessionLimit, Share
from pooler.flow.pace import DataPace, TokenBucket
from pooler.flow.rates import Rates, Sample

log = structlog.get_logger(__name__)

_MOMENT_S = 0.5


@dataclass(slots=True)
class Tally:
    """What a remote has moved since the start.

    Attributes:
        files: transfers that ended well.
        size_bytes: bytes that went over, those of failed attempts included.
        reply_s: how long those transfers took, in seconds, together.
    """

    files: int = 0
    size_bytes: int = 0
    reply_s: float = 0.0


class Member(Claimant, Protocol):
    """A remote, as far as its group is concerned."""

    tally: Tally

    @property
    def name(self) -> str:
        """Its section of connections.ini."""
        ...

    @property
    def most(self) -> int:
        """How many sessions it may have for itself."""
        ...

    @property
    def opening(self) -> int:
        """How many of its sessions are being opened."""
        ...

    @property
    def idle(self) -> int:
        """How many of its sessions have no job."""
        ...

    @property
    def busy(self) -> bool:
        """Whether jobs wait for a session."""
        ...

    def wants_one(self, now: float) -> bool:
        """Tell whether it would begin a session now, if the group had one for it."""
        ...


class LimitGroup:
    """Remotes that share a host.

    Args:
        limit: of their sessions together.
        logins: of all of them.
        data: of all of them.

    Attributes:
        limit: of their sessions together.
        logins: how often they may log in.
        data: how often they may begin a data connection.
        bandwidth: our part of the bytes a second that all pods may move there together.
        members: the remotes.
    """

    def __init__(self, limit: SessionLimit, logins: TokenBucket, data: DataPace) -> None:
        self.limit = limit
        self.logins = logins
        self.data = data
        self.bandwidth = Bandwidth()
        self.members: list[Member] = []
        self._stirred = trio.Event()
        self._had_work = False
        self._stood = 0
        self._told = Tally()

    @property
    def sessions(self) -> int:
        """How many sessions the members have, those being opened included."""
        return sum(member.sessions for member in self.members)

    @property
    def leaving(self) -> int:
        """How many of them end after the job in hand, or are ending."""
        return sum(member.leaving for member in self.members)

    @property
    def standing(self) -> int:
        """How many of them are open."""
        return sum(member.sessions - member.opening for member in self.members)

    def join(self, member: Member) -> None:
        """Take a remote in."""
        self.members.append(member)

    def stir(self) -> None:
        """Look at what is moved from now on: there is work."""
        self._stirred.set()

    def changed(self, by: Member) -> None:
        """Let the other members look again whether they may begin a session."""
        for member in self.members:
            if member is not by:
                member.wake()

    def bounds_changed(self) -> None:
        """Work out anew what bounds the members together, after one of them got another bound."""
        self.limit.allowance = sum(member.most for member in self.members)
        self.trim()
        for member in self.members:
            member.wake()

    def bound(self, ceiling: int, logins: TokenBucket, data: DataPace) -> None:
        """Bound the members together by another configuration."""
        self.limit.ceiling = ceiling
        if (logins.per_s, logins.burst) != (self.logins.per_s, self.logins.burst):
            self.logins = logins
        if data.ceiling != self.data.ceiling:
            self.data = data
        self.bounds_changed()

    def share(self, share: Share | None) -> None:
        """Obey what all pods together leave to this one, from now on; None where they share nothing."""
        before, self.limit.share = self.limit.share, share
        if (before and before.sessions) != (share and share.sessions):
            self.trim()
            for member in self.members:
                member.wake()

    def has_one_for(self, member: Member, now: float) -> bool:
        """Tell whether a member may begin a session.

        Of those who want one the member with the fewest sessions is first. Where there is none to be had, a
        member with nothing to do lets one go, else one who has at least two more than the one who asks, or
        any where that one has none.

        Args:
            member: who asks.
            now: the time, in seconds.
        """
        if self.sessions >= self.limit.current(now):
            self._make_room(member)
            return False
        first = [other for other in self.members if other.sessions < member.sessions and other.wants_one(now)]
        for other in first:
            other.wake()
        return not first

    def trim(self) -> None:
        """Let sessions go where there are more than are allowed."""
        over = self.standing - self.leaving - self.limit.current(trio.current_time())
        for _ in range(over):
            richest = sorted(self.members, key=lambda member: member.leaving - member.sessions)
            if not any(member.give_up_one() for member in richest):
                return

    def refused(self, let_in: int, error: str) -> None:
        """Take in that the server lets no more in.

        Args:
            let_in: sessions that it has let in.
            error: its words.
        """
        self._tell(self.limit.too_many(let_in, trio.current_time(), error))

    def opened(self, sessions: int) -> None:
        """Take in that the server has let one in: so many are open now."""
        self._tell(self.limit.opened(sessions, trio.current_time()))
        self.trim()  # there may be fewer allowed than when it was begun

    def crowded(self, by: Member, error: str) -> None:
        """Take in that a data connection was refused as if the server had no port for it."""
        if self.data.crowded(trio.current_time()):
            log.warning("data_pace_lowered", remote=by.name, per_s=round(self.data.per_s, 3), error=error)

    def data_turn(self, now: float) -> float:
        """Count a data connection; tell when it may be begun, ``now`` or later."""
        return self.data.begin(now)

    async def run(self) -> None:
        """Look at what is moved, for ever.

        Cancellation: nothing is left to do.
        """
        while True:
            if not any(member.busy for member in self.members):
                self._had_work = False
                self._stirred = trio.Event()
                await self._stirred.wait()
            began = trio.current_time()
            await trio.sleep(_MOMENT_S)
            self._look(trio.current_time() - began)

    def _make_room(self, member: Member) -> None:
        if self.leaving:
            return  # one is on its way already
        others = [other for other in self.members if other is not member]
        for other in others:
            if other.idle and not other.busy and other.give_up_one():
                return
        richest = max(others, key=lambda other: other.sessions, default=member)
        if richest.sessions >= member.sessions + (2 if member.sessions else 1):
            richest.give_up_one()

    def _look(self, seconds: float) -> None:
        now = trio.current_time()
        limit = self.limit.current(now)
        if self.standing == limit:
            self._stood = limit
        idle = any(member.idle for member in self.members)
        had_work = self._had_work
        self._had_work = not idle and any(member.busy for member in self.members)
        told, self._told = self._told, _sum([member.tally for member in self.members])
        sample = Sample(
            seconds,
            self.sessions,
            # Sessions that are opened anew in between are part of what so many sessions do.
            full=had_work and self._had_work and self._stood == limit == self.sessions and not self.leaving,
            files=self._told.files - told.files,
            size_bytes=self._told.size_bytes - told.size_bytes,
            reply_s=self._told.reply_s - told.reply_s,
        )
        self._tell(self.limit.observe(sample, now))
        if self.limit.current(now) != limit:
            self._stood = 0
            for member in self.members:
                member.wake()

    def _tell(self, decision: Decision | None) -> None:
        if decision is None:
            return
        self.trim()
        log.info(
            "limit_decided",
            remote=",".join(member.name for member in self.members),
            limit=decision.after,
            before=decision.before,
            target=self.limit.target,
            reason=decision.reason.value,
            state=decision.state,
            error=decision.error,
            gain=None if decision.gain is None else round(decision.gain, 3),
            seen=_figures(decision.seen),
            against=_figures(decision.against),
        )
        for member in self.members:
            member.wake()


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        sum(tally.files for tally in tallies),
        sum(tally.size_bytes for tally in tallies),
        sum(tally.reply_s for tally in tallies),
    )


def _figures(rates: Rates | None) -> dict[str, float] | None:
    if rates is None:
        return None
    return {
        "sessions": rates.sessions,
        "files_per_s": round(rates.files_per_s, 3),
        "bytes_per_s": round(rates.bytes_per_s),
        "reply_s": round(rates.reply_s or 0.0, 3),
    }
