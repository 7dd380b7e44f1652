"""The producer pump: takes publications from the Trio side and has them delivered, one by one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from pooler.bus.delivery import Delivery
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Publication
from pooler.errors import BusError


@dataclass(slots=True)
class _Request:
    publications: Sequence[Publication]
    epoch: int
    since: float
    done: trio.Event = field(default_factory=trio.Event)
    written: bool = False
    error: BusError | None = None


class ProducerPump:
    """Writes publications while the partitions are settled.

    Args:
        delivery: how.
        ownership: shared with the consumer pump.
    """

    def __init__(self, delivery: Delivery, ownership: Ownership) -> None:
        self._delivery = delivery
        self._ownership = ownership
        # As long as there are callers of `publish` that wait: the sink is the only one.
        self._outbox: deque[_Request] = deque()
        self._in_hand: _Request | None = None
        self._wake = asyncio.Event()

    @property
    def waiting_since(self) -> float | None:
        """``trio.current_time()`` from which on the oldest publication waits; None where none does."""
        oldest = self._in_hand or (self._outbox[0] if self._outbox else None)
        return None if oldest is None else oldest.since

    async def publish(self, publications: Sequence[Publication]) -> bool:
        """Have answers and their offsets delivered; called from Trio.

        Returns:
            True once it is done; False where the partitions changed hands before anything was written, or
            where not all is known to be written: what is still ours must be published anew.

        Raises:
            BusError: the brokers cannot be reached for as long as the configuration allows.

        Cancellation: whether the records were written is not known.
        """
        request = _Request(publications, self._ownership.epoch, trio.current_time())
        self._outbox.append(request)
        self._wake.set()
        await request.done.wait()
        if request.error is not None:
            raise request.error
        return request.written

    async def run(self) -> None:
        """Write what is published, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await self._ownership.settled.wait()
                self._in_hand = self._outbox.popleft()
                await self._fulfil(self._in_hand)
                self._in_hand = None

    async def _fulfil(self, request: _Request) -> None:
        self._ownership.idle.clear()
        try:
            if request.epoch == self._ownership.epoch:
                request.written = await self._delivery.write(request.publications)
        except BusError as error:
            request.error = error
        finally:
            self._ownership.idle.set()
            request.done.set()
