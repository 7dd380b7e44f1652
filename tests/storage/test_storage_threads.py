"""Calls that do not come back: nobody waits, nothing leaks, and nothing is written where it should not be."""
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.errors import PoolerError
from pooler.storage.landing import PartFile, land
from pooler.storage.root import LocalRoot, SourceFile
from pooler.storage.threads import Stalled, goes_on
from tests.support import descriptors


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return LocalRoot("disk", tmp_path, stall_s=30)


class Mount:
    """What a call goes through: it stalls until it is let go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.back = threading.Event()
        self.done = threading.Event()

    def stalling(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            self.reached.set()
            self.back.wait(60)
            try:
                return function(*args)
            finally:
                self.done.set()

        return call

    async def wait_reached(self) -> None:
        await trio.to_thread.run_sync(self.reached.wait, 60)


async def until(what: Callable[[], bool]) -> None:
    """Wait in real time, whatever the clock of the test."""
    wait = threading.Event()
    for _ in range(6000):
        if what():
            return
        await trio.to_thread.run_sync(wait.wait, 0.01)
    raise AssertionError("it does not happen")


async def stalled(clock: MockClock, root: LocalRoot, mount: Mount, call: Callable[[], object]) -> None:
    """Make a call that stalls, and wait until it is given up."""
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            with pytest.raises(Stalled):
                await root.run(call)

        nursery.start_soon(give_up)
        await mount.wait_reached()
        clock.jump(31)


async def test_a_call_that_takes_too_long_is_left_alone(
    mock_clock: MockClock, root: LocalRoot, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"it")
    mount = Mount()
    opened = mount.stalling(lambda: root.open_source(["f"]))
    before = descriptors.count()
    await stalled(mock_clock, root, mount, opened)
    assert root.busy == 1
    mount.back.set()
    # What it opened is closed, though nobody got it.
    await until(lambda: root.busy == 0 and descriptors.count() == before)
    assert mount.done.is_set()


async def test_a_part_that_is_made_too_late_is_removed(
    mock_clock: MockClock, root: LocalRoot, tmp_path: Path
) -> None:
    mount = Mount()
    made = threading.Event()

    def make() -> PartFile:
        part = PartFile(root, ["f"], "t.part", replace=True)
        assert (tmp_path / "t.part").exists()
        made.set()
        return part

    await stalled(mock_clock, root, mount, mount.stalling(make))
    mount.back.set()
    await until(lambda: root.busy == 0)
    assert made.is_set()
    assert list(tmp_path.iterdir()) == []


async def test_what_a_stalled_write_writes_to_is_nobody_elses(
    mock_clock: MockClock, root: LocalRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptor of a part that is given up is not used again while a thread may still write to it."""
    mount, real = Mount(), os.write
    part = PartFile(root, ["f"], "t.part", replace=True)
    monkeypatch.setattr(os, "write", mount.stalling(lambda number, _: real(number, b"late")))
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(Stalled):
                await root.run(part.write, memoryview(b"late"))

        nursery.start_soon(write)
        await mount.wait_reached()
        mock_clock.jump(31)
    part.discard()
    other = PartFile(root, ["g"], "u.part", replace=True)
    assert other.descriptor != part.descriptor
    mount.back.set()
    await until(lambda: root.busy == 0)
    assert os.fstat(other.descriptor).st_size == 0
    assert part.descriptor == -1
    assert [found.name for found in tmp_path.iterdir()] == ["u.part"]
    other.discard()


async def test_more_calls_than_threads_stall(mock_clock: MockClock, root: LocalRoot) -> None:
    mount = Mount()
    gave_up, begun = [], []

    def stall() -> None:
        begun.append(1)
        mount.back.wait(60)

    async def give_up() -> None:
        with pytest.raises(Stalled):
            await root.run(stall)
        gave_up.append(1)

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(give_up)
        await until(lambda: len(begun) == 16)
        await wait_all_tasks_blocked()
        mock_clock.jump(31)
    assert len(gave_up) == 40
    assert len(begun) == 16
    assert root.busy == 16
    mount.back.set()
    await until(lambda: root.busy == 0)
    assert await root.run(lambda: "well") == "well"


async def test_a_long_call_that_goes_on_is_not_given_up(mock_clock: MockClock, root: LocalRoot) -> None:
    step, stepped = threading.Semaphore(0), threading.Semaphore(0)

    def long() -> str:
        for _ in range(5):
            step.acquire()
            goes_on()
            stepped.release()
        return "done"

    result = []

    async def run() -> None:
        result.append(await root.run(long))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        for _ in range(5):
            mock_clock.jump(25)
            step.release()
            await trio.to_thread.run_sync(stepped.acquire)
            await wait_all_tasks_blocked()
    assert result == ["done"]


async def test_a_cancelled_call_closes_what_it_opens(root: LocalRoot, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"it")
    scope = trio.CancelScope()
    before = descriptors.count()

    def opening() -> SourceFile:
        trio.from_thread.run_sync(scope.cancel)
        return root.open_source(["f"])

    with scope:
        await root.run(opening)
    assert scope.cancelled_caught
    await until(lambda: root.busy == 0 and descriptors.count() == before)


async def test_a_cancellation_does_not_wait_for_a_mount_that_stalls(
    mock_clock: MockClock, root: LocalRoot
) -> None:
    mount = Mount()
    for call in (root.run, root.complete, root.attend):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, mount.stalling(lambda: None))
            await mount.wait_reached()
            nursery.cancel_scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            mock_clock.rate = 1000
        mock_clock.rate = 0
        assert nursery.cancel_scope.cancelled_caught
        mount.reached.clear()
    mount.back.set()
    await until(lambda: root.busy == 0)


async def test_a_landing_that_is_given_up_gives_no_more_names(root: LocalRoot, tmp_path: Path) -> None:
    files = [PartFile(root, [name], f"{name}.part", replace=True) for name in ("a", "b", "c")]
    mount, real = Mount(), os.rename
    renames = []

    def rename(*args: object, **named: object) -> None:
        renames.append(args)
        mount.reached.set()
        mount.back.wait(60)
        real(*args, **named)  # type: ignore[arg-type]

    errors: list[PoolerError | None] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", rename)
        async with trio.open_nursery() as nursery:

            async def landing() -> None:
                errors.extend(await trio.to_thread.run_sync(land, files, "never"))

            nursery.start_soon(landing)
            await mount.wait_reached()
            # What the finisher does when it is cancelled; the first is being renamed already.
            for file in files:
                file.discard()
            assert all(file.descriptor >= 0 for file in files)
            mount.back.set()
    assert len(renames) == 1
    assert [error is None for error in errors] == [True, False, False]
    assert [found.name for found in tmp_path.iterdir()] == ["a"]
