"""An asyncio loop that ends takes its tasks with it, and nothing of what they end with."""

import asyncio

import pytest
import trio
import trio_asyncio

from pooler.bus.clients import CLOSE_S, on_asyncio
from pooler.bus.loops import open_loop


async def reads_until_its_connection_ends() -> None:
    """End as aiokafka's tasks do, whose connection goes as they are cancelled."""
    try:
        await asyncio.sleep(1_000)
    except asyncio.CancelledError:
        raise asyncio.IncompleteReadError(b"", 4) from None  # noqa: ASYNC104 - as aiokafka's do


async def left_behind(tasks: list[asyncio.Task[None]]) -> None:
    tasks.append(asyncio.ensure_future(reads_until_its_connection_ends()))
    await asyncio.sleep(0)


async def test_a_task_that_is_left_may_end_as_it_likes() -> None:
    tasks: list[asyncio.Task[None]] = []
    async with open_loop():
        await on_asyncio(left_behind, tasks)
    assert [type(task.exception()) for task in tasks] == [asyncio.IncompleteReadError]


async def test_without_it_that_would_end_the_process() -> None:
    with pytest.RaisesGroup(asyncio.IncompleteReadError, flatten_subgroups=True):
        async with trio_asyncio.open_loop():
            await on_asyncio(left_behind, [])


async def test_what_the_block_ends_with_is_handed_on() -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
        async with open_loop():
            await on_asyncio(left_behind, [])
            raise ZeroDivisionError


async def test_a_block_that_is_cancelled_ends_its_tasks_too() -> None:
    tasks: list[asyncio.Task[None]] = []
    with trio.CancelScope() as scope:
        async with open_loop():
            await on_asyncio(left_behind, tasks)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert tasks[0].done()


async def test_a_task_that_is_slow_to_end_is_waited_for_within_a_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.02

    async def ends_late() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            await asyncio.sleep(10 * CLOSE_S)  # noqa: ASYNC102 - as who is slow to end

    async def begin() -> None:
        begun.append(asyncio.ensure_future(ends_late()))
        await asyncio.sleep(0)

    begun: list[asyncio.Task[None]] = []
    async with open_loop():
        await on_asyncio(begin)
    assert begun[0].done()
    assert trio.current_time() <= CLOSE_S + 1
