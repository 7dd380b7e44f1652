"""What a parked job bears with it, and when it is due."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pooler.bus.records import record_size
from pooler.bus.retries import HEADERS_BYTES, Dues, park, unpark
from pooler.model.job import Origin, Past, Record

HERE = Origin("ftp-tasks", 3, 17)
ON_TOPIC = Origin("ftp-tasks-retry-10s", 0, 5)

TOPICS = st.text("abcXYZ09._-", min_size=1, max_size=249)
NATURALS = st.integers(0, 2**63 - 1)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["traceparent", "", "pooler.retry.times", "pooler.retry.origin"]), st.binary()),
    max_size=10,
)
RECORDS = st.builds(
    Record,
    st.just(HERE),
    st.none() | st.binary(),
    st.binary(),
    HEADERS.map(tuple),
    NATURALS,
)
PASTS = st.builds(
    Past,
    st.builds(Origin, TOPICS, st.integers(0, 2**31 - 1), NATURALS),
    NATURALS,
    NATURALS,
    NATURALS,
    NATURALS,
    st.none() | st.text(min_size=1),
)


@given(RECORDS, PASTS, NATURALS)
def test_what_is_parked_comes_back_as_it_was(record: Record, past: Past, not_before_ms: int) -> None:
    out = park(record, past, "parked 10", not_before_ms)
    assert (out.kind, out.key, out.value) == ("parked 10", record.key, record.value)
    assert out.headers[: len(record.headers)] == record.headers
    grown = out.size_bytes - record_size(record.key, record.value, record.headers)
    assert 0 < grown <= HEADERS_BYTES
    written = Record(ON_TOPIC, out.key, out.value, out.headers, timestamp_ms=99)
    found = unpark(written)
    assert found is not None
    # Where it stands now is what is committed; its time is the sender's.
    assert found[0] == replace(record, origin=ON_TOPIC)
    error = None if past.error is None else past.error.encode(errors="replace")[:500].decode(errors="replace")
    assert found[1:] == (replace(past, error=error), not_before_ms)


def test_a_record_without_a_time_has_none_when_it_comes_back() -> None:
    out = park(Record(HERE, None, b"{}", timestamp_ms=-1), Past(HERE, 5), "parked 10", 0)
    found = unpark(Record(ON_TOPIC, out.key, out.value, out.headers))
    assert found is not None
    assert found[0].timestamp_ms == 0


GOOD = park(
    Record(HERE, b"key", b"{}", (("mine", b"1"),)), Past(HERE, 5, 1, 0, 2, "gone"), "parked 10", 7
).headers


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("mine", b"1"),),
        GOOD[:-1],
        GOOD[2:],
        (*GOOD, ("more", b"")),
        (*GOOD[:-2], GOOD[-1], GOOD[-2]),
        *(
            (*GOOD[:place], (GOOD[place][0], value), *GOOD[place + 1 :])
            for place in range(1, 8)
            for value in (b"", b"-1", b"1.5", b"\xff", "٣".encode(), b"9" * 20, b"1_0", b" 1")
        ),
        (GOOD[0], (GOOD[1][0], b"ftp-tasks"), *GOOD[2:]),
        (GOOD[0], (GOOD[1][0], b"ftp-tasks-1-x"), *GOOD[2:]),
    ],
)
def test_what_somebody_else_wrote_is_a_job_like_any_other(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert unpark(Record(ON_TOPIC, b"key", b"{}", headers)) is None


@given(st.lists(st.tuples(st.sampled_from([name for name, _ in GOOD]) | st.text(), st.binary())))
def test_whatever_headers_there_are_it_never_raises(headers: list[tuple[str, bytes]]) -> None:
    record = Record(ON_TOPIC, None, b"{}", tuple(headers))
    found = unpark(record)
    assert found is None or found[0].headers == record.headers[:-8]


# ---- when they are due --------------------------------------------------------------------------------

TOPIC = "ftp-tasks-retry-10s"
PLACE = (TOPIC, 0)


def test_the_first_that_is_not_due_holds_those_behind_it() -> None:
    dues = Dues({TOPIC: 10.0})
    assert dues.take(PLACE, [0, 5_000, 8_000, 1_000], 16_000) == 2
    assert dues.holds(PLACE, 17_999)
    assert not dues.holds((TOPIC, 1), 17_999)
    assert not dues.holds(PLACE, 18_000)
    assert dues.take(PLACE, [8_000, 1_000], 18_000) == 2
    assert not dues.holds(PLACE, 18_000)


def test_reading_on_is_not_begun_for_each_by_itself() -> None:
    dues = Dues({TOPIC: 10.0})
    assert dues.take(PLACE, [7, 8, 9], 10_007) == 1
    assert dues.holds(PLACE, 11_006)
    assert dues.take(PLACE, [8, 9], 11_007) == 2


def test_other_topics_wait_for_nothing() -> None:
    dues = Dues({TOPIC: 10.0})
    assert not dues.concern("ftp-tasks")
    assert dues.concern(TOPIC)
    assert dues.take(("ftp-tasks", 0), [5_000, 20_000], 5_000) == 2
    assert not dues.holds(("ftp-tasks", 0), 5_000)


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 10_000_000])
def test_a_time_that_cannot_be_true_holds_nobody(timestamp_ms: int) -> None:
    assert Dues({TOPIC: 10.0}).take(PLACE, [timestamp_ms], 100_000) == 1


def test_a_clock_that_is_set_back_holds_for_no_longer_than_a_record_waits() -> None:
    dues = Dues({TOPIC: 10.0})
    assert dues.take(PLACE, [995_000], 1_000_000) == 0
    assert not dues.holds(PLACE, 500_000)


def test_what_is_read_from_elsewhere_on_is_not_held() -> None:
    dues = Dues({TOPIC: 10.0})
    dues.take(PLACE, [5_000], 5_000)
    dues.forget([PLACE])
    assert not dues.holds(PLACE, 5_000)


@given(
    st.lists(st.integers(0, 60_000), min_size=1, max_size=50).map(sorted),
    st.sampled_from([1.0, 10.0, 30.0]),
    st.lists(st.integers(50, 5_000), min_size=1, max_size=20),
)
def test_each_is_read_once_never_early_and_hardly_late(
    times_ms: list[int], delay_s: float, polls_ms: list[int]
) -> None:
    dues, now_ms, position = Dues({TOPIC: delay_s}), 0, 0
    read: list[tuple[int, int]] = []
    asked = 0
    for poll_ms in cycle(polls_ms):
        if now_ms > 100_000:  # the last one is due at 90 s
            break
        now_ms += poll_ms
        written = [time for time in times_ms if time <= now_ms]
        if position < len(written) and not dues.holds(PLACE, now_ms):
            asked += 1
            count = dues.take(PLACE, written[position:], now_ms)
            read += [(time, now_ms) for time in written[position : position + count]]
            position += count
    assert [time for time, _ in read] == times_ms
    delay_ms = delay_s * 1000
    assert all(time + delay_ms <= at for time, at in read)
    # A grain, and what lies between two polls.
    assert all(at <= time + delay_ms + min(1000, delay_ms) + 5_000 for time, at in read)
    assert asked <= (now_ms / min(1000, delay_ms)) + 2
