"""What an attacker who may write into a root can try, and what is left open afterwards: nothing."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from pooler.errors import ErrorCode, JobError, LocalFileError, PoolerError, Remedy
from pooler.storage.landing import PartFile, existing
from pooler.storage.probe import probe
from pooler.storage.root import LocalRoot
from tests.support import descriptors


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """The folder of the root; beside it stands `outside`, with a secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def root(top: Path) -> LocalRoot:
    return LocalRoot("disk", top)


def read(root: LocalRoot, path: str) -> bytes:
    source = root.open_source(path.split("/"))
    try:
        buffer = memoryview(bytearray(100))
        return bytes(buffer[: source.read_into(buffer)])
    finally:
        source.close()


def write(root: LocalRoot, path: str, data: bytes) -> None:
    part = PartFile(root, path.split("/"), "t.part", replace=True)
    try:
        part.write(memoryview(data))
        part.publish()
    finally:
        part.discard()


def refused(call: Callable[[], object]) -> PoolerError:
    with pytest.raises(PoolerError) as caught:
        call()
    return caught.value


def outside(top: Path) -> dict[str, bytes]:
    folder = top.parent / "outside"
    return {found.name: found.read_bytes() for found in folder.iterdir() if found.is_file()}


# ---- links inside -------------------------------------------------------------------------------------


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link", "a", "link/f"),
        ("a/link", "a/b", "a/link/g"),
        ("link", "a/f", "link"),
        ("link", "a/b/g", "link"),
        ("a/b/link", "a/f", "a/b/link"),
        ("link", ".", "link/a/f"),
        ("a/link", "a", "a/link/f"),
    ],
)
def test_a_link_that_stays_inside_is_followed(
    top: Path, root: LocalRoot, link: str, target: str, path: str, *, absolute: bool
) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "f").write_bytes(b"it")
    (top / "a" / "b" / "g").write_bytes(b"it")
    goal = top / target
    (top / link).symlink_to(goal if absolute else os.path.relpath(goal, (top / link).parent))
    assert read(root, path) == b"it"


def test_a_chain_of_links(top: Path, root: LocalRoot) -> None:
    (top / "real").mkdir()
    (top / "real" / "f").write_bytes(b"it")
    for number in range(39):
        (top / f"l{number}").symlink_to(f"l{number + 1}")
    (top / "l39").symlink_to("real")
    assert read(root, "l0/f") == b"it"


def test_links_one_below_the_other_are_counted_together(top: Path, root: LocalRoot) -> None:
    (top / "self").symlink_to(".")
    (top / "f").write_bytes(b"it")
    assert read(root, "/".join(["self"] * 40 + ["f"])) == b"it"
    error = refused(lambda: read(root, "/".join(["self"] * 41 + ["f"])))
    assert error.code is ErrorCode.PATH_OUTSIDE_ROOT


def test_a_root_that_is_a_link_itself(top: Path) -> None:
    (top / "f").write_bytes(b"it")
    (top / "in").symlink_to(top / "f")
    link = top.parent / "link"
    link.symlink_to(top)
    assert read(LocalRoot("disk", link), "in") == b"it"


def test_folders_are_made_behind_a_link_that_dangles_inside(top: Path, root: LocalRoot) -> None:
    (top / "link").symlink_to("not/yet")
    write(root, "link/f", b"it")
    assert (top / "not" / "yet" / "f").read_bytes() == b"it"


# ---- links that lead out -----------------------------------------------------------------------------

WAYS_OUT = [
    pytest.param({"link": "{out}"}, "link/secret", id="absolute"),
    pytest.param({"link": "../outside"}, "link/secret", id="relative"),
    pytest.param({"link": "{out}/secret"}, "link", id="last"),
    pytest.param({"link": "../outside/secret"}, "link", id="last relative"),
    pytest.param({"a": "b", "b": "c", "c": "{out}"}, "a/secret", id="chain"),
    pytest.param({"link": ".."}, "link/outside/secret", id="above"),
    pytest.param({"link": "/"}, "link/etc/passwd", id="top"),
    pytest.param({"link": "{top}x"}, "link", id="a name that begins like the root's"),
    pytest.param({"link": "{top}/../outside"}, "link/secret", id="in and out"),
    pytest.param({"d/link": "../../outside"}, "d/link/secret", id="deep"),
    pytest.param({"inner": "outer", "outer": "../outside"}, "inner/secret", id="link to a link"),
    pytest.param({"self": "self"}, "self", id="itself"),
    pytest.param({"a": "b", "b": "a"}, "a/f", id="circle"),
    pytest.param({"link": "/proc/self/root/etc"}, "link/passwd", id="magic"),
]


@pytest.mark.parametrize(("links", "path"), WAYS_OUT)
def test_no_link_leads_out(top: Path, root: LocalRoot, links: dict[str, str], path: str) -> None:
    (top / "d").mkdir()
    for name, target in links.items():
        (top / name).symlink_to(target.format(out=top.parent / "outside", top=top))
    error = refused(lambda: read(root, path))
    assert (type(error), error.code) == (JobError, ErrorCode.PATH_OUTSIDE_ROOT)
    # The message is a record's, and says nothing of where the root is.
    assert str(top.parent) not in str(error)
    if "/" in path:
        assert refused(lambda: write(root, path, b"x")).code is ErrorCode.PATH_OUTSIDE_ROOT
    assert outside(top) == {"secret": b"secret"}


def test_a_link_as_the_destination_is_replaced_not_followed(top: Path, root: LocalRoot) -> None:
    (top / "link").symlink_to(top.parent / "outside" / "secret")
    write(root, "link", b"new")
    assert (top / "link").read_bytes() == b"new"
    assert not (top / "link").is_symlink()
    assert outside(top) == {"secret": b"secret"}


def test_no_folder_is_made_behind_a_link_that_leads_out(top: Path, root: LocalRoot) -> None:
    (top / "link").symlink_to("../outside/new")
    assert refused(lambda: write(root, "link/f", b"x")).code is ErrorCode.PATH_OUTSIDE_ROOT
    assert not (top.parent / "outside" / "new").exists()


# ---- swapped between a look and an open -----------------------------------------------------------


def after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], object]) -> None:
    """Let something happen once, right after the first call of a function."""
    real: Callable[..., Any] = getattr(where, name)
    left = [act]

    def hooked(*args: Any, **named: Any) -> Any:
        try:
            return real(*args, **named)
        finally:
            if left:
                left.pop()()

    monkeypatch.setattr(where, name, hooked)


def before(monkeypatch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], object]) -> None:
    """Let something happen once, right before the first call of a function."""
    real: Callable[..., Any] = getattr(where, name)
    left = [act]

    def hooked(*args: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return real(*args, **named)

    monkeypatch.setattr(where, name, hooked)


def swap(place: Path, target: Path) -> None:
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink()
    place.symlink_to(target)


def test_a_file_swapped_for_a_link_after_the_look(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "f").write_bytes(b"it")
    after(monkeypatch, os, "stat", lambda: swap(top / "f", top.parent / "outside" / "secret"))
    assert refused(lambda: read(root, "f")).code is ErrorCode.PATH_OUTSIDE_ROOT


def test_a_folder_swapped_for_a_link_after_its_link_was_resolved(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "d").mkdir()
    (top / "link").symlink_to("d")
    calls = []

    def act() -> None:
        # Once for the root's own path, then for the link.
        calls.append(1)
        after(monkeypatch, os.path, "realpath", lambda: swap(top / "d", top.parent / "outside"))

    after(monkeypatch, os.path, "realpath", act)
    assert refused(lambda: read(root, "link/secret")).code is ErrorCode.PATH_OUTSIDE_ROOT
    assert calls
    assert (top / "d").is_symlink()


def test_a_folder_swapped_while_it_is_being_made(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, os, "mkdir", lambda: (top / "d").symlink_to(top.parent / "outside"))
    refused(lambda: write(root, "d/f", b"x"))
    assert outside(top) == {"secret": b"secret"}


def test_a_folder_moved_out_while_it_is_open_is_still_that_folder(top: Path, root: LocalRoot) -> None:
    (top / "d").mkdir()
    part = PartFile(root, ["d", "f"], "t.part", replace=True)
    (top / "d").rename(top / "e")
    (top / "d").symlink_to(top.parent / "outside")
    part.write(memoryview(b"it"))
    part.publish()
    part.close()
    assert (top / "e" / "f").read_bytes() == b"it"
    assert outside(top) == {"secret": b"secret"}


# ---- folders -------------------------------------------------------------------------------------------


def test_missing_folders_are_made(top: Path, root: LocalRoot) -> None:
    write(root, "a/b/c/f", b"it")
    assert (top / "a" / "b" / "c" / "f").read_bytes() == b"it"


def test_a_new_folder_is_flushed_into_its_parent(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(descriptors.path(descriptor))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    os.close(root.open_folder(["a", "b"], create=True))
    assert flushed == [top, top / "a"]


def test_another_job_makes_the_same_folder_at_the_same_time(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, os, "mkdir", (top / "a").mkdir)
    write(root, "a/f", b"it")
    assert (top / "a" / "f").read_bytes() == b"it"


def test_many_threads_make_the_same_folders(top: Path, root: LocalRoot) -> None:
    path = [f"d{number}" for number in range(30)]
    start = threading.Barrier(8)
    errors: list[Exception] = []

    def make() -> None:
        start.wait()
        try:
            os.close(root.open_folder(path, create=True))
        except Exception as error:  # noqa: BLE001 - it is shown below
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert top.joinpath(*path).is_dir()


def test_a_source_makes_no_folder(top: Path, root: LocalRoot) -> None:
    assert refused(lambda: read(root, "a/f")).code is ErrorCode.FILE_NOT_FOUND
    assert list(top.iterdir()) == []


def test_a_file_in_place_of_a_folder(top: Path, root: LocalRoot) -> None:
    (top / "f").write_bytes(b"")
    for call in (lambda: read(root, "f/g"), lambda: write(root, "f/g", b"x")):
        error = refused(call)
        assert (error.code, error.retriable) == (ErrorCode.IO_ERROR, False)
        assert str(error).startswith("disk:/f")


@pytest.mark.parametrize("path", ["n" * 256, "d/" + "n" * 256, "n" * 256 + "/f"])
def test_a_name_that_is_too_long(top: Path, root: LocalRoot, path: str) -> None:
    (top / "d").mkdir()
    assert refused(lambda: write(root, path, b"x")).code is ErrorCode.INVALID_JOB
    assert refused(lambda: read(root, path)).code is ErrorCode.INVALID_JOB
    assert [found for found in top.rglob("*") if found.is_file()] == []


def test_a_path_that_is_too_long_for_the_kernel_is_none_for_us(root: LocalRoot) -> None:
    path = "/".join(["n" * 250] * 20 + ["f"])
    write(root, path, b"it")
    assert read(root, path) == b"it"


def test_a_root_that_is_gone_is_no_fault_of_the_job(root: LocalRoot, top: Path) -> None:
    top.rmdir()
    for call in (lambda: read(root, "f"), lambda: existing(root, ["f"])):
        error = refused(call)
        assert (error.code, error.remedy) == (ErrorCode.IO_ERROR, Remedy.LATER)
        assert str(error) == "disk:/: No such file or directory"


# ---- what is no regular file ------------------------------------------------------------------------


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/cwd/{os.path.relpath(place)}")


def a_link_to_the_root(place: Path) -> None:
    place.symlink_to(".")


def a_link_to_a_folder(place: Path) -> None:
    (place.parent / "d").mkdir()
    place.symlink_to("d")


@pytest.mark.parametrize("make", [Path.mkdir, a_pipe, a_socket, a_link_to_the_root, a_link_to_a_folder])
def test_what_is_no_regular_file_is_no_source(
    top: Path, root: LocalRoot, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top)
    make(top / "it")
    error = refused(lambda: read(root, "it"))
    assert (error.code, error.retriable) == (ErrorCode.INVALID_JOB, False)


def test_a_file_that_cannot_be_looked_at_is_closed(
    top: Path, root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "f").write_bytes(b"it")

    def fstat(_: int) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstat", fstat)
    error = refused(lambda: root.open_source(["f"]))
    monkeypatch.undo()
    assert (type(error), error.remedy) == (LocalFileError, Remedy.LATER)


def test_a_source_tells_what_it_was_and_what_it_is(top: Path, root: LocalRoot) -> None:
    (top / "f").write_bytes(b"it")
    source = root.open_source(["f"])
    assert source.state() == source.opened_as
    assert source.opened_as.size_bytes == 2
    with (top / "f").open("ab") as stream:
        stream.write(b"!")
    assert source.state() != source.opened_as
    source.close()


# ---- threads -------------------------------------------------------------------------------------------


async def test_a_root_that_stalls_takes_no_thread_of_another(top: Path, root: LocalRoot) -> None:
    other = LocalRoot("other", top)
    stalled = threading.Event()

    async def stall() -> None:
        await root.run(stalled.wait)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(stall)
        await trio.testing.wait_all_tasks_blocked()
        assert await other.run(lambda: "free") == "free"
        stalled.set()


# ---- the probe ------------------------------------------------------------------------------------------


def test_a_root_that_can_be_used(top: Path, root: LocalRoot) -> None:
    probe(root, "cafe")
    assert list(top.iterdir()) == []


def test_a_root_that_is_missing_or_a_file(top: Path) -> None:
    (top / "file").write_bytes(b"")
    assert refused(lambda: probe(LocalRoot("x", top / "file"), "cafe")).code is ErrorCode.IO_ERROR
    assert refused(lambda: probe(LocalRoot("x", top / "missing"), "cafe")).code is ErrorCode.FILE_NOT_FOUND


@pytest.mark.parametrize("call", ["open", "fsync", "rename", "unlink"])
def test_a_root_that_lacks_something(
    top: Path, root: LocalRoot, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(os, call)
    calls = []

    def fails(*args: Any, **named: Any) -> Any:
        calls.append(args)
        if call == "open" and "dir_fd" not in named:
            return real(*args, **named)
        if call == "unlink" and len(calls) > 1:
            return real(*args, **named)
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, call, fails)
    error = refused(lambda: probe(root, "cafe"))
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert str(error) == f"{top}: Read-only file system"
    assert list(top.iterdir()) == []


def test_what_a_stalled_disk_left_of_us_does_not_stop_us(top: Path, root: LocalRoot) -> None:
    (top / ".pooler-probe-cafe").write_bytes(b"")
    (top / ".pooler-probe-cafe.renamed").write_bytes(b"")
    probe(root, "cafe")
    assert list(top.iterdir()) == []


def test_nothing_is_written_through_a_link(top: Path, root: LocalRoot) -> None:
    (top / "precious").write_bytes(b"data")
    (top / ".pooler-probe-cafe").symlink_to("precious")
    assert refused(lambda: probe(root, "cafe")).code is ErrorCode.PATH_OUTSIDE_ROOT
    assert (top / "precious").read_bytes() == b"data"
