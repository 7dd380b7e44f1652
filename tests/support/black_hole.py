"""A server that answers no SYN."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


@contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port whose queue is full, so that the kernel answers no SYN."""
    with socket.create_server((HOST, 0), backlog=0) as full, socket.socket() as caller:
        caller.setblocking(False)
        caller.connect_ex(full.getsockname())
        yield full.getsockname()[1]
