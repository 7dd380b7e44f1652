"""The mover against streams that give and files that read in whatever pieces they like."""

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pooler.storage.landing import PartFile
from pooler.storage.root import LocalRoot
from pooler.transfer import mover
from tests.support import descriptors


class Pieces:
    """A data connection that gives so many bytes at a time, and remembers what it is sent."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes
        self.sent: list[bytes] = []

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        assert len(buffer) > 0, "no room is no end"
        size = self._sizes.pop(0) if self._sizes else 1
        some = self._data[: min(size, len(buffer))]
        self._data = self._data[len(some) :]
        buffer[: len(some)] = some
        return len(some)

    async def send_all(self, data: memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(bytes(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@given(
    st.binary(max_size=200), st.lists(st.integers(1, 60), max_size=30), st.sampled_from([1, 7, 16, 200, 1000])
)
def test_what_is_received_is_what_is_written(folder: Path, data: bytes, sizes: list[int], room: int) -> None:
    moved: list[int] = []

    async def receive() -> int:
        root = LocalRoot("disk", folder)
        part = PartFile(root, ["f"], "f.part", replace=True)
        try:
            count = await mover.receive(
                Pieces(data, sizes), part, root, memoryview(bytearray(room)), moved.append
            )
            part.publish()
        finally:
            part.discard()
        return count

    with descriptors.none_left():
        assert trio.run(receive) == len(data)
    assert (folder / "f").read_bytes() == data
    assert sum(moved) == len(data)


async def test_disk_calls_carry_whole_buffers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = LocalRoot("disk", folder)
    part = PartFile(root, ["g"], "g.part", replace=True)
    written: list[int] = []
    real = PartFile.write

    def write(self: PartFile, data: memoryview) -> None:
        written.append(len(data))
        real(self, data)

    monkeypatch.setattr(PartFile, "write", write)
    count = await mover.receive(
        Pieces(bytes(250), [3] * 100), part, root, memoryview(bytearray(100)), lambda _: None
    )
    part.discard()
    assert (count, written) == (250, [100, 100, 50])


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
async def test_what_is_sent_is_what_the_file_holds(folder: Path, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    (folder / "h").write_bytes(data)
    root, stream, moved = LocalRoot("disk", folder), Pieces(b"", []), list[int]()
    source = root.open_source(["h"])
    count = await mover.send(source, stream, root, memoryview(bytearray(100)), moved.append)
    source.close()
    assert (count, b"".join(stream.sent)) == (size, data)
    assert sum(moved) == size
    assert all(stream.sent), "an empty piece says nothing"
