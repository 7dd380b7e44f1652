"""Jobs that an operator cancels, wherever they are; in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from pooler.errors import ConnectError, DataConnectionError, ErrorCode
from pooler.model.job import After, Job
from pooler.model.outcome import Status
from tests.support.flow_double import CONTENT, FakeServer, Flow, Shape, always, download, downloads, upload

WHY = "cancelled by alice: wrong file"


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


async def ended(flow: Flow, count: int, within_s: float) -> None:
    with trio.fail_after(within_s):
        while len(flow.ended) < count:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.05)


def assert_cancelled(flow: Flow, name: str) -> None:
    outcome = flow.outcomes()[name]
    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert outcome.failure.code is ErrorCode.CANCELLED
    assert outcome.failure.message == WHY
    assert not outcome.failure.retriable


async def stalling(*_args: object) -> None:
    await trio.sleep_forever()


async def always_well(*_args: object) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("make", [download, upload])
async def test_a_transfer_is_broken_off_and_the_next_job_gets_a_session(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path, make: Callable[[str], Job]
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server.on_transfer = stalling
    flow = Flow(tmp_path, Shape(limit=1), far=server)
    async with flow.running():
        await flow.give(make("one"))
        await trio.sleep(1)
        server.on_transfer = always_well
        assert len(flow.fleet.cancel("one", WHY)) == 1
        await ended(flow, 1, 1)
        assert_cancelled(flow, "one")
        assert "/one" not in server.stored
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
        await flow.give(download("two"))
        await ended(flow, 2, 10)
    assert flow.codes()["two"] == "ok"
    assert server.stored == {}  # its part was removed by the next session
    assert server.opened == 2  # nobody trusts a session that was broken off
    flow.assert_closed()


async def test_what_waits_for_a_server_that_is_away_is_answered_within_seconds(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_connect = always(lambda: ConnectError("nobody answers"))
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(*downloads(3))
        await trio.sleep(30)
        assert flow.ended == []
        assert len(flow.fleet.cancel("far-1", WHY)) == 1
        await ended(flow, 1, 6)
        assert list(flow.outcomes()) == ["far-1"]
        assert_cancelled(flow, "far-1")
        assert flow.remotes["far"].waiting == 2
    flow.assert_closed()


async def test_what_waits_behind_another_is_answered_in_its_turn(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    server.on_transfer = stalling
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        first, second = download("one"), download("two")
        await flow.give(first, replace(second, destination=first.destination))
        await trio.sleep(1)
        flow.fleet.cancel("two", WHY)
        await trio.sleep(20)
        assert flow.ended == []
        server.on_transfer = always_well
        flow.fleet.cancel("one", WHY)
        await ended(flow, 2, 1)
        assert [item.delivery.job.task_id for item in flow.ended] == ["one", "two"]
        assert_cancelled(flow, "two")
        assert flow.outcomes()["two"].attempts == 0
    flow.assert_closed()


async def test_it_is_not_tried_again_whatever_it_fails_of(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    async def failing_late(*_args: object) -> None:
        flow.fleet.cancel("one", WHY)
        raise DataConnectionError("425 no")

    server.on_transfer = failing_late
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one"))
        await ended(flow, 1, 1)
        assert_cancelled(flow, "one")
        assert flow.remotes["far"].last_error is None  # it is not to blame
    flow.assert_closed()


async def test_what_is_done_is_answered_as_done(
    autojump_clock: MockClock, server: FakeServer, tmp_path: Path
) -> None:
    go_on = trio.Event()

    async def removing(*_args: object) -> None:
        await go_on.wait()

    server.on_remove = removing
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one", after=After.DELETE))
        await trio.sleep(5)
        assert flow.ended == []
        (work,) = flow.fleet.cancel("one", WHY)
        assert work.copy is not None
        go_on.set()
        await ended(flow, 1, 1)
    assert flow.codes() == {"one": "ok"}
    assert flow.outcomes()["one"].after == "deleted"
    flow.assert_closed()


async def test_a_stranger_is_nobody(autojump_clock: MockClock, server: FakeServer, tmp_path: Path) -> None:
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one"))
        assert flow.fleet.cancel("two", WHY) == []
        await ended(flow, 1, 10)
    assert flow.codes() == {"one": "ok"}
