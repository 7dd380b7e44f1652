"""Maintenance windows of a remote: no session in them, no job lost by them, and the operator told."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from pooler.config.maintenance import windows
from pooler.flow.maintenance import Maintenance
from tests.support.flow_double import FakeServer, Flow, Shape, download, downloads

NOON = datetime(2024, 1, 8, 12, tzinfo=UTC)
WINDOW = windows("Mon 13:00-14:00 UTC")
BEGIN_S, END_S = 3600, 7200


async def test_in_a_window_running_transfers_finish_and_no_session_is_opened(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer(transfer_s=1000)
    shape = Shape(limit=2, idle_s=1e5, windows=WINDOW, noon=NOON, delays_s=())
    flow = Flow(tmp_path, shape, far=server)
    with capture_logs() as logs:
        async with flow.running():
            await trio.sleep(BEGIN_S - 500)
            await flow.give(*downloads(4))
            await trio.sleep(499)
            remote = flow.remotes["far"]
            assert (len(server.open), remote.maintenance.until) == (2, None)
            await trio.sleep(2)
            assert remote.maintenance.until == NOON + timedelta(seconds=END_S)
            assert len(server.open) == 2
            await trio.sleep(600)
            assert not server.open
            assert (remote.waiting, remote.sessions) == (2, 0)
            assert not remote.busy
            await flow.give(download("later"))
            await trio.sleep(END_S - BEGIN_S - 700)
            assert server.opened == 2
            await flow.endings.wait_empty()
            assert trio.current_time() > END_S
            assert server.killed_busy == 0
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}
    told = [
        (line["event"], line["remote"], line.get("until")) for line in logs if "maintenance" in line["event"]
    ]
    assert told == [
        ("maintenance_began", "far", "2024-01-08T14:00:00+00:00"),
        ("maintenance_ended", "far", None),
    ]
    flow.assert_closed()


async def test_an_idle_session_is_closed_as_a_window_begins(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(idle_s=1e5, windows=WINDOW, noon=NOON), far=server)
    async with flow.running():
        await flow.give(download("one"))
        await flow.endings.wait_empty()
        await trio.sleep(BEGIN_S - 100)
        assert len(server.open) == 1
        await trio.sleep(110)
        assert not server.open


async def test_a_service_that_starts_in_a_window_waits_for_its_end(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    shape = Shape(prewarm=2, windows=WINDOW, noon=NOON + timedelta(minutes=90))
    flow = Flow(tmp_path, shape, far=server)
    async with flow.running():
        await flow.give(*downloads(3))
        await trio.sleep(1790)
        assert not server.connects
        await flow.endings.wait_empty()
    assert min(server.connects) == pytest.approx(1800, abs=1)
    assert set(flow.codes().values()) == {"ok"}


async def test_a_job_whose_deadline_comes_first_is_told_of_the_window(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    shape = Shape(windows=WINDOW, noon=NOON + timedelta(minutes=61), deadline_s=600)
    flow = Flow(tmp_path, shape, far=FakeServer())
    async with flow.running():
        await flow.give(download("one"))
        await flow.endings.wait_empty()
        assert 600 <= trio.current_time() < 620
    failure = flow.outcomes()["one"].failure
    assert failure is not None
    assert failure.code == "DEADLINE_EXCEEDED"
    assert "in maintenance until 2024-01-08T14:00:00+00:00" in failure.message


async def test_jobs_of_a_closed_remote_are_parked(autojump_clock: MockClock, tmp_path: Path) -> None:
    shape = Shape(windows=WINDOW, noon=NOON + timedelta(minutes=61), delays_s=(10, 60, 600))
    flow = Flow(tmp_path, shape, far=FakeServer())
    async with flow.running():
        await flow.give(*downloads(20))
        await trio.sleep(60)
        assert len(flow.parked) == 20
        assert not flow.remotes["far"].waiting


async def test_no_session_is_opened_in_a_window_to_tidy_up(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(windows=WINDOW, noon=NOON + timedelta(minutes=61)), far=server)
    with capture_logs() as logs:
        async with flow.running():
            flow.fleet.inherit("far", "/part")
            await trio.sleep(60)
    assert not server.connects
    assert [line["paths"] for line in logs if line["event"] == "parts_left_behind"] == [["/part"]]


async def test_a_clock_that_is_put_right_is_followed(autojump_clock: MockClock) -> None:
    now, changes = [NOON], []
    maintenance = Maintenance("far", WINDOW, lambda: changes.append(maintenance.until), lambda: now[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(maintenance.run)
        await trio.sleep(10)
        assert changes == []
        now[0] = NOON + timedelta(minutes=70)
        await trio.sleep(40)
        assert changes == [NOON + timedelta(hours=2)]
        now[0] = NOON
        await trio.sleep(40)
        assert changes == [NOON + timedelta(hours=2), None]
        nursery.cancel_scope.cancel()
