"""The bytes of one file, from a data connection to a file or the other way.

Disk calls run in threads and carry a whole buffer each: with a buffer of a megabyte most files
cost one or two of them. A checksum is computed in the same call.
"""

from collections.abc import Callable

from pooler.storage.landing import PartFile
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer.checksum import Hasher
from pooler.transfer.session import DataStream

BUFFER_BYTES = 1024 * 1024


async def receive(
    stream: DataStream,
    file: PartFile,
    root: LocalRoot,
    buffer: memoryview,
    moved: Callable[[int], None],
    *,
    hasher: Hasher | None = None,
) -> int:
    """Copy a data connection into a file, to its end.

    Args:
        stream: where the bytes come from.
        file: where they go.
        root: whose threads write them.
        buffer: room to use; nobody else does meanwhile.
        moved: told how many bytes have arrived, now and then.
        hasher: takes the bytes too.

    Returns:
        How many bytes there were.
    """
    total = 0
    while filled := await _fill(stream, buffer):
        await root.run(_write, file, buffer[:filled], hasher)
        total += filled
        moved(filled)
    return total


async def digest(stream: DataStream, root: LocalRoot, buffer: memoryview, hasher: Hasher) -> None:
    """Sum up a data connection, to its end. Arguments as for ``receive``."""
    while filled := await _fill(stream, buffer):
        await root.run(hasher.update, buffer[:filled])


async def send(
    file: SourceFile,
    stream: DataStream,
    root: LocalRoot,
    buffer: memoryview,
    moved: Callable[[int], None],
    *,
    hasher: Hasher | None = None,
) -> int:
    """Copy a file into a data connection, to its end.

    Args:
        file: where the bytes come from.
        stream: where they go.
        root: whose threads read them.
        buffer: room to use; nobody else does meanwhile.
        moved: told how many bytes have left, now and then.
        hasher: takes the bytes too.

    Returns:
        How many bytes there were.
    """
    total = 0
    while count := await root.run(_read, file, buffer, hasher):
        await stream.send_all(buffer[:count])
        total += count
        moved(count)
    return total


async def _fill(stream: DataStream, buffer: memoryview) -> int:
    """Receive until a buffer is full, or all has come; tell how much there is."""
    filled = 0
    while filled < len(buffer):
        count = await stream.receive_into(buffer[filled:])
        if count == 0:
            break
        filled += count
    return filled


def _write(file: PartFile, data: memoryview, hasher: Hasher | None) -> None:
    file.write(data)
    if hasher is not None:
        hasher.update(data)


def _read(file: SourceFile, buffer: memoryview, hasher: Hasher | None) -> int:
    count = file.read_into(buffer)
    if hasher is not None:
        hasher.update(buffer[:count])
    return count
