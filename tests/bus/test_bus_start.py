"""Where reading begins, and where it must not."""

import pytest

from pooler.bus.ledger import Commitment, encode_gaps
from pooler.bus.start import AT_FIRST, Choice, Log, Start, judge_start

LOG = Log(first=5, end=9)
OLD, NEW = bytes(range(16)), bytes(range(1, 17))


def stored(offset: int, topic_id: bytes = b"") -> Commitment:
    return Commitment(offset, encode_gaps(offset, {offset + 2}, topic_id))


@pytest.mark.parametrize("missing", ["first", "stop"])
@pytest.mark.parametrize("out_of_range", ["first", "stop"])
@pytest.mark.parametrize(("before", "now"), [(b"", b""), (OLD, b""), (b"", OLD), (OLD, OLD)])
def test_an_offset_that_is_there_is_where_reading_begins(
    missing: Choice, out_of_range: Choice, before: bytes, now: bytes
) -> None:
    for offset in (5, 7, 9):
        on_record = stored(offset, before)
        start = judge_start(on_record, Log(5, 9, now), before, missing=missing, out_of_range=out_of_range)
        assert start == Start(offset, frozenset({offset + 2}), topic_id=now or before, recorded=on_record)


@pytest.mark.parametrize(("offset", "says"), [(4, "from 4 to 4 are gone"), (10, "ends at 9")])
def test_an_offset_out_of_range_stops_the_partition_unless_told_otherwise(offset: int, says: str) -> None:
    stopped = judge_start(stored(offset), LOG, missing="first", out_of_range="stop").stopped
    assert stopped is not None
    assert says in stopped.reason
    assert stopped.way_on == AT_FIRST
    start = judge_start(stored(offset), LOG, missing="stop", out_of_range="first")
    # Gaps of an offset that is gone say nothing.
    assert (start.offset, start.settled, start.stopped) == (5, frozenset(), None)


def test_what_the_log_has_lost_is_still_of_this_log_and_what_it_never_had_is_not() -> None:
    lost = judge_start(stored(4), LOG, missing="stop", out_of_range="first")
    assert (lost.recorded, lost.anew) == (stored(4), False)
    never = judge_start(stored(10), LOG, missing="stop", out_of_range="first")
    assert (never.recorded, never.anew) == (None, True)


def test_without_an_offset_it_is_the_first_record_unless_told_otherwise() -> None:
    assert judge_start(None, LOG, missing="first", out_of_range="stop") == Start(5)
    assert judge_start(None, LOG, missing="stop", out_of_range="first").stopped is not None


@pytest.mark.parametrize("on_record", [stored(7, OLD), None])
def test_an_offset_of_a_former_topic_is_none_though_it_is_in_range(on_record: Commitment | None) -> None:
    now = Log(5, 9, NEW)
    stopped = judge_start(on_record, now, OLD, missing="first", out_of_range="stop")
    assert stopped.stopped is not None
    assert "made anew" in stopped.stopped.reason
    assert judge_start(on_record, now, OLD, missing="stop", out_of_range="first") == Start(
        5, topic_id=NEW, anew=True
    )


def test_an_offset_of_the_topic_that_there_is_counts_though_we_were_reading_the_former_one() -> None:
    start = judge_start(stored(7, NEW), Log(5, 9, NEW), OLD, missing="stop", out_of_range="stop")
    assert (start.offset, start.stopped, start.anew, start.topic_id) == (7, None, True, NEW)


def test_an_offset_that_an_operator_has_set_has_no_topic_and_is_believed() -> None:
    start = judge_start(Commitment(7, ""), Log(5, 9, NEW), missing="stop", out_of_range="stop")
    assert (start.offset, start.stopped, start.topic_id) == (7, None, NEW)
