"""Several plain commands in one write, and a port for the transfer that follows asked for behind them.

Every write that is answered costs a round trip. A server answers in order, so what does not depend on an
answer can go with it: SIZE and MDTM, RNFR and RNTO, and behind either the next transfer's EPSV. Never behind
a transfer that runs: the four servers do four different things then. But where it is known to wait there,
what is to be asked behind a download goes out once its data has ended, and not only at its final reply.

Only servers whose family is known to bear it are spoken to so, and only in commands that they have answered
one at a time before. Whatever comes that should not, ends it for the remote, for all its sessions.

Neighbours: `control` sends and matches; `attributes` and `renaming` say what goes together; `ports` uses
the port.
"""

from collections.abc import Sequence
from contextlib import suppress
from math import inf

import trio

from pooler.errors import RemoteError
from pooler.ftp.control import ControlConnection
from pooler.ftp.features import Family, Trait
from pooler.ftp.learnt import Ability, Learnt
from pooler.ftp.passive import PassiveAddress, parse_epsv
from pooler.ftp.profile import Profile
from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

_UNKNOWN_COMMAND = frozenset({500, 502, 504})
_BAD_SEQUENCE = 503
_SERVICE_NOT_AVAILABLE = 421
_KEPT_S = 10.0
"""How long a port may wait for its transfer: what comes later asks anew, which ends the old one."""
_MINDS_WAITING = frozenset({Family.PYFTPDLIB})
"""Says 421 when nobody has come to its port for 30 seconds, and that ends the session."""


class Together:
    """What one session sends in one write.

    Args:
        control: of the session.
        profile: how the server is to be spoken to.
        learnt: shared by the sessions on this remote.
    """

    def __init__(self, control: ControlConnection, profile: Profile, learnt: Learnt) -> None:
        self._control = control
        self._profile = profile
        self._learnt = learnt
        self._foreseen = False
        self._port: PassiveAddress | None = None
        self._port_until = -inf

    def __repr__(self) -> str:
        return f"<Together allowed={self.allowed} port={self._port}>"

    @property
    def allowed(self) -> bool:
        """Whether this server takes more than one command at a time, as far as anybody knows."""
        traits = self._learnt.listed.quirks
        return (
            self._learnt.works(Ability.TOGETHER) is not False
            and Trait.PIPELINES in traits
            and Trait.ONE_AT_A_TIME not in traits
        )

    @property
    def port(self) -> PassiveAddress | None:
        """Where the server listens for the next transfer; None where it has to be asked."""
        if self._port is None or trio.current_time() >= self._port_until:
            return None
        return self._port

    def foresee(self) -> None:
        """A transfer follows: let the next commands carry its EPSV."""
        self._foreseen = True

    def take_port(self) -> PassiveAddress | None:
        """Give the port out, once."""
        port, self._port, self._foreseen = self.port, None, False
        return port

    async def exchange(self, *commands: Command) -> list[Reply] | None:
        """Send commands in one write, and wait for the final reply to each.

        Args:
            commands: plain ones, each of a kind that this server has answered before. None of them does
                harm where one before it is refused.

        Returns:
            The replies, whatever they say. None where the commands are to be sent one at a time: nothing was
            sent, or the replies show that this server should not be spoken to so.

        Raises:
            RemoteError: the session is over.

        Cancellation: the connection is reset.
        """
        if (len(commands) == 1 and not self._wants_port()) or not self.allowed:
            return None
        has_rider = await self.say(commands)
        replies = await self.hear(commands)
        if has_rider:
            await self.hear_port()
        return replies

    async def say(self, commands: Sequence[Command]) -> bool:
        """Send commands in one write; tell whether the EPSV of a foreseen transfer went behind them.

        The replies are to be heard by `hear`, and then, where it did, `hear_port`. See `exchange`.
        """
        riders = [Command("EPSV")] if self._wants_port() else []
        try:
            await self._control.send(*commands, *riders)
        except RemoteError:
            self._broke()
            raise
        return bool(riders)

    async def hear(self, commands: Sequence[Command]) -> list[Reply] | None:
        """Wait for the final reply to each of commands that went in one write; see `exchange`."""
        replies: list[Reply] = []
        try:
            for command in commands:
                replies.append(await self._control.final())
                if replies[-1].code == _SERVICE_NOT_AVAILABLE:
                    raise classify(replies[-1], command, charset=self._profile.charset)
        except RemoteError:
            self._broke(in_between=bool(replies))
            raise
        bears_it = not _surprises(replies)
        self._learnt.found(Ability.TOGETHER, works=bears_it)
        return replies if bears_it else None

    def _broke(self, *, in_between: bool = False) -> None:
        """Learn from a network that broke: nothing of a server that has borne it, but for in between."""
        if in_between or self._learnt.works(Ability.TOGETHER) is None:
            self._learnt.found(Ability.TOGETHER, works=False)

    def _wants_port(self) -> bool:
        return (
            self._foreseen
            and self._profile.passive
            and not self._profile.disable_epsv
            and self._learnt.works(Ability.EPSV) is True
            and self._learnt.works(Ability.PORT_AHEAD) is not False
            and self._learnt.listed.family not in _MINDS_WAITING
            and self.port is None
        )

    async def hear_port(self) -> None:
        """Take the answer to EPSV. No end of it is an error: what it rides on has been answered."""
        self._foreseen = False
        port = None
        with suppress(RemoteError):
            reply = await self._control.final()
            port = None if reply.refused else parse_epsv(reply.text(self._profile.charset))
        if port is None:
            self._learnt.found(Ability.PORT_AHEAD, works=False)
        self._port, self._port_until = port, trio.current_time() + _KEPT_S


def _surprises(replies: list[Reply]) -> bool:
    """Whether a server that knows these commands answers as if it did not."""
    refused_before = False
    for reply in replies:
        if reply.code in _UNKNOWN_COMMAND or (reply.code == _BAD_SEQUENCE and not refused_before):
            return True
        refused_before |= reply.refused
    return False
