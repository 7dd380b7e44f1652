"""Landed files of one local root: one flush for as many as are waiting, their names, markers, then outcomes.

There is no timer: while one batch is being flushed the next one gathers, so a busy service flushes
large batches and an idle one answers at once.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio
from msgspec.structs import replace

from pooler.errors import PoolerError
from pooler.flow.endings import Endings
from pooler.flow.logbook import Done, remember_nothing
from pooler.flow.work import Landed, Work
from pooler.model.outcome import Outcome
from pooler.storage.landing import FlushPolicy, land
from pooler.storage.marker import mark
from pooler.storage.root import LocalRoot

_BATCH_LIMIT = 256


class Finisher:
    """Gives downloads of one root their names.

    Args:
        root: the root.
        policy: how they are flushed.
        endings: where their outcomes go.
        failed: takes a job whose file did not get its name.
        note: notes what is done, before it is answered.
    """

    def __init__(
        self,
        root: LocalRoot,
        policy: FlushPolicy,
        endings: Endings,
        failed: Callable[[Work, PoolerError], Awaitable[None]],
        note: Callable[[Sequence[Done]], Awaitable[object]] = remember_nothing,
    ) -> None:
        self._root = root
        self._policy = policy
        self._endings = endings
        self._failed = failed
        self._note = note
        self._complete = root.complete_brief if policy == "never" else root.complete

    async def run(self, landed: trio.MemoryReceiveChannel[Landed]) -> None:
        """Finish what lands, until the channel ends.

        Cancellation: files that have no name yet are removed; they are not answered.
        """
        batch: list[Landed] = []
        with landed:
            try:
                async for first in landed:
                    batch = [first, *_waiting(landed)]
                    parts = [item.part for item in batch]
                    errors = await self._complete(land, parts, self._policy)
                    await self._mark(batch, errors)
                    done, batch = batch, []
                    await self._end_all(done, errors, trio.current_time())
            finally:
                for item in (*batch, *_waiting(landed)):
                    item.part.discard()

    async def _mark(self, batch: Sequence[Landed], errors: list[PoolerError | None]) -> None:
        """Write the markers that are asked for, of files that have their names; add what goes wrong."""
        wanted = [
            index
            for index, item in enumerate(batch)
            if errors[index] is None and item.work.plan.options.write_marker
        ]
        if not wanted:
            return
        files = [batch[index].work.plan.local_parts for index in wanted]
        found = await self._complete(mark, self._root, files, self._policy)
        for index, error in zip(wanted, found, strict=True):
            errors[index] = error

    async def _end_all(
        self, batch: Sequence[Landed], errors: Sequence[PoolerError | None], now: float
    ) -> None:
        """Note what is done, then answer it; a worker that waits for its file does both by itself."""
        done = [
            Done(item.work, _outcome(item, now))
            for item, error in zip(batch, errors, strict=True)
            if error is None and item.reply is None
        ]
        if done:
            await self._note(done)
        for work, outcome, _ in done:
            await self._endings.end(work, outcome)
        for item, error in zip(batch, errors, strict=True):
            if item.reply is not None:
                item.reply.tell(error)
            elif error is not None:
                await self._failed(item.work, error)


def _outcome(item: Landed, now: float) -> Outcome:
    started = item.work.started or now
    return replace(
        item.outcome,
        duration_ms=round((now - started) * 1000),
        marked=item.work.plan.options.write_marker,
    )


def _waiting(landed: trio.MemoryReceiveChannel[Landed]) -> list[Landed]:
    """Take what is waiting already, up to a batch."""
    found: list[Landed] = []
    while len(found) < _BATCH_LIMIT - 1:
        try:
            found.append(landed.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    return found
