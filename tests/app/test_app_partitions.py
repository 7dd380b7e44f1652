"""Partitions as operators see them."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock

from pooler.bus.bridge import PartitionPosition
from pooler.bus.start import Stop
from pooler.model.job import Origin
from pooler.service import RunningService

AT = PartitionPosition(
    "ftp-tasks",
    0,
    position=9,
    watermark=4,
    committed=3,
    settled_above=1,
    in_hand=4,
    lag=6,
    held_back=False,
    stopped=None,
)


class Bridge:
    """What the service asks of a bridge: partitions that are running, paused and stopped."""

    assigned = True
    last_commit: float | None = None
    ledger = SimpleNamespace(load=SimpleNamespace(records=0, size_bytes=0))

    def positions(self) -> list[PartitionPosition]:
        return [
            AT,
            AT._replace(partition=1, held_back=True),
            # Held back as well: that is how it is stopped.
            AT._replace(partition=2, held_back=True, in_hand=0, stopped=Stop("it is gone", "look for it")),
        ]


class Flow:
    """Jobs in the order in which they were read, a second apart, and how far they are looked through."""

    def __init__(self, *origins: Origin) -> None:
        self.origins = origins
        self.looked_at = 0

    def __iter__(self) -> Iterator[Any]:
        for second, origin in enumerate(self.origins):
            self.looked_at += 1
            record = SimpleNamespace(origin=origin)
            yield SimpleNamespace(
                delivery=SimpleNamespace(record=record, received=trio.current_time() - 10 + second)
            )


async def test_each_has_a_state_and_the_age_of_its_oldest_job(autojump_clock: MockClock) -> None:
    service = RunningService({}, lambda: None)
    assert service.status().partitions == ()
    places = [(1, 7), (1, 4), (0, 4), (0, 5), (1, 8)]
    flow = Flow(*(Origin("ftp-tasks", partition, offset) for partition, offset in places))
    crew: Any = SimpleNamespace(endings=SimpleNamespace(in_flow=flow, counts=Counter()))
    service.attach(Bridge(), crew)  # type: ignore[arg-type]
    running, paused, stopped = service._partitions(trio.current_time())
    assert [at.state for at in (running, paused, stopped)] == ["running", "paused", "stopped"]
    assert [at.oldest_age_s for at in (running, paused, stopped)] == [8.0, 10.0, None]
    assert (running.reason, running.way_on) == (None, None)
    assert (stopped.reason, stopped.way_on) == ("it is gone", "look for it")
    assert (running.position, running.watermark, running.committed, running.lag) == (9, 4, 3, 6)
    assert (running.settled_above, running.in_hand) == (1, 4)
    # Each scrape asks: there is no looking further than to the last that is missing.
    assert flow.looked_at == 4
