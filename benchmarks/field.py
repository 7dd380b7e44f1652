"""What is copied in a benchmark: one vsftpd, one local folder, and the same files on both."""

import contextlib
import functools
import hashlib
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from benchmarks.link import Near
from tests.support.kafka import RunningBroker, running_broker
from tests.support.servers import RunningServer

Way = Literal["down", "up"]
WAYS: tuple[Way, ...] = ("down", "up")
_HASHED = 25


class WrongCopyError(Exception):
    """A peer did not copy what it was told to, so that its figure means nothing."""


class Field:
    """One server, one local folder, and the same files on both.

    Args:
        folder: a new one, ours alone.
        server: a new one, with nothing on it.
        sizes: the least and the most bytes of a file.
        count: how many files.
        sessions: how many each peer may use.
        near: the end of a link, where clients are run behind one.
        stack: closes what is started on demand.
    """

    def __init__(
        self,
        folder: Path,
        server: RunningServer,
        *,
        sizes: tuple[int, int],
        count: int,
        sessions: int,
        near: Near | None,
        stack: contextlib.ExitStack,
    ) -> None:
        self.folder, self.server, self.sessions = folder, server, sessions
        self._near, self._stack = near, stack
        self.local = folder / "local"
        (self.local / "out").mkdir(parents=True)
        (folder / "work").mkdir()
        dice = random.Random(1)
        self.sizes = {f"{number:06}.bin": dice.randrange(*sizes) for number in range(count)}
        for name, size in self.sizes.items():
            content = dice.randbytes(size)
            (self.local / "out" / name).write_bytes(content)
            server.put(f"/out/{name}", content)

    @property
    def names(self) -> list[str]:
        return list(self.sizes)

    def command(self, words: Sequence[str]) -> list[str]:
        """Make a command that is run where clients are."""
        return list(words) if self._near is None else self._near.command(words)

    @functools.cached_property
    def broker(self) -> RunningBroker:
        """A Kafka, started when it is first asked for."""
        return self._stack.enter_context(running_broker(self.folder / "kafka"))

    def clear(self) -> None:
        """Leave nothing at either destination."""
        for place in (self.local / "in", self.server.root / "in"):
            shutil.rmtree(place, ignore_errors=True)
        (self.local / "in").mkdir()
        self.server.make_folder("/in")

    def check(self, way: Way, names: Sequence[str]) -> None:
        """Look whether all is there, with the right size; some is compared whole.

        Raises:
            WrongCopyError: it is not.
        """
        place = self.local / "in" if way == "down" else self.server.root / "in"
        found = {entry.name: entry.stat().st_size for entry in place.iterdir()}
        wanted = {name: self.sizes[name] for name in names}
        if found != wanted:
            wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
            raise WrongCopyError(f"{len(wrong)} files are not what they should be, such as {wrong[:3]}")
        for name in random.Random(2).sample(list(names), min(_HASHED, len(names))):
            if _sum(place / name) != _sum(self.local / "out" / name):
                raise WrongCopyError(f"{name} has the right size and other bytes")


def _sum(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
