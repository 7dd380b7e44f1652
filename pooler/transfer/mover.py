"""The bytes of one file, from a data connection to a file or the other way.

Where nobody has to see them, for TLS, a checksum or the bandwidth, the kernel moves them through a pipe;
else they go through a buffer, and so they do on file systems that cannot do the other. Disk calls run in
threads and carry a whole buffer each: with a buffer of a megabyte most files cost one or two of them. A
checksum is computed in the same call.
"""

import mmap
from collections.abc import Callable
from math import inf
from typing import cast

from pooler.errors import ErrorCode, TransferMismatch
from pooler.storage.landing import PartFile
from pooler.storage.pipe import Pipe, Pipes
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer.checksum import Hasher
from pooler.transfer.session import DataStream, PlainStream
from pooler.transfer.throttle import UNTHROTTLED, Throttle

BUFFER_BYTES = 1024 * 1024


def new_buffer() -> memoryview:
    """Make room for the bytes of one transfer after another.

    What is never written to takes no memory: where the kernel moves the bytes, or files are small, a hundred
    sessions have a hundred megabytes on paper only. A ``bytearray`` is filled with zeros.
    """
    return memoryview(mmap.mmap(-1, BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


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
    pipes: Pipes | None = None,
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
        pipes: to have the kernel move the bytes, where it can.

    Returns:
        How many bytes there were; up to a buffer more than were expected.

    Raises:
        TransferMismatch: ``SIZE_MISMATCH``: there were more than expected, and no end to them was in sight.
            What went beyond is not in the file.
    """
    total, ended = 0, False
    if pipes is not None and hasher is None and (plain := _plain(stream)) is not None:
        with pipes.lent() as pipe:
            while pipe is not None and not ended and _may_splice(plain, root, throttle):
                count, ended = await _receive_through(
                    pipe, plain, file, root, buffer, moved=moved, expected_bytes=expected_bytes - total
                )
                total += count
    while not ended and (filled := await _fill(stream, buffer, throttle)):
        # Only the end of the data leaves room in a buffer: a few bytes too many are for the caller to judge.
        if total + filled > expected_bytes and filled == len(buffer):
            raise _too_many(total + filled, expected_bytes)
        # A sum of a megabyte takes as long as a small file does.
        run = root.brief if hasher is None else root.run
        await run(_write, file, buffer[:filled], hasher)
        total += filled
        moved(filled)
    return total


_PLAIN: dict[type[DataStream], bool] = {}
"""Which kinds of stream are `PlainStream`. That is asked of each once: such a look is slow."""


def _plain(stream: DataStream) -> PlainStream | None:
    kind = type(stream)
    if kind not in _PLAIN:
        _PLAIN[kind] = isinstance(stream, PlainStream)
    return cast("PlainStream", stream) if _PLAIN[kind] else None


def _may_splice(stream: PlainStream, root: LocalRoot, throttle: Throttle) -> bool:
    return root.splices and stream.plain and throttle.piece_bytes is None


def _too_many(size_bytes: int, expected_bytes: float) -> TransferMismatch:
    return TransferMismatch(
        ErrorCode.SIZE_MISMATCH,
        f"broken off at {size_bytes} bytes, where {expected_bytes} were to come: "
        "the server tells wrong sizes, or the file grows",
    )


async def _receive_through(
    pipe: Pipe,
    stream: PlainStream,
    file: PartFile,
    root: LocalRoot,
    buffer: memoryview,
    *,
    moved: Callable[[int], None],
    expected_bytes: float,
) -> tuple[int, bool]:
    """Receive a buffer's length, or to the end, through a pipe; tell how much, and whether that was all."""
    total, ended = 0, False
    while total < len(buffer) and not ended:
        # What comes in small packets fills a pipe before its time, which is emptied then.
        held, ended = await _fill_pipe(pipe, stream, len(buffer) - total)
        if total + held > expected_bytes and total + held == len(buffer):
            raise _too_many(total + held, expected_bytes)
        if held:
            root.splices &= await root.brief(file.take_from, pipe, held, buffer)
            moved(held)
        total += held
    return total, ended


async def _fill_pipe(pipe: Pipe, stream: PlainStream, room: int) -> tuple[int, bool]:
    """Receive until a pipe is full, or all has come; tell how much it holds, and whether that was the end."""
    held = 0
    while held < room:
        count = await stream.splice_into(pipe.writing, room - held)
        if count is None and held:
            break
        if count == 0:
            return held, True
        held += count or 0
    return held, False


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
    expected_bytes: float = inf,
    throttle: Throttle = UNTHROTTLED,
    pipes: Pipes | None = None,
) -> int:
    """Copy a file into a data connection, to its end.

    Args:
        file: where the bytes come from.
        stream: where they go.
        root: whose threads read them.
        buffer: room to use; nobody else does meanwhile.
        moved: told how many bytes have left, now and then.
        hasher: takes the bytes too.
        expected_bytes: how many there were when the file was opened: behind them no end is looked for.
        throttle: bounds the bandwidth.
        pipes: to have the kernel move the bytes, where it can.

    Returns:
        How many bytes there were; where it has grown, not less than were expected.
    """
    total = 0
    if pipes is not None and hasher is None and (plain := _plain(stream)) is not None:
        with pipes.lent() as pipe:
            while pipe is not None and total < expected_bytes and _may_splice(plain, root, throttle):
                count = await _send_through(pipe, file, plain, root, len(buffer))
                if not count:
                    break
                total += count
                moved(count)
    run = root.brief if hasher is None else root.run
    while total < expected_bytes and (count := await run(_read, file, buffer, hasher)):
        if throttle.piece_bytes is None:
            await stream.send_all(buffer[:count])
        else:
            await _send_pieces(stream, buffer[:count], throttle)
        total += count
        moved(count)
    return total


async def _send_through(
    pipe: Pipe,
    file: SourceFile,
    stream: PlainStream,
    root: LocalRoot,
    room: int,
) -> int:
    """Send up to ``room`` bytes through a pipe; 0 at the end, or where the file system cannot do it."""
    count = await root.brief(file.give_to, pipe, room)
    if count is None:
        root.splices = False
        return 0
    await stream.splice_from(pipe.reading, count)
    return count


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
