"""Whether short calls are made in the loop."""

import os
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from pooler.storage.nearness import AVOIDED_S, SLOW_S, Nearness, is_of_this_machine
from pooler.storage.root import LocalRoot


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def root_on(path: Path, clock: Clock) -> LocalRoot:
    root = LocalRoot("disk", path, nearness=Nearness(clock))
    root.look_near()
    return root


def test_only_file_systems_of_this_machine_count(tmp_path: Path) -> None:
    assert is_of_this_machine(tmp_path)
    assert not is_of_this_machine(Path("/proc"))
    assert not is_of_this_machine(tmp_path / "missing")


async def test_a_short_call_is_made_in_the_loop_once_the_root_was_looked_at(
    tmp_path: Path, clock: Clock
) -> None:
    root = LocalRoot("disk", tmp_path, nearness=Nearness(clock))
    assert await root.brief(threading.get_ident) != threading.get_ident()
    root.look_near()
    assert await root.brief(threading.get_ident) == threading.get_ident()
    assert await root.complete_brief(threading.get_ident) == threading.get_ident()
    # What may take long goes to a thread in any case.
    assert await root.run(threading.get_ident) != threading.get_ident()
    assert await root.complete(threading.get_ident) != threading.get_ident()


async def test_while_a_batch_is_flushed_files_are_made_in_a_thread(tmp_path: Path, clock: Clock) -> None:
    root = root_on(tmp_path, clock)
    flushed = threading.Event()

    async def flush() -> None:
        await root.complete(flushed.wait)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        assert await root.make(threading.get_ident) != threading.get_ident()
        # What makes no file waits for no flush.
        assert await root.brief(threading.get_ident) == threading.get_ident()
        flushed.set()
    assert await root.make(threading.get_ident) == threading.get_ident()


async def test_without_leave_every_call_goes_to_a_thread(tmp_path: Path) -> None:
    root = LocalRoot("disk", tmp_path)
    root.look_near()
    assert await root.brief(threading.get_ident) != threading.get_ident()


async def test_what_is_on_no_disk_of_ours_goes_to_a_thread(clock: Clock) -> None:
    root = root_on(Path("/proc"), clock)
    assert await root.brief(threading.get_ident) != threading.get_ident()
    assert await root.complete_brief(threading.get_ident) != threading.get_ident()


async def test_after_a_slow_call_the_loop_is_spared_for_a_while(tmp_path: Path, clock: Clock) -> None:
    root = root_on(tmp_path, clock)

    def takes(seconds: float) -> int:
        clock.now += seconds
        return threading.get_ident()

    assert await root.brief(takes, 0.9 * SLOW_S) == threading.get_ident()
    assert await root.brief(takes, 1.1 * SLOW_S) == threading.get_ident()
    assert await root.brief(threading.get_ident) != threading.get_ident()
    clock.now += AVOIDED_S[0] - 0.1
    assert await root.brief(threading.get_ident) != threading.get_ident()
    clock.now += 0.2
    assert await root.brief(threading.get_ident) == threading.get_ident()


async def test_each_slow_call_within_a_minute_doubles_that(tmp_path: Path, clock: Clock) -> None:
    root, (at_first, at_most) = root_on(tmp_path, clock), AVOIDED_S

    async def spared_s() -> float:
        """Make a slow call, and tell for how long the loop is spared after it."""

        def slow() -> None:
            clock.now += 1

        await root.brief(slow)
        ended = clock.now
        while await root.brief(threading.get_ident) != threading.get_ident():
            clock.now += 0.5
        return clock.now - ended

    assert [await spared_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    clock.now += at_most
    assert await spared_s() == at_first


async def test_a_slow_failure_counts_too(tmp_path: Path, clock: Clock) -> None:
    root = root_on(tmp_path, clock)

    def fails() -> None:
        clock.now += 1
        os.stat(tmp_path / "missing")  # noqa: PTH116 - what the code does

    with pytest.raises(FileNotFoundError):
        await root.brief(fails)
    assert await root.brief(threading.get_ident) != threading.get_ident()
