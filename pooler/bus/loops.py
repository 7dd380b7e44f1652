"""The asyncio loops that aiokafka's clients live in, from their first call to the end of their last task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio
import trio_asyncio

from pooler.bus.clients import CLOSE_S, log_unretrieved, on_asyncio

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """Run an asyncio loop for as long as the block lasts.

    What is left of it then is told to end, as ``asyncio.run`` does it: aiokafka leaves tasks behind that read
    from connections. trio-asyncio would do so too, but hand on what they end with, and one that ends with its
    connection, and not by being cancelled, would take the process with it.

    Cancellation: tasks that do not end have ``CLOSE_S`` seconds to do so.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(log_unretrieved)
        try:
            yield
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await on_asyncio(_end_tasks)


async def _end_tasks() -> None:
    """End all tasks of this loop but the one that calls."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    for ended in await asyncio.gather(*left, return_exceptions=True):
        if isinstance(ended, Exception):
            log.debug("asyncio_task_failed", error=repr(ended))
