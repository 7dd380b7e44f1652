"""A relay in front of a scripted server that cuts one connection behind an exact number of bytes.

``async with cutting(server, Cut(…)) as relay:`` stands on a free loopback port, hands on both ways, and has
the server's EPSV tell a port of its own, so that data connections go through it as well. What it counts are
the bytes of the wire: those of TLS where there is TLS.

Whatever the client sees at the cut, the server sees a reset unless it is told otherwise: a FIN would make out
a part to it to be a whole file, as only something in between can that ends connections in order.
"""

import math
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import trio

from tests.support.scripted import HOST, Connection, ScriptedServer

How = Literal["FIN", "RST"]


class Flow(NamedTuple):
    """One direction of one connection.

    Attributes:
        connection: ``control``, or ``data`` and its number from 1.
        direction: ``down`` to the client, ``up`` to the server.
    """

    connection: str
    direction: Literal["down", "up"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut.

    Attributes:
        flow: whose bytes are counted.
        after: how many of them are handed on first.
        how: what the client sees.
        server_sees: the same for the server.
        takes_all: whether the other connections go with it, as where the server itself is gone.
    """

    flow: Flow
    after: int
    how: How
    server_sees: How = "RST"
    takes_all: bool = False


class Relay:
    """Hands on, and cuts.

    Attributes:
        port: of the control connection.
        passed: how many bytes have passed so far.
        has_cut: whether the cut has come.
    """

    def __init__(self, server: ScriptedServer, cut: Cut | None, nursery: trio.Nursery) -> None:
        self._server = server
        self._cut = cut
        self._nursery = nursery
        self._data_connections = 0
        self._scopes: list[trio.CancelScope] = []
        self.port = 0
        self.passed: Counter[Flow] = Counter()
        self.has_cut = False

    async def listen(self, connection: str, onward_port: int) -> int:
        """Take one connection, and hand on what it says; return the port."""
        (listener,) = await trio.open_tcp_listeners(0, host=HOST)
        self._nursery.start_soon(self._take, listener, connection, onward_port)
        port: int = listener.socket.getsockname()[1]
        return port

    async def epsv(self, connection: Connection, _: bytes) -> None:
        """Answer EPSV in the server's place, in as many bytes each time."""
        self._data_connections += 1
        port = await self.listen(f"data {self._data_connections}", await connection.listen())
        await connection.say(b"229 Listening (|||%05d|)" % port)

    async def _take(self, listener: trio.SocketListener, connection: str, onward_port: int) -> None:
        async with listener:
            client = (await listener.accept()).socket
        with client, trio.socket.socket() as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await server.connect((HOST, onward_port))
            except OSError:
                reset_on_close(client)
                return
            async with trio.open_nursery() as nursery:
                both = nursery.cancel_scope
                self._scopes.append(both)
                nursery.start_soon(self._pass, Flow(connection, "down"), server, client, both)
                nursery.start_soon(self._pass, Flow(connection, "up"), client, server, both)
            cut = self._cut
            if cut is not None and self.has_cut and (cut.takes_all or cut.flow.connection == connection):
                await _end(server, cut.server_sees)
                await _end(client, cut.how)

    async def _pass(
        self,
        flow: Flow,
        source: trio.socket.SocketType,
        target: trio.socket.SocketType,
        both: trio.CancelScope,
    ) -> None:
        """Hand on in one direction, to its end or to the cut."""
        last = self._cut.after if self._cut is not None and self._cut.flow == flow else math.inf
        try:
            while self.passed[flow] < last:
                data = await source.recv(int(min(65536, last - self.passed[flow])))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                self.passed[flow] += len(data)
                while data:
                    data = data[await target.send(data) :]
            self.has_cut = True
            if self._cut is not None and self._cut.takes_all:
                for scope in self._scopes:
                    scope.cancel()
        except OSError:  # what breaks on one side breaks on the other
            reset_on_close(source)
            reset_on_close(target)
        both.cancel()


async def _end(sock: trio.socket.SocketType, how: How) -> None:
    if how == "RST":
        reset_on_close(sock)
        sock.close()
        return
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while await sock.recv(65536):
            pass


def reset_on_close(sock: trio.socket.SocketType) -> None:
    """Let the close be an error to the other side, as far as that one is still there."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def cutting(server: ScriptedServer, cut: Cut | None = None) -> AsyncIterator[Relay]:
    """Run a relay for one control connection and its data connections until the block ends.

    Args:
        server: what to stand in front of; its script has another EPSV meanwhile.
        cut: where to cut; None to hand on all, and count.
    """
    async with trio.open_nursery() as nursery:
        relay, script = Relay(server, cut, nursery), server.script
        server.script = {**script, "EPSV": relay.epsv}
        relay.port = await relay.listen("control", server.port)
        try:
            yield relay
        finally:
            server.script = script
        nursery.cancel_scope.cancel()
