"""How old a session becomes: it is replaced between two jobs, before anything ages that it lives by."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from math import inf
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.support.flow_double import FakeServer, Flow, Shape, download, downloads


@pytest.mark.parametrize(("max_age_s", "lifetime_s"), [(100, inf), (inf, 100), (100, 1e4), (1e4, 100)])
async def test_point_16_an_old_session_is_replaced_between_two_jobs_and_never_in_one(
    autojump_clock: MockClock, tmp_path: Path, max_age_s: float, lifetime_s: float
) -> None:
    server = FakeServer(transfer_s=40, lifetime_s=lifetime_s)
    flow = Flow(tmp_path, Shape(limit=1, max_age_s=max_age_s), far=server)
    async with flow.running():
        await flow.give(*downloads(10))
        await flow.endings.wait_empty()
    # Jobs begin at 0, 40 and 80 s of each session's age; the one that would at 120 gets another.
    assert (server.opened, server.most) == (4, 1)
    assert (server.killed_busy, flow.dropped) == (0, [])
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}
    flow.assert_closed()


async def test_a_session_without_an_end_is_not_replaced(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer(transfer_s=1e4)
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        await flow.give(*downloads(5))
        await flow.endings.wait_empty()
    assert server.opened == 1


async def test_an_idle_session_that_grows_old_is_closed_and_not_replaced_without_work(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(idle_s=1e4, max_age_s=100), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await flow.endings.wait_empty()
        await trio.sleep(85)
        assert len(server.open) == 1
        await trio.sleep(15)
        assert not server.open
        await trio.sleep(1e4)
        assert server.opened == 1
        await flow.give(download("two"))
        await flow.endings.wait_empty()
    assert server.opened == 2


async def test_sessions_that_began_together_are_not_all_replaced_together(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(limit=30, prewarm=30, idle_s=1e4, max_age_s=1000), far=server)
    async with flow.running():
        await trio.sleep(890)
        assert len(server.open) == 30
        await trio.sleep(60)
        assert 0 < len(server.open) < 30
        await trio.sleep(60)
        assert not server.open


async def test_a_session_that_is_old_at_once_still_does_the_job_that_waits(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer(lifetime_s=1e-6)
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        await flow.give(*downloads(5))
        with trio.fail_after(60):
            await flow.endings.wait_empty()
    assert server.opened == 5
    assert set(flow.codes().values()) == {"ok"}
