import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    JobError,
    LocalFileError,
    PeerProtocolError,
    PoolerError,
    ReplyError,
    SessionLost,
    TransferMismatch,
)
from pooler.model.job import Direction, Options, Overwrite, Verify
from pooler.storage.landing import PartFile, land
from pooler.transfer.attempt import Transferred
from pooler.transfer.download import download
from tests.support import cancel_points, descriptors
from tests.support.attempts import TEMPORARY, Bench
from tests.support.session_double import Fault, ServerDouble

DATA = b"ten bytes."
NEVER = Options(overwrite=Overwrite.NEVER)


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture(params=["asked before", "asked along", "told again"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    server = ServerDouble({"/out/f": DATA}, chunk_bytes=3, tells_again=request.param == "told again")
    return Bench(tmp_path, server, asks_along=request.param != "asked before")


async def fetch(bench: Bench, options: Options = Options()) -> Transferred:  # noqa: B008 - frozen
    return await download(bench.attempt(Direction.DOWNLOAD, options))


async def test_a_file_is_fetched_under_its_temporary_name(bench: Bench) -> None:
    done = await fetch(bench)
    assert (done.bytes_transferred, done.verified, done.skipped) == (10, "size", False)
    assert bench.local() == {f"in/{TEMPORARY}": DATA}
    assert done.part is not None
    assert land([done.part], "never") == [None]
    assert bench.local() == {"in/f": DATA}
    assert sum(bench.moved) == 10
    assert bench.session.usable


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 100])
async def test_any_size(bench: Bench, size: int) -> None:
    bench.server.files["/out/f"] = bytes(size)
    done = await fetch(bench)
    assert done.part is not None
    assert bench.local() == {f"in/{TEMPORARY}": bytes(size)}
    assert (done.bytes_transferred, done.verified) == (size, "size")
    done.part.discard()


async def test_size_and_time_are_asked_before_the_bytes_and_after(bench: Bench) -> None:
    done = await fetch(bench)
    assert done.part is not None
    done.part.discard()
    assert [call for call in bench.server.calls if call != "receive"] == [
        "stat /out/f", "retrieve /out/f", "retrieved", "stat /out/f",
    ]  # fmt: skip


async def test_without_verification_no_size_is_asked(bench: Bench) -> None:
    bench.server.sizes = {"*": 99}
    done = await fetch(bench, Options(verify=Verify.NONE))
    assert done.verified == "none"
    assert done.part is not None
    done.part.discard()
    assert not any(call.startswith("stat") for call in bench.server.calls)


async def test_a_server_that_cannot_tell_sizes(bench: Bench) -> None:
    bench.server.sizes = {"*": None}
    done = await fetch(bench)
    assert (done.verified, done.bytes_transferred) == ("none", 10)
    assert done.part is not None
    done.part.discard()


@pytest.mark.parametrize("told", [8, 9, 11])
async def test_point_21_a_size_that_does_not_fit(bench: Bench, told: int) -> None:
    bench.server.sizes = {"*": told}
    with pytest.raises(TransferMismatch) as caught:
        await fetch(bench)
    assert caught.value.code is ErrorCode.SIZE_MISMATCH
    assert caught.value.retriable
    assert str(caught.value) == f"10 bytes arrived, the server has {told}"
    assert bench.local() == {}
    # The exchange was whole: the session serves on.
    assert bench.session.usable


@pytest.mark.parametrize(("told", "received"), [(0, 4), (3, 4), (4, 8), (7, 8), (8, 12), (12, 16)], ids=str)
async def test_point_21_far_more_than_was_told_is_broken_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, told: int, received: int
) -> None:
    written: list[int] = []
    real = PartFile.write

    def write(self: PartFile, data: memoryview) -> None:
        written.append(len(data))
        real(self, data)

    monkeypatch.setattr(PartFile, "write", write)
    bench.server.files["/out/f"] = bytes(1000)
    bench.server.sizes = {"*": told}
    with pytest.raises(TransferMismatch) as caught:
        await fetch(bench)
    assert caught.value.code is ErrorCode.SIZE_MISMATCH
    assert caught.value.retriable
    assert str(caught.value).startswith(f"broken off at {received} bytes, where {told} were to come: ")
    assert sum(written) <= told
    assert bench.local() == {}
    # More is on its way.
    assert not bench.session.usable


@pytest.mark.parametrize("options", [Options(verify=Verify.NONE, preserve_mtime=True), Options()])
async def test_nobody_is_broken_off_without_a_size_to_compare_with(bench: Bench, options: Options) -> None:
    bench.server.sizes = {"*": 3 if options.verify is Verify.NONE else None}
    done = await fetch(bench, options)
    assert (done.bytes_transferred, done.verified) == (10, "none")
    assert done.part is not None
    done.part.discard()


async def test_a_missing_source_leaves_not_even_a_folder(bench: Bench) -> None:
    bench.server.files.clear()
    for options in (Options(), NEVER, Options(verify=Verify.NONE)):
        with pytest.raises(ReplyError) as caught:
            await fetch(bench, options)
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        assert list(bench.folder.iterdir()) == []


# ---- overwrite never -----------------------------------------------------------------------------------


def put(bench: Bench, data: bytes) -> None:
    (bench.folder / "in").mkdir()
    (bench.folder / "in" / "f").write_bytes(data)


async def test_a_destination_of_the_same_size_is_skipped(bench: Bench) -> None:
    put(bench, b"TEN BYTES!")
    done = await fetch(bench, NEVER)
    assert done == Transferred(verified="size", skipped=True)
    assert bench.local() == {"in/f": b"TEN BYTES!"}
    assert bench.server.calls == ["stat /out/f"]


@pytest.mark.parametrize("sizes", [{}, {"*": None}], ids=["another size", "no sizes"])
async def test_another_destination_is_kept(bench: Bench, sizes: dict[str, None]) -> None:
    bench.server.sizes = sizes
    put(bench, b"old")
    with pytest.raises(JobError) as caught:
        await fetch(bench, NEVER)
    assert caught.value.code is ErrorCode.DESTINATION_EXISTS
    assert str(caught.value) == "disk:/in/f: exists, with 3 bytes"
    assert bench.local() == {"in/f": b"old"}


async def test_a_destination_that_appears_meanwhile_is_kept(bench: Bench) -> None:
    done = await fetch(bench, NEVER)
    (bench.folder / "in" / "f").write_bytes(b"faster")
    assert done.part is not None
    (error,) = land([done.part], "never")
    assert error is not None
    assert error.code is ErrorCode.DESTINATION_EXISTS
    assert bench.local() == {"in/f": b"faster"}


async def test_a_folder_in_place_of_the_destination_exists_too(bench: Bench) -> None:
    (bench.folder / "in" / "f").mkdir(parents=True)
    with pytest.raises(JobError) as caught:
        await fetch(bench, NEVER)
    assert caught.value.code is ErrorCode.DESTINATION_EXISTS
    assert bench.server.calls == []


# ---- whatever fails, nothing is left --------------------------------------------------------------

POINTS = [
    ("stat", 1),
    ("stat", 2),
    ("retrieve", 1),
    *(("receive", number) for number in range(1, 6)),
    ("retrieved", 1),
]
ERRORS = [
    SessionLost("gone"),
    DataConnectionError("stalled"),
    PeerProtocolError("?"),
    ReplyError(451, "", ""),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[0]}{point[1]}")
async def test_a_failure_of_the_server(bench: Bench, point: tuple[str, int], error: PoolerError) -> None:
    bench.server.faults = {point: Fault(error)}
    with pytest.raises(type(error)) as caught:
        await fetch(bench)
    assert caught.value is error
    assert bench.local() == {}
    assert bench.left_behind == []
    assert bench.session.usable == (error.session_survives and point[0] in {"stat", "retrieve"})


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_a_disk_that_fills_up(bench: Bench, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = PartFile.write, [call]

    def write(self: PartFile, data: memoryview) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise LocalFileError(ErrorCode.DISK_FULL, "full")
        real(self, data)

    monkeypatch.setattr(PartFile, "write", write)
    with pytest.raises(LocalFileError):
        await fetch(bench)
    assert bench.local() == {}
    # Bytes were still coming: their connection is of no use to anybody else.
    assert not bench.session.usable


async def test_a_part_that_cannot_be_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: object, flags: int, *args: object, **named: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *args, **named)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(LocalFileError) as caught:
        await fetch(bench)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert bench.local() == {}


@pytest.mark.parametrize("options", [Options(), NEVER], ids=["always", "never"])
async def test_a_cancellation_at_every_point(bench: Bench, options: Options) -> None:
    before = descriptors.count()
    ended = []
    done: list[Transferred] = []

    async def run() -> None:
        done.append(await fetch(bench, options))

    async for ending in cancel_points.everywhere(run):
        ended.append(ending)
        if done:
            # It was over before the cancellation took effect, and whoever called it owns the part.
            part = done.pop().part
            assert part is not None
            part.discard()
            assert not ending.cancelled
        else:
            assert ending.cancelled
        assert bench.local() == {}, ending
        assert descriptors.count() == before, ending
    # One for each call of the session and of the disk, at the least.
    assert sum(ending.cancelled for ending in ended) >= 9
    assert not ended[-1].cancelled


async def test_a_cancellation_while_skipping(bench: Bench) -> None:
    put(bench, DATA)
    before = descriptors.count()
    async for _ in cancel_points.everywhere(lambda: fetch(bench, NEVER)):
        assert bench.local() == {"in/f": DATA}
        assert descriptors.count() == before
