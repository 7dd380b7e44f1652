"""Jobs from a file and results to a stream: the same pipeline for a person who has no Kafka.

A line is a record: its text the value, its number among those that are not empty the offset. What is in
hand is bounded by a semaphore that each result gives back to, so that a file of a million jobs takes no more
memory than one of ten thousand.

Behind a bulk job nothing is read until its folder was visited, and the jobs of that visit are handed on: so
these are all that is kept of any number of bulk jobs.
"""

import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from itertools import chain
from typing import BinaryIO

import trio
from msgspec.structs import replace

from pooler.bus import batches as bulk
from pooler.bus.records import Invalid, OutRecord, Undecodable, encode_invalid, encode_outcome
from pooler.bus.source import Answer, Unreadable, read
from pooler.errors import ErrorCode
from pooler.model.batch import Tally, total
from pooler.model.job import Delivery, Job, Origin, Record
from pooler.model.outcome import Ended, Outcome, Parked, Spread, Status

LINE_LIMIT_BYTES = 1024 * 1024
"""The longest line that is read: what Kafka would take as one record, by its default."""
_CHUNK_BYTES = 64 * 1024
_GATHERED_S = 0.02
"""For how long results are gathered before they are written: nobody who reads them sees that."""


def open_list(name: str) -> BinaryIO:
    """Open a list of jobs. Blocks.

    It has no buffer: a reader that waits in one holds its lock, and whoever closes it then, or ends the
    process, would wait for a line that may never come.

    Args:
        name: a file, or ``-`` for the standard input.

    Raises:
        OSError: it cannot be opened.
    """
    return FileIO(0, closefd=False) if name == "-" else FileIO(name)


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Give the lines of a stream that are not empty, each cut off a byte behind the limit. Blocks."""
    return chain.from_iterable(batches(stream))


def batches(stream: BinaryIO) -> Iterator[Sequence[bytes]]:
    """Give what ``lines`` gives, as many at a time as came at once, one at least. Blocks."""
    begun = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *ended, rest = chunk.split(b"\n")
        if ended:
            ended[0] = begun + ended[0]
            begun = b""
            yield from _not_empty(ended)
        # A byte more for a CR, a byte more to show that it is too long.
        begun = (begun + rest)[: LINE_LIMIT_BYTES + 2]
    yield from _not_empty([begun])


def _not_empty(found: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    kept = [line.rstrip(b"\r")[: LINE_LIMIT_BYTES + 1] for line in found if line.strip()]
    if kept:
        yield kept


class JobFile:
    """A list of jobs, as source and sink of the flow.

    Args:
        name: what to call it; it stands where a topic's name would.
        jobs: its lines, as many at a time as there are at once.
        write: takes one result line, with its line end. Blocks.
        worker: who we are, for the results.
        window: how many jobs may be in hand at once.
    """

    def __init__(
        self,
        name: str,
        jobs: Iterator[Sequence[bytes]],
        write: Callable[[bytes], object],
        *,
        worker: str,
        window: int,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._lines: deque[bytes] = deque()
        self._write = write
        self._worker = worker
        self._room = trio.Semaphore(window)
        self._scope = trio.CancelScope()
        self.taken = 0
        """Jobs read so far."""
        self.codes: Counter[tuple[str, bool]] = Counter()
        """Failures so far, by their code and whether trying again may help."""
        self._spread: deque[Delivery] = deque()
        self._made = 0
        self._visiting = 0
        self._visited = trio.Event()
        self._tallies: dict[str, Tally] = {}

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        """Hand on every job of the list; ends with it, or with ``stop``."""
        with deliveries, answers, self._scope:
            while True:
                await self._room.acquire()
                found = await self._next()
                if found is None:
                    return
                if isinstance(found, Delivery):
                    self._visiting += found.job.bulk
                    await deliveries.send(found)
                else:
                    await answers.send(found)

    async def _next(self) -> Delivery | Unreadable | None:
        while True:
            if self._spread:
                return self._spread.popleft()
            if not self._visiting:
                break
            self._visited = trio.Event()
            await self._visited.wait()
        line = await self._next_line()
        if line is None:
            return None
        self.taken += 1
        return read(Record(Origin(self._name, 0, self.taken), None, line))

    async def _next_line(self) -> bytes | None:
        if not self._lines:
            # Abandoned, since a terminal or a pipe may keep a reader waiting for ever.
            self._lines.extend(await trio.to_thread.run_sync(next, self._jobs, (), abandon_on_cancel=True))
        return self._lines.popleft() if self._lines else None

    def stop(self) -> None:
        """Take nothing new."""
        self._scope.cancel()

    def wants(self, delivery: Delivery) -> bool:  # noqa: ARG002 - as the flow calls it
        """Tell whether a delivery is still ours to do: there is nobody else."""
        return True

    async def write(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        """Write a line for each answer, until ``answers`` ends."""
        with answers:
            async for first in answers:
                # All that are there by then go in one call: to go to a thread costs more than to write.
                await trio.sleep(_GATHERED_S)
                batch = [first, *_waiting(answers)]
                records = [record for answer in batch for record in self._records(answer)]
                written = [(record.value or b"") + b"\n" for record in records]
                await trio.to_thread.run_sync(self._write_all, written)
                for _ in batch:
                    self._room.release()

    def _write_all(self, written: Sequence[bytes]) -> None:
        for line in written:
            self._write(line)

    def _records(self, answer: Answer) -> Iterator[OutRecord]:
        now_ms = round(time.time() * 1000)
        if isinstance(answer, Spread):
            self._visited_now()
            yield from self._sum_up([self._take_on(answer, now_ms)])
        elif not isinstance(answer, Ended):
            yield self._unreadable(answer)
        else:
            if answer.delivery.job.bulk:
                self._visited_now()
            broken = bulk.broken_off(answer, first_seen_ms=_first_seen_ms(answer.delivery), now_ms=now_ms)
            if broken is None:
                yield self._ended(answer.delivery.job, answer.delivery.record, answer.outcome)
            tallies = [broken] if broken is not None else bulk.of_answers([answer], now_ms)
            yield from self._sum_up(tallies)

    def _visited_now(self) -> None:
        self._visiting -= 1
        self._visited.set()

    def _take_on(self, spread: Spread, now_ms: int) -> Tally:
        """Take on the jobs that a bulk job is spread into, and that itself where there is more of it."""
        delivery = spread.delivery
        made = bulk.children(spread, first_seen_ms=_first_seen_ms(delivery), now_ms=now_ms)
        for key, value, headers in made.jobs:
            self._made += 1
            found = read(Record(Origin(self._name, 1, self._made), key, value, headers))
            assert isinstance(found, Delivery)  # noqa: S101 - made of one that is
            self._spread.append(found)
        if spread.found.more:
            self._spread.append(replace(delivery, spreading=made.state))
        return made.tally

    def _sum_up(self, tallies: Sequence[Tally]) -> Iterator[OutRecord]:
        for tally in tallies:
            known = self._tallies.pop(tally.batch, None)
            summed = tally if known is None else total([known, tally])
            closing = bulk.closing(summed, summed.at_ms) if summed.complete else None
            if closing is None:
                self._tallies[tally.batch] = summed
            else:
                yield self._ended(*closing)

    def _ended(self, job: Job, record: Record, outcome: Outcome) -> OutRecord:
        # Those of a bulk job's jobs that failed are counted by themselves.
        counts = outcome.batch is None or outcome.batch["failed"] == 0
        if outcome.status is Status.FAILED and outcome.failure is not None and counts:
            self.codes[outcome.failure.code.value, outcome.failure.retriable] += 1
        return encode_outcome(
            job,
            record,
            outcome,
            worker=self._worker,
            now=dt.datetime.now(dt.UTC),
            limit_bytes=2 * LINE_LIMIT_BYTES,
        )

    def _unreadable(self, answer: Unreadable | Parked) -> OutRecord:
        now = dt.datetime.now(dt.UTC)
        assert not isinstance(answer, Parked)  # noqa: S101 - there is no topic to park on
        self.codes[ErrorCode.INVALID_JOB.value, False] += 1
        why, record = answer.why, answer.record
        if isinstance(why, Undecodable):
            # There is no topic for dead letters here: the line is answered like any other.
            why = Invalid(str(record.origin), why.message, {})
            record = Record(record.origin, record.key, None)
        return encode_invalid(why, record, worker=self._worker, now=now, limit_bytes=2 * LINE_LIMIT_BYTES)


def _first_seen_ms(delivery: Delivery) -> int:
    return round((time.time() - (trio.current_time() - delivery.received)) * 1000)


def _waiting(answers: trio.MemoryReceiveChannel[Answer]) -> Iterator[Answer]:
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            yield answers.receive_nowait()
