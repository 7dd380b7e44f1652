"""A file system that is really full, and one that is really read-only; as root, since it mounts one."""
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

import errno
import subprocess
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest
import trio

from pooler.errors import ErrorCode, LocalFileError, PoolerError
from pooler.flow.keeper import RootKeeper
from pooler.flow.lane import Lane
from pooler.flow.work import Work
from pooler.model.outcome import Outcome
from pooler.ops.metrics import Metrics
from pooler.storage.landing import PartFile, land
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import Tenancy
from pooler.transfer.names import incarnation

pytestmark = pytest.mark.mounts

_MIB = 1024 * 1024


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mount"
    place.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place))
    try:
        yield place
    finally:
        _run("umount", "--lazy", str(place))


async def _nobody(_work: Work, _outcome: Outcome) -> None:
    raise AssertionError("there is no job here")


def _keeper(root: LocalRoot) -> RootKeeper:
    lane = Lane(10, wants=lambda _: True, end=_nobody, drop=lambda _: None)
    return RootKeeper(
        root,
        Tenancy(root, incarnation, min_free_bytes=_MIB, sweep_after_s=900),
        lane,
        submit=lambda _: None,
        inherit=lambda *_: None,
        metrics=Metrics("0", []),
        stall_s=inf,
    )


async def _until_it_is(keeper: RootKeeper, reason: str | None) -> None:
    with trio.fail_after(60):
        while (None if keeper.trouble is None else keeper.trouble.reason) != reason:  # noqa: ASYNC110 - a real disk
            await trio.sleep(0.05)


def _part(root: LocalRoot, name: str) -> PartFile:
    assert root.lease is not None
    temporary = f".pooler-{root.lease.incarnation}-0123456789abcdef-{abs(hash(name))}.part"
    return PartFile(root, [name], temporary, replace=True)


async def test_a_disk_that_fills_up_and_is_emptied(mount: Path) -> None:
    root = LocalRoot("disk", mount)
    keeper = _keeper(root)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        part = await root.run(_part, root, "large")
        with pytest.raises(PoolerError) as caught:
            await root.run(part.write, memoryview(bytes(9 * _MIB)))
        assert caught.value.code is ErrorCode.DISK_FULL
        part.discard()
        with trio.fail_after(30):
            while (mount / part.temporary).exists():  # noqa: ASYNC110 - a real disk
                await trio.sleep(0.05)
        (mount / "others").write_bytes(bytes(7 * _MIB + _MIB // 2))
        await _until_it_is(keeper, "full")
        assert keeper.trouble is not None
        assert keeper.trouble.uploads_go_on
        (mount / "others").unlink()
        await _until_it_is(keeper, None)
        assert await root.complete(land, [await root.run(_part, root, "small")], "batch") == [None]
        keeper.close()
    await keeper.leave()
    assert [found.name for found in mount.iterdir()] == ["small"]


async def test_a_disk_with_no_room_at_all(mount: Path) -> None:
    root = LocalRoot("disk", mount)
    keeper = _keeper(root)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        with pytest.raises(OSError, match="No space"):
            (mount / "others").write_bytes(bytes(9 * _MIB))
        await _until_it_is(keeper, "full")
        # The lease is renewed all the same: uploads, which may make room, go on.
        assert root.lease is not None
        before = root.lease.renewed_ns
        with trio.fail_after(30):
            while root.lease.renewed_ns == before:  # noqa: ASYNC110 - a real disk
                await trio.sleep(0.05)
        keeper.close()
    await keeper.leave()


async def test_a_disk_that_turns_read_only_and_back(mount: Path) -> None:
    root = LocalRoot("disk", mount)
    keeper = _keeper(root)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        _run("mount", "-o", "remount,ro", str(mount))
        with pytest.raises(LocalFileError) as caught:
            await root.run(_part, root, "f")
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EROFS
        await _until_it_is(keeper, "read_only")
        _run("mount", "-o", "remount,rw", str(mount))
        await _until_it_is(keeper, None)
        keeper.close()
    await keeper.leave()


async def test_a_mount_that_goes_away(mount: Path) -> None:
    """What is left is the folder below it, on another disk: nothing may be made there."""
    root = LocalRoot("disk", mount)
    keeper = _keeper(root)
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        _run("umount", "--lazy", str(mount))
        with pytest.raises(PoolerError):
            await root.run(_part, root, "f")
        await _until_it_is(keeper, "vanished")
        assert list(mount.iterdir()) == []
        _run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount))
        keeper.close()
    await keeper.leave()
