import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode, JobError, LocalFileError, PoolerError
from pooler.storage.root import LocalRoot, SourceState
from pooler.storage.source import move_source, remove_source
from tests.support import descriptors


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f").write_bytes(b"1234")
    return LocalRoot("disk", tmp_path)


def state(root: LocalRoot) -> SourceState:
    source = root.open_source(["in", "f"])
    source.close()
    return source.opened_as


def tree(root: LocalRoot) -> dict[str, bytes]:
    found = (path for path in root.path.rglob("*") if path.is_file())
    return {str(path.relative_to(root.path)): path.read_bytes() for path in found}


def remove(root: LocalRoot, copied: SourceState) -> None:
    remove_source(root, ["in", "f"], copied)


def move(root: LocalRoot, copied: SourceState) -> None:
    move_source(root, ["in", "f"], ["done", "today", "g"], copied)


def refused(call: Callable[[], object]) -> PoolerError:
    with pytest.raises(PoolerError) as caught:
        call()
    return caught.value


def test_a_file_is_removed_and_a_second_time_too(root: LocalRoot) -> None:
    copied = state(root)
    for _ in range(2):
        remove(root, copied)
        assert tree(root) == {}


def test_a_file_is_moved_and_a_second_time_too(root: LocalRoot) -> None:
    copied = state(root)
    for _ in range(2):
        move(root, copied)
        assert tree(root) == {"done/today/g": b"1234"}


def test_a_move_that_ended_between_its_two_steps(root: LocalRoot) -> None:
    (root.path / "done" / "today").mkdir(parents=True)
    os.link(root.path / "in" / "f", root.path / "done" / "today" / "g")
    move(root, state(root))
    assert tree(root) == {"done/today/g": b"1234"}


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "no hard links")


@pytest.mark.parametrize("links", [True, False])
def test_nothing_is_ever_replaced(root: LocalRoot, monkeypatch: pytest.MonkeyPatch, *, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (root.path / "done" / "today").mkdir(parents=True)
    (root.path / "done" / "today" / "g").write_bytes(b"1234")
    before = tree(root)
    error = refused(lambda: move(root, state(root)))
    assert error.code is ErrorCode.DESTINATION_EXISTS
    assert str(error).startswith("disk:/done/today/g: ")
    assert tree(root) == before


def test_a_file_system_without_links(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    move(root, state(root))
    assert tree(root) == {"done/today/g": b"1234"}


def test_another_failure_of_the_link(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    assert refused(lambda: move(root, state(root))).code is ErrorCode.DISK_FULL
    assert tree(root) == {"in/f": b"1234"}


@pytest.mark.parametrize("act", [remove, move])
def test_a_file_that_has_changed_since_is_left(
    root: LocalRoot, act: Callable[[LocalRoot, SourceState], None]
) -> None:
    copied = state(root)
    (root.path / "in" / "f").write_bytes(b"12345")
    error = refused(lambda: act(root, copied))
    assert isinstance(error, JobError)
    assert error.code is ErrorCode.SOURCE_CHANGED
    assert tree(root) == {"in/f": b"12345"}


@pytest.mark.parametrize("act", [remove, move])
def test_a_link_is_left(root: LocalRoot, act: Callable[[LocalRoot, SourceState], None]) -> None:
    copied = state(root)
    (root.path / "in" / "f").rename(root.path / "in" / "g")
    (root.path / "in" / "f").symlink_to("g")
    assert refused(lambda: act(root, copied)).code is ErrorCode.INVALID_JOB
    assert (root.path / "in" / "f").is_symlink()


def test_a_file_that_is_nowhere(root: LocalRoot) -> None:
    copied = state(root)
    (root.path / "in" / "f").unlink()
    error = refused(lambda: move(root, copied))
    assert isinstance(error, LocalFileError)
    assert error.code is ErrorCode.FILE_NOT_FOUND
