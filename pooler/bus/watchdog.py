"""Notices what has quietly stopped: publishing, polling, a rebalance, a partition that gives no more.

A client that waits for brokers waits as long as it takes, and says so in the log. But a consumer may also
stop without a word while its heartbeats go on, and then nobody else gets its partitions. What stands still
for longer than ``kafka.watchdog_seconds`` ends the process: whoever is started next begins behind the last
commit.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import structlog
import trio

from pooler.bus.ledger import Ledger, Partition
from pooler.bus.ownership import Ownership
from pooler.errors import BusError

log = structlog.get_logger(__name__)

_LOOK_S = 1.0


class Reader(Protocol):
    """What is watched of the consumer pump."""

    @property
    def last_poll(self) -> float:
        """``trio.current_time()`` of the last poll."""
        ...

    def reading(self) -> Collection[Partition]:
        """Tell from which partitions records are wanted."""
        ...


class Writer(Protocol):
    """What is watched of the producer pump."""

    @property
    def waiting_since(self) -> float | None:
        """``trio.current_time()`` from which on the oldest publication waits."""
        ...


Probe = Callable[[Mapping[Partition, int]], Awaitable[Collection[Partition]]]


class Watchdog:
    """Ends the bridge where it stands still.

    Args:
        limit_s: how long anything may stand still, in seconds.
        reader: the consumer pump.
        writer: the producer pump.
        ownership: whether a rebalance is under way.
        ledger: how far reading has come.
        probe: given partitions and offsets, tells where another consumer finds a record from there on.
    """

    def __init__(
        self,
        limit_s: float,
        reader: Reader,
        writer: Writer,
        *,
        ownership: Ownership,
        ledger: Ledger,
        probe: Probe,
    ) -> None:
        self._limit_s = limit_s
        self._reader = reader
        self._writer = writer
        self._ownership = ownership
        self._ledger = ledger
        self._probe = probe
        self._settled_at = 0.0
        self._quiet: dict[Partition, tuple[int, float]] = {}

    async def run(self) -> None:
        """Look once a second, until cancelled.

        Raises:
            BusError: something stands still.
        """
        self._settled_at = trio.current_time()
        while True:
            await trio.sleep(_LOOK_S)
            now = trio.current_time()
            self._look_at_publishing(now)
            if self._ownership.settled.is_set():
                self._settled_at = now
                if now - self._reader.last_poll > self._limit_s:
                    raise BusError(f"no poll of the input topic for {self._limit_s:g} s")
            elif now - self._settled_at > self._limit_s:
                raise BusError(f"no assignment of partitions for {self._limit_s:g} s")
            await self._look_at_partitions(now)

    def _look_at_publishing(self, now: float) -> None:
        since = self._writer.waiting_since
        if since is not None and now - since > self._limit_s:
            raise BusError(f"nothing could be published for {self._limit_s:g} s")

    async def _look_at_partitions(self, now: float) -> None:
        """Where nothing has come for long, have another consumer look whether there is something."""
        before, self._quiet = self._quiet, {}
        for partition in self._reader.reading():
            here = self._ledger[partition].next_offset
            offset, since = before.get(partition, (here, now))
            self._quiet[partition] = (here, since if offset == here else now)
        suspects = {
            partition: offset
            for partition, (offset, since) in self._quiet.items()
            if now - since > self._limit_s
        }
        if not suspects:
            return
        stalled = await self._probe(suspects)
        for partition in stalled:
            # A record may have come in the very moment.
            if partition in self._ledger and self._ledger[partition].next_offset == suspects[partition]:
                raise BusError(f"records of {partition[0]}-{partition[1]} do not reach us, but others")
        for partition, offset in suspects.items():
            self._quiet[partition] = (offset, trio.current_time())
