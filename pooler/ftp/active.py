"""Active mode: we listen, tell the server where, and it connects (RFC 959 §3.2 and §4.1.2, RFC 2428 §2).

A listener lives for one transfer. It listens on the address from which the control connection goes out, on
any free port or one of a range, and offers that address or, from behind a NAT, the one that the server sees.
Whoever else connects, so as to get the file or to give us another, is reset and waited past.

A server whose connection we have not taken yet waits in the kernel's queue: the order of its 150 and its
connect does not matter.

Neighbours: `transfers` offers and accepts, `data` is what comes of it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

import trio

from pooler.errors import DataConnectionError, SessionLost
from pooler.ftp.data import DataConnection
from pooler.ftp.learnt import Learnt
from pooler.ftp.profile import Profile
from pooler.ftp.socket_options import reset_on_close, set_no_delay
from pooler.ftp.tcp import TcpConnection
from pooler.ftp.wire import Command

_BACKLOG = 8  # strangers may stand before the server


def port_command(address: str, port: int) -> Command:
    """Say PORT (RFC 959 §4.1.2).

    Args:
        address: numeric, IPv4.
        port: 1 to 65535.
    """
    high, low = divmod(port, 256)
    return Command("PORT", f"{address.replace('.', ',')},{high},{low}".encode("ascii"))


def eprt_command(address: str, port: int) -> Command:
    """Say EPRT (RFC 2428 §2).

    Args:
        address: numeric, IPv4 or IPv6; a zone (``%eth0``) means nothing to the server and is left out.
        port: 1 to 65535.
    """
    address = address.partition("%")[0]
    family = 2 if ipaddress.ip_address(address).version == 6 else 1  # noqa: PLR2004 - the protocol's own names
    return Command("EPRT", f"|{family}|{address}|{port}|".encode("ascii"))


class Listener:
    """Waits for the server's data connection. A context manager: it is closed at the end of the block.

    Args:
        sock: listening; owned by this object from now on.
        server: the one address that may connect.
        profile: limits, and the address to offer.
    """

    def __init__(self, sock: socket.socket, server: str, profile: Profile) -> None:
        self._sock = sock
        self._server = server
        self._profile = profile

    @classmethod
    def open(cls, control: TcpConnection, profile: Profile, learnt: Learnt) -> "Listener":
        """Listen, on the address from which ``control`` goes out.

        Args:
            control: of the session.
            profile: limits, ports, and the address to offer.
            learnt: remembers whose turn it is of the ports.

        Raises:
            DataConnectionError: there is no port to listen on. The session survives: no command is running.
            SessionLost: the control connection is gone.
        """
        try:
            address, server = control.local_address, control.address[0]
        except OSError as error:
            raise SessionLost(f"active mode: {error}") from error
        busy: OSError | None = None
        for port in _turns(profile.active_ports, learnt):
            sock = socket.socket(control.family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                # A connection that a port had before may still be dying.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address[0], port, *address[2:]))
                sock.listen(_BACKLOG)
            except OSError as error:
                sock.close()
                busy = error
            else:
                return cls(sock, server, profile)
        ports = (
            "any port" if profile.active_ports is None else "a port of {}-{}".format(*profile.active_ports)
        )
        failure = DataConnectionError(f"active mode: cannot listen on {ports}: {busy}")
        failure.session_survives = True
        raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        return False

    def __repr__(self) -> str:
        return f"<Listener {self._sock.fileno()} for {self._server}>"

    def commands(self, *, eprt_refused: bool) -> tuple[Command, ...]:
        """Give what may be said of where we listen, the best first.

        IPv6 has EPRT alone. With IPv4 it comes first too, unless it is known to be refused.

        Args:
            eprt_refused: the server knows no EPRT.
        """
        address, port = self._sock.getsockname()[:2]
        address = self._profile.active_address or address
        extended = eprt_command(address, port)
        if ":" in address:
            return (extended,)
        plain = port_command(address, port)
        return (plain,) if eprt_refused else (extended, plain)

    async def accept(self) -> DataConnection:
        """Wait for the server to connect, ``connect_s`` at most; reset everybody else.

        Raises:
            DataConnectionError: it does not connect. A command is running, so the session is over unless its
                reply says more.

        Cancellation: no connection is left open.
        """
        try:
            with trio.fail_after(self._profile.connect_s):
                while True:
                    await trio.lowlevel.wait_readable(self._sock)
                    sock = self._next()
                    if sock is not None:
                        return DataConnection(
                            TcpConnection(sock, stall_s=self._profile.stall_s), self._profile
                        )
        except trio.TooSlowError:
            limit_s = self._profile.connect_s
            raise DataConnectionError(f"active mode: the server did not connect in {limit_s:g} s") from None
        except OSError as error:
            raise DataConnectionError(f"active mode: {error}") from error

    def _next(self) -> socket.socket | None:
        """Take one connection out of the queue; None where it has gone again, or is a stranger's."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            sock, address = self._sock.accept()
            if address[0] == self._server:
                set_no_delay(sock)
                return sock
            reset_on_close(sock)
            sock.close()
        return None


def _turns(ports: tuple[int, int] | None, learnt: Learnt) -> Iterable[int]:
    """Give each port of the range once, beginning behind the one that was tried last.

    A port that rests is one whose last connection the server, which always comes from its port 20, may have
    forgotten too.
    """
    if ports is None:
        yield 0
        return
    first, last = ports
    count = last - first + 1
    for _ in range(count):
        port = first + learnt.active_turn % count
        learnt.active_turn += 1
        yield port
