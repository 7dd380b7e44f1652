"""What stands still is noticed, and what merely waits is not."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from pooler.bus.ledger import Ledger, Partition
from pooler.bus.ownership import Ownership
from pooler.bus.watchdog import Watchdog
from pooler.errors import BusError
from pooler.model.job import Origin

HERE = ("ftp-tasks", 0)
LIMIT_S = 60


class Pumps:
    """Both pumps, and a consumer beside them.

    Attributes:
        polls: whether the brokers are being asked.
        waiting_since: as of the producer pump.
        paused: partitions from which nothing is wanted.
        more: partitions in which the other consumer finds something.
        probes: what it was asked.
    """

    def __init__(self) -> None:
        self.polls = True
        self.waiting_since: float | None = None
        self.ledger, self.ownership = Ledger(), Ownership()
        self.paused: set[Partition] = set()
        self.more: set[Partition] = set()
        self.probes: list[Mapping[Partition, int]] = []
        self._stopped_at = 0.0
        self.ledger.open(HERE, 5, ())

    @property
    def last_poll(self) -> float:
        return trio.current_time() if self.polls else self._stopped_at

    def reading(self) -> Collection[Partition]:
        return [held for held in self.ledger if held not in self.paused]

    async def probe(self, offsets: Mapping[Partition, int]) -> Collection[Partition]:
        await trio.lowlevel.checkpoint()
        self.probes.append(dict(offsets))
        return self.more

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        self.ownership.settled.set()
        dog = Watchdog(LIMIT_S, self, self, ownership=self.ownership, ledger=self.ledger, probe=self.probe)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dog.run)
            yield
            nursery.cancel_scope.cancel()


async def test_an_idle_service_is_left_alone(autojump_clock: MockClock) -> None:
    pumps = Pumps()
    async with pumps.watched():
        await trio.sleep(100 * LIMIT_S)
    assert pumps.probes[0] == {HERE: 5}
    assert 50 < len(pumps.probes) <= 100


@pytest.mark.parametrize("what", ["publishing", "polling", "rebalance", "partition"])
async def test_what_stands_still_for_too_long_ends_it(autojump_clock: MockClock, what: str) -> None:
    pumps = Pumps()
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012 - it is raised by the end of a nursery
        async with pumps.watched():
            match what:
                case "publishing":
                    pumps.waiting_since = 0
                case "polling":
                    pumps.polls = False
                case "rebalance":
                    pumps.ownership.settled.clear()
                case _:
                    pumps.more = {HERE}
            await trio.sleep(LIMIT_S - 2)
            assert pumps.probes == []
            await trio.sleep(5)
            raise AssertionError
    assert caught.group_contains(BusError)
    assert LIMIT_S < trio.current_time() < LIMIT_S + 3


async def test_a_partition_that_is_paused_or_gives_records_is_not_asked_about(
    autojump_clock: MockClock,
) -> None:
    pumps = Pumps()
    pumps.more = {HERE}
    async with pumps.watched():
        pumps.paused = {HERE}
        await trio.sleep(3 * LIMIT_S)
        pumps.paused = set()
        for offset in range(5, 15):
            await trio.sleep(LIMIT_S / 2)
            pumps.ledger.receive(Origin(*HERE, offset), 1)
    assert pumps.probes == []


async def test_a_rebalance_that_ends_begins_a_new_count(autojump_clock: MockClock) -> None:
    pumps = Pumps()
    async with pumps.watched():
        for _ in range(5):
            pumps.ownership.settled.clear()
            await trio.sleep(LIMIT_S - 2)
            pumps.ownership.settled.set()
            await trio.sleep(2)
    assert trio.current_time() == 5 * LIMIT_S
