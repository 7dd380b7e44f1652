"""A local root, and the way down from it that no symbolic link can bend.

A path is walked component by component, each opened below the one before and none of them through a link.
Where a component is a link, it is resolved, and the walk begins again at what it points to; unless that lies
outside the root. So a link that is swapped in between a look and an open is found, not followed.

Everything that touches the disk runs in a thread: a mount that stalls holds its own jobs, not the loop. Each
root has a limit of threads of its own, so that it cannot take those of the others either.
"""

import errno
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import trio

from pooler.errors import ErrorCode, JobError, LocalFileError
from pooler.storage.failures import translated

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


class SourceFile:
    """A regular file below a root, open for reading.

    Args:
        descriptor: owned from here on, unless this raises.
        path: for messages.

    Raises:
        LocalFileError: it cannot be looked at.
        JobError: ``INVALID_JOB``, where it is no regular file.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path
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

    def seek(self, offset: int) -> None:
        """Read on from byte ``offset``."""
        with translated(self.path):
            os.lseek(self.descriptor, offset, os.SEEK_SET)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.descriptor)


class LocalRoot:
    """A folder that jobs name as one of their ends.

    Args:
        name: its section in connections.ini.
        path: where it is.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def run(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Call a function that blocks, in one of this root's threads.

        Cancellation: before the call, as ever. Once it has begun it is waited for, and what it returned is
        returned: a descriptor that was opened always has an owner. Cancelled comes at the next checkpoint.
        """
        return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)

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
            return SourceFile(descriptor, shown)
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


def probe(root: LocalRoot) -> None:
    """Try out what a root is needed for: create, flush, rename, remove. Blocks.

    Raises:
        LocalFileError: with what it was that failed.
    """
    # Pods share roots, and in each of them we may be process 1; one that died may have left its own.
    name = f".pooler-probe-{secrets.token_hex(4)}"
    with translated(root.path):
        folder = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.fsync(descriptor)
                os.rename(name, f"{name}.renamed", src_dir_fd=folder, dst_dir_fd=folder)
                os.unlink(f"{name}.renamed", dir_fd=folder)
            finally:
                os.close(descriptor)
                for left in (name, f"{name}.renamed"):
                    with suppress(OSError):
                        os.unlink(left, dir_fd=folder)
        finally:
            os.close(folder)
