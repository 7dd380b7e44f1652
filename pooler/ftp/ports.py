"""Where the server listens for the next data connection, and the way there (RFC 959 §4.1.2, RFC 2428 §3).

By EPSV, or by PASV where that does not work. A port that was asked for ahead, behind other commands, is used
first, and the connection to it is begun as soon as it is known that a transfer follows.

Neighbours: `together` asks ahead, `passive` reads the replies, `data` connects; `transfers` uses it.
"""

import socket
from contextlib import suppress

from pooler.errors import DataConnectionError, ReplyError
from pooler.ftp.commands import UNKNOWN_COMMAND, Commands
from pooler.ftp.data import DataConnection, begin_connect
from pooler.ftp.learnt import Ability
from pooler.ftp.passive import PassiveAddress, parse_epsv, parse_pasv
from pooler.ftp.replies import classify
from pooler.ftp.tcp import TcpConnection
from pooler.ftp.wire import Command

_NETWORK_PROTOCOL_UNSUPPORTED = 522  # RFC 2428 §2, in reply to EPSV and EPRT
NO_WAY = UNKNOWN_COMMAND | {_NETWORK_PROTOCOL_UNSUPPORTED}
"""What is said of EPSV and EPRT by a server that does not know how."""
_NO_PORT = frozenset({425, 503})
"""The server does not know of the port any more: it wants PASV first, or has waited for too long."""


class Ports:
    """The ports of one session's server, in passive mode.

    Args:
        commands: of the session.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._control = commands.control
        self._profile = commands.profile
        self._learnt = commands.learnt
        self._ahead = commands.ahead
        self._connecting: TcpConnection | None = None
        """On its way to the port that was asked for ahead."""

    def __repr__(self) -> str:
        return f"<Ports{'' if self._connecting is None else ' connecting'}>"

    @property
    def is_known(self) -> bool:
        """Whether a port was asked for ahead, and the connection to it is on its way."""
        return self._connecting is not None and self._ahead.port is not None

    def foresee(self) -> None:
        """A transfer follows: do now what of it can go beside other commands.

        The next commands that go together carry its EPSV. Where the answer to that is there already, from
        behind a transfer before, the connection is on its way from here on.
        """
        self._ahead.foresee()
        address = self._ahead.port
        if address is None or self._connecting is not None or not self._control.alive:
            return
        with suppress(OSError):  # who needs the connection will be told why there is none
            self._connecting = begin_connect(self._control.connection, address, self._profile)

    def forget(self) -> None:
        """Let go of what was done ahead. Never fails."""
        self._ahead.take_port()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.reset()

    def doubt(self, code: int) -> None:
        """Ask for no more ports ahead where this is how a transfer to one was refused."""
        if code in _NO_PORT:
            self._learnt.found(Ability.PORT_AHEAD, works=False)

    async def connect(self) -> tuple[DataConnection, bool]:
        """Make the data connection; tell whether it goes to a port that was asked for ahead.

        Raises:
            ReplyError: the server does not listen; the session survives.
            DataConnectionError: nobody answers there; the session survives.

        Cancellation: nothing is left open.
        """
        connection, profile = self._control.connection, self._profile
        address = self._ahead.take_port()
        begun, self._connecting = self._connecting, None
        if address is not None:
            try:
                return await DataConnection.open(connection, address, profile, begun=begun), True
            except DataConnectionError:
                self._learnt.found(Ability.PORT_AHEAD, works=False)
        elif begun is not None:
            begun.reset()  # it has waited for too long
        return await self._connect_to_new_port(), False

    async def connect_beside(self, *commands: Command) -> DataConnection:
        """Send commands, and wait for the connection that is on its way meanwhile, where `is_known`.

        Raises:
            SessionLost: the commands cannot be sent.
            DataConnectionError: nobody answers there; the session is over.

        Cancellation: no data connection is left open.
        """
        address, begun = self._ahead.take_port(), self._connecting
        assert address is not None and begun is not None  # noqa: S101, PT018 - `is_known`
        self._connecting = None
        try:
            await self._control.send(*commands)
        except BaseException:
            begun.reset()
            raise
        try:
            return await DataConnection.open(self._control.connection, address, self._profile, begun=begun)
        except DataConnectionError as error:
            self._learnt.found(Ability.PORT_AHEAD, works=False)
            # Replies are owed, one of which may take as long as we have waited.
            error.session_survives = False
            raise

    async def _connect_to_new_port(self) -> DataConnection:
        """Let the server listen, and connect; by PASV as well where no port from EPSV was ever reached.

        A firewall that opens the port that it reads in a 227 may know nothing of a 229.
        """
        connection, profile = self._control.connection, self._profile
        if profile.disable_epsv or self._learnt.works(Ability.EPSV) is False:
            return await self._connect_by_pasv()
        address = await self._epsv()
        if address is None:
            self._learnt.found(Ability.EPSV, works=False)
            return await self._connect_by_pasv()
        try:
            data = await DataConnection.open(connection, address, profile)
        except DataConnectionError as error:
            if self._learnt.works(Ability.EPSV) or connection.family is not socket.AF_INET:
                raise
            try:
                data = await self._connect_by_pasv()
            except ReplyError:
                raise error from None  # what cannot be reached is no word on the file
            self._learnt.found(Ability.EPSV, works=False)
        else:
            self._learnt.found(Ability.EPSV, works=True)
        return data

    async def _connect_by_pasv(self) -> DataConnection:
        return await DataConnection.open(self._control.connection, await self._pasv(), self._profile)

    async def _epsv(self) -> PassiveAddress | None:
        """Let the server listen (RFC 2428 §3); None where it does not know how."""
        command, charset = Command("EPSV"), self._profile.charset
        reply = await self._commands.exchange(command)
        if reply.code in NO_WAY:
            return None
        if reply.refused:
            raise classify(reply, command, charset=charset)
        return parse_epsv(reply.text(charset))

    async def _pasv(self) -> PassiveAddress:
        """Let the server listen (RFC 959 §4.1.2)."""
        reply = await self._commands.require(Command("PASV"))
        address = parse_pasv(reply.text(self._profile.charset))
        return address if self._profile.trust_pasv_address else PassiveAddress(None, address.port)
