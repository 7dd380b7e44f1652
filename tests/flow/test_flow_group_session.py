"""Who was not heard by its group for too long begins nothing that others may have begun."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.bus.group_session import GroupSession
from pooler.model.job import After
from tests.support.flow_double import CONTENT, FakeServer, Flow, Shape, download, upload

SESSION_S = 45.0


async def test_a_session_lasts_from_when_something_was_said(mock_clock: MockClock) -> None:
    session, lasts = GroupSession(SESSION_S), []
    lasts.append(session.lasts)
    said_at = trio.current_time()
    mock_clock.jump(10)  # the answer took its time
    session.renew(said_at)
    mock_clock.jump(34.9)
    lasts.append(session.lasts)
    session.renew(said_at - 5)  # an older one comes in behind
    lasts.append(session.lasts)
    mock_clock.jump(0.2)
    lasts.append(session.lasts)
    assert lasts == [False, True, True, False]


async def test_who_waits_goes_on_once_it_is_heard_and_the_log_tells(mock_clock: MockClock) -> None:
    session = GroupSession(SESSION_S)
    session.renew(trio.current_time())
    await session.lasting()
    session.end()
    with capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(session.lasting)
            await wait_all_tasks_blocked()
            session.renew(trio.current_time() - SESSION_S)  # too long ago to count
            await wait_all_tasks_blocked()
            assert [event["event"] for event in logged] == ["group_session_over"]
            assert len(nursery.child_tasks) == 3
            session.renew(trio.current_time())
        await session.lasting()
    assert [event["event"] for event in logged] == ["group_session_over", "group_session_renewed"]


async def test_who_waits_to_be_taken_in_for_the_first_time_has_lost_nothing(mock_clock: MockClock) -> None:
    session = GroupSession(SESSION_S)
    with capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.lasting)
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            session.renew(trio.current_time())
    assert logged == []


async def test_a_process_that_was_frozen_begins_nothing_until_it_is_heard(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer(transfer_s=10)
    flow = Flow(tmp_path, Shape(limit=1, session_s=SESSION_S), far=server)
    async with flow.running():
        await flow.give(download("runs"), download("waits"), download("lost"))
        await trio.sleep(5)
        autojump_clock.jump(100)
        await trio.sleep(50)
        assert server.transfers == ["/runs"]
        flow.lost.add("lost")
        flow.fleet.abandon_lost()
        flow.session.renew(trio.current_time())
        await flow.endings.wait_empty()
    assert server.transfers == ["/runs", "/waits"]
    assert set(flow.outcomes()) == {"runs", "waits"}


@pytest.mark.parametrize("is_lost", [True, False])
async def test_a_job_that_was_taken_in_hand_before_is_not_begun_either(
    autojump_clock: MockClock, tmp_path: Path, *, is_lost: bool
) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(limit=1, session_s=SESSION_S), far=server)
    async with flow.running():
        await flow.give(download("first"))
        await flow.endings.wait_empty()
        autojump_clock.jump(100)  # the worker is idle, and waits for a job
        await flow.give(download("next"))
        await trio.sleep(50)
        assert server.transfers == ["/first"]
        if is_lost:
            flow.lost.add("next")
            flow.fleet.abandon_lost()
            await wait_all_tasks_blocked()
        flow.session.renew(trio.current_time())
        await flow.endings.wait_empty()
    assert server.transfers == ["/first"] if is_lost else ["/first", "/next"]
    assert set(flow.outcomes()) == ({"first"} if is_lost else {"first", "next"})


async def test_a_session_on_a_server_is_kept_alive_while_nothing_is_begun(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, Shape(limit=1, keepalive_s=20, session_s=SESSION_S), far=server)
    async with flow.running():
        await flow.give(download("first"))
        await flow.endings.wait_empty()
        await trio.sleep(SESSION_S + 20)
        before = len(server.kept_alive)
        await flow.give(download("next"))
        await trio.sleep(100)
        assert len(server.kept_alive) >= before + 4
        flow.session.renew(trio.current_time())
        await flow.endings.wait_empty()
    assert server.transfers == ["/first", "/next"]


@pytest.mark.parametrize("make", [download, upload])
@pytest.mark.parametrize("ours", [True, False])
async def test_a_source_is_removed_only_while_nobody_else_can_have_got_the_job(
    autojump_clock: MockClock, tmp_path: Path, make: Any, *, ours: bool
) -> None:
    """Who gets it reads the notes then, and must find ours."""
    server = FakeServer(transfer_s=10)
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    server.stored["/f"] = CONTENT
    flow = Flow(tmp_path, Shape(session_s=SESSION_S), far=server)

    def is_there() -> bool:
        return "/f" in server.stored and source.exists()

    async with flow.running():
        await flow.give(make("f", after=After.DELETE))
        await trio.sleep(5)
        flow.session.question()
        await trio.sleep(30)
        assert server.transfers
        assert is_there(), "the group is just giving it to somebody"
        flow.session.renew(trio.current_time())
        await trio.sleep(1)
        assert is_there(), "to be heard is not to be told what is ours"
        autojump_clock.jump(100)
        flow.session.decide(trio.current_time() - SESSION_S)
        await trio.sleep(30)
        assert is_there(), "we were frozen, and somebody may have it"
        if not ours:
            flow.lost.add("f")
        flow.session.decide(trio.current_time())
        await flow.endings.wait_empty()
    assert is_there() != ours
    assert flow.dropped == ([] if ours else ["f"])
    assert set(flow.outcomes()) == ({"f"} if ours else set())


async def test_a_job_that_leaves_its_source_ends_while_the_group_decides(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    flow = Flow(tmp_path, Shape(session_s=SESSION_S), far=FakeServer())
    async with flow.running():
        flow.session.question()
        await flow.give(download("f"))
        await flow.endings.wait_empty()
    assert set(flow.outcomes()) == {"f"}
