"""A proxy in a process of its own, for whole classes of connections: cuts, stalls and slows them.

``with running_cutter(routes) as cutter:`` hands on what connects to each route. A server listens on 127.0.0.1
and its route on `NEAR` with the same port: so addresses that servers tell need no rewriting, not even under
TLS. A broker advertises `NEAR`; EPSV, and PASV as we read it, tell a port alone, and each port of a server's
passive range is a route.

For one connection and an exact byte there is `tests.support.cutting`.
"""

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import install
from tests.support.cutter_proxy import How

NEAR = "127.0.0.2"
"""Where clients connect; the servers are on 127.0.0.1."""
_BLOCKS = range(10_000, 19_900)
_GOODBYE_S = 5.0
_ATTEMPTS = 200


class Route(NamedTuple):
    """One port that is handed on.

    Attributes:
        kind: the class of its connections, such as ``vsftpd data``.
        port: on both sides.
    """

    kind: str
    port: int


@dataclass(frozen=True, slots=True)
class Cutter:
    """A proxy that runs; may be called from any thread.

    Attributes:
        kinds: all classes of connections.
    """

    kinds: tuple[str, ...]
    _process: subprocess.Popen[str]
    _lock: threading.Lock

    def cut(self, kinds: Collection[str], how: How) -> int:
        """Cut every open connection of some classes; return how many there were."""
        return int(self._ask({"do": "cut", "kinds": sorted(kinds), "how": how}))

    def stall(self, kinds: Collection[str], seconds: float) -> None:
        """Let nothing pass for so long; connections are taken, and stand still too."""
        self._ask({"do": "stall", "kinds": sorted(kinds), "seconds": seconds})

    def slow(self, kinds: Collection[str], delay_s: float, seconds: float) -> None:
        """Hold every byte back by ``delay_s``, for so long."""
        self._ask({"do": "slow", "kinds": sorted(kinds), "delay_s": delay_s, "seconds": seconds})

    def calm(self) -> None:
        """End what is stalled and slow at once."""
        self._ask({"do": "calm"})

    def counts(self) -> dict[str, dict[str, int]]:
        """Tell how many connections of each class were ``opened``, ``cut`` and ``refused``."""
        found: dict[str, dict[str, int]] = self._ask({"do": "count"})
        return found

    def _ask(self, order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{json.dumps(order)}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the proxy ended with {self._process.wait()}: see its log")
        return json.loads(answer)


@contextlib.contextmanager
def running_cutter(
    routes: Sequence[Route], log: Path, *, seed: int = 0, lives_s: tuple[float, float] | None = None
) -> Iterator[Cutter]:
    """Run a proxy until the block ends.

    Args:
        routes: what to hand on.
        log: where its complaints go.
        seed: of how long each connection lives.
        lives_s: the shortest and the longest life of a connection; None to let them live.

    Raises:
        RuntimeError: a port is taken; its log says which.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.cutter_proxy"],
            cwd=install.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    with process:
        try:
            cutter = Cutter(tuple(dict.fromkeys(route.kind for route in routes)), process, threading.Lock())
            plan = [(route.kind, (NEAR, route.port), ("127.0.0.1", route.port)) for route in routes]
            cutter._ask({"routes": plan, "seed": seed, "lives_s": lives_s})
            yield cutter
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GOODBYE_S)
            process.kill()


def free_block(count: int, *, taken: Collection[int] = ()) -> range:
    """Find so many ports in a row on which nothing listens, for a server's passive range.

    Args:
        count: how many.
        taken: ports that have been promised to somebody.

    Raises:
        OSError: none were found.
    """
    # At random, since others of these tests may look for ports at the same time.
    dice = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        first = dice.randrange(_BLOCKS.start, _BLOCKS.stop - count)
        block = range(first, first + count)
        if not set(block) & set(taken) and all(_is_free(port) for port in block):
            return block
    raise OSError(f"no {count} free ports in a row below {_BLOCKS.stop}")


def _is_free(port: int) -> bool:
    for host in ("127.0.0.1", NEAR):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
