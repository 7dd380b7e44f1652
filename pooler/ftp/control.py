"""A control connection: commands out, replies in, each exchange under a deadline (RFC 959 §5).

It joins a `Dialogue`, which knows what is legal, to a `TcpConnection`, which moves bytes. Here the network's
errors become ours, once. Neighbour: `session`, which knows what the commands are for.

After any failure in the middle of an exchange, a cancellation included, the connection is reset: a late reply
would otherwise answer the next command.
"""

import ssl
from collections import deque
from contextlib import suppress
from math import inf
from types import TracebackType

import trio

from pooler.errors import ConnectError, PeerProtocolError, RemoteError, SessionLost, TlsError
from pooler.ftp.dialogue import Dialogue, Event, Farewell, Final, Preliminary
from pooler.ftp.profile import Profile
from pooler.ftp.proxy import connect_through
from pooler.ftp.replies import classify, farewell
from pooler.ftp.state import State
from pooler.ftp.tcp import TcpConnection
from pooler.ftp.tls import group_asked_for
from pooler.ftp.wire import Command, Reply
from pooler.model.outcome import Peer

_CHUNK_BYTES = 4096
_TRANSCRIPT_LINES = 40
_TRANSCRIPT_LINE_CHARS = 300
_MAX_BESIDE = 16
_MAX_TOGETHER = 4


class ControlConnection:
    """One control connection, for one task at a time.

    Args:
        connection: connected; owned by this object from now on.
        profile: limits, charset and TLS.
        context: for TLS; None where the profile wants none.
    """

    def __init__(
        self, connection: TcpConnection, profile: Profile, context: ssl.SSLContext | None = None
    ) -> None:
        self._connection = connection
        self._profile = profile
        self._context = context
        self._dialogue = Dialogue(
            max_outstanding=_MAX_TOGETHER, max_beside=_MAX_BESIDE, double_iac=profile.double_iac
        )
        self._events: deque[Event] = deque()
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._transcript: deque[str | Command | Reply] = deque(maxlen=_TRANSCRIPT_LINES)
        """What was said. Most of it nobody reads, and so it is made readable when somebody does."""
        self._last_reply: Reply | None = None
        self._owed_beside = 0
        self._refused_beside = False
        self._group_asked_for: str | None = None
        # What a proxy has connected to, it alone knows.
        host, port = (profile.host, profile.port) if profile.proxy else connection.address[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @classmethod
    async def open(cls, profile: Profile, context: ssl.SSLContext | None) -> "ControlConnection":
        """Connect, through the proxy if there is one, with implicit TLS shake hands, and read the greeting.

        Raises:
            ConnectError: nobody answers, or not in time, or not an FTP server.
            TlsError: the handshake failed.
            TooManySessions: the greeting says so.

        Cancellation: nothing is left open.
        """
        where = f"{profile.host}:{profile.port}"
        proxy = profile.proxy
        host, port = (profile.host, profile.port) if proxy is None else (proxy.host, proxy.port)
        if proxy is not None:
            where += f" through {proxy}"
        try:
            with trio.fail_after(profile.connect_s):
                connection = await TcpConnection.open(host, port, source=profile.bind_address)
                try:
                    if proxy is not None:
                        await connect_through(connection, proxy, profile.host, profile.port)
                    control = cls(connection, profile, context)
                    await control._greet()
                except BaseException:
                    connection.reset()
                    raise
        except trio.TooSlowError:
            raise ConnectError(f"{where}: no greeting within {profile.connect_s:g} s") from None
        except (OSError, UnicodeError, SessionLost, PeerProtocolError) as error:
            raise ConnectError(f"{where}: {error}") from error
        return control

    async def _greet(self) -> None:
        if self._profile.tls == "implicit":
            await self._shake_hands()
        reply = await self._next_final()
        if reply.refused:
            raise classify(reply, None)

    def __repr__(self) -> str:
        return f"<ControlConnection {self._address} {self._dialogue.state.name}>"

    @property
    def peer(self) -> Peer:
        """Whom we are connected to."""
        tcp = self._connection
        certificate = tcp.certificate
        return Peer(
            self._address,
            tcp.tls_version,
            certificate.sha256 if certificate else None,
            self._profile.user,
        )

    @property
    def connection(self) -> TcpConnection:
        """The connection, for opening others beside it."""
        return self._connection

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context that data connections share; None without TLS."""
        return self._context

    @property
    def group_asked_for(self) -> str | None:
        """Which group the server wanted in place of the one that was offered; None for none."""
        return self._group_asked_for

    @property
    def usable(self) -> bool:
        """Whether a command may be sent now: open, nothing owed, nothing doubtful."""
        return self.alive and self._dialogue.idle and not self._events and not self._dialogue.suspect

    @property
    def alive(self) -> bool:
        """Whether neither side has ended it, as far as we know."""
        return not self._connection.closed and self._dialogue.state is not State.CLOSED

    @property
    def owed_beside(self) -> int:
        """How many replies are owed to `send_beside`."""
        return self._owed_beside

    @property
    def last_reply(self) -> Reply | None:
        """The newest reply that says something of a job: no port, and nothing sent beside a transfer."""
        return self._last_reply

    @property
    def transcript(self) -> tuple[str, ...]:
        """The last lines of the dialogue, oldest first, without secrets."""
        return tuple(self._shown(said)[:_TRANSCRIPT_LINE_CHARS] for said in self._transcript)

    def forget_transcript(self) -> None:
        """Let `transcript` begin anew."""
        self._transcript.clear()

    def _shown(self, said: str | Command | Reply) -> str:
        if isinstance(said, Command):
            return f"> {said.shown(self._profile.charset)}"
        if isinstance(said, Reply):
            return f"< {said.code} {said.text(self._profile.charset)}"
        return said

    async def exchange(self, command: Command) -> Reply:
        """Send a command and wait for its final reply, whatever it says.

        Raises:
            LocalProtocolError: the command is out of turn; nothing was sent.
            SessionLost: the connection ended, or no reply came within ``exchange_s``.
            PeerProtocolError: what came has no place here.

        Cancellation: the connection is reset.
        """
        await self.send(command)
        return await self.final()

    async def send(self, *commands: Command) -> None:
        """Send commands in one write; then call `first` or `final` for each. Else as `exchange`.

        More than one is for servers that are known to bear it.
        """
        data = self._dialogue.send(*commands)
        # A secret must not stand here, however long nobody reads it.
        self._transcript.extend(
            command if command.secret is None else self._shown(command) for command in commands
        )
        with self._exchange(f"sending {commands[0].verb}") as until:
            await self._connection.send_all(memoryview(data), until=until)

    async def first(self, *, within_s: float | None = None) -> Preliminary | Final:
        """Wait for the first reply to what was sent. Arguments, raises and cancellation: as `final`."""
        with self._exchange("a reply", within_s) as until:
            return await self._next(until)

    async def final(self, *, within_s: float | None = None) -> Reply:
        """Wait for the final reply to what was sent.

        Args:
            within_s: limit, in seconds; None for the profile's ``exchange_s``.

        Raises and cancellation: as `exchange`.
        """
        with self._exchange("the final reply", within_s) as until:
            return await self._next_final(until)

    async def send_beside(self, command: Command) -> None:
        """Send a command beside the transfer that runs, and wait for no reply; what has come is taken in.

        Nothing is sent where the transfer has ended already, or too many replies are owed. Call
        `settle_beside` after the final reply. Raises and cancellation: as `exchange`.
        """
        with self._exchange("listening beside a transfer"):
            # The end of the connection is left to whoever waits for the final reply.
            count = self._connection.receive_now(self._buffer)
            if count:
                self._take(count)
                # That it still runs need not be kept, and may be said without end.
                self._events = deque(event for event in self._events if isinstance(event, Final))
        if self._dialogue.state is State.TRANSFERRING and self._owed_beside < _MAX_BESIDE:
            self._owed_beside += 1
            await self.send(command)

    async def settle_beside(self) -> bool:
        """Wait, ``close_s`` at most, for what is owed to `send_beside`, once the transfer has ended.

        Returns:
            Whether every command was answered, and none refused. Where one was not the connection is reset: a
            late reply would answer the next command.

        Cancellation: the connection is reset.
        """
        with suppress(RemoteError), self._exchange("replies", self._profile.close_s) as until:
            while self._owed_beside:
                self._take(await self._connection.receive_into(self._buffer, until=until))
        went_well = not (self._owed_beside or self._refused_beside)
        self._owed_beside, self._refused_beside = 0, False
        return went_well

    def look(self) -> None:
        """Look, without waiting, whether the server has said or done something since the last exchange.

        Raises:
            SessionLost: it closed the connection, or said something that nobody had asked for.
            TooManySessions: it said that it is full.
        """
        if self.usable:
            try:
                count = self._connection.receive_now(self._buffer)
                if count is not None:
                    self._take(count)
            except PeerProtocolError as error:
                self.kill()
                raise SessionLost(f"on an idle session: {error}") from error
            except OSError as error:
                self.kill()
                raise SessionLost(f"the session broke while idle: {error}") from error
            except BaseException:
                self.kill()
                raise
        if not self.usable:
            self.kill()
            raise SessionLost("the session has ended")

    async def start_tls(self) -> None:
        """Put TLS on, after 234 to AUTH. What came in plain text behind the 234 is gone (RFC 4217 §15.1).

        Raises:
            TlsError: the handshake failed, or took longer than ``connect_s``.

        Cancellation: the connection is reset.
        """
        try:
            with trio.fail_after(self._profile.connect_s):
                await self._shake_hands()
        except trio.TooSlowError:
            self.kill()
            raise TlsError(f"no TLS handshake within {self._profile.connect_s:g} s") from None
        except BaseException:
            self.kill()
            raise
        self._dialogue.transport_changed()

    async def _shake_hands(self) -> None:
        if self._context is None:
            raise RuntimeError("a profile with TLS needs a context")
        try:
            self._connection.wrap_tls(self._context, self._profile.server_name)
            if not self._connection.begin_tls():
                self._group_asked_for = group_asked_for(await self._connection.tls_answer())
            await self._connection.finish_tls()
        except OSError as error:
            raise TlsError(f"TLS handshake with {self._address}: {error}") from error

    def kill(self) -> None:
        """Reset the connection at once. May be called again, and by another task."""
        self._dialogue.close()
        self._events.clear()
        self._connection.reset()

    async def aclose(self) -> None:
        """Say QUIT if it is our turn, wait for the answer within ``close_s`` in all, and close.

        Cancellation: does not shorten it; ``close_s`` does. The connection is closed in any case.
        """
        if self.usable:
            with trio.move_on_after(self._profile.close_s, shield=True):
                with suppress(SessionLost, PeerProtocolError):  # it was to end anyway
                    await self.exchange(Command("QUIT"))
        self._dialogue.close()
        self._connection.close()
        await trio.lowlevel.checkpoint()

    def _exchange(self, doing: str, within_s: float | None = None) -> "_Exchange":
        """Give an exchange its deadline, and turn what goes wrong in it into our errors."""
        return _Exchange(self, doing, self._profile.exchange_s if within_s is None else within_s)

    async def _next_final(self, until: float = inf) -> Reply:
        while True:
            event = await self._next(until)
            if isinstance(event, Final):
                return event.reply
            # Of these there may be any number, and none of them makes us wait.
            await trio.lowlevel.checkpoint()
            if trio.current_time() >= until:
                raise trio.TooSlowError

    async def _next(self, until: float = inf) -> Preliminary | Final:
        while not self._events:
            limit = until
            if self._dialogue.in_doubt:
                limit = min(until, trio.current_time() + self._profile.doubt_s)
            try:
                self._take(await self._connection.receive_into(self._buffer, until=limit))
            except trio.TooSlowError:
                if limit == until:
                    raise
                self._keep(self._dialogue.settle())
        event = self._events.popleft()
        if isinstance(event, Farewell):
            raise farewell(event.reply)
        return event

    def _take(self, count: int) -> None:
        if not count:
            self._transcript.append("< (end of the connection)")
            raise SessionLost("the server closed the control connection")
        self._keep(self._dialogue.receive(self._buffer[:count]))
        if self._events and isinstance(self._events[0], Farewell):
            raise farewell(self._events[0].reply)

    def _keep(self, events: list[Event]) -> None:
        for event in events:
            reply = event.reply
            # A long one is cut short at once: so many of them would be a lot.
            is_long = len(reply.lines) > 1 or len(reply.lines[0]) > _TRANSCRIPT_LINE_CHARS
            self._transcript.append(self._shown(reply)[:_TRANSCRIPT_LINE_CHARS] if is_long else reply)
            if self._owed_beside and isinstance(event, Final) and _is_noop(event.command):
                self._owed_beside -= 1
                self._refused_beside |= event.reply.refused
            else:
                if not _is_port(event):
                    self._last_reply = event.reply
                self._events.append(event)


class _Exchange:
    """The block of one exchange: its deadline, and what its errors are; see `ControlConnection._exchange`.

    A class, since it is entered ten times for a file, and a generator costs five times as much.
    """

    __slots__ = ("_control", "_doing", "_limit_s")

    def __init__(self, control: ControlConnection, doing: str, limit_s: float) -> None:
        self._control = control
        self._doing = doing
        self._limit_s = limit_s

    def __enter__(self) -> float:
        return trio.current_time() + self._limit_s

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        self._control.kill()
        if isinstance(error, trio.TooSlowError):
            raise SessionLost(f"{self._doing}: nothing within {self._limit_s:g} s") from None
        if isinstance(error, OSError | trio.ClosedResourceError):
            raise SessionLost(f"{self._doing}: {error}") from error


def _is_port(event: Event) -> bool:
    """Whether it is an answer to EPSV, which may have been asked ahead, behind a job's last command."""
    command = event.command if isinstance(event, Final) else None
    return command is not None and command.verb == "EPSV" and not event.reply.refused


def _is_noop(command: Command | None) -> bool:
    return command is not None and command.verb == "NOOP"
