import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import ErrorCode
from pooler.storage import marker
from pooler.storage.landing import FlushPolicy
from pooler.storage.marker import mark
from pooler.storage.root import LocalRoot
from tests.support import descriptors


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    (tmp_path / "in").mkdir()
    return LocalRoot("disk", tmp_path)


def test_they_are_empty_files_beside(root: LocalRoot) -> None:
    assert mark(root, [("in", "f"), ("g",)]) == [None, None]
    assert (root.path / "in/f.ok").read_bytes() == b""
    assert (root.path / "g.ok").read_bytes() == b""


def test_one_that_is_there_is_left_alone(root: LocalRoot) -> None:
    (root.path / "g.ok").touch()
    os.utime(root.path / "g.ok", (1, 1))
    assert mark(root, [("g",)]) == [None]
    assert (root.path / "g.ok").stat().st_mtime == 1


def test_one_with_something_in_it_is_emptied(root: LocalRoot) -> None:
    (root.path / "g.ok").write_bytes(b"x")
    assert mark(root, [("g",)]) == [None]
    assert (root.path / "g.ok").read_bytes() == b""


def test_what_fails_is_told_of_the_one_it_is_about(root: LocalRoot) -> None:
    (root.path / "a.ok").mkdir()
    (root.path / "b.ok").symlink_to(root.path / "in" / "other")
    os.mkfifo(root.path / "c.ok")
    found = mark(root, [("a",), ("b",), ("c",), ("missing", "d"), ("e",)])
    assert [error and error.code for error in found] == [
        ErrorCode.DESTINATION_EXISTS,
        ErrorCode.PATH_OUTSIDE_ROOT,
        ErrorCode.INVALID_JOB,
        ErrorCode.FILE_NOT_FOUND,
        None,
    ]
    assert "disk:/a.ok" in str(found[0])
    assert (root.path / "e.ok").exists()
    assert not (root.path / "in" / "other").exists()


@pytest.mark.parametrize("policy", ["batch", "always", "never"])
def test_its_name_is_flushed(root: LocalRoot, policy: FlushPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[list[str]] = []

    def flush(folder: int) -> None:
        with os.scandir(folder) as entries:
            flushed.append([entry.name for entry in entries])

    monkeypatch.setattr(marker, "flush_folder", flush)
    assert mark(root, [("in", "f")], policy) == [None]
    assert flushed == ([] if policy == "never" else [["f.ok"]])


def test_a_name_that_may_be_lost_is_no_marker(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_folder: int) -> None:
        raise OSError(errno.EIO, "bad")

    monkeypatch.setattr(marker, "flush_folder", fail)
    (error,) = mark(root, [("in", "f")])
    assert error is not None
    assert error.code is ErrorCode.IO_ERROR
