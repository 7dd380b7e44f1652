"""A link with a round trip, on one machine: what is run behind it sees this machine far away.

``with link(0.04) as near:`` makes a network namespace that reaches us at ``near.here`` and nothing else. A
process of its own carries the packets between the two ends, each half a round trip late. Needs root, iproute2
and /dev/net/tun. The addresses are of the range for benchmarks (RFC 2544).
"""

import contextlib
import fcntl
import ipaddress
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TUN, _NO_INFORMATION, _ATTACH = 0x0001, 0x1000, 0x400454CA
MTU = 9000
"""Fewer packets for the one who carries them; slow start takes fewer rounds than at 1500."""


@dataclass(frozen=True, slots=True)
class Near:
    """The end of the link on which clients are run.

    Attributes:
        here: our own address, as seen from there.
        namespace: its name.
    """

    here: str
    namespace: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Make a command that runs there."""
        return ["ip", "netns", "exec", self.namespace, *words]


@contextlib.contextmanager
def link(round_trip_s: float, mtu: int = MTU) -> Iterator[Near]:
    """Keep a link up until the block ends."""
    namespace = f"link{os.getpid()}"
    names = (f"here{os.getpid()}", f"there{os.getpid()}")
    # A network of four addresses for each process, so that two of them do not meet.
    network = ipaddress.ip_address("198.18.0.0") + 4 * (os.getpid() % (1 << 15))
    here, there = str(network + 1), str(network + 2)
    _ip("netns", "add", namespace)
    try:
        with contextlib.ExitStack() as stack:
            ends = [_tunnel(name, stack) for name in names]
            _ip("link", "set", names[1], "netns", namespace)
            for name, address, inside in ((names[0], here, ()), (names[1], there, ("-n", namespace))):
                _ip(*inside, "address", "add", f"{address}/30", "dev", name)
                _ip(*inside, "link", "set", name, "mtu", str(mtu), "txqueuelen", "10000", "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
            words = [sys.executable, "-m", "benchmarks.link", *map(str, ends), str(round_trip_s / 2)]
            with subprocess.Popen(words, pass_fds=ends) as carrier:
                try:
                    yield Near(here, namespace)
                finally:
                    carrier.kill()
    finally:
        _ip("netns", "delete", namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _tunnel(name: str, stack: contextlib.ExitStack) -> int:
    """Make a device whose packets are ours to carry; it goes when its descriptor is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    stack.callback(os.close, descriptor)
    fcntl.ioctl(descriptor, _ATTACH, struct.pack("16sH22x", name.encode(), _TUN | _NO_INFORMATION))
    return descriptor


def carry(ends: tuple[int, int], late_s: float) -> None:
    """Carry packets both ways, for ever."""
    # All are equally late, so that those of one way stay in order.
    ways = {ends[0]: ends[1], ends[1]: ends[0]}
    on_the_way: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}
    while True:
        due = min((waiting[0][0] for waiting in on_the_way.values() if waiting), default=None)
        readable, _, _ = select.select(
            ends, [], [], None if due is None else max(0.0, due - time.monotonic())
        )
        now = time.monotonic()
        for end in readable:
            for _ in range(64):
                try:
                    on_the_way[ways[end]].append((now + late_s, os.read(end, 1 << 16)))
                except BlockingIOError:
                    break
        for end, waiting in on_the_way.items():
            while waiting and waiting[0][0] <= now:
                with contextlib.suppress(OSError):  # lost, as packets are
                    os.write(end, waiting[0][1])
                waiting.popleft()


if __name__ == "__main__":
    carry((int(sys.argv[1]), int(sys.argv[2])), float(sys.argv[3]))
