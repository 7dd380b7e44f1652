"""Remotes and their workers on a fake server, in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pooler.errors import (
    ConnectError,
    DataConnectionError,
    ErrorCode,
    LoginRefused,
    PoolerError,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.flow.breaker import State
from tests.support.flow_double import (
    CONTENT,
    FakeServer,
    Flow,
    Shape,
    always,
    download,
    downloads,
    failing,
    upload,
)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def away() -> ConnectError:
    return ConnectError("nobody answers")


async def answered(flow: Flow, count: int, within_s: float = 1000) -> None:
    with trio.fail_after(within_s):
        while len(flow.ended) < count:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.05)


async def test_sessions_begin_as_work_comes_and_never_above_the_limit(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=3), far=server)
    async with flow.running():
        await trio.sleep(5)
        assert server.connects == []
        await flow.give(download("one"))
        await answered(flow, 1)
        assert server.opened == 1
        await flow.give(*downloads(20))
        await answered(flow, 21)
    assert server.most == 3
    assert set(flow.codes().values()) == {"ok"}
    assert (tmp_path / "far-7").read_bytes() == CONTENT
    flow.assert_closed()


async def test_the_first_login_is_tried_alone(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(lambda: LoginRefused("530 wrong password"))
    flow = Flow(tmp_path, Shape(limit=10), far=server)
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(30)
        assert len(server.connects) == 1
        assert flow.remotes["far"].breaker.state is State.OPEN
    flow.assert_closed()


async def test_idle_sessions_are_kept_alive_and_then_closed(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(idle_s=100, keepalive_s=30), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1)
        fell_idle = trio.current_time()
        await trio.sleep(95)
        assert len(server.open) == 1
        assert [round(at - fell_idle) for at in server.kept_alive] == [30, 60, 90]
        await trio.sleep(10)
        assert not server.open
        assert flow.budget.used == 0
        # And begun anew when work comes.
        await flow.give(download("two"))
        await answered(flow, 2)
    flow.assert_closed()


async def test_a_session_that_dies_idle_costs_no_job_anything(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(keepalive_s=30), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1)
        next(iter(server.open)).kill()
        await trio.sleep(31)
        assert flow.remotes["far"].sessions == 0
        await flow.give(download("two"))
        await answered(flow, 2)
    assert flow.outcomes()["two"].attempts == 1


async def test_prewarmed_sessions_open_before_there_is_work_and_close_again(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(prewarm=3, idle_s=50), far=server)
    async with flow.running():
        await trio.sleep(10)
        assert len(server.open) == 3
        await trio.sleep(60)
        assert not server.open
        await trio.sleep(1000)
        assert server.opened == 3


async def test_prewarming_ends_after_its_time(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.connect_s = 10
    flow = Flow(tmp_path, Shape(prewarm=3, prewarm_s=5, idle_s=1000), far=server)
    async with flow.running():
        await trio.sleep(500)
        # The first one stood after 10 s: too late for the others to begin.
        assert server.opened == 1


async def test_prewarming_does_not_go_on_at_a_server_that_is_away(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(away)
    flow = Flow(tmp_path, Shape(prewarm=3), far=server)
    async with flow.running():
        await trio.sleep(1000)
    assert len(server.connects) == 1


async def test_prewarming_stays_within_the_limit(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(prewarm=5, limit=2), far=server)
    async with flow.running():
        await trio.sleep(10)
        assert len(server.open) == 2
    assert server.most == 2


async def test_failed_connects_back_off_then_the_breaker_opens_probes_and_closes(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    reached = trio.Event()

    async def until_reached(_number: int) -> None:
        if not reached.is_set():
            raise away()
        await trio.lowlevel.checkpoint()

    server.on_connect = until_reached
    flow = Flow(tmp_path, far=server)
    remote = flow.remotes["far"]
    async with flow.running():
        await flow.give(*downloads(5))
        await trio.sleep(5)
        begun = server.connects[0]
        # Pauses of 1 and 2 s, and the third failure opens it for 60 s.
        assert [round(at - begun) for at in server.connects] == [0, 1, 3]
        assert remote.breaker.state.value == "open"
        await trio.sleep(59)
        assert [round(at - begun) for at in server.connects] == [0, 1, 3, 63]
        reached.set()
        await answered(flow, 5)
        assert [round(at - begun) for at in server.connects[:5]] == [0, 1, 3, 63, 123]
        assert remote.breaker.state.value == "closed"
    assert {outcome.attempts for outcome in flow.outcomes().values()} == {1}


async def test_a_burst_of_failures_is_one_bad_moment(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    """Ten sessions that begin together fail together: that must not open a breaker whose threshold is 3."""
    bad = False

    async def blip(_number: int) -> None:
        await trio.sleep(1)
        if bad:
            raise away()

    server.on_connect = blip
    flow = Flow(tmp_path, Shape(limit=8), far=server)
    async with flow.running():
        server.transfer_s = 100
        await flow.give(*downloads(4))
        await trio.sleep(10)
        assert len(server.open) == 4
        bad = True
        await flow.give(*downloads(10, remote="far", overwrite="always")[4:])
        await trio.sleep(1.5)
        bad = False
        assert flow.remotes["far"].breaker.state is State.CLOSED
        await trio.sleep(5)
        assert len(server.open) == 8


async def test_a_refused_login_counts_though_another_connect_failed_just_before(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    async def fail(number: int) -> None:
        if number > 2:
            await trio.sleep(number)
            raise away() if number == 3 else LoginRefused("530 the password has changed")

    server.on_connect, server.transfer_s = fail, 100
    flow = Flow(tmp_path, Shape(limit=8), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(8))
        await trio.sleep(6)
        assert flow.remotes["far"].breaker.state is State.OPEN
        driving.cancel_scope.cancel()


async def test_jobs_of_a_remote_that_is_away_for_good_end_by_their_deadline(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(away)
    flow = Flow(tmp_path, Shape(deadline_s=1000), far=server)
    async with flow.running():
        await flow.give(*downloads(3))
        await flow.give(download("soon", deadline_seconds=100.0))
        # Behind one another: the second's turn comes when the first has ended.
        await flow.give(upload("a", to="same"), upload("b", to="same"))
        with trio.fail_after(1010):
            await flow.endings.wait_empty()
        assert flow.ended_at["soon"] <= 106
    assert set(flow.codes().values()) == {"DEADLINE_EXCEEDED"}
    assert {outcome.attempts for outcome in flow.outcomes().values()} == {0}
    flow.assert_closed()


async def test_jobs_of_a_paused_remote_end_by_their_deadline(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(deadline_s=100), far=server)
    async with flow.running():
        flow.remotes["far"].pause()
        await flow.give(*downloads(3))
        with trio.fail_after(110):
            await flow.endings.wait_empty()
    assert set(flow.codes().values()) == {"DEADLINE_EXCEEDED"}


async def test_an_attempt_is_cut_by_the_deadline_and_says_so(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 1e4
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("slow", deadline_seconds=50.0))
        await answered(flow, 1, within_s=51)
    outcome = flow.outcomes()["slow"]
    assert outcome.failure is not None
    assert outcome.failure.code == "DEADLINE_EXCEEDED"
    assert outcome.failure.retriable
    assert "no end after" in outcome.failure.message
    assert list(tmp_path.iterdir()) == []


async def test_an_attempt_that_takes_too_long_is_a_timeout_and_is_retried(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 1e4
    flow = Flow(tmp_path, Shape(attempt_s=10, attempts=2), far=server)
    async with flow.running():
        await flow.give(download("slow"))
        await answered(flow, 1)
    outcome = flow.outcomes()["slow"]
    assert flow.codes() == {"slow": "TRANSFER_TIMEOUT"}
    assert outcome.attempts == 2
    assert outcome.duration_ms == 10_000
    assert server.opened == 2


async def test_to_give_up_answers_all_that_waits_and_all_that_comes(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(away)
    flow = Flow(tmp_path, Shape(give_up=True), far=server)
    async with flow.running():
        await flow.give(*downloads(10))
        await answered(flow, 10, within_s=5)
        await flow.give(download("late"))
        await answered(flow, 11, within_s=6)
    assert set(flow.codes().values()) == {"CONNECTION_ERROR"}
    assert all(outcome.failure and outcome.failure.retriable for outcome in flow.outcomes().values())


@pytest.mark.parametrize("give_up", [False, True])
async def test_point_5_a_full_server_lowers_the_limit_and_fails_no_job(
    autojump_clock: MockClock,
    server: FakeServer,
    tmp_path: Path,
    give_up: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    server.room, server.connect_s = 4, 1.0
    flow = Flow(tmp_path, Shape(limit=10, attempts=1, give_up=give_up), far=server)
    remote = flow.remotes["far"]
    async with flow.running():
        await flow.give(*downloads(40))
        await trio.sleep(8)
        assert len(server.open) == 4
        assert remote.group.limit.current(trio.current_time()) == 4
        assert remote.breaker.state.value == "closed"
        refused = len(server.connects) - server.opened
        assert refused <= 6
        await answered(flow, 40)
        assert {outcome.attempts for outcome in flow.outcomes().values()} == {1}
        assert set(flow.codes().values()) == {"ok"}


async def test_the_limit_rises_again_by_itself(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.room = 2
    flow = Flow(tmp_path, Shape(limit=4), far=server)
    async with flow.running():
        server.transfer_s = 5
        await flow.give(*downloads(200))
        await trio.sleep(10)
        assert len(server.open) == 2
        server.room = 1000
        # 30 s for each one more.
        await trio.sleep(35)
        assert len(server.open) == 3
        await trio.sleep(30)
        assert len(server.open) == 4
        await answered(flow, 200)


async def test_a_server_full_of_others_opens_the_breaker(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.room = 0
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one"))
        await trio.sleep(10)
        assert flow.remotes["far"].breaker.state is State.OPEN
        server.room = 1
        await answered(flow, 1)
    assert flow.codes() == {"one": "ok"}
    assert flow.outcomes()["one"].attempts == 1


async def test_too_many_under_a_job_costs_it_no_attempt_and_the_pauses_grow(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_transfer = failing({number: TooManySessions("421 too many") for number in range(1, 6)})
    flow = Flow(tmp_path, Shape(attempts=1), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1)
    assert flow.codes() == {"one": "ok"}
    # 1 + 2 + 4 + 8 + 16 s of pauses.
    assert flow.ended_at["one"] > 31
    assert flow.outcomes()["one"].attempts == 6


async def test_a_job_whose_session_is_lost_is_tried_at_once_then_after_a_pause(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    began: list[float] = []

    async def lose_twice(_path: str) -> None:
        began.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(began) <= 2:
            raise SessionLost("gone")

    server.on_transfer = lose_twice
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1)
    assert began[1] - began[0] < 0.5
    assert 2 <= began[2] - began[1] < 2.5
    assert flow.outcomes()["one"].attempts == 3
    assert server.opened == 3


@pytest.mark.parametrize(
    "error",
    [
        SessionLost("gone"),
        DataConnectionError("stalled"),
        TlsError("data handshake"),
        LoginRefused("532 need account for storing"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_attempts_come_to_an_end(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, error: PoolerError
) -> None:
    server.on_transfer = always(lambda: error)
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1, within_s=20)
    outcome = flow.outcomes()["one"]
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.message) == (error.code, str(error))
    assert outcome.failure.retriable
    assert outcome.attempts == 3
    assert outcome.peer is not None
    assert outcome.reply == "230 hello"
    assert outcome.bytes_transferred == 0
    assert outcome.queued_ms > 0
    assert list(tmp_path.iterdir()) == []


async def test_what_will_not_help_is_not_tried_again(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("missing"))
        await answered(flow, 1, within_s=1)
    outcome = flow.outcomes()["missing"]
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.retriable) == ("FILE_NOT_FOUND", False)
    assert outcome.attempts == 1


async def test_a_bug_ends_its_job_and_its_session_and_nothing_else(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    async def divide(path: str) -> None:
        await trio.sleep(1 / (path != "/bug"))

    server.on_transfer = divide
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        await flow.give(download("a"), download("bug"), download("b"), download("c"))
        await answered(flow, 4)
    assert flow.codes() == {"a": "ok", "bug": "UNKNOWN_ERROR", "b": "ok", "c": "ok"}
    failure = flow.outcomes()["bug"].failure
    assert failure is not None
    assert "ZeroDivisionError" in failure.message
    assert server.opened == 2
    flow.assert_closed()


async def test_a_pause_takes_no_session_from_a_job_and_keeps_what_comes(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 10
    flow = Flow(tmp_path, Shape(limit=2), far=server)
    remote = flow.remotes["far"]
    async with flow.running():
        server.transfer_s = 1
        await flow.give(download("short"))
        await answered(flow, 1)
        server.transfer_s = 10
        await flow.give(download("running"))
        await flow.give(download("other"))
        await trio.sleep(1)
        assert len(server.open) == 2
        remote.pause()
        await flow.give(*downloads(3))
        await trio.sleep(5)
        assert len(server.open) == 2
        assert server.killed_busy == 0
        await trio.sleep(20)
        assert set(flow.codes()) == {"short", "running", "other"}
        assert not server.open
        assert remote.waiting == 3
        assert flow.budget.used == 0
        remote.resume()
        await answered(flow, 6)
    assert set(flow.codes().values()) == {"ok"}


async def test_a_pause_closes_idle_sessions_and_a_quick_resume_keeps_the_busy_ones(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=2), far=server)
    remote = flow.remotes["far"]
    async with flow.running():
        await flow.give(*downloads(2))
        await answered(flow, 2)
        server.transfer_s = 10
        await flow.give(download("running"))
        await trio.sleep(1)
        remote.pause()
        await trio.sleep(1)
        assert len(server.open) == 1
        remote.resume()
        await answered(flow, 3)
        await flow.give(download("next"))
        await answered(flow, 4)
    assert server.opened == 2


async def in_each_state(state: str, server: FakeServer, flow: Flow) -> None:
    if state == "opening":
        server.connect_s = 100
    if state == "busy":
        server.transfer_s = 100
    if state == "retrying":
        server.on_transfer = always(lambda: DataConnectionError("stalled"))
    if state == "away":
        server.on_connect = always(away)
    await flow.give(*downloads(2 if state == "idle" else 6))
    await trio.sleep(10 if state != "retrying" else 0.9)


STATES = ["opening", "idle", "busy", "retrying", "away"]


@pytest.mark.parametrize("state", STATES)
async def test_a_close_waits_for_running_jobs_and_for_nothing_else(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, state: str
) -> None:
    flow = Flow(tmp_path, far=server)
    with trio.fail_after(250):
        async with flow.running():
            await in_each_state(state, server, flow)
            closed_at = trio.current_time()
    took_s = trio.current_time() - closed_at
    assert took_s > 50 if state == "busy" else took_s < 0.5
    assert len(flow.ended) == {"busy": 4, "idle": 2}.get(state, 0)
    assert server.killed_busy == 0
    flow.assert_closed()


@pytest.mark.parametrize("state", STATES)
async def test_cancelled_at_any_time_it_leaves_nothing_open(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, state: str
) -> None:
    flow = Flow(tmp_path, far=server)
    async with flow.running() as driving:
        await in_each_state(state, server, flow)
        driving.cancel_scope.cancel()
    flow.assert_closed()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize("after_s", [step / 8 for step in range(40)])
async def test_cancelled_at_every_step_of_a_busy_flow(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, after_s: float
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = failing(
        {3: SessionLost("gone"), 5: DataConnectionError("stalled"), 6: KeyError("x")}
    )
    server.on_connect = failing({2: away(), 4: TooManySessions("421")})
    flow = Flow(tmp_path, Shape(limit=3), far=server)
    async with flow.running() as driving:
        await flow.give(*downloads(6), *(upload(f"up-{number}") for number in range(4)))
        await trio.sleep(after_s)
        driving.cancel_scope.cancel()
    flow.assert_closed()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    assert [path for path in server.stored if path.endswith(".part")] == []


async def test_a_part_left_behind_is_removed_by_the_next_session(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = failing({1: SessionLost("gone")})
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(upload("one"))
        await answered(flow, 1)
        assert flow.codes() == {"one": "ok"}
        assert server.stored == {"/one": CONTENT}


@pytest.mark.parametrize("idle", [0, 2])
async def test_a_part_that_is_left_is_removed_though_no_job_comes_any_more(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, idle: int
) -> None:
    """The session that tidies up fails too, at first; those that are idle take no room from it."""
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = failing({idle + 1: SessionLost("gone")})
    server.on_remove = failing({1: SessionLost("gone"), 2: SessionLost("gone")})
    flow = Flow(tmp_path, Shape(limit=max(1, idle), attempts=1), far=server)
    async with flow.running():
        await flow.give(*downloads(idle))
        await answered(flow, idle)
        await flow.give(upload("one"))
        await answered(flow, idle + 1)
        assert flow.codes()["one"] == "CONNECTION_ERROR"
        await trio.sleep(60)
        assert server.stored == {}
        logins = len(server.connects)
        await trio.sleep(1000)
        assert len(server.connects) == logins


async def test_what_the_dead_left_is_removed_though_all_sessions_are_idle(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await answered(flow, 1)
        await trio.sleep(1)
        flow.fleet.inherit("far", "/part")
        await trio.sleep(10)
        assert server.removed == ["/part"]


async def test_a_server_that_is_away_is_not_tried_for_ever_for_a_part(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = failing({1: SessionLost("gone")})
    server.on_connect = failing({number: away() for number in range(2, 1000)})
    flow = Flow(tmp_path, Shape(attempts=1), far=server)
    async with flow.running():
        await flow.give(upload("one"))
        await answered(flow, 1)
        await trio.sleep(10_000)
        assert list(server.stored.values()) == [b"part"]
        tried = len(server.connects)
        await trio.sleep(10_000)
        assert len(server.connects) == tried
        server.on_connect = failing({})
        await flow.give(download("two"))
        await answered(flow, 2)
        assert server.stored == {}


async def test_a_removal_that_is_cancelled_is_made_up_for_at_the_end(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = failing({1: SessionLost("gone")})
    hangs = True

    async def hang(_path: str) -> None:
        await trio.sleep(1000 if hangs else 0)

    server.on_remove = hang
    flow = Flow(tmp_path, far=server)
    async with flow.running() as driving:
        await flow.give(upload("one"))
        await trio.sleep(10)
        hangs = False
        driving.cancel_scope.cancel()
    # The job itself is not done: it comes again.
    assert server.stored == {}
    flow.assert_closed()


async def test_removals_at_the_end_have_a_deadline(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)

    async def hang(_path: str) -> None:
        await trio.sleep_forever()

    server.transfer_s, server.on_remove = 100, hang
    flow = Flow(tmp_path, far=server)
    async with flow.running() as driving:
        await flow.give(upload("one"))
        await trio.sleep(10)
        driving.cancel_scope.cancel()
        cancelled_at = trio.current_time()
    assert trio.current_time() - cancelled_at <= 5.5
    flow.assert_closed()


async def test_what_is_no_longer_ours_is_dropped_and_its_followers_go_on(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        flow.lost = {"a"}
        await flow.give(upload("a", to="same"), upload("b", to="same"))
        await answered(flow, 1)
    assert flow.codes() == {"b": "ok"}
    assert flow.dropped == ["a"]
    assert not flow.endings.in_flow


async def test_a_transfer_that_is_no_longer_ours_is_broken_off_and_the_others_go_on(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 100
    flow = Flow(tmp_path, Shape(limit=2), far=server)
    async with flow.running():
        await flow.give(*downloads(2))
        await trio.sleep(5)
        assert len(server.transfers) == 2
        lost = server.transfers[0].rpartition("/")[2]
        flow.lost = {lost}
        flow.fleet.abandon_lost()
        await trio.sleep(1)
        assert flow.dropped == [lost]
        assert server.killed_busy == 1
        await answered(flow, 1)
    assert set(flow.codes().values()) == {"ok"}
    assert not flow.endings.in_flow
    assert list(tmp_path.glob(".pooler-*")) == []
    flow.assert_closed()


async def test_jobs_of_one_order_key_go_one_by_one_and_in_order_retries_included(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    tries = 0

    async def first_try_fails(path: str) -> None:
        nonlocal tries
        await trio.lowlevel.checkpoint()
        tries += path == "/far-0"
        if path == "/far-0" and tries == 1:
            raise DataConnectionError("425 not now")

    server.on_transfer = first_try_fails
    flow = Flow(tmp_path, Shape(limit=5), far=server)
    async with flow.running():
        await flow.give(*downloads(3, order_key="k"), download("free"))
        await answered(flow, 4)
    assert [job for job in flow.codes() if job != "free"] == ["far-0", "far-1", "far-2"]
    assert server.transfers == ["/far-0", "/free", "/far-0", "/far-1", "/far-2"]


async def test_a_lane_full_of_what_is_no_longer_ours_takes_what_is(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    """A rebalance takes jobs of a remote that is away: they count nowhere, and stand in its lane."""
    server.on_connect = always(away)
    flow = Flow(tmp_path, Shape(lane_room=10), far=server)
    async with flow.running():
        gone = [upload(f"gone-{number}", to=f"{number // 2}") for number in range(14)]
        await flow.give(*gone[:10])
        flow.lost = {job.task_id for job in gone}
        await flow.give(*gone[10:])
        await flow.give(*downloads(10))
        assert flow.remotes["far"].waiting == 10
    assert len(flow.dropped) >= 10


async def test_jobs_no_longer_ours_leave_a_dead_remote_s_lane(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(away)
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(*downloads(5))
        flow.lost = {"far-1", "far-3"}
        await trio.sleep(6)
        assert flow.remotes["far"].waiting == 3
        assert len(flow.endings.in_flow) == 3


async def test_a_remote_with_a_backlog_leaves_a_turn_to_one_that_has_no_session(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    big, small = FakeServer(), FakeServer()
    flow = Flow(tmp_path, Shape(total=1), big=big, small=small)
    async with flow.running():
        await flow.give(*downloads(500, "big"))
        await trio.sleep(3.3)
        await flow.give(*downloads(5, "small"))
        with trio.fail_after(30):
            while sum(task_id.startswith("small") for task_id in flow.codes()) < 5:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.1)
        assert len(big.open) + len(small.open) <= 1
        await answered(flow, 505, within_s=2000)
    flow.assert_closed()


async def test_a_remote_whose_session_is_being_opened_cannot_keep_the_last_one(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    big, small = FakeServer(connect_s=5), FakeServer()
    flow = Flow(tmp_path, Shape(total=1), big=big, small=small)
    async with flow.running():
        await flow.give(*downloads(500, "big"))
        await trio.sleep(1)
        await flow.give(download("it", "small"))
        await trio.sleep(10)
        assert flow.codes()["it"] == "ok"


async def test_a_dead_remote_in_line_keeps_no_session_from_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Who asked in vain and then cannot begin must not stand before those who can."""
    busy, dead, third = FakeServer(transfer_s=10), FakeServer(), FakeServer()
    flow = Flow(tmp_path, Shape(total=1), busy=busy, dead=dead, third=third)
    dead.on_connect = always(away)
    async with flow.running():
        await flow.give(*downloads(3, "busy"))
        await trio.sleep(1)
        await flow.give(*downloads(5, "dead"))
        await trio.sleep(1)
        await flow.give(*downloads(5, "third"))
        with trio.fail_after(120):
            while len(flow.ended) < 8:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.1)
    flow.assert_closed()


async def test_every_session_that_comes_free_finds_somebody_who_waits(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Two come free at once, and the first in line needs but one."""
    first, second, third = FakeServer(transfer_s=10), FakeServer(transfer_s=50), FakeServer(transfer_s=50)
    flow = Flow(tmp_path, Shape(total=2, limit=2, idle_s=1), first=first, second=second, third=third)
    async with flow.running():
        await flow.give(*downloads(2, "first"))
        await trio.sleep(1)
        await flow.give(download("b", "second"))
        await flow.give(download("c", "third"))
        await trio.sleep(25)
        assert len(second.open) == 1
        assert len(third.open) == 1


async def test_the_dialogue_of_a_failed_job_has_no_line_of_another_job(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async def refusing(path: str) -> None:
        await trio.lowlevel.checkpoint()
        if "bad" in path:
            raise ReplyError(550, "no", "RETR", code=ErrorCode.FILE_NOT_FOUND)

    server = FakeServer(on_transfer=refusing)
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        for name in ("bad-1", "good", "bad-2"):
            await flow.give(download(name))
        await flow.endings.wait_empty()
    told = {name: outcome.dialogue for name, outcome in flow.outcomes().items()}
    # Of the first one the login is told too: it may be what is wrong.
    assert told == {
        "bad-1": ("> PASS ****", "< 230 hello", "> MOVE /bad-1"), "good": (), "bad-2": ("> MOVE /bad-2",),
    }  # fmt: skip
    assert len(server.transfers) == 3
