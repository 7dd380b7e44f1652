"""Sessions that are to end while they wait for their turn at a data connection, in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from pooler.flow.remote import Remote
from tests.support.flow_double import FakeServer, Flow, Shape, downloads

SLOW = Shape(limit=4, data_per_s=0.01, attempts=1)


def have_none(remote: Remote) -> None:
    remote.allow(0)


@pytest.mark.parametrize("end", [Remote.break_off, have_none])
async def test_who_waits_for_its_turn_gives_its_session_back_at_once_and_no_attempt_is_lost(
    autojump_clock: MockClock, tmp_path: Path, end: Callable[[Remote], None]
) -> None:
    """Other pods have these sessions by then: a hundred seconds later would be too many at the server."""
    server = FakeServer()
    flow = Flow(tmp_path, SLOW, far=server)
    remote = flow.remotes["far"]
    async with flow.running():
        await flow.give(*downloads(5))
        await trio.sleep(50)
        assert len(flow.outcomes()) == 1
        assert remote.working == 4
        if end is Remote.break_off:
            remote.allow(0)
        end(remote)
        await trio.sleep(1)
        assert not server.open
        assert remote.waiting == 4
        remote.allow(None)
        await flow.endings.wait_empty()
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}
    flow.assert_closed()


async def test_a_job_that_is_cancelled_meanwhile_is_answered_at_once(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, SLOW, far=FakeServer())
    async with flow.running():
        await flow.give(*downloads(3))
        await trio.sleep(50)
        assert flow.remotes["far"].working == 2
        flow.fleet.cancel("far-2", "somebody")
        await trio.sleep(6)
        assert flow.codes()["far-2"] == "CANCELLED"
        await flow.endings.wait_empty()
    assert flow.codes() == {"far-0": "ok", "far-1": "ok", "far-2": "CANCELLED"}
