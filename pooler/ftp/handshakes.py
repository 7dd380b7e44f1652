"""TLS on the data connections of one session: what they resume, when hands are shaken, why that failed.

RFC 4217 §7. Our first words go out right behind the command and wait there; the rest comes once the server
has agreed. What failed is explained by the server where it says why.

Neighbours: `data` has the connection, `tls` makes the context, `transfers` says when.
"""

import ssl
from math import inf

from pooler.errors import DataConnectionError, PeerProtocolError, RemoteError, SessionLost, TlsError
from pooler.ftp.commands import Commands
from pooler.ftp.data import DataConnection
from pooler.ftp.learnt import Ability
from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

_TICKET_SHARE = 0.75
"""Of a ticket's lifetime, for transfers to begin in; the rest is for what comes late in a job."""


class Handshakes:
    """The handshakes of one session's data connections; without TLS there is nothing to it.

    Args:
        commands: of the session.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._control = commands.control
        self._profile = commands.profile
        self._learnt = commands.learnt

    def __repr__(self) -> str:
        return f"<Handshakes {'none' if self._control.context is None else self._control.connection!r}>"

    @property
    def resumable_for_s(self) -> float:
        """How long after the login data connections should resume its TLS session, in seconds.

        Most of what the server gave its ticket (RFC 5077 §3.3, RFC 8446 §4.6.1). Infinity where it said
        nothing, as of a session of TLS 1.2 that only the server keeps, or where nothing is resumed.
        """
        ticket = self._resumable()
        hint_s = 0 if ticket is None else ticket.ticket_lifetime_hint
        return hint_s * _TICKET_SHARE if hint_s else inf

    def _resumable(self) -> ssl.SSLSession | None:
        """What the data connection is to resume: the newest ticket."""
        return self._control.connection.tls_session if self._profile.resume_tls else None

    def put_on(self, data: DataConnection) -> None:
        """Put TLS on; nothing is sent yet.

        Raises:
            DataConnectionError: the connection is gone.
        """
        context = self._control.context
        if context is not None:
            data.wrap_tls(context, self._resumable())

    def begin(self, data: DataConnection) -> TlsError | DataConnectionError | None:
        """Say our first words, behind the command; give back what keeps us from it.

        The server may have refused the command already: its reply comes first.
        """
        if self._control.context is None:
            return None
        try:
            data.begin_tls()
        except (TlsError, DataConnectionError) as error:
            return error
        return None

    async def finish(
        self,
        command: Command,
        data: DataConnection,
        final: Reply | None,
        failure: TlsError | DataConnectionError | None = None,
    ) -> None:
        """End a handshake that has begun, or has failed already.

        Args:
            command: what moves the data.
            data: its connection.
            final: its final reply, where that is there.
            failure: what `begin` gave.

        Raises:
            TlsError: it failed.
            DataConnectionError: the connection broke, or it took too long.
            RemoteError: the server says why.
        """
        if self._control.context is None:
            return
        try:
            if failure is not None:
                raise failure
            await data.finish_tls()
        except (TlsError, DataConnectionError) as error:
            data.reset()
            # A network that breaks says nothing about what has been seen to work.
            if isinstance(error, TlsError) or self._learnt.works(Ability.TLS_RESUMPTION) is None:
                self._learnt.handshake_failed()
            raise await said_why(self._commands, command, final, error, self._profile.close_s) from error
        if self._profile.resume_tls:
            self._learnt.found(Ability.TLS_RESUMPTION, works=bool(data.tls_resumed))


async def said_why(
    commands: Commands, command: Command, final: Reply | None, error: RemoteError, within_s: float | None
) -> RemoteError:
    """Give the server's reason for a data connection that broke, or the error as it is (curl#6016).

    Args:
        commands: of the session.
        command: what moved the data.
        final: its final reply, where that is there.
        error: how the data connection broke.
        within_s: how long to wait for the server's word, in seconds; None for as long as for any reply.
    """
    if final is not None:
        return error
    try:
        reply = await commands.control.final(within_s=within_s)
    except (SessionLost, PeerProtocolError):
        return error
    return classify(reply, command, charset=commands.profile.charset) if reply.refused else error
