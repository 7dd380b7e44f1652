"""What a socket is told when it is made, and before it is closed."""

import socket
import struct
from contextlib import suppress

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; not every Python 3.11 has a name for it
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


def set_keepalive(sock: socket.socket) -> None:
    """Find out within two minutes that nobody is there any more, though nothing is said."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def set_no_delay(sock: socket.socket) -> None:
    """Send at once: the last piece of a small file would wait until the one before is acknowledged."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset_on_close(sock: socket.socket) -> None:
    """Let the close be an error to the other side (RST), not an end (FIN)."""
    with suppress(OSError):  # the other side was faster
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def bind_address(sock: socket.socket, source: str) -> None:
    """Connect from an address of ours, on a port that is chosen only when we connect.

    A port chosen here would be taken from the same few ten thousand for all servers together.
    """
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
