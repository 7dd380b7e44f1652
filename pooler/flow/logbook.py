"""What was done for jobs that are not answered yet: noted in their local root, and known to their next owner.

A process that dies between a copy and its answer leaves a job that comes again. Its next owner finds the note
and answers, instead of copying again, or of looking for a source that was removed afterwards.

A note speaks of one record and no other: it bears the sum of its bytes, since a topic may be made anew. And
it is void once its offset was committed: who sets the group's offsets back wants the jobs done again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

import msgspec
import structlog
import trio

from pooler.errors import LocalFileError
from pooler.flow.work import Work
from pooler.model.job import Direction, Origin, Record
from pooler.model.outcome import Outcome
from pooler.storage.logbook import LogbookFile, read_notes
from pooler.storage.root import LocalRoot, SourceState
from pooler.transfer.session import Stat

log = structlog.get_logger(__name__)

_LINES = 1_000
"""How many notes a file holds, answered ones among them, before it is written anew without these."""

Partition = tuple[str, int]


class Books(Protocol):
    """What is known of the partitions that are ours."""

    def committed(self, partition: Partition) -> int:
        """Tell up to which offset all is committed; 0 for a partition that is not ours."""
        ...

    def is_settled(self, origin: Origin) -> bool:
        """Tell whether a record is of a partition of ours, and needs nothing more of us."""
        ...


class Done(NamedTuple):
    """What is done for a job.

    Attributes:
        work: the job.
        outcome: how it ends.
        source: what the source was like, where something is still to be done with it; else None.
    """

    work: Work
    outcome: Outcome
    source: SourceState | Stat | None = None


class Recall(Protocol):
    """Tells what was done for a job: `Logbook.recall`."""

    def __call__(self, work: Work, /, *, anew: bool = False) -> Awaitable[Done | None]:
        """See `Logbook.recall`."""
        ...


async def remember_nothing(_about: object, *, anew: bool = False) -> None:  # noqa: ARG001 - as a logbook
    """Stand in for a logbook, where no job ever comes again."""
    await trio.lowlevel.checkpoint()


class _Note(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    committed: int
    digest: str
    outcome: Outcome
    source: msgspec.Raw


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a note: all that is read of most of them."""

    offset: int
    committed: int


class _Page:
    """Our own notes on one partition."""

    def __init__(self, partition: Partition, file: LogbookFile) -> None:
        self.partition = partition
        self.file = file
        self._unwritten: list[bytes] = []
        self._notes: dict[int, bytes] = {}
        self._enough = _LINES
        self._in_doubt = False

    @property
    def wants_writing(self) -> bool:
        """Whether there are notes that may not stand in the file."""
        return bool(self._unwritten) or self._in_doubt

    def add(self, offset: int, line: bytes) -> None:
        """Take a note, to be written."""
        self._notes[offset] = line
        self._unwritten.append(line)

    def prune(self, books: Books) -> bool:
        """Forget what is answered; tell whether that leaves nothing."""
        self._notes = {
            offset: line
            for offset, line in self._notes.items()
            if not books.is_settled(Origin(*self.partition, offset))
        }
        return not self._notes

    def writing(self, books: Books) -> Callable[[], None]:
        """Tell what is to be called, in a thread, to write what is not written; then ``written`` is."""
        lines, self._unwritten = self._unwritten, []
        in_doubt, self._in_doubt = self._in_doubt, True
        if not in_doubt and self.file.lines + len(lines) <= self._enough:
            return partial(self.file.append, lines)
        self.prune(books)
        # Twice as many as are kept, so that the cost of writing anew stays that of the notes added.
        self._enough = max(_LINES, 2 * len(self._notes))
        return partial(self.file.replace, list(self._notes.values()))

    def written(self) -> None:
        """Take in that the call of ``writing`` has come to its end."""
        self._in_doubt = False


class Logbook:
    """The notes in one root.

    Args:
        root: the root.
        process: our name among those that write there.
        group: the consumer group; others that use the root have offsets of their own.
        books: of the partitions.
    """

    def __init__(self, root: LocalRoot, process: str, group: str, books: Books) -> None:
        self._root = root
        self._process = process
        self._group = group
        self._books = books
        self._pages: dict[Partition, _Page] = {}
        self._found: dict[Partition, dict[int, bytes]] = {}
        self._turn = trio.Lock()
        self._fails = False

    async def note(self, done: Sequence[Done]) -> None:
        """Note what is done. Those who come while others are being written are written together.

        That it cannot be written is told once, and harms nobody while we live.

        Cancellation: it may be noted, or not. What we have taken on of others, the next one writes.
        """
        for item in done:
            origin = item.work.delivery.record.origin
            self._page(origin[:2]).add(origin.offset, self._line(item))
        async with self._turn:
            pages = [page for page in self._pages.values() if page.wants_writing]
            if pages:
                await self._write(pages)

    async def recall(self, work: Work, /, *, anew: bool = False) -> Done | None:
        """Tell what was done for a job by those who had it before, or by us before we lost it.

        Args:
            work: the job.
            anew: read also what was noted since they were read last.

        Raises:
            LocalFileError: the notes cannot be read now.
        """
        origin = work.delivery.record.origin
        if anew:
            self._found.pop(origin[:2], None)
        line = (await self._notes_on(origin[:2])).pop(origin.offset, None)
        return None if line is None else _read(line, work)

    async def knows(self, work: Work) -> bool:
        """Tell whether ``recall`` would tell of anything done for a job.

        Raises:
            LocalFileError: the notes cannot be read now.
        """
        origin = work.delivery.record.origin
        line = (await self._notes_on(origin[:2])).get(origin.offset)
        return line is not None and _read(line, work) is not None

    async def _notes_on(self, partition: Partition) -> dict[int, bytes]:
        found = self._found.get(partition)
        if found is None:
            async with self._turn:
                found = self._found.get(partition)
                if found is None:
                    lines = await self._root.run(read_notes, self._root.path, self._subject(partition))
                    found = self._found[partition] = _valid(lines)
        return found

    def look_again(self) -> None:
        """Forget what others have noted: partitions have changed hands."""
        self._found.clear()

    async def close(self) -> None:
        """Remove our notes on what is answered.

        Cancellation: they stay for a day.
        """
        for page in self._pages.values():
            if page.prune(self._books):
                with suppress(LocalFileError):
                    await self._root.run(page.file.remove)

    def _page(self, partition: Partition) -> _Page:
        page = self._pages.get(partition)
        if page is None:
            file = LogbookFile(self._root.path, self._subject(partition), self._process)
            page = self._pages[partition] = _Page(partition, file)
        return page

    def _subject(self, partition: Partition) -> str:
        topic, number = partition
        name = f"{self._group}\0{topic}\0{number}".encode()
        return hashlib.blake2b(name, digest_size=8).hexdigest()

    def _line(self, done: Done) -> bytes:
        record = done.work.delivery.record
        note = _Note(
            record.origin.offset,
            self._books.committed(record.origin[:2]),
            _digest(record),
            done.outcome,
            msgspec.Raw(msgspec.json.encode(done.source)),
        )
        return msgspec.json.encode(note)

    async def _write(self, pages: Sequence[_Page]) -> None:
        calls = [page.writing(self._books) for page in pages]

        def write() -> None:
            for call in calls:
                call()

        try:
            await self._root.brief(write)
        except LocalFileError as error:
            if not self._fails:
                log.warning("logbook_not_written", root=self._root.name, error=str(error))
            self._fails = True
        else:
            self._fails = False
            for page in pages:
                page.written()


def _digest(record: Record) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in (record.key or b"", record.value or b"", str(record.timestamp_ms).encode()):
        digest.update(b"%d:%b" % (len(part), part))
    return digest.hexdigest()


def _valid(lines: Sequence[bytes]) -> dict[int, bytes]:
    """Choose the notes that are not void; of several on one offset the last one."""
    found: dict[int, bytes] = {}
    committed = 0
    for line in lines:
        with suppress(msgspec.DecodeError):
            head = msgspec.json.decode(line, type=_Head)
            found[head.offset] = line
            committed = max(committed, head.committed)
    return {offset: line for offset, line in found.items() if offset >= committed}


def _read(line: bytes, work: Work) -> Done | None:
    """Read a note; None where it is not about this job."""
    kind = SourceState if work.plan.direction is Direction.UPLOAD else Stat
    try:
        note = msgspec.json.decode(line, type=_Note)
        if note.digest != _digest(work.delivery.record):
            return None
        return Done(work, note.outcome, msgspec.json.decode(note.source, type=kind | None))
    except msgspec.DecodeError:
        return None
