import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.errors import ErrorCode, JobError, PoolerError, Remedy
from pooler.storage import landing
from pooler.storage.landing import FlushPolicy, PartFile, existing, land
from pooler.storage.root import LocalRoot
from tests.support import descriptors

POLICIES: tuple[FlushPolicy, ...] = ("batch", "always", "never")


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def root(top: Path) -> LocalRoot:
    return LocalRoot("disk", top)


def part_file(root: LocalRoot, path: str, data: bytes = b"new", *, replace: bool = True) -> PartFile:
    part = PartFile(root, path.split("/"), f".{path.replace('/', '-')}.part", replace=replace)
    part.write(memoryview(data))
    return part


def tree(top: Path) -> dict[str, bytes]:
    return {
        str(found.relative_to(top)): found.read_bytes() for found in sorted(top.rglob("*")) if found.is_file()
    }


def codes(errors: list[PoolerError | None]) -> list[ErrorCode | None]:
    return [None if error is None else error.code for error in errors]


def failing(
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    *,
    when: Callable[..., bool] = lambda *_, **__: True,
) -> None:
    """Let a call into the operating system fail, where `when` says so of its arguments."""
    real: Callable[..., Any] = getattr(os, call)

    def fails(*args: Any, **named: Any) -> Any:
        if when(*args, **named):
            raise OSError(number, os.strerror(number))
        return real(*args, **named)

    monkeypatch.setattr(os, call, fails)


class Calls:
    """What was asked of the operating system, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.syncfs_gives = 0
        for name in ("write", "fsync", "rename", "link", "unlink", "close"):
            self._watch(monkeypatch, name)
        monkeypatch.setattr(landing, "_libc", self)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def watched(*args: Any, **named: Any) -> Any:
            what = args[0]
            if isinstance(what, int):
                what = descriptors.path(what).name
            self.made.append(f"{name} {what}")
            return real(*args, **named)

        monkeypatch.setattr(os, name, watched)

    def syncfs(self, descriptor: int) -> int:
        self.made.append(f"syncfs {descriptors.path(descriptor).name}")
        return self.syncfs_gives

    def of(self, *names: str) -> list[str]:
        return [call for call in self.made if call.split()[0] in names]


# ---- one file -------------------------------------------------------------------------------------------


def test_until_it_is_published_it_has_another_name(top: Path, root: LocalRoot) -> None:
    part = part_file(root, "d/f", b"it")
    assert tree(top) == {"d/.d-f.part": b"it"}
    part.publish()
    assert tree(top) == {"d/f": b"it"}
    part.close()
    assert part.path == "disk:/d/f"


def test_what_the_system_takes_in_pieces_is_written_whole(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    part = part_file(root, "f", b"abcdefgh")
    part.publish()
    part.close()
    assert tree(top) == {"f": b"abcdefgh"}


def test_a_temporary_name_that_is_taken_is_not_shared(top: Path, root: LocalRoot) -> None:
    (top / "t.part").write_bytes(b"another's")
    with pytest.raises(PoolerError):
        PartFile(root, ["f"], "t.part", replace=True)
    assert tree(top) == {"t.part": b"another's"}


def test_a_link_in_place_of_the_temporary_name_is_not_followed(top: Path, root: LocalRoot) -> None:
    (top / "t.part").symlink_to(top / "victim")
    with pytest.raises(PoolerError):
        PartFile(root, ["f"], "t.part", replace=True)
    assert tree(top) == {}


def test_a_full_disk(root: LocalRoot, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = PartFile(root, ["f"], "t.part", replace=True)
    failing(monkeypatch, "write", errno.ENOSPC)
    with pytest.raises(PoolerError) as caught:
        part.write(memoryview(b"x"))
    assert (caught.value.code, caught.value.remedy) == (ErrorCode.DISK_FULL, Remedy.LATER)
    part.discard()
    assert tree(top) == {}


@pytest.mark.parametrize("call", ["fstat", "stat"])
def test_a_folder_that_cannot_be_looked_at_is_closed(
    top: Path, root: LocalRoot, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, call, errno.EIO)
    with pytest.raises(PoolerError):
        PartFile(root, ["f"], "t.part", replace=True)
    monkeypatch.undo()
    assert tree(top) == {}


# ---- replace --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_may_replace_nothing(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:
        failing(monkeypatch, "link", errno.EPERM)
    (top / "old").write_bytes(b"old")
    (top / "dangling").symlink_to("nowhere")
    files = [part_file(root, path, replace=False) for path in ("old", "free", "dangling")]
    found = codes(land(files, "never"))
    assert found == [ErrorCode.DESTINATION_EXISTS, None, ErrorCode.DESTINATION_EXISTS]
    assert tree(top) == {"old": b"old", "free": b"new"}
    assert (top / "dangling").is_symlink()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_each_way_of_saying_that_there_are_no_links(
    top: Path, root: LocalRoot, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "link", number)
    assert land([part_file(root, "f", replace=False)], "never") == [None]
    assert tree(top) == {"f": b"new"}


def test_another_trouble_with_links_is_no_reason_to_rename(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "link", errno.ENOSPC)
    assert codes(land([part_file(root, "f", replace=False)], "never")) == [ErrorCode.DISK_FULL]
    assert tree(top) == {}


def test_with_links_there_is_no_moment_to_overwrite_in(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_file(root, "f", replace=False)
    calls = Calls(monkeypatch)
    part.publish()
    part.close()
    assert calls.of("link", "rename", "unlink") == ["link .f.part", "unlink .f.part"]


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("inside", [(), ("x",)], ids=["empty", "full"])
def test_a_folder_in_place_of_the_destination(
    top: Path, root: LocalRoot, inside: tuple[str, ...], *, replace: bool
) -> None:
    (top / "f").mkdir()
    for name in inside:
        (top / "f" / name).write_bytes(b"")
    assert codes(land([part_file(root, "f", replace=replace)], "batch")) == [ErrorCode.DESTINATION_EXISTS]
    assert (top / "f").is_dir()
    assert [name for name in tree(top) if name.endswith(".part")] == []


# ---- discard -------------------------------------------------------------------------------------------


def test_discarding_twice_or_after_a_close_does_nothing(top: Path, root: LocalRoot) -> None:
    part = part_file(root, "f")
    part.discard()
    part.discard()
    part.close()
    assert tree(top) == {}


def test_discarding_what_has_its_name_keeps_it(top: Path, root: LocalRoot) -> None:
    part = part_file(root, "f")
    part.publish()
    part.discard()
    assert tree(top) == {"f": b"new"}


def test_discarding_never_raises_and_closes_all(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_file(root, "f")
    real = os.close

    def close(descriptor: int) -> None:
        real(descriptor)
        raise OSError(errno.EDQUOT, "what NFS says at the close")

    monkeypatch.setattr(os, "close", close)
    failing(monkeypatch, "unlink", errno.EIO)
    part.discard()
    monkeypatch.undo()
    part.discard()


# ---- a batch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_one_bad_file_among_good_ones(top: Path, root: LocalRoot, policy: FlushPolicy) -> None:
    (top / "b").mkdir()
    files = [part_file(root, path, path.encode()) for path in ("a", "b", "d/c")]
    errors = land(files, policy)
    assert codes(errors) == [None, ErrorCode.DESTINATION_EXISTS, None]
    assert str(errors[1]).startswith("disk:/b: ")
    assert tree(top) == {"a": b"a", "d/c": b"d/c"}


def test_bytes_then_flush_then_names_then_folders(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "d").mkdir()
    calls = Calls(monkeypatch)
    files = [part_file(root, path) for path in ("a", "b", "d/c")]
    calls.made = calls.of("write")
    assert land(files, "batch") == [None, None, None]
    assert calls.of("write", "syncfs", "fsync", "rename", "unlink") == [
        "write .a.part",
        "write .b.part",
        "write .d-c.part",
        "syncfs .d-c.part",
        "rename .a.part",
        "rename .b.part",
        "rename .d-c.part",
        f"fsync {top.name}",
        "fsync d",
    ]
    assert sorted(calls.made[-6:]) == sorted([  # nothing is closed before all is done
        "close a", f"close {top.name}", "close b", f"close {top.name}", "close c", "close d",
    ])  # fmt: skip


def test_always_flushes_each_file(top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [part_file(root, path) for path in ("a", "b")]
    calls = Calls(monkeypatch)
    assert land(files, "always") == [None, None]
    assert calls.of("syncfs", "fsync", "rename") == [
        "fsync .a.part",
        "fsync .b.part",
        "rename .a.part",
        "rename .b.part",
        f"fsync {top.name}",
    ]


def test_never_flushes_nothing(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [part_file(root, path) for path in ("a", "b")]
    calls = Calls(monkeypatch)
    assert land(files, "never") == [None, None]
    assert calls.of("syncfs", "fsync", "rename") == ["rename .a.part", "rename .b.part"]


def test_where_the_flush_of_all_fails_each_file_is_asked(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [part_file(root, path) for path in ("a", "b")]
    calls = Calls(monkeypatch)
    calls.syncfs_gives = -1
    bad = files[1].descriptor
    failing(monkeypatch, "fsync", errno.EIO, when=lambda descriptor: descriptor == bad)
    errors = land(files, "batch")
    assert codes(errors) == [None, ErrorCode.IO_ERROR]
    assert errors[1] is not None
    assert errors[1].remedy is Remedy.LATER
    assert calls.of("syncfs", "fsync", "rename") == [
        "syncfs .b.part",
        "fsync .a.part",
        "rename .a.part",
        f"fsync {top.name}",
    ]
    assert tree(top) == {"a": b"new"}


def test_a_file_that_cannot_be_flushed_gets_no_name(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "a").write_bytes(b"old")
    files = [part_file(root, path) for path in ("a", "b")]
    bad = files[0].descriptor
    failing(monkeypatch, "fsync", errno.ENOSPC, when=lambda descriptor: descriptor == bad)
    assert codes(land(files, "always")) == [ErrorCode.DISK_FULL, None]
    assert tree(top) == {"a": b"old", "b": b"new"}


def test_a_folder_that_cannot_be_flushed(top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [part_file(root, path) for path in ("d/a", "d/b", "e/c")]
    bad = files[0].folder
    failing(monkeypatch, "fsync", errno.EIO, when=lambda descriptor: descriptor == bad)
    errors = land(files, "batch")
    assert codes(errors) == [ErrorCode.IO_ERROR, ErrorCode.IO_ERROR, None]
    assert all(error is None or error.remedy is Remedy.LATER for error in errors)
    assert tree(top) == {"d/a": b"new", "d/b": b"new", "e/c": b"new"}


def test_a_file_system_without_a_flush_of_folders(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "fsync", errno.EINVAL)
    assert land([part_file(root, "d/a")], "batch") == [None]
    assert tree(top) == {"d/a": b"new"}


def test_an_empty_batch() -> None:
    assert land([], "batch") == []


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("call", ["fsync", "rename", "fstat", "close"])
def test_whatever_fails_every_file_is_let_go_of_and_answered(
    top: Path,
    root: LocalRoot,
    monkeypatch: pytest.MonkeyPatch,
    *,
    policy: FlushPolicy,
    call: str,
) -> None:
    files = [part_file(root, path) for path in ("a", "b")]
    if call == "close":
        real = os.close

        def close(descriptor: int) -> None:
            real(descriptor)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        monkeypatch.setattr(os, "close", close)
    else:
        failing(monkeypatch, call, errno.ESTALE)
    errors = land(files, policy)
    monkeypatch.undo()
    assert len(errors) == 2
    assert [name for name in tree(top) if name.endswith(".part")] == []
    assert all(file.descriptor == file.folder == -1 for file in files)


# ---- what stands there ----------------------------------------------------------------------------------


def existing_size(root: LocalRoot, path: str) -> int | None:
    source = existing(root, path.split("/"))
    if source is None:
        return None
    source.close()
    return source.opened_as.size_bytes


def test_the_size_of_what_stands_there(top: Path, root: LocalRoot) -> None:
    (top / "f").write_bytes(b"1234")
    (top / "link").symlink_to("f")
    (top / "dangling").symlink_to("nowhere")
    found = {path: existing_size(root, path) for path in ("f", "link", "none", "no/f", "dangling")}
    assert found == {"f": 4, "link": 4, "none": None, "no/f": None, "dangling": None}


@pytest.mark.parametrize("name", ["folder", "pipe"])
def test_what_stands_there_is_no_file(top: Path, root: LocalRoot, name: str) -> None:
    (top / "folder").mkdir()
    os.mkfifo(top / "pipe")
    with pytest.raises(JobError) as caught:
        existing_size(root, name)
    assert caught.value.code is ErrorCode.DESTINATION_EXISTS


def test_what_stands_there_is_a_way_out_or_has_too_long_a_name(top: Path, root: LocalRoot) -> None:
    (top / "link").symlink_to("/etc/passwd")
    for path, code in (("link", ErrorCode.PATH_OUTSIDE_ROOT), ("n" * 256, ErrorCode.INVALID_JOB)):
        with pytest.raises(PoolerError) as caught:
            existing_size(root, path)
        assert caught.value.code is code
