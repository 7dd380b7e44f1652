"""A data connection: the bytes of one file, in one direction (RFC 959 §3.2, RFC 4217 §7).

The order is forced by servers: connect, send RETR or STOR, then shake hands; pure-ftpd and proftpd hang
otherwise (jlaffaye/ftp#282). Our first words of the handshake go out right behind the command, though, and
wait there for the server, which saves a round trip. Hands are shaken for an empty file too.

Neighbours: `ports` opens it, `transfers` ends it, whoever moves the bytes uses it as a
`pooler.transfer.session.DataStream`.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import trio

from pooler.errors import DataConnectionError, TlsError
from pooler.ftp.passive import PassiveAddress
from pooler.ftp.profile import Profile
from pooler.ftp.proxy import connect_through
from pooler.ftp.tcp import TcpConnection
from pooler.transfer.session import Stat

_PIECE_BYTES = 1 << 18
_GATHERED_BYTES = 32 * 1024  # half of the window that a socket offers at first


def begin_connect(control: TcpConnection, address: PassiveAddress, profile: Profile) -> TcpConnection:
    """Begin to connect to where the server listens, or to the proxy; nothing waits.

    Raises:
        OSError: that cannot be begun.
    """
    proxy = profile.proxy
    return TcpConnection.begin_beside(
        control,
        address.port if proxy is None else proxy.port,
        host=address.host if proxy is None else None,
        stall_s=profile.stall_s,
        source=profile.bind_address,
    )


async def _finish_connect(connection: TcpConnection, address: PassiveAddress, profile: Profile) -> None:
    until = trio.current_time() + profile.connect_s
    try:
        await connection.finish_connect(until=until)
        if profile.proxy is not None:
            with trio.fail_at(until):
                await connect_through(connection, profile.proxy, address.host or profile.host, address.port)
    except BaseException:
        connection.reset()
        raise


class DataConnection:
    """One data connection.

    Args:
        connection: connected; owned by this object from now on.
        profile: limits.

    Attributes:
        failure: the error that ended it; None while it is well.
        told: what the server said of the file in the write that began the transfer; None where nobody asked.
        told_again: the same, behind the transfer; None, too, where that is still to be asked.
        stalled: whether that error was that nothing moved.
        meanwhile: called whenever a piece of data has come, or before one more is sent; None for nothing.
        first_bytes: how many are sent before that is called for the first time.
    """

    def __init__(self, connection: TcpConnection, profile: Profile) -> None:
        self._connection = connection
        self._profile = profile
        self._received_bytes = 0
        self._has_sent = False
        self._ended = False
        self._resumed: bool | None = None
        self.failure: DataConnectionError | None = None
        self.told: Stat | None = None
        self.told_again: Stat | None = None
        self.stalled = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.first_bytes = _PIECE_BYTES

    @classmethod
    async def open(
        cls,
        control: TcpConnection,
        address: PassiveAddress,
        profile: Profile,
        *,
        begun: TcpConnection | None = None,
    ) -> "DataConnection":
        """Connect to where the server listens, through the proxy where there is one.

        Args:
            control: of the session, whose host is the one to connect to unless the address has another. With
                a proxy it is the proxy that is connected to again, and the host goes to it by its name.
            address: where the server listens.
            profile: limits.
            begun: on its way there already, by `begin_connect`; owned by this call.

        Raises:
            DataConnectionError: nobody answers there. The session survives: no command is running.

        Cancellation: nothing is left open.
        """
        where = f"data port {address.port}"
        if profile.proxy is not None:
            where += f" through {profile.proxy}"
        try:
            connection = begun or begin_connect(control, address, profile)
            await _finish_connect(connection, address, profile)
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
    def plain(self) -> bool:
        """Whether its bytes are the file's own, so that the kernel can move them: not under TLS."""
        return self._connection.tls is None

    def gather(self) -> None:
        """Take what comes in larger pieces than packets, where that cannot hold up an end.

        Under TLS it could: the last words of all are few, and behind them the connection may stay open.
        """
        if self.plain:
            self._connection.gather(_GATHERED_BYTES)

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
        await self._received(count)
        return count

    async def splice_into(self, pipe: int, room: int) -> int | None:
        """Receive into a pipe, where it is `plain`; as `receive_into`.

        Args:
            pipe: the descriptor of its writing end, non-blocking.
            room: how many bytes at most.

        Returns:
            How many; 0 at the end of the file; None where the pipe has no room for what is there.
        """
        with self._moving("receiving"):
            count = await self._connection.splice_into(pipe, room)
        if count is not None:
            await self._received(count)
        return count

    async def _received(self, count: int) -> None:
        self._received_bytes += count
        self._ended = not count
        if count and self.meanwhile is not None:
            await self.meanwhile()

    async def send_all(self, data: memoryview) -> None:
        """Send all of ``data``.

        Raises:
            DataConnectionError: the connection broke, or took nothing for ``stall_s``.
        """
        while data:
            size_bytes = await self._next_piece(len(data))
            piece, data = data[:size_bytes], data[size_bytes:]
            with self._moving("sending"):
                await self._connection.send_all(piece)

    async def splice_from(self, pipe: int, size_bytes: int) -> None:
        """Send so many bytes that a pipe holds, where it is `plain`; as `send_all`.

        Args:
            pipe: the descriptor of its reading end, non-blocking.
            size_bytes: no more than it holds.
        """
        while size_bytes:
            piece_bytes = await self._next_piece(size_bytes)
            with self._moving("sending"):
                await self._connection.splice_from(pipe, piece_bytes)
            size_bytes -= piece_bytes

    async def _next_piece(self, left_bytes: int) -> int:
        """Do what is to be done between two pieces, and tell how large the next one is."""
        if not self._has_sent:
            self._has_sent = True
            return min(left_bytes, self.first_bytes)
        if self.meanwhile is not None:
            await self.meanwhile()
        return min(left_bytes, _PIECE_BYTES)

    async def end_sending(self) -> None:
        """Say that the file ends here, and keep the socket open: nothing unread can turn this into a reset.

        Raises:
            DataConnectionError: the connection broke.
        """
        with self._moving("ending"):
            await self._connection.end_sending()

    def _moving(self, doing: str) -> "_Moving":
        return _Moving(self, doing)

    def _broke(self, doing: str, error: BaseException) -> DataConnectionError | None:
        """Remember what ended it, and say it in our words; None for what is no error of the network's."""
        if isinstance(error, trio.TooSlowError):
            self.stalled = True
            self.failure = DataConnectionError(f"{doing}: nothing moved for {self._profile.stall_s:g} s")
            return self.failure
        if isinstance(error, OSError | trio.ClosedResourceError):
            self.failure = DataConnectionError(f"{doing}: {error}")
            return self.failure
        return None

    def close(self) -> None:
        """Close in order. Never fails."""
        self._connection.close()

    def reset(self) -> None:
        """Close so that the server cannot take the part for the whole. Never fails."""
        self._connection.reset()


class _Moving:
    """The block in which bytes move: its errors become ours. A class, for it is entered for each piece."""

    __slots__ = ("_data", "_doing")

    def __init__(self, data: DataConnection, doing: str) -> None:
        self._data = data
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = None if error is None else self._data._broke(self._doing, error)  # noqa: SLF001 - its own
        if failure is not None:
            raise failure from (None if isinstance(error, trio.TooSlowError) else error)
