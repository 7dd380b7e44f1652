"""One TCP connection, plain or under TLS, for control and data alike.

Plan: a non-blocking socket of the standard library, driven by Trio's `wait_readable` and `wait_writable`.
Each operation is tried first and waits only where it would block. A limit goes to the wait itself, as a time
(`until`): a scope of Trio's costs as much as the rest of a small exchange, and most of these never wait. Ways
not taken:

* `trio.SSLStream` moves every byte through two memory buffers. An ``ssl.SSLSocket`` on the descriptor itself
  took a quarter less time in TLS 1.3, and it can receive into a buffer of the caller's.
* `trio.SSLStream.aclose` after an upload loses the tail in TLS 1.3, because unread session tickets turn the
  close into a reset. Here the sending side is ended alone (`end_sending`), and the socket stays open until
  the server's final reply has come, whatever else it sends meanwhile.

Errors of the network come out as they are (``OSError``, ``ssl.SSLError``, ``trio.TooSlowError`` for a stall);
`control` and `data` translate them.
"""

import errno
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import trio

from pooler.ftp.certificate import Certificate
from pooler.ftp.socket_options import bind_address, reset_on_close, set_keepalive, set_no_delay

T = TypeVar("T")

_CHECKPOINT_BYTES = 1 << 20
"""Other tasks get their turn at least every so many bytes, even if the network never makes us wait."""
_LULL_S = 0.5  # twice the round trip of a line around the world
_TICKET_KEPT_S = 60.0
"""To take the newest ticket is to copy the session and to read its certificate anew."""
_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
_ANSWER_BYTES = 512
_CONNECTING = frozenset({errno.EINPROGRESS, errno.EALREADY})


class TcpConnection:
    """A connected socket.

    Args:
        sock: connected; owned by this object from now on.
        stall_s: how long one wait for the other side may take, in seconds; without it waits have no end of
            their own and the caller opens a scope.
        connecting_to: where it is still on its way to; None once it is connected.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        stall_s: float = math.inf,
        connecting_to: tuple[Any, ...] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._connecting_to = connecting_to
        self._stall_s = stall_s
        self._since_checkpoint = 0
        self._ended = False
        self._gathers = False
        self._tls: ssl.SSLSocket | None = None
        self._ticket: ssl.SSLSession | None = None
        self._ticket_until = -math.inf
        self.ended_in_order = True
        """Whether the other side's end, once received, was a proper one: with TLS, a close_notify."""

    @classmethod
    async def open(cls, host: str, port: int, *, source: str | None = None) -> "TcpConnection":
        """Connect to a host by name, on whichever of its addresses answers first, with keepalive set.

        Args:
            host: name or address.
            port: where to.
            source: our own address to connect from; None for the one that routing chooses.

        Cancellation: nothing is left open.
        """
        stream = await trio.open_tcp_stream(host, port, local_address=source)
        sock = socket.socket(fileno=stream.socket.detach())
        set_keepalive(sock)
        return cls(sock)

    @classmethod
    def begin_beside(
        cls,
        other: "TcpConnection",
        port: int,
        *,
        host: str | None = None,
        stall_s: float = math.inf,
        source: str | None = None,
    ) -> "TcpConnection":
        """Begin to connect to another port of the host that ``other`` is connected to; nothing waits.

        Args:
            other: whose address to use.
            port: where to.
            host: a numeric IPv4 address to use instead; None for the same one.
            stall_s: see the class.
            source: our own address to connect from; None for the one that routing chooses.

        Returns:
            A connection that is good for `finish_connect`, `reset` and `close` alone so far.
        """
        if host:
            family, address = socket.AF_INET, (host, port)
        else:
            family, address = other.family, (other.address[0], port, *other.address[2:])
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            set_no_delay(sock)
            if source:
                bind_address(sock, source)
            with suppress(BlockingIOError):
                sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return cls(sock, stall_s=stall_s, connecting_to=address)

    async def finish_connect(self, *, until: float = math.inf) -> None:
        """Wait until it stands.

        Args:
            until: limit, in seconds of ``trio.current_time()``.

        Raises:
            OSError: nobody answers there.
            trio.TooSlowError: it did not stand in time.
        """
        if self._connecting_to is None:
            return
        # A near server has answered by now; to be told so costs less than to wait for it.
        error = self._sock.connect_ex(self._connecting_to)
        if error in _CONNECTING:
            await self._wait(trio.lowlevel.wait_writable, until)
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error not in (0, errno.EISCONN):
            raise OSError(error, os.strerror(error))
        self._connecting_to = None

    def __repr__(self) -> str:
        return f"<TcpConnection {'TLS ' if self.tls else ''}{self._sock.fileno()}>"

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        return self._sock.family

    @property
    def address(self) -> tuple[Any, ...]:
        """The other side's address, as the socket module has it."""
        address: tuple[Any, ...] = self._sock.getpeername()
        return address

    @property
    def local_address(self) -> tuple[Any, ...]:
        """Our own address on it, as the socket module has it."""
        address: tuple[Any, ...] = self._sock.getsockname()
        return address

    @property
    def closed(self) -> bool:
        """Whether we closed it."""
        return self._sock.fileno() < 0

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS socket; None where the bytes are plain."""
        return self._tls

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What another connection may resume: the newest ticket of a minute ago at most; None without TLS."""
        if self._tls is None:
            return None
        now = trio.current_time()
        if now >= self._ticket_until:
            self._ticket = self._tls.session
            # In TLS 1.3 tickets come behind the handshake: one may be on its way.
            has_come = self._ticket is not None and (
                self._ticket.has_ticket or self._tls.version() != "TLSv1.3"
            )
            self._ticket_until = now + _TICKET_KEPT_S if has_come else -math.inf
        return self._ticket

    @property
    def tls_resumed(self) -> bool | None:
        """Whether this connection resumed another's session; None without TLS."""
        return self.tls.session_reused if self.tls else None

    @property
    def tls_version(self) -> str | None:
        """Such as ``TLSv1.3``; None without TLS."""
        return self.tls.version() if self.tls else None

    @property
    def tls_cipher(self) -> str | None:
        """OpenSSL's name of the cipher in use; None without TLS."""
        cipher = self.tls.cipher() if self.tls else None
        return cipher[0] if cipher else None

    @property
    def certificate(self) -> Certificate | None:
        """The other side's certificate; None without one."""
        der = self.tls.getpeercert(binary_form=True) if self.tls else None
        return Certificate(der) if der else None

    def wrap_tls(
        self, context: ssl.SSLContext, server_name: str, session: ssl.SSLSession | None = None
    ) -> None:
        """Put TLS on; nothing is sent yet.

        Args:
            context: of the client's side.
            server_name: whom we want to speak to.
            session: what to resume; of a connection with the same context.
        """
        self._sock.getpeername()  # fails where the connection is gone; wrap_socket would lose the socket
        self._sock = self._tls = context.wrap_socket(
            self._sock,
            server_hostname=server_name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=session,
        )

    def begin_tls(self) -> bool:
        """Send our first words of the handshake, and go on as far as that goes without waiting.

        Returns:
            Whether all has been said: the answer may have come before we looked for one.
        """
        try:
            self._wrapped().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    async def tls_answer(self) -> bytes:
        """Wait for the server's next words in a handshake that has not ended, and leave them where they are.

        Returns:
            Bytes as they are on the wire; nothing at the end of the connection.
        """
        # A socket with TLS on refuses flags; what it wraps does not.
        peek = partial(socket.socket.recv, self._wrapped(), _ANSWER_BYTES, socket.MSG_PEEK)
        return await self._until(peek, trio.lowlevel.wait_readable)

    async def finish_tls(self) -> None:
        """Shake hands."""
        await self._until(self._wrapped().do_handshake, trio.lowlevel.wait_readable)

    def _wrapped(self) -> ssl.SSLSocket:
        if self.tls is None:
            raise RuntimeError("wrap_tls comes first")
        return self.tls

    def gather(self, size_bytes: int) -> None:
        """Be woken for so many plain bytes, or the end, and not for each packet, until fewer come.

        What is there is received nevertheless. Over a long link a packet comes alone, and to be woken for it
        costs many times what it takes to receive it.
        """
        self._wake_at(size_bytes)
        self._gathers = True

    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive what is there already; None where nothing is, 0 at the end."""
        try:
            return self._receive(buffer)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    async def receive_into(self, buffer: memoryview, *, until: float = math.inf) -> int:
        """Receive at least a byte, up to ``len(buffer)``; return how many, 0 at the end.

        Args:
            buffer: where to.
            until: limit, in seconds of ``trio.current_time()``.

        Raises:
            trio.TooSlowError: nothing came in time.
        """
        if self._tls is not None:
            count = await self._until(partial(self._receive, buffer), trio.lowlevel.wait_readable, until)
        else:
            await self._give_turns()
            yielded = False
            while True:
                try:
                    count = self._sock.recv_into(buffer)
                    break
                except BlockingIOError:
                    if yielded:
                        await self._wait_for_more(until)
                    else:
                        # A near server often answers while the others have their turn, and to be woken
                        # costs ten times as much as to look again.
                        yielded = True
                        await self._yield()
        self._since_checkpoint += count
        return count

    async def receive_through(self, end: bytes, limit: int) -> bytes:
        """Receive plain bytes through the first ``end``, and not one more; nothing if it ends before.

        For what goes before the protocol proper, where the next byte is somebody else's.

        Args:
            end: what to look for.
            limit: the most bytes to receive.

        Raises:
            OSError: there is no ``end`` within ``limit`` bytes.
        """
        received = b""
        while not received.endswith(end):
            left = limit - len(received)
            if not left:
                raise OSError(f"more than {limit} bytes without an end")
            waiting = await self._until(
                partial(self._sock.recv, left, socket.MSG_PEEK), trio.lowlevel.wait_readable
            )
            if not waiting:
                return b""
            # The end may have begun in what was received before.
            found = (received + waiting).find(end)
            received += self._sock.recv(len(waiting) if found < 0 else found + len(end) - len(received))
        return received

    async def send_all(self, data: memoryview, *, until: float = math.inf) -> None:
        """Send all of ``data``.

        Args:
            data: what to send.
            until: limit, in seconds of ``trio.current_time()``.

        Raises:
            trio.TooSlowError: it was not taken in time.
        """
        while data:
            count = await self._until(partial(self._sock.send, data), trio.lowlevel.wait_writable, until)
            self._since_checkpoint += count
            data = data[count:]

    async def end_sending(self) -> None:
        """Say that no more will come (with TLS by close_notify first), and stay open for receiving."""
        if self.tls:
            await self._until(self._say_goodbye, trio.lowlevel.wait_writable)
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close, with TLS saying goodbye if that can be done without waiting. Never fails."""
        if self.closed:
            return
        if self.tls:
            with suppress(OSError, ValueError):  # the other side is gone, or the goodbye was said before
                self._say_goodbye()
        self._close()

    def reset(self) -> None:
        """Close so that the other side gets an error, never an end that looks complete (RST, not FIN)."""
        if self.closed:
            return
        reset_on_close(self._sock)
        self._close()

    def _close(self) -> None:
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    def _say_goodbye(self) -> None:
        """Send close_notify, and do not wait for the answer."""
        if self.tls:
            with suppress(ssl.SSLWantReadError):  # ours is out; theirs would be next
                self.tls.unwrap()

    def _receive(self, buffer: memoryview) -> int:
        """Receive what is there; of TLS as many records as fit, for each is 16 KiB at most."""
        tls = self._tls
        if tls is None:
            return self._sock.recv_into(buffer)
        filled, room = 0, len(buffer)
        while not self._ended and filled < room:
            try:
                # `read` is what `recv_into` calls; it takes no buffer of no length.
                count = int(tls.read(room - filled, buffer[filled:] if filled else buffer))
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not filled:
                    raise
                break
            except ssl.SSLError as error:
                if not _is_ragged_end(error):
                    raise
                self.ended_in_order = False
                count = 0
            self._ended = not count
            filled += count
        return filled

    async def splice_into(self, pipe: int, room: int) -> int | None:
        """Move plain bytes into a pipe, one at least.

        Args:
            pipe: the descriptor of its writing end, non-blocking.
            room: how many at most.

        Returns:
            How many; 0 at the end; None where the pipe has no room for what is there.
        """
        splice = partial(os.splice, self._sock.fileno(), pipe, room, flags=_SPLICE)
        await self._give_turns()
        try:
            count = splice()
        except BlockingIOError:
            await self._wait_for_more(math.inf)
            try:
                count = splice()
            except BlockingIOError:
                return None  # something is there, so it is the pipe that cannot take it
        self._since_checkpoint += count
        return count

    async def splice_from(self, pipe: int, size_bytes: int) -> None:
        """Send so many bytes that a pipe holds.

        Args:
            pipe: the descriptor of its reading end, non-blocking.
            size_bytes: no more than it holds.
        """
        await self._give_turns()
        into = self._sock.fileno()
        while size_bytes:
            try:
                count = os.splice(pipe, into, size_bytes, flags=_SPLICE)
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_writable)
                continue
            self._since_checkpoint += count
            size_bytes -= count

    async def _give_turns(self) -> None:
        if self._since_checkpoint < _CHECKPOINT_BYTES:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await self._yield()

    async def _yield(self) -> None:
        self._since_checkpoint = 0
        await trio.lowlevel.checkpoint()

    async def _wait_for_more(self, until: float) -> None:
        """Wait for plain bytes: as many as are worth it, or the end; after a lull any will do, for good."""
        if self._gathers:
            lull_at = trio.current_time() + _LULL_S
            try:
                await self._wait(trio.lowlevel.wait_readable, min(until, lull_at))
            except trio.TooSlowError:
                if until <= lull_at:
                    raise
                self._wake_at(1)
                self._gathers = False
            else:
                return
        await self._wait(trio.lowlevel.wait_readable, until)

    def _wake_at(self, size_bytes: int) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)

    async def _wait(self, wait: Callable[[Any], Awaitable[None]], until: float = math.inf) -> None:
        self._since_checkpoint = 0
        if self._stall_s < math.inf:
            until = min(until, trio.current_time() + self._stall_s)
        if until == math.inf:
            await wait(self._sock)
            return
        with trio.CancelScope(deadline=until) as scope:
            await wait(self._sock)
        if scope.cancelled_caught:
            raise trio.TooSlowError

    async def _until(
        self,
        step: Callable[[], T],
        or_wait: Callable[[Any], Awaitable[None]],
        until: float = math.inf,
    ) -> T:
        await self._give_turns()
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                wait: Callable[[Any], Awaitable[None]] = trio.lowlevel.wait_readable
            except ssl.SSLWantWriteError:
                wait = trio.lowlevel.wait_writable
            except BlockingIOError:
                wait = or_wait
            await self._wait(wait, until)


def _is_ragged_end(error: ssl.SSLError) -> bool:
    """Whether the other side ended without a close_notify; not all builds of Python have a class for it."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
