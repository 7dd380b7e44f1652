"""The steps on which jobs are parked, and who is parked: pure rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.flow.ladder import Backlog, Ladder, relieve

LADDER = Ladder([10, 60, 600, 3600])
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("pause_s", "step_s"),
    [(0, None), (4.9, None), (5, 10), (9, 10), (10, 10), (59, 10), (60, 60), (3599, 600), (1e5, 3600)],
)
def test_the_longest_step_that_is_not_longer_than_the_pause(pause_s: float, step_s: float | None) -> None:
    assert LADDER.step_for(pause_s, 1e6) == step_s


@pytest.mark.parametrize(
    ("left_s", "step_s"), [(9, None), (10, None), (10.1, 10), (60, 10), (61, 60), (1e6, 3600)]
)
def test_nobody_is_parked_beyond_the_deadline(left_s: float, step_s: float | None) -> None:
    assert LADDER.step_for(1e5, left_s) == step_s
    assert LADDER.next_step(1e5, left_s) == step_s


def test_steps_that_are_shorter_than_what_is_worth_it_are_taken_at_their_word() -> None:
    assert Ladder([1, 3]).step_for(1, 100) == 1
    assert Ladder([1, 3]).step_for(0.9, 100) is None


def test_without_steps_nothing_is_parked() -> None:
    assert not Ladder([])
    assert Ladder([]).step_for(1e5, 1e6) is None
    assert Ladder([]).next_step(1e5, 1e6) is None


DELAYS_S = st.lists(st.floats(1, 4000), min_size=1, max_size=5, unique=True).map(sorted)


@given(DELAYS_S, st.floats(5, 20_000))
def test_a_pause_made_of_steps_is_kept_and_hardly_longer(delays_s: list[float], pause_s: float) -> None:
    ladder, passed_s, written = Ladder(delays_s), 0.0, 0
    while (step_s := ladder.step_for(pause_s - passed_s, 1e9)) is not None:
        passed_s += step_s
        written += 1
    # The rest is waited out here.
    waited_s = max(passed_s, pause_s)
    assert waited_s < pause_s + max(delays_s[0], 5)
    assert written <= pause_s / delays_s[0] + 1


@given(DELAYS_S, st.floats(0, 100), st.floats(60, DAY_S))
def test_a_job_that_nobody_can_do_comes_back_soon_at_first_and_is_written_seldom_later(
    delays_s: list[float], begun_s: float, deadline_s: float
) -> None:
    ladder, waited_s, retention_s = Ladder(delays_s), begun_s, 0.0
    times = 0
    while (step_s := ladder.next_step(waited_s, deadline_s - waited_s)) is not None:
        assert step_s == delays_s[0] or step_s <= 2 * waited_s
        # Each step writes it anew: no copy is ever older than a step, however long the job waits.
        retention_s = max(retention_s, step_s)
        waited_s += step_s
        times += 1
    assert deadline_s - waited_s <= delays_s[0] or deadline_s <= waited_s
    assert waited_s < deadline_s or times == 0
    assert retention_s <= delays_s[-1]


def test_an_hour_away_costs_a_dozen_records() -> None:
    waited_s, steps = 5.0, []
    while waited_s < 3600:
        step_s = LADDER.next_step(waited_s, DAY_S)
        assert step_s is not None
        steps.append(step_s)
        waited_s += step_s
    assert len(steps) <= 15
    assert steps == sorted(steps)


# ---- whose jobs go ------------------------------------------------------------------------------------


def backlogs(**jobs: int) -> dict[str, Backlog]:
    return {name: Backlog(count, hungry=count == 0) for name, count in jobs.items()}


def test_while_there_is_room_nobody_goes() -> None:
    assert relieve(backlogs(slow=700, idle=0), 1000, 0.7) == {}


def test_the_longest_backlog_goes_and_short_ones_stay() -> None:
    assert relieve(backlogs(slow=700, other=100, idle=0), 1000, 0.8) == {"slow": 200}


def test_two_long_ones_are_cut_to_one_length() -> None:
    parked = relieve(backlogs(first=600, second=400, idle=0), 1000, 1.0)
    assert parked == {"first": 300, "second": 100}


def test_where_nobody_gains_nobody_goes() -> None:
    assert relieve({"only": Backlog(1000)}, 1000, 1.0) == {}
    assert relieve({"only": Backlog(900), "other": Backlog(100)}, 1000, 1.0) == {}


def test_those_that_nobody_serves_go_first_and_whoever_gains() -> None:
    waiting = {"paused": Backlog(300, served=False), "slow": Backlog(700), "idle": Backlog(0, hungry=True)}
    assert relieve(waiting, 1000, 0.8) == {"paused": 200}
    assert relieve(waiting, 1000, 1.0) == {"paused": 300, "slow": 100}
    assert relieve({"paused": Backlog(1000, served=False)}, 1000, 1.0) == {"paused": 400}


BACKLOGS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2),
    st.builds(Backlog, st.integers(0, 5000), st.booleans(), st.booleans()),
    min_size=1,
    max_size=8,
)


@given(BACKLOGS, st.integers(10, 20_000), st.floats(0, 2))
def test_no_short_backlog_goes_before_a_long_one(
    waiting: dict[str, Backlog], window: int, fill: float
) -> None:
    parked = relieve(waiting, window, fill)
    left = {name: backlog.jobs - parked.get(name, 0) for name, backlog in waiting.items()}
    assert all(0 < jobs <= waiting[name].jobs for name, jobs in parked.items())
    assert fill > 0.7 or not parked
    # As much as there is too much, and at most one more for each that was cut.
    assert sum(parked.values()) <= max(0, (fill - 0.6) * window) + len(waiting) + 1
    for served in (True, False):
        names = [name for name, backlog in waiting.items() if backlog.served is served]
        cut = [left[name] for name in names if name in parked]
        whole = [left[name] for name in names if name not in parked]
        assert not cut or max(whole, default=0) <= max(cut) + 1
        assert max(cut, default=0) - min(cut, default=0) <= 1
    if not any(backlog.hungry for backlog in waiting.values()):
        assert not any(waiting[name].served for name in parked)
    else:
        assert all(left[name] >= 0.6 * window // len(waiting) - 1 for name in parked if waiting[name].served)


@pytest.mark.parametrize(
    ("step_s", "left_s", "longer_s"),
    [(10.0, 1e6, 60.0), (10.0, 60.0, None), (10.0, 60.1, 60.0), (60.0, 1e6, None), (3600.0, 1e6, None)],
)
def test_a_longer_step_instead_of_the_shortest(step_s: float, left_s: float, longer_s: float | None) -> None:
    assert LADDER.longer(step_s, left_s) == longer_s
    assert Ladder([10.0]).longer(10.0, left_s) is None
    assert Ladder([10.0, 3600.0]).longer(10.0, left_s) is None
