"""NOOP beside a transfer of minutes, so that nothing in between forgets the quiet control connection.

It goes out between two pieces of data, by whoever moves them: no task of its own. Servers answer at once, or
when the transfer has ended, or with 500; `control` counts what is owed and keeps it apart from the final
reply. Who is known to dislike it is sent none, and who has once refused it or left it unanswered, no other.

Neighbours: `transfers` begins and ends it, `data` says when a piece has moved.
"""

from math import inf

import trio

from pooler.errors import RemoteError
from pooler.ftp.control import ControlConnection
from pooler.ftp.features import Trait
from pooler.ftp.learnt import Ability, Learnt
from pooler.ftp.wire import Command

_DISLIKES = frozenset({Trait.SWALLOWS_BEHIND_TRANSFER, Trait.ONE_AT_A_TIME})


class Noops:
    """Says NOOP beside the transfers of one session.

    Args:
        control: of the session.
        learnt: shared by the sessions on this remote.
        after_s: how long a transfer runs before the first, and between two, in seconds; infinity for never.
    """

    def __init__(self, control: ControlConnection, learnt: Learnt, after_s: float) -> None:
        self._control = control
        self._learnt = learnt
        self._after_s = after_s
        self._due = inf
        self._said = False

    def __repr__(self) -> str:
        return f"<Noops after {self._after_s:g} s works={self._learnt.works(Ability.NOOP_BESIDE)}>"

    @property
    def said(self) -> bool:
        """Whether there was one in this transfer, whose answer may be owed."""
        return self._said

    def begin(self) -> None:
        """A transfer begins."""
        self._said = False
        wanted = self._learnt.works(Ability.NOOP_BESIDE) is not False
        if _DISLIKES & self._learnt.listed.quirks:
            wanted = False
        self._due = trio.current_time() + self._after_s if wanted else inf

    async def say(self) -> None:
        """Say NOOP, if it is time for one.

        Never fails: whoever waits for the final reply is told that the session is lost, and whether that does
        any harm is for the bytes to tell.

        Cancellation: the control connection is reset.
        """
        now = trio.current_time()
        if now < self._due:
            return
        self._due, self._said = now + self._after_s, True
        try:
            await self._control.send_beside(Command("NOOP"))
        except RemoteError:
            self._due = inf

    async def settle(self) -> None:
        """The transfer has ended and its final reply is there: wait a moment for those that are still owed.

        Where one does not come the session is dead; the transfer is none the worse.
        """
        if self._said:
            self._learnt.found(Ability.NOOP_BESIDE, works=await self._control.settle_beside())
        self._said, self._due = False, inf

    def broke(self) -> None:
        """The transfer broke off; if a NOOP was not answered then, it may be to blame."""
        if self._said and self._control.owed_beside:
            self._learnt.found(Ability.NOOP_BESIDE, works=False)
        self._said, self._due = False, inf
