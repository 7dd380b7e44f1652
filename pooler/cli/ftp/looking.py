"""``ls``, ``stat`` and ``rm``."""

import sys
from collections.abc import Callable
from typing import Final

import trio

from pooler.cli.ftp.hand import Hand
from pooler.cli.ftp.streams import show, write
from pooler.transfer.session import Entry

_WRITE_BYTES: Final = 8192
_WRITE_S: Final = 0.1


async def ls(line: Callable[[Entry], str], hand: Hand) -> None:
    """List the folder, an entry a line, as they come."""
    pending = bytearray()
    written = trio.current_time()
    async with hand.connected() as session, session.listing(hand.path) as entries:
        async for entry in entries:
            pending += f"{line(entry)}\n".encode(sys.stdout.encoding)
            # A thread for each line would be slow, and to wait for the last one no stream.
            if len(pending) >= _WRITE_BYTES or trio.current_time() - written >= _WRITE_S:
                await write(pending)
                pending = bytearray()
                written = trio.current_time()
        await write(pending)


async def stat(output: str, hand: Hand) -> None:
    """Show the size and the time of the file."""
    async with hand.connected() as session:
        found = await session.stat(hand.path)
    await show({"path": hand.path, **found._asdict()}, output)


async def rm(hand: Hand) -> None:
    """Remove the file. To remove what is not there is no error of a session's, but one of ours."""
    async with hand.connected() as session:
        await session.stat(hand.path)
        await session.remove(hand.path)
