"""Jobs from a file and results to a stream: the same pipeline for a person who has no Kafka.

A line is a record: its text the value, its number among those that are not empty the offset. What is in
hand is bounded by a semaphore that each result gives back to, so that a file of a million jobs takes no more
memory than one of ten thousand.
"""

import datetime as dt
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from itertools import chain
from typing import BinaryIO

import trio

from pooler.bus.records import Invalid, OutRecord, Undecodable, encode_invalid, encode_outcome
from pooler.bus.source import Answer, read
from pooler.errors import ErrorCode
from pooler.model.job import Delivery, Origin, Record
from pooler.model.outcome import Ended, Parked

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

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        """Hand on every job of the list; ends with it, or with ``stop``."""
        with deliveries, answers, self._scope:
            while True:
                await self._room.acquire()
                line = await self._next_line()
                if line is None:
                    return
                self.taken += 1
                found = read(Record(Origin(self._name, 0, self.taken), None, line))
                if isinstance(found, Delivery):
                    await deliveries.send(found)
                else:
                    await answers.send(found)

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
                written = [(self._encode(answer).value or b"") + b"\n" for answer in batch]
                await trio.to_thread.run_sync(self._write_all, written)
                for _ in batch:
                    self._room.release()

    def _write_all(self, written: Sequence[bytes]) -> None:
        for line in written:
            self._write(line)

    def _encode(self, answer: Answer) -> OutRecord:
        now = dt.datetime.now(dt.UTC)
        if isinstance(answer, Ended):
            failure = answer.outcome.failure
            if failure is not None:
                self.codes[failure.code.value, failure.retriable] += 1
            delivery = answer.delivery
            return encode_outcome(
                delivery.job,
                delivery.record,
                answer.outcome,
                worker=self._worker,
                now=now,
                limit_bytes=2 * LINE_LIMIT_BYTES,
            )
        assert not isinstance(answer, Parked)  # noqa: S101 - there is no topic to park on
        self.codes[ErrorCode.INVALID_JOB.value, False] += 1
        why, record = answer.why, answer.record
        if isinstance(why, Undecodable):
            # There is no topic for dead letters here: the line is answered like any other.
            why = Invalid(str(record.origin), why.message, {})
            record = Record(record.origin, record.key, None)
        return encode_invalid(why, record, worker=self._worker, now=now, limit_bytes=2 * LINE_LIMIT_BYTES)


def _waiting(answers: trio.MemoryReceiveChannel[Answer]) -> Iterator[Answer]:
    with suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            yield answers.receive_nowait()
