"""Where reading begins, and where it must not."""

import pytest
from aiokafka.structs import OffsetAndMetadata

from pooler.bus.ledger import encode_gaps
from pooler.bus.offsets import Start, judge_start


@pytest.mark.parametrize("missing", ["first", "stop"])
@pytest.mark.parametrize("out_of_range", ["first", "stop"])
def test_an_offset_that_is_there_is_where_reading_begins(missing: str, out_of_range: str) -> None:
    for offset in (5, 7, 9):
        stored = OffsetAndMetadata(offset, encode_gaps(offset, {offset + 2}))
        start = judge_start(stored, 5, 9, missing=missing, out_of_range=out_of_range)
        assert start == Start(offset, frozenset({offset + 2}))


@pytest.mark.parametrize(("offset", "says"), [(4, "from 4 to 4 are gone"), (10, "ends at 9")])
def test_an_offset_out_of_range_stops_the_partition_unless_told_otherwise(offset: int, says: str) -> None:
    stored = OffsetAndMetadata(offset, encode_gaps(offset, {offset + 1}))
    stopped = judge_start(stored, 5, 9, missing="first", out_of_range="stop")
    assert stopped.stopped is not None
    assert says in stopped.stopped
    # Gaps of an offset that is gone say nothing.
    assert judge_start(stored, 5, 9, missing="stop", out_of_range="first") == Start(5)


def test_without_an_offset_it_is_the_first_record_unless_told_otherwise() -> None:
    assert judge_start(None, 5, 9, missing="first", out_of_range="stop") == Start(5)
    assert judge_start(None, 5, 9, missing="stop", out_of_range="first").stopped is not None
