"""Transfers on one session: a data connection, the command that uses it, and its end.

RFC 959 §3, RFC 2428 §2, RFC 3659 §5.

One command at a time: EPSV, connect, RETR; or we listen, and the server connects. Where more is known of a
server, a RETR goes with the questions about its file, and data ahead of the reply to its STOR. What failed on
the data connection is explained by the server where it says why.

Neighbours: `commands` sends, `ports` connects, `active` listens, `handshakes` puts TLS on, `data` moves the
bytes, `noops` keeps the control connection from being forgotten meanwhile; `session` and `browsing` have
files and listings moved.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pooler.errors import (
    DataConnectionError,
    LocalProtocolError,
    PeerProtocolError,
    RemoteError,
    ReplyError,
    SessionLost,
    TlsError,
)
from pooler.ftp.active import Listener
from pooler.ftp.commands import ABOUT_THE_ARGUMENT, UNKNOWN_COMMAND, Commands
from pooler.ftp.data import DataConnection
from pooler.ftp.dialogue import Final, Preliminary
from pooler.ftp.features import Trait
from pooler.ftp.handshakes import Handshakes, said_why
from pooler.ftp.learnt import Ability
from pooler.ftp.noops import Noops
from pooler.ftp.ports import NO_WAY, Ports
from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

T = TypeVar("T")

_NOT_IMPLEMENTED = 502
_ANSWERS = frozenset({213, 229})
"""To SIZE, MDTM and EPSV; no transfer ends so."""
_AHEAD_BYTES = 32 * 1024
"""More than leaves within the first round trip, and less than a socket takes that nobody reads."""


@dataclass(slots=True)
class Transfer:
    """A transfer that the server has agreed to, or was not waited for to agree to.

    Attributes:
        command: RETR, STOR, MLSD or LIST.
        data: its data connection.
        final: its final reply where that was the first one too; None while it is owed.
        agreed: whether the server has said yes.
        port_ahead: whether it goes to a port that was asked for ahead; told only while it is not agreed to.
    """

    command: Command
    data: DataConnection
    final: Reply | None = None
    agreed: bool = True
    port_ahead: bool = False


class Transfers:
    """Begins and ends the transfers of one session.

    Args:
        commands: of the session.
        ports: of the same.
        handshakes: of the same.
    """

    def __init__(self, commands: Commands, ports: Ports, handshakes: Handshakes) -> None:
        self._commands = commands
        self._ports = ports
        self._handshakes = handshakes
        self._control = commands.control
        self._profile = commands.profile
        self._learnt = commands.learnt
        self._noops = Noops(commands.control, commands.learnt, commands.profile.noop_after_s)
        self._ahead = commands.ahead
        self._restarted = False
        """Whether the server may still hold an offset that it was told for an earlier transfer."""

    def __repr__(self) -> str:
        mode = "passive" if self._profile.passive else "active"
        return f"<Transfers {mode} {self._ports!r}>"

    async def begin(self, command: Command, *, offset: int = 0, ahead: bool = False) -> Transfer:
        """Begin a transfer: let the server listen, connect, ask, shake hands; or listen, and ask.

        Args:
            command: what moves the data.
            offset: where to begin in the file, in bytes (REST).
            ahead: whether to begin before the server has agreed, where `may_send_ahead`.

        Raises:
            ReplyError: the server refuses, the offset or the command; the session survives.
            DataConnectionError: the data connection failed.
            TlsError: its handshake did.
            LocalProtocolError: an offset where line ends are translated, which no two count alike.

        Cancellation: no data connection is left open.
        """
        self._require_restart(offset)
        if not self._profile.passive:
            transfer = await self._begin_active(command, offset)
        else:
            transfer = await self._begin_passive(command, offset, ahead=ahead and self.may_send_ahead)
        if not transfer.agreed:
            # So no more than a little is sent to a server that says no.
            transfer.data.meanwhile = partial(self._hear, transfer)
            transfer.data.first_bytes = _AHEAD_BYTES
        elif transfer.final is None:
            self._keep_alive(transfer)
        return transfer

    @property
    def may_send_ahead(self) -> bool:
        """Whether this server bears data that comes before it has agreed to a STOR, as far as anybody knows.

        It has what it takes to bear several commands in one write; and under TLS nothing would be gained.
        """
        return (
            self._ahead.allowed
            and self._control.context is None
            and self._learnt.works(Ability.DATA_AHEAD) is not False
        )

    @property
    def may_ask_along(self) -> bool:
        """Whether a RETR can go with questions about its file, while its connection is on its way.

        It takes a server that is known to bear several commands in one write, and a port from before.
        """
        return (
            self._ports.is_known
            and self._ahead.allowed
            and self._learnt.works(Ability.TOGETHER) is True
            and self._learnt.works(Ability.ASKED_ALONG) is not False
            and not self._restarted
        )

    async def begin_along(
        self, questions: Sequence[Command], command: Command, understand: Callable[[list[Reply]], T]
    ) -> tuple[T, Transfer]:
        """Begin a RETR in the write that asks about its file, where `may_ask_along`: a round trip less.

        Args:
            questions: plain commands, each of a kind that this server has answered before.
            command: the RETR.
            understand: makes something of the replies to the questions, or raises.

        Raises:
            ReplyError: as ``understand`` raises it, or the command is refused; the session survives.
            PeerProtocolError: a question is refused, and yet the file comes. Not tried again there.
            DataConnectionError, TlsError: as `begin`; the session is over.

        Cancellation: no data connection is left open.
        """
        works = self._learnt.works(Ability.ASKED_ALONG)
        try:
            found, transfer = await self._begin_along(questions, command, understand)
        except ReplyError as error:
            if error.command.startswith(command.verb):
                self._ports.doubt(error.reply_code)
            raise
        except RemoteError as error:
            # A network that breaks says nothing about a server that has borne it.
            if works is None or isinstance(error, PeerProtocolError):
                self._learnt.found(Ability.ASKED_ALONG, works=False)
            raise
        if works is None:
            self._learnt.found(Ability.ASKED_ALONG, works=True)
        if transfer.final is None:
            self._keep_alive(transfer)
        return found, transfer

    async def _begin_along(
        self, questions: Sequence[Command], command: Command, understand: Callable[[list[Reply]], T]
    ) -> tuple[T, Transfer]:
        data = await self._ports.connect_beside(*questions, command)
        try:
            self._handshakes.put_on(data)
            failure = self._handshakes.begin(data)
            replies = await self._commands.hear(questions)
            event = await self._control.first()
            try:
                found = understand(_all_of(replies, questions))
            except ReplyError as error:
                if isinstance(event, Final):
                    raise
                raise PeerProtocolError(f"{error}; and yet {command}: {event.reply}") from error
            return found, await self._agreed(command, data, event, failure)
        except BaseException:
            data.reset()
            raise

    def _keep_alive(self, transfer: Transfer) -> None:
        self._noops.begin()
        transfer.data.meanwhile = self._noops.say

    async def _hear(self, transfer: Transfer, *, within_s: float | None = None) -> None:
        """Wait for the first reply to a command whose data is on its way already.

        Raises:
            ReplyError: the server refuses.
        """
        event = await self._control.first(within_s=within_s)
        if not isinstance(event, Final):
            transfer.agreed = True
            self._keep_alive(transfer)
            return
        if transfer.port_ahead:
            self._ports.doubt(event.reply.code)
        self._commands.check(transfer.command, event.reply)
        transfer.agreed, transfer.final, transfer.data.meanwhile = True, event.reply, None

    async def _begin_passive(self, command: Command, offset: int, *, ahead: bool) -> Transfer:
        data, was_ahead = await self._ports.connect()
        try:
            await self._restart(command, offset)
            if ahead:
                await self._control.send(command)
                return Transfer(command, data, agreed=False, port_ahead=was_ahead)
            return await self._agree(command, data)
        except BaseException as error:
            data.reset()
            if was_ahead and isinstance(error, ReplyError):
                self._ports.doubt(error.reply_code)
            raise

    def _require_restart(self, offset: int) -> None:
        if not offset:
            return
        if offset < 0 or self._profile.transfer_type == "ascii":
            raise LocalProtocolError(f"no transfer can begin at byte {offset} of a file like this")
        if self._learnt.works(Ability.REST) is False:
            raise ReplyError(_NOT_IMPLEMENTED, "was refused before", f"REST {offset}")

    async def _restart(self, command: Command, offset: int) -> None:
        """Tell the offset, right before the command; and 0 where an earlier one may be left over.

        A server ought to forget it with the next command, whatever that is; some keep it until a transfer has
        ended well.
        """
        if not (offset or (self._restarted and command.verb in {"RETR", "STOR"})):
            return
        restart = Command("REST", str(offset).encode("ascii"))
        reply = await self._commands.exchange(restart)
        if reply.refused and offset:
            if reply.code in UNKNOWN_COMMAND and reply.code != ABOUT_THE_ARGUMENT:
                self._learnt.found(Ability.REST, works=False)
            self._commands.check(restart, reply)
        self._restarted = bool(offset)
        if offset:
            self._learnt.found(Ability.REST, works=True)

    async def _begin_active(self, command: Command, offset: int) -> Transfer:
        with Listener.open(self._control.connection, self._profile, self._learnt) as listener:
            await self._offer(listener)
            await self._restart(command, offset)
            await self._control.send(command)
            event = await self._control.first()
            self._commands.check(command, event.reply)
            final = event.reply if isinstance(event, Final) else None
            try:
                data = await listener.accept()
            except DataConnectionError as error:
                raise await said_why(self._commands, command, final, error, self._profile.close_s) from error
        transfer = Transfer(command, data, final)
        try:
            self._handshakes.put_on(data)
            await self._handshakes.finish(command, data, final)
        except BaseException:
            data.reset()
            raise
        return transfer

    async def _offer(self, listener: Listener) -> None:
        """Tell the server where we listen: EPRT, else PORT.

        Raises:
            DataConnectionError: it will not connect. That is no word on the file, though it may be a 550.
        """
        refused = self._profile.disable_epsv or self._learnt.works(Ability.EPRT) is False
        for command in listener.commands(eprt_refused=refused):
            reply = await self._commands.exchange(command)
            if command.verb == "EPRT" and (not reply.refused or reply.code in NO_WAY):
                self._learnt.found(Ability.EPRT, works=not reply.refused)
            if not reply.refused:
                return
            if reply.code in NO_WAY:
                continue
            error = classify(reply, command, charset=self._profile.charset)
            if not isinstance(error, ReplyError):
                raise error
            break
        failure = DataConnectionError(f"active mode refused: {command}: {reply}")
        failure.session_survives = True
        raise failure

    async def _agree(self, command: Command, data: DataConnection) -> Transfer:
        self._handshakes.put_on(data)
        await self._control.send(command)
        failure = self._handshakes.begin(data)
        return await self._agreed(command, data, await self._control.first(), failure)

    async def _agreed(
        self,
        command: Command,
        data: DataConnection,
        event: Preliminary | Final,
        failure: TlsError | DataConnectionError | None,
    ) -> Transfer:
        """See that the server has agreed, by its first reply, and end the handshake where there is one."""
        self._commands.check(command, event.reply)
        transfer = Transfer(command, data, event.reply if isinstance(event, Final) else None)
        await self._handshakes.finish(command, data, transfer.final, failure)
        return transfer

    async def finish(self, transfer: Transfer) -> None:
        """Wait for the final reply, which says whether the transfer went well.

        Raises:
            ReplyError: it did not.
            SessionLost: no reply came.
        """
        try:
            if not transfer.agreed:
                await self._hear(transfer)
            reply = transfer.final or await self._control.final(within_s=self._profile.final_s)
        except RemoteError:
            self._noops.broke()
            raise
        await self._noops.settle()
        self._commands.check(transfer.command, reply)

    @property
    def may_ask_behind(self) -> bool:
        """Whether a command may be sent behind a RETR whose data has ended, before its final reply is there.

        A server may end a transfer only when all of it was acknowledged, a round trip after we have it.
        """
        return (
            Trait.WAITS_BEHIND_TRANSFER in self._learnt.listed.quirks
            and self._ahead.allowed
            and not self._noops.said
        )

    async def finish_asking(self, transfer: Transfer, questions: Sequence[Command]) -> list[Reply] | None:
        """Do what `finish` does for a download, with questions beside it, where `may_ask_behind`.

        Args:
            transfer: its data has ended.
            questions: plain commands, each of a kind that this server has answered before.

        Returns:
            The replies to the questions; None where they show that this server should not be asked so.

        Raises: as `finish`.
        """
        has_rider = await self._ahead.say(questions)
        reply = await self._control.final(within_s=self._profile.final_s)
        if reply.code in _ANSWERS:
            self._learnt.found(Ability.ASKED_ALONG, works=False)
            raise PeerProtocolError(f"{questions[0]} was answered before {transfer.command}: {reply}")
        replies = await self._commands.hear(questions)
        if has_rider:
            await self._ahead.hear_port()
        self._commands.check(transfer.command, reply)
        return replies

    @asynccontextmanager
    async def resetting(self, transfer: Transfer) -> AsyncIterator[None]:
        """Reset the data connection where the block fails, and say why in the server's words.

        Raises:
            ReplyError: what the server said, where the data connection broke.
        """
        data = transfer.data
        try:
            yield
        except DataConnectionError as error:
            data.reset()
            self._noops.broke()
            if error is data.failure:
                limit_s = self._profile.close_s if data.stalled else self._profile.final_s
                if not transfer.agreed:
                    await self._hear_of(transfer, error, within_s=limit_s)
                raise await said_why(
                    self._commands, transfer.command, transfer.final, error, limit_s
                ) from error
            raise
        except BaseException:
            data.reset()
            raise

    async def _hear_of(
        self, transfer: Transfer, error: DataConnectionError, *, within_s: float | None
    ) -> None:
        """Wait for the first reply, where the data connection broke before it was waited for.

        Raises:
            RemoteError: the server's reason, or that of the data connection.
        """
        try:
            await self._hear(transfer, within_s=within_s)
        except (SessionLost, PeerProtocolError):
            raise error from None


def _all_of(replies: list[Reply] | None, questions: Sequence[Command]) -> list[Reply]:
    if replies is None:
        raise PeerProtocolError(f"{questions[0]}: not answered as it was before")
    return replies
