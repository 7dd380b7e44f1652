"""How jobs have ended of late: what is counted, for how long, and in how little memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.flow.lately import NOTHING, STEPS, Lately, Recent, together

NOON = 43_200.0


def told(*ended: tuple[float, float | None, bool], now: float = NOON) -> Recent:
    """Tell how jobs have ended that ended so many seconds ago, took so long, and were done or failed."""
    lately = Lately()
    for ago_s, took_s, done in sorted(ended, key=lambda one: -one[0]):
        lately.ended("site-a", now - ago_s, took_s, done=done)
    return lately.recent(now).get("site-a", NOTHING)


def test_an_hour_and_five_minutes_of_it() -> None:
    recent = told((4000, 1.0, True), (3000, 1.0, True), (2000, 1.0, False), (10, 1.0, True), (5, 1.0, False))
    assert (recent.done_1h, recent.failed_1h) == (2, 2)
    assert (recent.done_5min, recent.failed_5min) == (1, 1)


def test_what_is_older_than_an_hour_is_nothing() -> None:
    assert told((4000, 1.0, True)) is NOTHING
    lately = Lately()
    lately.ended("site-a", 0.0, 1.0, done=True)
    assert lately.recent(NOON) == {}


def test_files_by_five_seconds_the_newest_last() -> None:
    recent = told(
        (0, 1.0, True), (1, 1.0, False), (5, 1.0, True), (6, 1.0, True), (294, 1.0, True), (302, 1.0, True)
    )
    assert len(recent.files) == STEPS
    assert recent.files[-1] == 1
    assert recent.files[-3:-1] == (1, 1)
    assert recent.files[0] == 1
    assert sum(recent.files) == 4


def test_ninety_five_of_a_hundred() -> None:
    recent = told(*[(1, 0.1, True)] * 94, *[(1, 2.0, True)] * 5, (1, 60.0, True))
    assert recent.p95_s == pytest.approx(2.0, rel=0.05)
    assert told(*[(1, 0.1, True)] * 95, *[(1, 60.0, True)] * 5).p95_s == pytest.approx(0.1, rel=0.05)


def test_what_failed_or_had_no_attempt_took_no_time() -> None:
    assert told((1, 30.0, False), (1, None, True)).p95_s is None


def test_how_long_jobs_took_is_known_for_five_minutes() -> None:
    assert told((400, 9.0, True), (1, 1.0, True)).p95_s == pytest.approx(1.0, rel=0.05)


@given(st.lists(st.tuples(st.floats(0, 250), st.floats(0.002, 3000)), min_size=1))
def test_p95_is_within_a_step_of_the_true_one(ended: list[tuple[float, float]]) -> None:
    took = sorted(took_s for _, took_s in ended)
    recent = told(*((ago_s, took_s, True) for ago_s, took_s in ended), now=NOON + 59)
    expected = [
        took_s for ago_s, took_s in ended if int((NOON + 59 - ago_s) // 60) > int((NOON + 59) // 60) - 5
    ]
    assert recent.p95_s is not None
    assert len(took) >= len(expected) > 0
    assert recent.p95_s == pytest.approx(sorted(expected)[math.ceil(0.95 * len(expected)) - 1], rel=0.05)


def test_several_pods_add_up() -> None:
    one = told((1, 0.1, True), (200, 0.1, True))
    other = told((1, 4.0, True), (1, 4.0, False), (2000, 1.0, True))
    both = together([one, NOTHING, other])
    assert (both.done_5min, both.failed_5min, both.done_1h, both.failed_1h) == (3, 1, 4, 1)
    assert both.files[-2] == 2
    assert sum(both.files) == 3
    assert both.p95_s == pytest.approx(4.0, rel=0.05)
    assert together([NOTHING, one]) is one
    assert together([]) is NOTHING


def test_it_takes_no_more_memory_however_much_ends() -> None:
    lately = Lately()
    for second in range(0, 20_000, 7):
        lately.ended(None, second, second / 100, done=True)
    kept = lately._remotes[None]
    assert len(kept._minutes) == 60
    assert len(kept._steps) == STEPS
    assert sum(bool(minute.took) for minute in kept._minutes) == 5
