"""Where reading begins in a partition, and where it must not: pure.

An offset that is not there is not passed over in silence: its partition is stopped, with the reason, and with
what lets it go on.
"""

from typing import Literal, NamedTuple

from pooler.bus.ledger import Commitment, decode_gaps, decode_topic_id

AT_FIRST = "set kafka.out_of_range to first and restart: reading begins at the first record there is"
"""The way on where an offset is not there."""

Choice = Literal["first", "stop"]


class Stop(NamedTuple):
    """Why a partition is not read.

    Attributes:
        reason: what is the matter, for people.
        way_on: what they may do about it.
    """

    reason: str
    way_on: str


_MISSING = Stop(
    "no offset is on record",
    "set kafka.missing_offset to first and restart: reading begins at the first record",
)


class Start(NamedTuple):
    """Where a new owner of a partition begins.

    Attributes:
        offset: the first offset that is to be read.
        settled: offsets above it that are settled.
        stopped: why the partition is not to be read; None where it is.
        topic_id: of the topic that the offsets count in; empty where that is not known.
        recorded: what is on record, of the log that there is; None where nothing is.
        anew: whether the log is not the one that was read before: offsets in hand say nothing of it.
    """

    offset: int
    settled: frozenset[int] = frozenset()
    stopped: Stop | None = None
    topic_id: bytes = b""
    recorded: Commitment | None = None
    anew: bool = False


class Log(NamedTuple):
    """A partition as its leader has it.

    Attributes:
        first: the first offset that it still has.
        end: the offset behind the last one.
        topic_id: of its topic; empty where that is not known.
    """

    first: int
    end: int
    topic_id: bytes = b""


def judge_start(
    stored: Commitment | None, log: Log, known: bytes = b"", *, missing: Choice, out_of_range: Choice
) -> Start:
    """Decide where reading begins, and whether it may.

    Args:
        stored: what is on record; None where nothing is.
        log: what the partition has.
        known: the id of the topic that we were reading here until now; empty where it is not known, or where
            the partition is new to us.
        missing: what to do where nothing is on record.
        out_of_range: what to do where what is on record is not there.
    """
    topic_id = log.topic_id or known
    start = Start(log.first, topic_id=topic_id, anew=is_anew(known, log.topic_id))
    before = known if stored is None else decode_topic_id(stored.metadata)
    if is_anew(before, log.topic_id):
        return _unless_stopped(
            start._replace(anew=True), remade(None if stored is None else stored.offset), out_of_range
        )
    if stored is None:
        return _unless_stopped(start, _MISSING, missing)
    if stored.offset > log.end:
        stop = Stop(f"offset {stored.offset} is on record, but the partition ends at {log.end}", AT_FIRST)
        return _unless_stopped(start._replace(anew=True), stop, out_of_range)
    start = start._replace(recorded=stored)
    if stored.offset < log.first:
        stop = Stop(
            f"the records from {stored.offset} to {log.first - 1} are gone without an answer", AT_FIRST
        )
        return _unless_stopped(start, stop, out_of_range)
    return start._replace(offset=stored.offset, settled=decode_gaps(*stored))


def _unless_stopped(start: Start, stop: Stop, choice: Choice) -> Start:
    return start._replace(stopped=stop) if choice == "stop" else start


def is_anew(before: bytes, now: bytes) -> bool:
    """Tell whether a name stands for another topic now; what is not known says nothing."""
    return bool(before and now) and before != now


def remade(offset: int | None) -> Stop:
    """Say that a topic was deleted and made anew, below an offset of ours if there is one."""
    former = "what was read of it" if offset is None else f"offset {offset}"
    return Stop(f"the topic was deleted and made anew: {former} is of the former one", AT_FIRST)
