"""Bandwidths: of one remote, and of this process. Many transfers share each of them alike.

A session that has moved a piece waits for its turn, first come, first served, and then until it is made up
for. All pieces of a bandwidth are alike, however the bytes came; each is a few hundredths of a second's
worth, so that over seconds the bandwidth holds, however many take part.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from weakref import WeakSet

import trio

from pooler.flow.bucket import ByteBucket

_PIECE_S = 0.02
_MOST_PIECE_BYTES = 1024 * 1024


class Bandwidth:
    """How many bytes a second may pass, both directions together.

    Args:
        bytes_per_s: how many, 0 for none; None for any number.

    Attributes:
        bytes_per_s: how many now.
        piece_bytes: how many a session moves before it waits for its turn; None where none has to.
    """

    def __init__(self, bytes_per_s: float | None = None) -> None:
        self.bytes_per_s: float | None = None
        self.piece_bytes: int | None = None
        self._bucket: ByteBucket | None = None
        self._throttles: WeakSet[SessionThrottle] = WeakSet()
        self._turns = trio.StrictFIFOLock()
        self._changed = trio.Event()
        self.limit(bytes_per_s)

    def limit(self, bytes_per_s: float | None) -> None:
        """Let so many bytes a second pass from now on, running transfers included; None for any number."""
        if bytes_per_s == self.bytes_per_s:
            return
        self.bytes_per_s = bytes_per_s
        if bytes_per_s is None:
            self._bucket = self.piece_bytes = None
        else:
            self._bucket = ByteBucket(bytes_per_s)
            self.piece_bytes = max(1, min(_MOST_PIECE_BYTES, ceil(bytes_per_s * _PIECE_S)))
        for throttle in self._throttles:
            throttle.look_again()
        self._changed.set()
        self._changed = trio.Event()

    def tell(self, throttle: "SessionThrottle") -> None:
        """Have a throttle look again whenever the limit changes; one that is gone need not say so."""
        self._throttles.add(throttle)

    async def make_up_for(self, size_bytes: int) -> None:
        """Wait until bytes that have passed are made up for.

        Cancellation: they count only if their turn had come.
        """
        async with self._turns:
            if self._bucket is not None:
                self._bucket.take(size_bytes, trio.current_time())
            while self._bucket is not None:
                now = trio.current_time()
                free_at = self._bucket.free_at(now)
                if free_at <= now:
                    break
                with trio.move_on_at(free_at):
                    await self._changed.wait()


class _Account:
    """What a session has moved of a bandwidth, and not made up for.

    What is left of one file is made up for with the next: so small files get no more than large ones.
    """

    def __init__(self, bandwidth: Bandwidth) -> None:
        self.bandwidth = bandwidth
        self.owed_bytes = 0

    async def passed(self, size_bytes: int) -> None:
        self.owed_bytes += size_bytes
        while (piece_bytes := self.bandwidth.piece_bytes) is not None and self.owed_bytes >= piece_bytes:
            self.owed_bytes -= piece_bytes
            await self.bandwidth.make_up_for(piece_bytes)


class SessionThrottle:
    """Holds back the transfers of one session: see `pooler.transfer.throttle.Throttle`.

    Args:
        bandwidths: all that it has to keep to.
        holding: entered while a transfer is held back.
    """

    def __init__(
        self, *bandwidths: Bandwidth, holding: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.piece_bytes: int | None = None
        self._accounts = [_Account(bandwidth) for bandwidth in bandwidths]
        self._holding = holding
        for bandwidth in bandwidths:
            bandwidth.tell(self)
        self.look_again()

    def look_again(self) -> None:
        """Take in that a bandwidth has changed; what was owed under the former one is forgotten."""
        pieces = [account.bandwidth.piece_bytes for account in self._accounts]
        self.piece_bytes = min((piece for piece in pieces if piece is not None), default=None)
        for account in self._accounts:
            account.owed_bytes = 0

    async def passed(self, size_bytes: int) -> None:
        """Wait until that many bytes, which have passed, are within every bandwidth.

        Cancellation: those count whose turn had come.
        """
        with self._holding():
            for account in self._accounts:
                await account.passed(size_bytes)
