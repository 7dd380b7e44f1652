"""Whose the partitions are, as the two pumps and the sink see it through a rebalance."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


def _nobody() -> bool:
    return False


@dataclass(slots=True)
class Ownership:
    """Whether the partitions are settled among the members; shared by all that publish for them.

    A revocation first hurries the sink, then waits until nothing is being published, and then lets go.

    Attributes:
        settled: set from the opening of what was assigned to the next revocation; publishing waits for it.
        idle: set while nothing is being published; a revocation waits for it.
        flushed: set once the sink has published what it had when it was hurried.
        assignments: counts what the group has decided.
        epoch: counts the openings behind that: what was made ready under an older one may be somebody else's
            by now, or answered.
        hurry: asks the sink to publish what it has; tells whether there is a sink to wait for.
        lost: called behind each assignment: what is not ours any more need not be gone on with.
    """

    settled: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    flushed: asyncio.Event = field(default_factory=asyncio.Event)
    assignments: int = 0
    epoch: int = 0
    hurry: Callable[[], bool] = _nobody
    lost: Callable[[], object] = _nobody

    def __post_init__(self) -> None:
        self.idle.set()
