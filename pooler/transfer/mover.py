"""The bytes of one file, from a data connection to a file or the other way.

Disk calls run in threads and carry a whole buffer each: with a buffer of a megabyte most files
cost one or two of them. A checksum is computed in the same call.
"""

from collections.abc import Callable
from math import inf

from pooler.errors import ErrorCode, TransferMismatch
from pooler.storage.landing import PartFile
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer.checksum import Hasher
from pooler.transfer.session import DataStream
from pooler.transfer.throttle import UNTHROTTLED, Throttle

BUFFER_BYTES = 1024 * 1024


async def receive(
    stream: DataStream,
    file: PartFile,
    root: LocalRoot,
    buffer: memoryview,
    moved: Callable[[int], None],
    *,
    hasher: Hasher | None = None,
    expected_bytes: float = inf,
    throttle: Throttle = UNTHROTTLED,
) -> int:
    """Copy a data connection into a file, to its end.

    Args:
        stream: where the bytes come from.
        file: where they go.
        root: whose threads write them.
        buffer: room to use; nobody else does meanwhile.
        moved: told how many bytes have arrived, now and then.
        hasher: takes the bytes too.
        expected_bytes: how many there should be; infinity where nobody knows.
        throttle: bounds the bandwidth.

    Returns:
        How many bytes there were; up to a buffer more than were expected.

    Raises:
        TransferMismatch: ``SIZE_MISMATCH``: there were more than expected, and no end to them was in sight.
            What went beyond is not in the file.
    """
    total = 0
    while filled := await _fill(stream, buffer, throttle):
        # Only the end of the data leaves room in a buffer: a few bytes too many are for the caller to judge.
        if total + filled > expected_bytes and filled == len(buffer):
            raise TransferMismatch(
                ErrorCode.SIZE_MISMATCH,
                f"broken off at {total + filled} bytes, where {expected_bytes} were to come: "
                "the server tells wrong sizes, or the file grows",
            )
        await root.run(_write, file, buffer[:filled], hasher)
        total += filled
        moved(filled)
    return total


async def digest(
    stream: DataStream,
    root: LocalRoot,
    buffer: memoryview,
    hasher: Hasher,
    *,
    throttle: Throttle = UNTHROTTLED,
) -> None:
    """Sum up a data connection, to its end. Arguments as for ``receive``."""
    while filled := await _fill(stream, buffer, throttle):
        await root.run(hasher.update, buffer[:filled])


async def send(
    file: SourceFile,
    stream: DataStream,
    root: LocalRoot,
    buffer: memoryview,
    moved: Callable[[int], None],
    *,
    hasher: Hasher | None = None,
    throttle: Throttle = UNTHROTTLED,
) -> int:
    """Copy a file into a data connection, to its end.

    Args:
        file: where the bytes come from.
        stream: where they go.
        root: whose threads read them.
        buffer: room to use; nobody else does meanwhile.
        moved: told how many bytes have left, now and then.
        hasher: takes the bytes too.
        throttle: bounds the bandwidth.

    Returns:
        How many bytes there were.
    """
    total = 0
    while count := await root.run(_read, file, buffer, hasher):
        if throttle.piece_bytes is None:
            await stream.send_all(buffer[:count])
        else:
            await _send_pieces(stream, buffer[:count], throttle)
        total += count
        moved(count)
    return total


async def _fill(stream: DataStream, buffer: memoryview, throttle: Throttle) -> int:
    """Receive until a buffer is full, or all has come; tell how much there is."""
    filled = 0
    while filled < len(buffer):
        piece_bytes = throttle.piece_bytes
        end = None if piece_bytes is None else filled + piece_bytes
        count = await stream.receive_into(buffer[filled:end])
        if count == 0:
            break
        filled += count
        if piece_bytes is not None:
            await throttle.passed(count)
    return filled


async def _send_pieces(stream: DataStream, data: memoryview, throttle: Throttle) -> None:
    while data:
        piece = data[: throttle.piece_bytes]  # all of it, once nothing is bounded any more
        data = data[len(piece) :]
        await stream.send_all(piece)
        await throttle.passed(len(piece))


def _write(file: PartFile, data: memoryview, hasher: Hasher | None) -> None:
    file.write(data)
    if hasher is not None:
        hasher.update(data)


def _read(file: SourceFile, buffer: memoryview, hasher: Hasher | None) -> int:
    count = file.read_into(buffer)
    if hasher is not None:
        hasher.update(buffer[:count])
    return count
