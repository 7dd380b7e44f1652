"""What bounds sessions, logins and data connections: the rules, and remotes that obey them."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from pooler.errors import DataConnectionError, ReplyError
from pooler.flow.breaker import State
from pooler.flow.climb import Climb, Reason
from pooler.flow.limit import SessionLimit
from pooler.flow.pace import DataPace, TokenBucket
from tests.support.flow_double import FakeServer, Flow, Shape, always, download, downloads

# ---- the limit ----------------------------------------------------------------------------------------


def test_a_limit_falls_to_what_was_let_in_and_one_more_is_tried_after_a_pause() -> None:
    limit = SessionLimit(5, pause_s=30.0)
    assert (limit.current(0.0), limit.cools_until(0.0), limit.state(0.0)) == (5, None, "fixed")
    limit.too_many(2, 100.0, "421 too many")
    assert [limit.current(at) for at in (100.0, 129.9, 130.0, 1e6)] == [2, 2, 3, 3]
    assert (limit.cools_until(129.9), limit.state(129.9)) == (130.0, "cooling")
    assert (limit.cools_until(130.0), limit.state(130.0)) == (None, "fixed")
    limit.opened(3, 140.0)
    assert [limit.current(at) for at in (140.0, 169.9, 170.0)] == [3, 3, 4]
    limit.opened(4, 171.0)
    limit.opened(5, 202.0)
    assert (limit.current(202.0), limit.let_in) == (5, None)


def test_the_pause_doubles_with_each_try_that_is_refused_up_to_ten_minutes() -> None:
    limit, now, pauses = SessionLimit(9, pause_s=30.0), 0.0, []
    for _ in range(7):
        limit.too_many(4, now)
        until = limit.cools_until(now)
        assert until is not None
        pauses.append(until - now)
        now = until + 5
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    limit.opened(5, now)
    until = limit.cools_until(now)
    assert until == now + 30


def test_a_burst_of_refusals_is_one() -> None:
    limit = SessionLimit(9, pause_s=30.0)
    told = [limit.too_many(let_in, 100.0) for let_in in (7, 6, 5, 5)]
    assert [None if decision is None else decision.after for decision in told] == [7, 6, 5, None]
    assert limit.cools_until(100.0) == 130.0


def test_a_session_that_was_let_in_before_says_nothing_new() -> None:
    limit = SessionLimit(9)
    assert limit.opened(3, 0.0) is None
    limit.too_many(4, 0.0)
    assert limit.opened(4, 0.0) is None
    assert limit.current(0.0) == 4


def test_the_least_of_all_bounds_counts() -> None:
    limit = SessionLimit(9, climb=Climb(6))
    assert limit.current(0.0) == 6
    limit.allowance = 3
    assert limit.current(0.0) == 3
    limit.too_many(2, 0.0)
    assert limit.current(0.0) == 2
    limit.allowance = 0
    assert limit.current(0.0) == 0
    limit.allowance = None
    assert limit.current(1e6) == 3


def test_decisions_say_why_and_the_newest_are_kept() -> None:
    limit = SessionLimit(100)
    for number in range(100):
        limit.too_many(100 - number, number / 100, f"421 {number}")
    assert len(limit.decisions) == 20
    last = limit.decisions[-1]
    assert (last.before, last.after, last.reason, last.error) == (2, 1, Reason.REFUSED, "421 99")


@given(st.lists(st.tuples(st.integers(-3, 20), st.floats(0, 100))))
def test_a_limit_is_never_below_one_nor_above_its_ceiling(blows: list[tuple[int, float]]) -> None:
    limit, now = SessionLimit(7), 0.0
    for let_in, later_s in blows:
        now += later_s
        before = limit.current(now)
        limit.too_many(let_in, now)
        assert 1 <= limit.current(now) <= before <= 7


# ---- rates --------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 60),
    pauses=st.lists(st.floats(0, 100), max_size=60),
)
def test_in_no_minute_more_logins_than_allowed(count: int, pauses: list[float]) -> None:
    bucket, now = TokenBucket.per_minute(count), 1000.0
    passed: list[float] = []
    for pause in pauses:
        now += pause
        # As many as it lets through at once, and one more as soon as it may.
        while bucket.ready_at(now) <= now:
            assert bucket.take(now) == now
            passed.append(now)
        now = bucket.ready_at(now)
        bucket.take(now)
        passed.append(now)
    for at in passed:
        assert sum(at <= other < at + 60 - 1e-6 for other in passed) <= count


def test_whoever_takes_one_that_is_not_there_waits_behind_the_others() -> None:
    bucket = TokenBucket(2.0, 1.0)
    assert [round(bucket.take(0.0), 3) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert round(bucket.take(10.0), 3) == 10.0


def begun(pace: DataPace, wanted_per_s: float, seconds: float, now: float) -> int:
    """Begin so many a second, as far as the pace lets; tell how many began in that time."""
    times = [pace.begin(now + number / wanted_per_s) for number in range(round(wanted_per_s * seconds))]
    return sum(at <= now + seconds for at in times)


def test_data_connections_keep_their_pace() -> None:
    pace = DataPace(10.0)
    assert begun(pace, 100, 10, now=50.0) == pytest.approx(100, abs=4)


def test_refused_data_connections_lower_the_pace_below_what_it_was_and_it_recovers() -> None:
    pace = DataPace(500.0)
    assert begun(pace, 20, 10, now=100.0) == 200
    assert pace.crowded(110.0)
    assert pace.per_s == pytest.approx(14, rel=0.05)
    # Those that were on their way are the same bad moment.
    assert not pace.crowded(112.0)
    assert pace.per_s == pytest.approx(14, rel=0.05)
    assert begun(pace, 20, 5, now=112.0) == pytest.approx(70, abs=6)
    now = 130.0
    for _ in range(100):
        pace.begin(now)
        now += 10
    assert pace.per_s == 500.0


def test_the_pace_never_stands_still() -> None:
    pace, now = DataPace(500.0), 0.0
    for _ in range(100):
        now += 6
        pace.crowded(now)
    assert pace.per_s >= 0.1


# ---- remotes ------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


async def test_sessions_double_while_that_helps_and_the_reasons_can_be_read(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=16, start=1, lane_room=10_000), far=server)
    limit = flow.remotes["far"].group.limit
    with capture_logs() as lines:
        async with flow.running() as driving:
            await flow.give(*downloads(5000))
            await trio.sleep(60)
            assert limit.target == 16
            assert len(server.open) >= 15
            driving.cancel_scope.cancel()
    assert [decision.after for decision in limit.decisions][:4] == [2, 4, 8, 16]
    helped = [decision for decision in limit.decisions if decision.reason is Reason.MORE_HELP]
    for decision in helped:
        assert decision.seen is not None
        assert decision.seen.files_per_s == pytest.approx(decision.seen.sessions, rel=0.25)
        assert decision.seen.reply_s == pytest.approx(1.0, rel=0.05)
    logged = [line for line in lines if line["event"] == "limit_decided"]
    assert len(logged) == len(limit.decisions)
    assert {"limit", "before", "reason", "gain", "seen", "against"} <= set(logged[1])
    assert server.most <= 16


async def test_sessions_that_do_not_help_are_let_go_between_two_jobs(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    """Whatever the number, the server does four files a second."""
    turns = trio.CapacityLimiter(4)

    async def share(_path: str) -> None:
        async with turns:
            await trio.sleep(1)

    server.transfer_s, server.on_transfer = 0.0, share
    flow = Flow(tmp_path, Shape(limit=40, start=4, lane_room=10_000), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(5000))
        await trio.sleep(90)
        assert flow.remotes["far"].group.limit.target <= 6
        assert len(server.open) <= 7
        assert len(flow.ended) >= 0.9 * 4 * 85
        assert server.killed_busy == 0
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}


async def test_a_limit_does_not_fall_because_there_is_nothing_to_do(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=16, start=1, lane_room=10_000, idle_s=1e6), far=server)
    limit = flow.remotes["far"].group.limit
    async with flow.running():
        await flow.give(*downloads(600))
        while len(flow.ended) < 600:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.5)
        assert limit.target == 16
        for number in range(100):
            await flow.give(download(f"drop-{number}"))
            await trio.sleep(10)
        assert limit.target == 16
        # More than there are sessions for, and then nothing for a while.
        for number in range(100):
            await flow.give(*(download(f"burst-{number}-{one}") for one in range(20)))
            await trio.sleep(5)
        assert limit.target == 16


async def test_a_full_server_bounds_it_and_no_job_fails(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.room = 5
    flow = Flow(tmp_path, Shape(limit=20, start=1, attempts=1, lane_room=10_000), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(5000))
        await trio.sleep(25)
        limit = flow.remotes["far"].group.limit
        assert (limit.current(trio.current_time()), limit.let_in) == (5, 5)
        assert len(server.open) == 5
        assert len(server.connects) - server.opened <= 4
        await trio.sleep(120)
        assert len(server.connects) - server.opened <= 4 + 2
        assert flow.remotes["far"].breaker.state is State.CLOSED
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}
    assert {outcome.attempts for outcome in flow.outcomes().values()} == {1}


async def test_what_bounds_it_from_outside_counts_at_once(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=8, lane_room=10_000), far=server)
    remote = flow.remotes["far"]
    async with flow.running() as driving:
        await flow.give(*downloads(5000))
        await trio.sleep(10)
        assert len(server.open) == 8
        remote.allow(3)
        await trio.sleep(3)
        assert (len(server.open), remote.most) == (3, 3)
        remote.allow(0)
        await trio.sleep(3)
        assert len(server.open) == 0
        remote.allow(None)
        await trio.sleep(3)
        assert (len(server.open), remote.most) == (8, 8)
        assert server.killed_busy == 0
        driving.cancel_scope.cancel()


async def test_logins_a_minute_are_bounded(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    """The server ends each session after a job, and files are quick."""
    server.transfer_s = 0.01

    async def only_one(_path: str) -> None:
        await trio.lowlevel.checkpoint()
        for session in list(server.open):
            session.lifetime_s = 0.0

    server.lifetime_s = 1e-6
    flow = Flow(tmp_path, Shape(limit=4, connects_per_minute=20), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(300))
        await trio.sleep(600)
        assert len(server.connects) >= 150
        for at in server.connects:
            assert sum(at <= other < at + 60 for other in server.connects) <= 20
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}


@pytest.mark.parametrize(
    "error",
    [ReplyError(425, "Can't open data connection.", "EPSV"), ReplyError(426, "Aborted.", "RETR"), None],
    ids=["425", "426", "nobody listens"],
)
async def test_point_5_refused_data_connections_lower_their_rate(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, error: ReplyError | None
) -> None:
    """The server has a port for so many, and each rests for a minute."""
    ports: list[float] = []

    async def take_port(_path: str) -> None:
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        ports[:] = [at for at in ports if at > now - 60]
        if len(ports) >= 120:
            if error is not None:
                raise error
            refused = DataConnectionError("data port 1: refused")
            refused.session_survives = True
            raise refused
        ports.append(now)

    server.on_transfer, server.transfer_s = take_port, 0.1
    flow = Flow(tmp_path, Shape(limit=4, attempts=50, lane_room=10_000), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(5000))
        await trio.sleep(120)
        assert flow.remotes["far"].group.data.per_s < 10
        before = len(flow.ended), len(server.transfers)
        await trio.sleep(240)
        done, begun_then = len(flow.ended) - before[0], len(server.transfers) - before[1]
        assert done >= 0.6 * 120 * 4
        # Without a bound there would be forty a second.
        assert begun_then - done < 0.3 * begun_then
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}


async def test_an_error_that_is_no_refusal_leaves_the_rate_alone(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_transfer = always(lambda: DataConnectionError("stalled"))
    flow = Flow(tmp_path, Shape(data_per_s=50.0), far=server)
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(100)
    assert flow.remotes["far"].group.data.per_s == 50.0


async def test_data_connections_a_second_are_bounded(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 0.01
    flow = Flow(tmp_path, Shape(limit=10, data_per_s=5.0), far=server)
    async with flow.running():
        await flow.give(*downloads(200))
        await trio.sleep(20)
        assert 90 <= len(server.transfers) <= 105
        await trio.sleep(30)
    assert set(flow.codes().values()) == {"ok"}
    assert len(flow.ended) == 200


# ---- remotes on one host ------------------------------------------------------------------------------


async def test_point_26_remotes_of_one_group_share_its_sessions_alike(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    first, second = FakeServer(), FakeServer()
    flow = Flow(tmp_path, Shape(limit=6, grouped=True), first=first, second=second)
    async with flow.running():
        await flow.give(*downloads(300, "first"))
        await trio.sleep(10)
        assert (len(first.open), len(second.open)) == (6, 0)
        await flow.give(*downloads(60, "second"))
        most = 0
        for _ in range(100):
            await trio.sleep(0.1)
            most = max(most, len(first.open) + len(second.open))
        assert (len(first.open), len(second.open)) == (3, 3)
        assert most <= 6
        while len(flow.ended) < 360:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.5)
            assert len(first.open) + len(second.open) <= 6
        # What one does not need is the other's.
        assert len(first.open) == 6
    assert first.killed_busy == second.killed_busy == 0
    flow.assert_closed()


async def test_a_member_of_a_group_keeps_its_own_bound(autojump_clock: MockClock, tmp_path: Path) -> None:
    first, second = FakeServer(), FakeServer()
    flow = Flow(tmp_path, Shape(limit=6, grouped=True), first=first, second=second)
    async with flow.running() as driving:
        flow.remotes["second"].allow(1)
        await flow.give(*downloads(200, "first"), *downloads(200, "second"))
        await trio.sleep(10)
        assert (len(first.open), len(second.open)) == (5, 1)
        driving.cancel_scope.cancel()


async def test_a_free_session_is_for_the_member_that_has_fewest(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rich, poor = FakeServer(transfer_s=100), FakeServer(transfer_s=100)
    flow = Flow(tmp_path, Shape(limit=4, grouped=True), rich=rich, poor=poor)
    async with flow.running() as driving:
        await flow.give(*downloads(3, "rich"))
        await trio.sleep(10)
        for remote in flow.remotes.values():
            remote.pause()
        await flow.give(*downloads(5, "rich"), *downloads(5, "poor"))
        for remote in flow.remotes.values():
            remote.resume()
        group, now = flow.remotes["rich"].group, trio.current_time()
        assert not group.has_one_for(flow.remotes["rich"], now)
        assert group.has_one_for(flow.remotes["poor"], now)
        await trio.sleep(1)
        assert (len(rich.open), len(poor.open)) == (3, 1)
        driving.cancel_scope.cancel()


async def test_one_whose_server_is_away_keeps_nothing_from_the_others_of_its_group(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    good, away = FakeServer(), FakeServer()
    away.on_connect = always(lambda: DataConnectionError("no route"))
    flow = Flow(tmp_path, Shape(limit=4, grouped=True), good=good, away=away)
    async with flow.running() as driving:
        await flow.give(*downloads(100, "away"), *downloads(100, "good"))
        await trio.sleep(40)
        assert len(flow.ended) == 100
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}


async def test_what_the_server_says_to_one_counts_for_the_group(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    """Both are accounts on one server, which counts the sessions of our address."""
    server.room = 4
    flow = Flow(tmp_path, Shape(limit=10, grouped=True, attempts=1), first=server, second=server)
    async with flow.running() as driving:
        await flow.give(*downloads(200, "first"), *downloads(200, "second"))
        await trio.sleep(20)
        group = flow.remotes["first"].group
        assert group is flow.remotes["second"].group
        assert group.limit.current(trio.current_time()) == 4
        assert len(server.open) == 4
        assert [flow.remotes[name].sessions for name in ("first", "second")] == [2, 2]
        driving.cancel_scope.cancel()
    assert set(flow.codes().values()) == {"ok"}


async def test_a_group_finds_its_number_together(autojump_clock: MockClock, tmp_path: Path) -> None:
    first, second = FakeServer(), FakeServer()
    flow = Flow(
        tmp_path, Shape(limit=16, start=2, grouped=True, lane_room=10_000), first=first, second=second
    )
    async with flow.running() as driving:
        await flow.give(*downloads(3000, "first"), *downloads(3000, "second"))
        await trio.sleep(60)
        assert flow.remotes["first"].group.limit.target == 16
        assert abs(len(first.open) - len(second.open)) <= 2
        driving.cancel_scope.cancel()
