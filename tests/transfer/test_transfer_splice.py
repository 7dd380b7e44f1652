"""The mover where the kernel moves the bytes: over real sockets and pipes, and file systems that cannot."""

import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import pytest
import trio

from pooler.errors import ErrorCode, TransferMismatch
from pooler.ftp.data import DataConnection
from pooler.ftp.profile import Profile
from pooler.ftp.tcp import TcpConnection
from pooler.storage.landing import PartFile
from pooler.storage.pipe import Pipe, Pipes
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer import mover
from tests.support import descriptors

SIZES = [0, 1, 4095, 4096, 4097, 65_536, 300_000, 1 << 20, (1 << 20) + 1, 3_500_000]
ROOM = 1 << 20


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Ends:
    """A data connection and its other side."""

    def __init__(self, stream: DataConnection, far: trio.SocketStream) -> None:
        self.stream, self.far = stream, far

    async def give(self, data: bytes, piece_bytes: int) -> None:
        for start in range(0, len(data), piece_bytes):
            await self.far.send_all(data[start : start + piece_bytes])
        await self.far.aclose()

    async def take(self) -> bytes:
        return b"".join([piece async for piece in self.far])


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    sock = socket.create_connection(listener.socket.getsockname()[:2])
    far = await listener.accept()
    profile = Profile(host="127.0.0.1", user="u", password=lambda: "p", stall_s=20.0)
    stream = DataConnection(TcpConnection(sock, stall_s=20.0), profile)
    try:
        yield Ends(stream, far)
    finally:
        stream.close()
        await trio.aclose_forcefully(far)
        await listener.aclose()


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return LocalRoot("disk", tmp_path)


async def receive(
    root: LocalRoot,
    ends: Ends,
    data: bytes,
    pipes: Pipes,
    *,
    piece_bytes: int = 1 << 16,
    told: float = inf,
) -> list[int]:
    """Receive ``data`` into ``f``; tell in which pieces."""
    moved: list[int] = []
    part = PartFile(root, ["f"], "f.part", replace=True)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends.give, data, piece_bytes)
            count = await mover.receive(
                ends.stream,
                part,
                root,
                memoryview(bytearray(ROOM)),
                moved.append,
                expected_bytes=told,
                pipes=pipes,
            )
        assert count == sum(moved) == len(data)
        part.publish()
    finally:
        part.discard()
    return moved


@pytest.fixture
def no_receive_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """See to it that no byte is given to us."""

    async def refuse(*_: object) -> int:
        raise AssertionError("these bytes are the kernel's to move")

    monkeypatch.setattr(DataConnection, "receive_into", refuse)
    monkeypatch.setattr(DataConnection, "send_all", refuse)


@pytest.mark.parametrize("piece_bytes", [100, 1448, 1 << 16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("no_receive_into")
async def test_what_comes_is_what_is_written(root: LocalRoot, size: int, piece_bytes: int) -> None:
    if piece_bytes == 100:
        size = min(size, 300_000)
    with descriptors.none_left():
        pipes = Pipes()
        for _ in range(2):  # the pipe serves again
            async with connected() as ends:
                await receive(root, ends, content(size), pipes, piece_bytes=piece_bytes)
            assert (root.path / "f").read_bytes() == content(size)
        pipes.close()
    assert root.splices


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("no_receive_into")
async def test_what_the_file_holds_is_what_is_sent(root: LocalRoot, size: int) -> None:
    (root.path / "s").write_bytes(content(size))
    with descriptors.none_left():
        pipes = Pipes()
        for _ in range(2):
            async with connected() as ends:
                assert await send(root, ends, pipes) == content(size)
        pipes.close()
    assert root.splices


async def send(root: LocalRoot, ends: Ends, pipes: Pipes) -> bytes:
    """Send ``s``; tell what arrives."""
    source = root.open_source(["s"])
    arrived = b""
    moved: list[int] = []

    async def take() -> None:
        nonlocal arrived
        arrived = await ends.take()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            count = await mover.send(
                source,
                ends.stream,
                root,
                memoryview(bytearray(ROOM)),
                moved.append,
                expected_bytes=source.opened_as.size_bytes,
                pipes=pipes,
            )
            await ends.stream.end_sending()
    finally:
        source.close()
    assert count == sum(moved) == len(arrived)
    return arrived


async def test_a_file_costs_one_call_to_the_disk_for_each_megabyte(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real = LocalRoot.run

    def run(self: LocalRoot, function: Callable[..., object], *args: object) -> Awaitable[object]:
        calls.append(function.__name__)
        return real(self, function, *args)

    monkeypatch.setattr(LocalRoot, "run", run)
    pipes = Pipes()
    (root.path / "s").write_bytes(content(ROOM + 5))
    async with connected() as ends:
        await send(root, ends, pipes)
    assert calls == ["give_to", "give_to"]
    pipes.close()


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("size", [5, 3_500_000])
async def test_a_file_system_that_cannot_gets_its_bytes_through_a_buffer(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch, reason: int, size: int
) -> None:
    real, (part, source) = os.splice, (root.path / "f.part", root.path / "s")
    refused: list[str] = []

    def splice(src: int, dst: int, count: int, **rest: int) -> int:
        for end in (src, dst):
            name = str(Path(f"/proc/self/fd/{end}").readlink())
            if name in (str(part), str(source)):
                refused.append(name)
                raise OSError(reason, os.strerror(reason))
        return real(src, dst, count, **rest)

    monkeypatch.setattr(os, "splice", splice)
    source.write_bytes(content(size))
    for work in ("receive", "send"):
        root.splices, pipes = True, Pipes()
        for _ in range(2):
            async with connected() as ends:
                if work == "receive":
                    await receive(root, ends, content(size), pipes)
                    assert (root.path / "f").read_bytes() == content(size)
                else:
                    assert await send(root, ends, pipes) == content(size)
        assert not root.splices
        pipes.close()
    assert refused == [str(part), str(source)], "each is asked once"


@pytest.mark.usefixtures("no_receive_into")
async def test_far_more_than_was_told_is_broken_off_and_no_more_than_a_buffer_of_it_is_written(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = PartFile.take_from

    def take_from(self: PartFile, pipe: Pipe, size_bytes: int, buffer: memoryview) -> bool:
        written.append(size_bytes)
        return real(self, pipe, size_bytes, buffer)

    monkeypatch.setattr(PartFile, "take_from", take_from)
    with descriptors.none_left():
        pipes = Pipes()
        async with connected() as ends:
            with pytest.RaisesGroup(
                pytest.RaisesExc(TransferMismatch, check=lambda error: error.code is ErrorCode.SIZE_MISMATCH)
            ):
                await receive(root, ends, bytes(30 * ROOM), pipes, told=ROOM + 10)
        assert ROOM <= sum(written) <= 2 * ROOM + 10
        pipes.close()


async def test_a_few_bytes_too_many_are_for_the_caller_to_judge(root: LocalRoot) -> None:
    pipes = Pipes()
    async with connected() as ends:
        await receive(root, ends, content(ROOM + 20), pipes, told=ROOM + 10)
    assert (root.path / "f").stat().st_size == ROOM + 20
    pipes.close()


async def test_a_pipe_that_was_left_full_is_thrown_away(root: LocalRoot) -> None:
    pipes = Pipes()
    async with connected() as ends:
        part = PartFile(root, ["f"], "f.part", replace=True)
        await ends.far.send_all(b"left over")
        with trio.move_on_after(0.2) as waiting:
            await mover.receive(
                ends.stream, part, root, memoryview(bytearray(ROOM)), lambda _: None, pipes=pipes
            )
        assert waiting.cancelled_caught
        part.discard()
    async with connected() as ends:
        await receive(root, ends, b"next", pipes)
    assert (root.path / "f").read_bytes() == b"next"
    pipes.close()


async def test_bandwidth_that_is_bounded_meanwhile_takes_over(root: LocalRoot) -> None:
    class Bounded:
        piece_bytes: int | None = None
        passed_bytes = 0

        async def passed(self, size_bytes: int) -> None:
            await trio.lowlevel.checkpoint()
            self.passed_bytes += size_bytes

    throttle, pipes, data = Bounded(), Pipes(), content(3 * ROOM)

    def moved(_: int) -> None:
        throttle.piece_bytes = 1 << 16

    part = PartFile(root, ["f"], "f.part", replace=True)
    async with connected() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.give, data, 1 << 16)
        buffer = memoryview(bytearray(ROOM))
        count = await mover.receive(ends.stream, part, root, buffer, moved, throttle=throttle, pipes=pipes)
    part.publish()
    part.discard()
    assert count == len(data)
    assert (root.path / "f").read_bytes() == data
    assert ROOM <= throttle.passed_bytes <= 2 * ROOM
    pipes.close()


async def test_without_a_pipe_to_be_had_a_buffer_does(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pooler.storage.pipe.fcntl.fcntl", refuse)
    with descriptors.none_left():
        pipes = Pipes()
        async with connected() as ends:
            await receive(root, ends, content(100_000), pipes)
        pipes.close()
    assert (root.path / "f").read_bytes() == content(100_000)


def test_a_source_that_has_shrunk_ends_where_it_ends(root: LocalRoot) -> None:
    (root.path / "s").write_bytes(b"12345")
    pipe = Pipe()
    source = SourceFile(os.open(root.path / "s", os.O_RDONLY), "disk:/s")
    (root.path / "s").write_bytes(b"1")
    assert (source.give_to(pipe, 5), source.give_to(pipe, 5)) == (1, 0)
    source.close()
    pipe.let_go()
