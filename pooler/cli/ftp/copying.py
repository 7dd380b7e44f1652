"""``get`` and ``put``."""

from pathlib import Path

from pooler.cli.ftp.files import BUFFER_BYTES, attempt, beside, local_parts, real_parts, same_size
from pooler.cli.ftp.hand import Hand
from pooler.cli.ftp.streams import read, write
from pooler.model.job import Direction
from pooler.storage.failures import translated
from pooler.storage.landing import land
from pooler.transfer.download import download
from pooler.transfer.upload import upload


async def get(local: str, hand: Hand) -> None:
    """Fetch the file into a local one, as a job would."""
    with translated(local):
        parts = local_parts(local, hand.path.rpartition("/")[2])
    async with hand.connected() as session:
        # A download leaves nothing on the server.
        trying = attempt(hand, session, Direction.DOWNLOAD, parts, [])
        part = (await download(trying)).part
        if part is None:
            return
        try:
            (failure,) = await trying.root.run(land, [part], "always")
        except BaseException:
            part.discard()
            raise
        if failure is not None:
            raise failure


async def get_stdout(hand: Hand) -> None:
    """Fetch the file to the standard output, and see that all of it has come."""
    size = 0
    buffer = memoryview(bytearray(BUFFER_BYTES))
    async with hand.connected() as session:
        before = await session.stat(hand.path)
        async with session.retrieving(hand.path) as stream:
            while count := await stream.receive_into(buffer):
                await write(buffer[:count])
                size += count
                hand.meter.moved(count)
        same_size(before.size_bytes, size, "arrived")


async def put(local: str, hand: Hand) -> None:
    """Send a local file, as a job would."""
    parts = real_parts(Path(local))
    left: list[str] = []
    try:
        async with hand.connected() as session:
            trying = attempt(hand, session, Direction.UPLOAD, parts, left)
            try:
                await upload(trying)
            finally:
                trying.memory.release()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline


async def put_stdin(hand: Hand) -> None:
    """Send what comes on the standard input: under another name first, as its size is not known before."""
    size = 0
    buffer = memoryview(bytearray(BUFFER_BYTES))
    path = beside(hand.path)
    left: list[str] = []
    try:
        async with hand.connected() as session:
            left.append(path)
            async with session.storing(path) as stream:
                while count := await read(buffer):
                    await stream.send_all(buffer[:count])
                    size += count
                    hand.meter.moved(count)
            same_size(await session.size(path), size, "were sent")
            await session.rename(path, hand.path)
            left.clear()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline
