"""Opening sessions: connect, choose a host, put TLS on, log in (RFC 959 §5.4, RFC 4217 §4, RFC 7151).

Neighbours: `control` connects and shakes hands, `session` is what comes out.
"""

import ssl
from collections.abc import Callable

import trio

from pooler.errors import (
    ConnectError,
    LocalProtocolError,
    NoPassword,
    PeerProtocolError,
    RemoteError,
    ReplyError,
    SessionLost,
    TlsError,
)
from pooler.ftp.control import ControlConnection
from pooler.ftp.features import Features, read_features
from pooler.ftp.learnt import Ability, Learnt, Plain
from pooler.ftp.names import check_charset
from pooler.ftp.profile import Profile
from pooler.ftp.replies import classify
from pooler.ftp.session import FtpSession
from pooler.ftp.tls import weakness
from pooler.ftp.wire import Command, Reply

_NEED_PASSWORD = 331
_NEED_ACCOUNT = 332
_GO_ON = 3
_PASSWORD_READERS = 4
_FEAT_ATTEMPTS = 3


class FtpConnector:
    """Opens sessions on one remote, and keeps what they learn of it; see `pooler.transfer.session.Connector`.

    Args:
        profile: the server and the account.
        on_weak_tls: is told, once, in words for people, where TLS protects less than it should.
    """

    def __init__(self, profile: Profile, *, on_weak_tls: Callable[[str], None] | None = None) -> None:
        self._profile = profile
        self._on_weak_tls = on_weak_tls
        self._learnt = Learnt()
        self._context: ssl.SSLContext | None = None
        self._offers: str | None = None
        """The one group that the context offers keys of; None for OpenSSL's choice."""
        self._learning = trio.Lock()
        self._feat_failures = 0
        self._readers = trio.CapacityLimiter(_PASSWORD_READERS)

    def __repr__(self) -> str:
        return f"<FtpConnector {self._profile.user}@{self._profile.host}:{self._profile.port}>"

    @property
    def profile(self) -> Profile:
        """The server and the account."""
        return self._profile

    @property
    def learnt(self) -> dict[str, Plain]:
        """What its sessions have found out about the server: plain values, for the operator."""
        return self._learnt.snapshot()

    async def connect(self) -> FtpSession:
        """Connect and log in.

        Raises:
            ConnectError: nobody answers, or what answers gives up before the login is done.
            TlsError: TLS failed, or the server does not do it.
            TooManySessions: the server takes no more of us now.
            LoginRefused: the account or password is wrong.
            NoPassword: the password could not be had; the server was not asked.

            What fails after the greeting has the dialogue, passwords masked, as a note.

        Cancellation: nothing is left open.
        """
        # Before all else: a login without one would be a failed login to the server.
        password = await self._read_password()
        try:
            control = await ControlConnection.open(self._profile, self._make_context())
        except TlsError:
            self._learnt.handshake_failed()
            raise
        try:
            await self._log_in(control, password)
        except (SessionLost, PeerProtocolError) as error:
            control.kill()
            failure = ConnectError(f"while logging in: {error}")
            failure.add_note("\n".join(control.transcript))
            raise failure from error
        except RemoteError as error:
            control.kill()
            error.add_note("\n".join(control.transcript))
            raise
        except BaseException:
            control.kill()
            raise
        return FtpSession(control, self._profile, self._learnt)

    def _make_context(self) -> ssl.SSLContext | None:
        """One context for all sessions: a TLS session can be resumed under its own context only."""
        if self._offers != self._learnt.tls_group:
            self._context, self._offers = None, None
        if self._context is None and self._profile.tls != "none":
            try:
                self._context = self._profile.make_tls_context()
            except OSError as error:
                raise TlsError(f"certificates of {self._profile.host}, or its ciphers: {error}") from error
        return self._context

    async def _log_in(self, control: ControlConnection, password: str) -> None:
        profile = self._profile
        greeting = control.last_reply.text(profile.charset) if control.last_reply else ""
        if profile.virtual_host is not None:
            # Before the handshake (RFC 7151 §3.2): it may decide which certificate the server shows.
            await self._choose_host(control, profile.virtual_host)
        if profile.tls == "explicit":
            # It travels alone: nothing may be sent behind it before hands are shaken.
            await self._require(control, Command("AUTH", b"TLS"))
            try:
                await control.start_tls()
            except TlsError:
                self._learnt.handshake_failed()
                raise
        self._look_at_tls(control)
        self._offer_what_it_asks_for(control)
        await self._give_account(control, password)
        if profile.tls != "none":
            await self._require(control, Command("PBSZ", b"0"))
            await self._require(control, Command("PROT", b"P"))
        await self._require(control, Command("TYPE", b"A" if profile.transfer_type == "ascii" else b"I"))
        await self._learn_features(control, greeting)
        await self._agree_on_utf8(control)
        await self._prepare(control)
        if not control.usable:
            raise PeerProtocolError("malformed replies before a session has begun")

    def _look_at_tls(self, control: ControlConnection) -> None:
        """Remember what TLS has agreed on, and tell where it is weak, before the password goes over it."""
        tcp, learnt = control.connection, self._learnt
        learnt.tls_version, learnt.tls_cipher = tcp.tls_version, tcp.tls_cipher
        weak = weakness(learnt.tls_version, learnt.tls_cipher)
        if weak is not None and weak != learnt.tls_weakness and self._on_weak_tls is not None:
            self._on_weak_tls(weak)
        learnt.tls_weakness = weak

    def _offer_what_it_asks_for(self, control: ControlConnection) -> None:
        """Offer keys of the server's group from now on: to ask for them costs it a round trip each time."""
        group, learnt = control.group_asked_for, self._learnt
        if group is None or learnt.tls_group_failed or control.context is not self._context:
            return
        if self._context is not None and self._offers is None:
            self._context.set_ecdh_curve(group)
            self._offers = learnt.tls_group = group

    async def _learn_features(self, control: ControlConnection, greeting: str) -> None:
        """Ask what the server can do (RFC 2389), once for all sessions; other logins wait for the answer."""
        async with self._learning:
            if self._learnt.features is not None:
                return
            try:
                reply = await self._ask(control, Command("FEAT"))
            except RemoteError:
                # It may have been the network; a server that falls over it each time is not asked again.
                self._feat_failures += 1
                if self._feat_failures == _FEAT_ATTEMPTS:
                    self._learnt.features = Features()
                raise
            lines = None if reply.refused else reply.lines
            self._learnt.features = read_features(lines, greeting)

    async def _agree_on_utf8(self, control: ControlConnection) -> None:
        """Ask for UTF-8 names (RFC 2640): some servers that list them need to be told. None has to agree."""
        profile = self._profile
        if profile.disable_utf8 or check_charset(profile.charset) != "utf-8" or not self._learnt.listed.utf8:
            return
        reply = await self._ask(control, Command("OPTS", b"UTF8 ON"))
        self._learnt.found(Ability.UTF8, works=not reply.refused)

    async def _prepare(self, control: ControlConnection) -> None:
        """Send the commands that this remote wants after each login."""
        for line in self._profile.after_login:
            try:
                await self._require(control, self._profile.command(line))
            except (ReplyError, LocalProtocolError) as error:
                # No job is to blame, and none would be served as this remote's owner wants it.
                raise ConnectError(f"after the login: {error}") from error

    async def _choose_host(self, control: ControlConnection, host: str) -> None:
        command = Command("HOST", f"[{host}]".encode() if ":" in host else self._profile.encode(host))
        try:
            await self._require(control, command)
        except ReplyError as error:
            # To go on would be to show the account and password to another host.
            raise ConnectError(str(error)) from error

    async def _give_account(self, control: ControlConnection, password: str) -> None:
        command = Command("USER", self._profile.encode(self._profile.user))
        reply = await self._require(control, command)
        if reply.code == _NEED_PASSWORD:
            command = Command("PASS", self._profile.encode(password))
            reply = await self._require(control, command)
        if reply.code == _NEED_ACCOUNT and self._profile.account is not None:
            command = Command("ACCT", self._profile.encode(self._profile.account))
            reply = await self._require(control, command)
        if reply.kind == _GO_ON:
            raise classify(reply, command, charset=self._profile.charset)

    async def _require(self, control: ControlConnection, command: Command) -> Reply:
        reply = await control.exchange(command)
        if not reply.refused:
            return reply
        raise classify(reply, command, charset=self._profile.charset)

    async def _ask(self, control: ControlConnection, command: Command) -> Reply:
        """Send a command that may be refused, as long as the session lives."""
        reply = await control.exchange(command)
        if not control.alive:
            raise classify(reply, command, charset=self._profile.charset)
        return reply

    async def _read_password(self) -> str:
        try:
            return await trio.to_thread.run_sync(self._profile.password, limiter=self._readers)
        except OSError as error:
            raise NoPassword(f"no password for {self._profile.user}: {error}") from error
