"""A local root, and the way down from it that no symbolic link can bend.

A path is walked component by component, each opened below the one before and none of them through a link.
Where a component is a link, it is resolved, and the walk begins again at what it points to; unless that lies
outside the root. So a link that is swapped in between a look and an open is found, not followed.

What touches the disk runs in a thread: a mount that stalls holds its own jobs, not the loop. Each root has a
limit of threads of its own, so that it cannot take those of the others either. Only short calls on a file
system of this machine are made in the loop, as long as they are quick (`pooler.storage.nearness`).
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from pooler.errors import ErrorCode, JobError, LocalFileError
from pooler.storage.control import FOLDER
from pooler.storage.failures import translated
from pooler.storage.held import Held
from pooler.storage.journal import Entry
from pooler.storage.lease import Lease
from pooler.storage.nearness import Nearness
from pooler.storage.pipe import REFUSED, Pipe
from pooler.storage.threads import Threads

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_THREADS = 16
_LINKS = 40  # as many as the kernel itself follows
_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe must not hold the open; that it is no file shows right afterwards.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SourceState:
    """What is compared before and after reading a file, to see whether it changed meanwhile.

    Attributes:
        size_bytes: its size.
        mtime_ns: its time of modification, in nanoseconds since 1970.
    """

    size_bytes: int
    mtime_ns: int


def at_once(ending: Callable[[], None]) -> None:
    """Do what is to be done later right now: where nobody tidies up, and in threads."""
    ending()


class SourceFile(Held):
    """A regular file below a root, open for reading.

    Args:
        descriptor: owned from here on, unless this raises.
        path: for messages.
        later: takes what closes it, which may block.

    Raises:
        LocalFileError: it cannot be looked at.
        JobError: ``INVALID_JOB``, where it is no regular file.
    """

    def __init__(
        self, descriptor: int, path: str, later: Callable[[Callable[[], None]], None] = at_once
    ) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.path = path
        self._later = later
        with translated(path):
            found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise JobError(ErrorCode.INVALID_JOB, f"{path}: not a regular file")
        self.opened_as = SourceState(found.st_size, found.st_mtime_ns)

    def state(self) -> SourceState:
        """Look at the file again. Blocks."""
        with translated(self.path):
            found = os.fstat(self.descriptor)
        return SourceState(found.st_size, found.st_mtime_ns)

    def read_into(self, buffer: memoryview) -> int:
        """Read up to ``len(buffer)`` bytes; return how many, 0 at the end. Blocks."""
        with translated(self.path):
            return os.readv(self.descriptor, [buffer])

    def give_to(self, pipe: Pipe, size_bytes: int) -> int | None:
        """Fill an empty pipe with up to ``size_bytes``; return how many, 0 at the end. Blocks.

        None where this file system cannot; nothing was read then.
        """
        count = 0
        with translated(self.path):
            while count < size_bytes:
                try:
                    # It must not wait for room: nobody else takes anything out meanwhile.
                    more = os.splice(
                        self.descriptor, pipe.writing, size_bytes - count, flags=os.SPLICE_F_NONBLOCK
                    )
                except BlockingIOError:
                    break
                except OSError as error:
                    if count or error.errno not in REFUSED:
                        raise
                    return None
                if not more:
                    break
                count += more
        return count

    def seek(self, offset: int) -> None:
        """Read on from byte ``offset``."""
        with translated(self.path):
            os.lseek(self.descriptor, offset, os.SEEK_SET)

    def close(self) -> None:
        """Let go of the descriptor, once no call uses it. Never raises, does not block the loop."""
        self._later(self.let_go)

    def let_go(self) -> None:
        """Let go of the descriptor, once no call uses it. Never raises. Blocks."""
        self.end(self._close)

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


class LocalRoot:
    """A folder that jobs name as one of their ends.

    Args:
        name: its section in connections.ini.
        path: where it is.
        stall_s: how long a call may take before it is left alone, in seconds.
        nearness: tells whether short calls may be made in the loop; None for never.

    Attributes:
        lease: under which parts are made here; None where nobody keeps one, as for a command by hand.
        later: takes what may block and need not be waited for: the end of a file. Does it at once where
            nobody keeps the root.
        splices: whether the kernel moves bytes between pipes and its files, as far as anybody knows.
    """

    def __init__(
        self, name: str, path: Path, *, stall_s: float = inf, nearness: Nearness | None = None
    ) -> None:
        self.name = name
        self.path = path
        self.lease: Lease | None = None
        self.later: Callable[[Callable[[], None]], None] = at_once
        self.splices = True
        self._stall_s = stall_s
        self._nearness = nearness
        self._flushing = 0
        self._threads = Threads(name, _THREADS)
        # Its keeper's own, so that a root whose threads are all stuck can still be looked at.
        self._reserved = Threads(name, 1)

    @property
    def busy(self) -> int:
        """How many of its threads are in use, by calls that nobody waits for any more, too."""
        return self._threads.busy

    async def run(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that blocks, in one of this root's threads.

        Raises:
            Stalled: it took too long, and is left alone.

        Cancellation: a call that has begun is waited for, for a moment, and what it opened is closed.
        """
        return await self._threads.run(self._stall_s, function, *args)

    async def brief(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that is over in no time on a disk of this machine; elsewhere as ``run``.

        That is: it opens, looks, renames, or moves a buffer's length. It flushes nothing.
        """
        nearness = self._nearness
        if nearness is None or not nearness.near:
            return await self.run(function, *args)
        await trio.lowlevel.checkpoint_if_cancelled()
        with nearness:
            return function(*args)

    async def make(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that makes a file: as ``brief``, but while a batch is flushed in a thread.

        Many file systems let nobody make a file meanwhile, and the loop must not wait for the disk.
        """
        return await (self.run if self._flushing else self.brief)(function, *args)

    def look_near(self) -> None:
        """See what kind of file system the root is on now. Blocks."""
        if self._nearness is not None:
            self._nearness.look(self.path)

    async def complete(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that gives files their names: it is waited for as long as it takes.

        So two of them never overtake each other, whatever the disk does.

        Cancellation: as for ``run``.
        """
        self._flushing += 1
        try:
            return await self._threads.run(inf, function, *args)
        finally:
            self._flushing -= 1

    async def complete_brief(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Do what ``complete`` does with a function that flushes nothing, as ``brief`` does."""
        if self._nearness is None or not self._nearness.near:
            return await self.complete(function, *args)
        return await self.brief(function, *args)

    async def attend(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that blocks, in the thread of whoever keeps this root; as ``complete``."""
        return await self._reserved.run(inf, function, *args)

    def check_lease(self, part: str) -> None:
        """See that a part may still be given its name. Quick.

        Raises:
            LeaseLost: others may take its writer for gone.
        """
        if self.lease is not None:
            self.lease.check(part)

    def confirm_lease(self) -> None:
        """See that the root is the one that we have a lease on. Blocks.

        Raises:
            LocalFileError: it is not, or others may take us for gone.
        """
        if self.lease is not None:
            self.lease.confirm()

    def note(self, entry: Entry, part: str) -> None:
        """Write down that a part is about to be made, for those who tidy up after us. Blocks.

        Raises:
            LocalFileError: it cannot be, or the root is not ours to write to any more.
        """
        if self.lease is None:
            return
        try:
            self.lease.note(entry, part)
        except LocalFileError as error:
            # An upload may be what makes room again; what is missed is its tidying up if we die.
            if not (entry.remote and error.code is ErrorCode.DISK_FULL):
                raise

    def note_is_brief(self, entry: Entry) -> bool:
        """Tell whether ``note`` may be called by ``brief``: nothing has to be flushed for it. Quick."""
        return self.lease is None or self.lease.journal.is_brief(entry)

    def forget(self, entry: Entry, part: str) -> None:
        """Take back what was noted: the part is no more, or has its own name. Quick."""
        if self.lease is not None:
            self.lease.journal.forget(entry, part)

    def open_folder(self, parts: Sequence[str], *, create: bool) -> int:
        """Open a folder below the root. Blocks.

        Args:
            parts: the names on the way down; none of them empty, ``.``, ``..`` or with a slash.
            create: make what is missing.

        Returns:
            A descriptor, the caller's to close.

        Raises:
            LocalFileError: it cannot be opened or made.
            JobError: ``PATH_OUTSIDE_ROOT``, where a symbolic link leads out.
        """
        with translated(self._shown(parts)):
            return self._walk(tuple(parts), create=create)

    def open_source(self, parts: Sequence[str]) -> SourceFile:
        """Open a regular file below the root for reading. Blocks.

        Raises:
            LocalFileError: ``FILE_NOT_FOUND``, or it cannot be opened.
            JobError: ``PATH_OUTSIDE_ROOT``, where a symbolic link leads out; ``INVALID_JOB``, where it is
                no regular file.
        """
        shown = self._shown(parts)
        with translated(shown):
            descriptor = self._open_file(tuple(parts), _LINKS)
        try:
            return SourceFile(descriptor, shown, self.later)
        except BaseException:
            os.close(descriptor)
            raise

    def _open_file(self, parts: tuple[str, ...], links: int) -> int:
        if not parts:  # a link led to the root itself
            return self._open_root()
        folder = self._walk(parts[:-1], create=False)
        try:
            found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                return os.open(parts[-1], _READ, dir_fd=folder)
        finally:
            os.close(folder)
        return self._open_file(self._resolved(parts, links), links - 1)

    def _walk(self, parts: tuple[str, ...], *, create: bool) -> int:
        links = _LINKS
        while True:
            if FOLDER in parts:  # of this root, or of one below it
                raise JobError(ErrorCode.PATH_OUTSIDE_ROOT, f"{self._shown(parts)}: no folder for jobs")
            stopped_at = self._descend(parts, create=create)
            if not isinstance(stopped_at, _Link):
                return stopped_at
            behind = parts[stopped_at.depth + 1 :]
            parts = self._resolved(parts[: stopped_at.depth + 1], links) + behind
            links -= 1

    def _descend(self, parts: tuple[str, ...], *, create: bool) -> "int | _Link":
        here = self._open_root()
        try:
            for depth, part in enumerate(parts):
                try:
                    below = os.open(part, _WALK, dir_fd=here)
                except FileNotFoundError:
                    if not create:
                        raise
                    _make_folder(part, here)
                    below = os.open(part, _WALK, dir_fd=here)
                except NotADirectoryError:
                    if stat.S_ISLNK(os.stat(part, dir_fd=here, follow_symlinks=False).st_mode):
                        return _Link(depth)
                    raise
                os.close(here)
                here = below
            return os.open(".", _FOLDER, dir_fd=here)
        finally:
            os.close(here)

    def _open_root(self) -> int:
        try:
            return os.open(self.path, _WALK & ~os.O_NOFOLLOW)
        except OSError as error:
            # A volume that is not mounted now says nothing about the job.
            raise LocalFileError(ErrorCode.IO_ERROR, f"{self.name}:/: {error.strerror}") from error

    def _resolved(self, parts: tuple[str, ...], links: int) -> tuple[str, ...]:
        """Follow the link that ``parts`` ends in; the way from the root to what it points to."""
        root = os.path.realpath(self.path)
        target = os.path.realpath(os.path.join(root, *parts))  # noqa: PTH118 - Path would normalise
        inside = os.path.relpath(target, root)
        if links <= 0 or inside == ".." or inside.startswith("../"):
            raise JobError(
                ErrorCode.PATH_OUTSIDE_ROOT,
                f"{self._shown(parts)}: a symbolic link leads out of the root, or round in a circle",
            )
        return tuple(part for part in inside.split("/") if part != ".")

    def _shown(self, parts: Sequence[str]) -> str:
        return f"{self.name}:/{'/'.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Link:
    depth: int


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return  # another job was faster
    # The new name must last as long as what is going to be put below it.
    readable = os.open(".", _FOLDER, dir_fd=parent)
    try:
        flush_folder(readable)
    finally:
        os.close(readable)


def flush_folder(descriptor: int) -> None:
    """Flush the names in a folder. Blocks.

    Raises:
        OSError: they may be lost.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no flush of folders, and say so by this; their names need none, or have none.
        if error.errno != errno.EINVAL:
            raise
