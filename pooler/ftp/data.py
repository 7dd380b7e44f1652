"""A data connection: the bytes of one file, in one direction (RFC 959 §3.2, RFC 4217 §7).

The order is forced by servers: connect, send RETR or STOR, then shake hands; pure-ftpd and proftpd hang
otherwise (jlaffaye/ftp#282). Our first words of the handshake go out right behind the command, though, and
wait there for the server, which saves a round trip. Hands are shaken for an empty file too.

Neighbours: `session` opens and ends it, whoever moves the bytes uses it as a
`pooler.transfer.session.DataStream`.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from pooler.errors import DataConnectionError, TlsError
from pooler.ftp.passive import PassiveAddress
from pooler.ftp.profile import Profile
from pooler.ftp.proxy import connect_through
from pooler.ftp.tcp import TcpConnection

_PIECE_BYTES = 1 << 18


async def _connect(control: TcpConnection, address: PassiveAddress, profile: Profile) -> TcpConnection:
    proxy = profile.proxy
    connection = await TcpConnection.open_beside(
        control,
        address.port if proxy is None else proxy.port,
        host=address.host if proxy is None else None,
        stall_s=profile.stall_s,
        source=profile.bind_address,
    )
    if proxy is not None:
        try:
            await connect_through(connection, proxy, address.host or profile.host, address.port)
        except BaseException:
            connection.reset()
            raise
    return connection


class DataConnection:
    """One data connection.

    Args:
        connection: connected; owned by this object from now on.
        profile: limits.

    Attributes:
        failure: the error that ended it; None while it is well.
        stalled: whether that error was that nothing moved.
        meanwhile: called whenever a piece of data has moved; None for nothing.
    """

    def __init__(self, connection: TcpConnection, profile: Profile) -> None:
        self._connection = connection
        self._profile = profile
        self._received_bytes = 0
        self._ended = False
        self._resumed: bool | None = None
        self.failure: DataConnectionError | None = None
        self.stalled = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    @classmethod
    async def open(
        cls, control: TcpConnection, address: PassiveAddress, profile: Profile
    ) -> "DataConnection":
        """Connect to where the server listens, through the proxy where there is one.

        Args:
            control: of the session, whose host is the one to connect to unless the address has another. With
                a proxy it is the proxy that is connected to again, and the host goes to it by its name.
            address: where the server listens.
            profile: limits.

        Raises:
            DataConnectionError: nobody answers there. The session survives: no command is running.

        Cancellation: nothing is left open.
        """
        where = f"data port {address.port}"
        if profile.proxy is not None:
            where += f" through {profile.proxy}"
        try:
            with trio.fail_after(profile.connect_s):
                connection = await _connect(control, address, profile)
        except trio.TooSlowError:
            failure = DataConnectionError(f"{where}: no answer in {profile.connect_s:g} s")
        except OSError as error:
            failure = DataConnectionError(f"{where}: {error}")
        else:
            return cls(connection, profile)
        failure.session_survives = True
        raise failure

    def __repr__(self) -> str:
        return f"<DataConnection {self._connection!r} received={self._received_bytes}>"

    @property
    def received_bytes(self) -> int:
        """How much has come."""
        return self._received_bytes

    @property
    def ended(self) -> bool:
        """Whether the server has ended it."""
        return self._ended

    @property
    def ended_in_order(self) -> bool:
        """Whether nobody can have cut it off unseen: with TLS, whether close_notify came."""
        return self._connection.ended_in_order

    @property
    def tls_resumed(self) -> bool | None:
        """Whether it resumed the control connection's TLS session; None without TLS."""
        return self._resumed

    @property
    def descriptor(self) -> int | None:
        """The socket's descriptor, non-blocking, for splice and sendfile; None under TLS.

        Who receives past this object says so with `received_past`, and minds stalls.
        """
        return None if self._connection.tls else self._connection.descriptor

    def received_past(self, count: int) -> None:
        """Take note of bytes that were received through `descriptor`; 0 is the end."""
        self._received_bytes += count
        self._ended = not count

    def wrap_tls(self, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        """Put TLS on, before the command is sent; nothing is sent yet.

        Args:
            context: the control connection's.
            session: of the control connection, to resume.

        Raises:
            DataConnectionError: the connection is gone.
        """
        with self._handshake():
            self._connection.wrap_tls(context, self._profile.server_name, session)

    def begin_tls(self) -> None:
        """Send our first words, behind the command; call `finish_tls` once the server has said yes.

        Raises:
            DataConnectionError: the connection is gone.
        """
        with self._handshake():
            self._connection.begin_tls()

    async def finish_tls(self) -> None:
        """Shake hands.

        Raises:
            TlsError: the handshake failed.
            DataConnectionError: the connection broke, or it took longer than ``connect_s``.
        """
        with self._handshake():
            with trio.fail_after(self._profile.connect_s):
                await self._connection.finish_tls()
            self._resumed = self._connection.tls_resumed

    @contextmanager
    def _handshake(self) -> Iterator[None]:
        try:
            yield
        except trio.TooSlowError:
            raise DataConnectionError("TLS handshake of the data connection: no answer in time") from None
        except ssl.SSLError as error:
            raise TlsError(f"TLS handshake of the data connection: {error}") from error
        except OSError as error:
            raise DataConnectionError(f"TLS handshake of the data connection: {error}") from error

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive up to ``len(buffer)`` bytes, one at least; return how many, 0 at the end of the file.

        Raises:
            DataConnectionError: the connection broke, or nothing came for ``stall_s``.
        """
        with self._moving("receiving"):
            count = await self._connection.receive_into(buffer)
        self.received_past(count)
        if count and self.meanwhile is not None:
            await self.meanwhile()
        return count

    async def send_all(self, data: memoryview) -> None:
        """Send all of ``data``.

        Raises:
            DataConnectionError: the connection broke, or took nothing for ``stall_s``.
        """
        while data:
            piece, data = data[:_PIECE_BYTES], data[_PIECE_BYTES:]
            with self._moving("sending"):
                await self._connection.send_all(piece)
            if self.meanwhile is not None:
                await self.meanwhile()

    async def end_sending(self) -> None:
        """Say that the file ends here, and keep the socket open: nothing unread can turn this into a reset.

        Raises:
            DataConnectionError: the connection broke.
        """
        with self._moving("ending"):
            await self._connection.end_sending()

    @contextmanager
    def _moving(self, doing: str) -> Iterator[None]:
        try:
            yield
        except trio.TooSlowError:
            self.stalled = True
            self.failure = DataConnectionError(f"{doing}: nothing moved for {self._profile.stall_s:g} s")
            raise self.failure from None
        except (OSError, trio.ClosedResourceError) as error:
            self.failure = DataConnectionError(f"{doing}: {error}")
            raise self.failure from error

    def close(self) -> None:
        """Close in order. Never fails."""
        self._connection.close()

    def reset(self) -> None:
        """Close so that the server cannot take the part for the whole. Never fails."""
        self._connection.reset()
