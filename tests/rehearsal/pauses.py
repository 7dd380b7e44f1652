"""What users saw of it: for how long nobody was answered who waited, and how long each had to wait. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Case(NamedTuple):
    """One job, as its sender saw it.

    Attributes:
        partition: of the input topic.
        asked_s: when it was submitted.
        answered_s: when its answer was written.
    """

    partition: int
    asked_s: float
    answered_s: float


class Silence(NamedTuple):
    """A time without an answer, though somebody waited for one.

    Attributes:
        began_s: when it began.
        seconds: how long it was.
    """

    began_s: float
    seconds: float


class Seen(NamedTuple):
    """What was seen from one moment to another.

    Attributes:
        jobs: that were asked for then.
        silence_s: the longest time without any answer.
        partition_silence_s: the longest time without an answer to the jobs of one partition.
        wait_s: what half of the jobs waited at most.
        longest_wait_s: what the last of them waited.
    """

    jobs: int
    silence_s: float
    partition_silence_s: float
    wait_s: float
    longest_wait_s: float


def silences(cases: Iterable[Case]) -> list[Silence]:
    """Tell when somebody waited and nobody was answered."""
    ordered = sorted(cases, key=lambda case: case.answered_s)
    earliest: list[float] = []  # of those not yet answered, when the first one was asked for
    for case in reversed(ordered):
        earliest.append(min(case.asked_s, earliest[-1] if earliest else case.asked_s))
    earliest.reverse()
    found = [Silence(ordered[0].asked_s, ordered[0].answered_s - ordered[0].asked_s)] if ordered else []
    for (before, after), waits_since in zip(pairwise(ordered), earliest[1:], strict=True):
        began = max(before.answered_s, waits_since)
        found.append(Silence(began, max(0.0, after.answered_s - began)))
    return found


def see(cases: Sequence[Case], from_s: float, until_s: float) -> Seen:
    """Tell what was seen from one moment to another."""
    by_partition: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        by_partition[case.partition].append(case)
    waits = [case.answered_s - case.asked_s for case in cases if from_s <= case.asked_s < until_s]
    return Seen(
        jobs=len(waits),
        silence_s=_longest(silences(cases), from_s, until_s),
        partition_silence_s=max(
            (_longest(silences(own), from_s, until_s) for own in by_partition.values()), default=0.0
        ),
        wait_s=statistics.median(waits) if waits else 0.0,
        longest_wait_s=max(waits, default=0.0),
    )


def _longest(found: Iterable[Silence], from_s: float, until_s: float) -> float:
    """Tell the longest silence that began then; it may reach beyond."""
    return max((one.seconds for one in found if from_s <= one.began_s < until_s), default=0.0)
