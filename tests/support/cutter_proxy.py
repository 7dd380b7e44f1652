"""The cutting proxy as a program of its own, for ``cutter``: hands on, cuts, stalls and slows.

It speaks JSON, one object a line: the first one on its standard input says what to listen on, each later one
is something to do and gets one answer. It ends with its standard input, so that nobody leaves it behind.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

How = Literal["RST", "FIN"]
_ROOM_BYTES = 256 * 1024
"""What one direction of a connection may hold back before its sender is no longer read."""
_FAREWELL_S = 0.5  # in which both ends of a connection that was cut by FIN may close it


class Kind:
    """All connections of one class, and what they suffer.

    Attributes:
        delay_s: how long every byte is held back.
        links: those that are open.
        counts: what came of all of them.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.links: set[Link] = set()
        self.counts: Counter[str] = Counter()
        self._stalled_until = 0.0
        self._slow_until = 0.0

    def stall(self, seconds: float) -> None:
        """Read nothing from anybody for so long; of two stalls the longer one counts."""
        loop = asyncio.get_running_loop()
        self._stalled_until = max(self._stalled_until, loop.time() + seconds)
        for link in self.links:
            link.hold("stall")
        loop.call_at(self._stalled_until, self._go_on)

    def slow(self, delay_s: float, seconds: float) -> None:
        """Hold every byte back for a while; the last word counts."""
        loop = asyncio.get_running_loop()
        self.delay_s, self._slow_until = delay_s, loop.time() + seconds
        loop.call_at(self._slow_until, self._go_on)

    def calm(self) -> None:
        """End what is suffered."""
        self._stalled_until = self._slow_until = 0.0
        self._go_on()

    @property
    def is_stalled(self) -> bool:
        """Whether new connections are to stand still too."""
        return asyncio.get_running_loop().time() < self._stalled_until

    def _go_on(self) -> None:
        if asyncio.get_running_loop().time() >= self._slow_until:
            self.delay_s = 0.0
        if not self.is_stalled:
            for link in self.links:
                link.release("stall")


class Link:
    """One connection: its client, its server, and what is on the way between them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.client = End(self)
        self.server = End(self)
        self.client.other, self.server.other = self.server, self.client
        self.is_cut = False
        kind.links.add(self)
        kind.counts["opened"] += 1

    def hold(self, why: str) -> None:
        """Read from neither end, for a reason."""
        self.client.hold(why)
        self.server.hold(why)

    def release(self, why: str) -> None:
        """Read again, unless there is another reason."""
        self.client.release(why)
        self.server.release(why)

    def cut(self, how: How) -> None:
        """End it, as something in between would; what is on the way is lost."""
        if self.is_cut:
            return
        self.is_cut = True
        self.kind.counts["cut"] += 1
        if how == "RST":
            self.reset()
        else:
            self.client.say_goodbye()
            self.server.say_goodbye()
            asyncio.get_running_loop().call_later(_FAREWELL_S, self.reset)

    def reset(self) -> None:
        """End both ends by RST."""
        self.kind.links.discard(self)
        self.client.reset()
        self.server.reset()


class End(asyncio.Protocol):
    """One end of a connection: what it says goes to the other one, later if its kind is slow."""

    def __init__(self, link: Link) -> None:
        self.other: End = self
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()  # nothing at all is the end
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        # Nothing is read before both ends are there.
        self._held = {"connecting"}
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.pause_reading()
        if self._link.is_cut:
            self.reset()

    def hold(self, why: str) -> None:
        self._held.add(why)
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self, why: str) -> None:
        self._held.discard(why)
        if self._transport is not None and not self._held and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._waiting and self._timer is None and not self._stands_still:
            self._hand_on_due()

    @property
    def _stands_still(self) -> bool:
        """Whether nothing may pass yet. Some versions of asyncio read once more after a pause."""
        return not self._held.isdisjoint(("connecting", "stall"))

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        self._later(b"")
        return True  # the other direction goes on

    def pause_writing(self) -> None:
        self.other.hold("writing")

    def resume_writing(self) -> None:
        self.other.release("writing")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is not None:
            self._link.reset()

    def reset(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def say_goodbye(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            _end(self._transport)

    def _later(self, data: bytes) -> None:
        """Put it behind what is waiting: nothing may overtake when a slow time ends."""
        delay_s = self._link.kind.delay_s
        if not (delay_s or self._waiting or self._stands_still):
            self._hand_on(data)
            return
        loop = asyncio.get_running_loop()
        due = max(loop.time() + delay_s, self._waiting[-1][0] if self._waiting else 0.0)
        self._waiting.append((due, data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _ROOM_BYTES:
            self.hold("room")
        if self._timer is None and not self._stands_still:
            self._timer = loop.call_at(due, self._hand_on_due)

    def _hand_on_due(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if self._stands_still:
            return  # it goes on with the release
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._hand_on(data)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._hand_on_due)
        if self._waiting_bytes <= _ROOM_BYTES:
            self.release("room")

    def _hand_on(self, data: bytes) -> None:
        target = self.other._transport
        if self._link.is_cut or target is None or target.is_closing():
            return
        if data:
            target.write(data)
            return
        _end(target)
        if self._has_ended and self.other._has_ended:
            self._link.kind.links.discard(self._link)
            target.close()
            if self._transport is not None:
                self._transport.close()


def _end(transport: asyncio.Transport) -> None:
    with suppress(OSError):  # it has been reset, and we are told in a moment
        transport.write_eof()


class Proxy:
    """Listens, and does what it is told."""

    def __init__(self, seed: int, lives_s: tuple[float, float] | None) -> None:
        self.kinds: dict[str, Kind] = {}
        self._dice = random.Random(seed)
        self._lives_s = lives_s
        self._connecting: set[asyncio.Task[None]] = set()

    async def listen(self, name: str, here: tuple[str, int], there: tuple[str, int]) -> None:
        """Hand on what connects here."""
        kind = self.kinds.setdefault(name, Kind())

        def accept() -> End:
            link = Link(kind)
            connecting = asyncio.ensure_future(self._connect(link, there))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)
            return link.client

        await asyncio.get_running_loop().create_server(accept, *here, reuse_address=True, backlog=256)

    async def _connect(self, link: Link, there: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: link.server, *there)
        except OSError:
            link.kind.counts["refused"] += 1
            link.reset()
            return
        if link.kind.is_stalled:
            link.hold("stall")
        link.release("connecting")
        if self._lives_s is not None:
            how: How = self._dice.choice(("RST", "FIN"))
            loop.call_later(self._dice.uniform(*self._lives_s), self._end_life, link, how)

    def _end_life(self, link: Link, how: How) -> None:
        if link in link.kind.links:
            link.cut(how)

    def do(self, order: dict[str, Any]) -> Any:
        """Carry out an order, and answer it."""
        return _ORDERS[order["do"]](self, order)

    def chosen(self, order: dict[str, Any]) -> list[Kind]:
        """Tell whom an order is about."""
        return [self.kinds[name] for name in order["kinds"]]

    def cut(self, order: dict[str, Any]) -> int:
        """Cut what is open; tell how many."""
        links = [link for kind in self.chosen(order) for link in kind.links if not link.is_cut]
        for link in links:
            link.cut(order["how"])
        return len(links)

    def stall(self, order: dict[str, Any]) -> None:
        """Let everything stand still."""
        for kind in self.chosen(order):
            kind.stall(order["seconds"])

    def slow(self, order: dict[str, Any]) -> None:
        """Hold every byte back."""
        for kind in self.chosen(order):
            kind.slow(order["delay_s"], order["seconds"])

    def calm(self, _: dict[str, Any]) -> None:
        """End what is stalled and slow."""
        for kind in self.kinds.values():
            kind.calm()

    def count(self, _: dict[str, Any]) -> dict[str, dict[str, int]]:
        """Tell what came of the connections."""
        return {name: dict(kind.counts) for name, kind in self.kinds.items()}


_ORDERS: dict[str, Callable[[Proxy, dict[str, Any]], Any]] = {
    "cut": Proxy.cut,
    "stall": Proxy.stall,
    "slow": Proxy.slow,
    "calm": Proxy.calm,
    "count": Proxy.count,
}


async def main() -> None:
    """Obey standard input until it ends."""
    orders = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    plan = json.loads(await orders.readline())
    proxy = Proxy(plan["seed"], plan["lives_s"])
    for name, here, there in plan["routes"]:
        await proxy.listen(name, tuple(here), tuple(there))
    answer: Any = "ready"
    while True:
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
        line = await orders.readline()
        if not line:
            return
        answer = proxy.do(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
