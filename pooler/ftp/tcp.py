"""One TCP connection, plain or under TLS, for control and data alike.

Plan: a non-blocking socket of the standard library, driven by Trio's `wait_readable` and `wait_writable`.
Each operation is tried first and waits only where it would block. Ways not taken:

* `trio.SSLStream` moves every byte through two memory buffers. An ``ssl.SSLSocket`` on the descriptor itself
  took a quarter less time in TLS 1.3, and it can receive into a buffer of the caller's.
* `trio.SSLStream.aclose` after an upload loses the tail in TLS 1.3, because unread session tickets turn the
  close into a reset. Here the sending side is ended alone (`end_sending`), and the socket stays open until
  the server's final reply has come, whatever else it sends meanwhile.

Errors of the network come out as they are (``OSError``, ``ssl.SSLError``, ``trio.TooSlowError`` for a stall);
`control` and `data` translate them.
"""

import hashlib
import math
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import trio
from cryptography import x509

T = TypeVar("T")

_CHECKPOINT_BYTES = 1 << 20
"""Other tasks get their turn at least every so many bytes, even if the network never makes us wait."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; not every Python 3.11 has a name for it
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the other side has shown of itself.

    Attributes:
        der: the certificate as it came over the wire.
    """

    der: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """The hexadecimal fingerprint."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def not_after(self) -> datetime | None:
        """When it expires, with a time zone; None where it is so odd that it cannot be read."""
        try:
            return x509.load_der_x509_certificate(self.der).not_valid_after_utc
        except (ValueError, x509.InvalidVersion):
            return None


def set_no_delay(sock: socket.socket) -> None:
    """Send at once: the last piece of a small file would wait until the one before is acknowledged."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset_on_close(sock: socket.socket) -> None:
    """Let the close be an error to the other side (RST), not an end (FIN)."""
    with suppress(OSError):  # the other side was faster
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


async def _connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
    with suppress(BlockingIOError):
        sock.connect(address)
    await trio.lowlevel.wait_writable(sock)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _bind_address(sock: socket.socket, source: str) -> None:
    """Connect from an address of ours, on a port that is chosen only when we connect.

    A port chosen here would be taken from the same few ten thousand for all servers together.
    """
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))


class TcpConnection:
    """A connected socket.

    Args:
        sock: connected; owned by this object from now on.
        stall_s: how long one wait for the other side may take, in seconds; without it waits have no end of
            their own and the caller opens a scope.
    """

    def __init__(self, sock: socket.socket, *, stall_s: float = math.inf) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._stall_s = stall_s
        self._since_checkpoint = 0
        self._ended = False
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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return cls(sock)

    @classmethod
    async def open_beside(
        cls,
        other: "TcpConnection",
        port: int,
        *,
        host: str | None = None,
        stall_s: float = math.inf,
        source: str | None = None,
    ) -> "TcpConnection":
        """Connect to another port of the host that ``other`` is connected to.

        Args:
            other: whose address to use.
            port: where to.
            host: a numeric IPv4 address to use instead; None for the same one.
            stall_s: see the class.
            source: our own address to connect from; None for the one that routing chooses.

        Cancellation: nothing is left open.
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
                _bind_address(sock, source)
            await _connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return cls(sock, stall_s=stall_s)

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
    def descriptor(self) -> int:
        """The file descriptor, for whoever moves plain bytes past this object."""
        return self._sock.fileno()

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The TLS socket; None where the bytes are plain."""
        return self._sock if isinstance(self._sock, ssl.SSLSocket) else None

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What another connection may resume: the newest ticket that has come; None without TLS."""
        return self.tls.session if self.tls else None

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
        self._sock = context.wrap_socket(
            self._sock,
            server_hostname=server_name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=session,
        )

    def begin_tls(self) -> None:
        """Send our first words of the handshake, as far as that goes without waiting."""
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._wrapped().do_handshake()

    async def finish_tls(self) -> None:
        """Shake hands."""
        await self._until(self._wrapped().do_handshake, trio.lowlevel.wait_readable)

    def _wrapped(self) -> ssl.SSLSocket:
        if self.tls is None:
            raise RuntimeError("wrap_tls comes first")
        return self.tls

    def receive_now(self, buffer: memoryview) -> int | None:
        """Receive what is there already; None where nothing is, 0 at the end."""
        try:
            return self._receive(buffer)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive at least a byte, up to ``len(buffer)``; return how many, 0 at the end."""
        count = await self._until(partial(self._receive, buffer), trio.lowlevel.wait_readable)
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

    async def send_all(self, data: memoryview) -> None:
        """Send all of ``data``."""
        while data:
            count = await self._until(partial(self._sock.send, data), trio.lowlevel.wait_writable)
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
        if not self.tls:
            return self._sock.recv_into(buffer)
        filled = 0
        while not self._ended and filled < len(buffer):
            try:
                count = self._sock.recv_into(buffer[filled:])
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

    async def _until(self, step: Callable[[], T], or_wait: Callable[[Any], Awaitable[None]]) -> T:
        if self._since_checkpoint < _CHECKPOINT_BYTES:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._since_checkpoint = 0
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                wait: Callable[[Any], Awaitable[None]] = trio.lowlevel.wait_readable
            except ssl.SSLWantWriteError:
                wait = trio.lowlevel.wait_writable
            except BlockingIOError:
                wait = or_wait
            self._since_checkpoint = 0
            if self._stall_s == math.inf:
                await wait(self._sock)
            else:
                with trio.fail_after(self._stall_s):
                    await wait(self._sock)


def _is_ragged_end(error: ssl.SSLError) -> bool:
    """Whether the other side ended without a close_notify; not all builds of Python have a class for it."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
