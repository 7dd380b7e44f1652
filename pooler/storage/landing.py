"""Files on their way in: a temporary name, then one flush for a batch, then their own names.

The order is what makes it safe: bytes first, flush, rename, flush of the folders. After a crash in between
there is a temporary file, or the whole file, and never a part of one under its own name.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Literal

from pooler.errors import ErrorCode, JobError, LocalFileError, PoolerError, Remedy
from pooler.storage.failures import meaning, translated
from pooler.storage.held import Held
from pooler.storage.journal import Entry
from pooler.storage.pipe import REFUSED, Pipe
from pooler.storage.root import LocalRoot, SourceFile, flush_folder

FlushPolicy = Literal["batch", "always", "never"]

_libc = ctypes.CDLL(None, use_errno=True)
# Some file systems have no hard links; EPERM is what Linux says of them.
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


class PartFile(Held):
    """A file under a temporary name, in the folder where it will stay.

    Args:
        root: the root it is below.
        parts: the way from the root to its own name.
        temporary: the name that it has meanwhile; nobody else uses it.
        replace: whether it may take the place of a file that is there.
        kept: it is there already, and is to be gone on with at its end.

    Attributes:
        root: the root it is below.
        size_bytes: how much of it was there already.
        place: the device and the number of its folder, by which files of one batch are grouped.

    Raises:
        LocalFileError: it cannot be made.
        JobError: a symbolic link leads out of the root.
    """

    def __init__(
        self, root: LocalRoot, parts: Sequence[str], temporary: str, *, replace: bool, kept: bool = False
    ) -> None:
        super().__init__()
        self.root = root
        self._parts = tuple(parts)
        self._entry = Entry("", "/".join(parts[:-1]))
        self.path = f"{root.name}:/{'/'.join(parts)}"
        self.name = parts[-1]
        self.temporary = temporary
        self.replace = replace
        self.size_bytes = 0
        self.folder = root.open_folder(parts[:-1], create=not kept)
        try:
            root.note(self._entry, temporary)
            with translated(self.path):
                found = os.fstat(self.folder)
                self.place = found.st_dev, found.st_ino
                # A name that is longer than its folder takes must not show only at the rename.
                with suppress(FileNotFoundError):
                    os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
                how = os.O_NOFOLLOW if kept else os.O_CREAT | os.O_EXCL
                self.descriptor = os.open(
                    temporary, os.O_RDWR | os.O_CLOEXEC | how, 0o666, dir_fd=self.folder
                )
                if kept:
                    self.size_bytes = os.lseek(self.descriptor, 0, os.SEEK_END)
        except BaseException:
            os.close(self.folder)
            raise

    def write(self, data: memoryview) -> None:
        """Write all of ``data``. Blocks."""
        with translated(self.path):
            while data:
                data = data[os.write(self.descriptor, data) :]

    def take_from(self, pipe: Pipe, size_bytes: int, buffer: memoryview) -> bool:
        """Write what a pipe holds; tell whether the file system took it without a copy. Blocks.

        Args:
            pipe: holds so many bytes.
            size_bytes: how many.
            buffer: room to use where it did not.
        """
        with translated(self.path):
            while size_bytes:
                try:
                    size_bytes -= os.splice(pipe.reading, self.descriptor, size_bytes)
                except OSError as error:
                    if error.errno not in REFUSED:
                        raise
                    break
            spliced = not size_bytes
            while size_bytes:
                count = os.readv(pipe.reading, [buffer[:size_bytes]])
                self.write(buffer[:count])
                size_bytes -= count
        return spliced

    def set_modified(self, mtime_ns: int) -> bool:
        """Give the file a time, in nanoseconds since 1970; tell whether it took it. Blocks."""
        try:
            os.utime(self.descriptor, ns=(mtime_ns, mtime_ns))
        except OSError:
            return False
        return True

    def keep(self) -> "KeptPart":
        """Let go of the descriptors, and leave the file for an attempt to come. Never raises."""
        self.close()
        return KeptPart(self.root, self._parts, self.temporary)

    def publish(self) -> None:
        """Give the file its own name. Blocks.

        Raises:
            LocalFileError: ``DESTINATION_EXISTS`` where it may not replace what is there.
            LeaseLost: others may take us for gone.
        """
        self.root.check_lease(self.temporary)
        with translated(self.path):
            try:
                self._rename()
            except FileNotFoundError as error:
                # Somebody took us for gone, and swept it or goes on with it; the job is not to blame.
                raise LocalFileError(ErrorCode.IO_ERROR, f"{self.path}: its part is gone") from error

    def _rename(self) -> None:
        if self.replace:
            os.rename(self.temporary, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
            return
        try:
            os.link(self.temporary, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._rename_if_free()
        else:
            os.unlink(self.temporary, dir_fd=self.folder)

    def _rename_if_free(self) -> None:
        try:
            os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(self.temporary, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def discard(self) -> None:
        """Remove the file, if it is still under its temporary name, and let go, once no call uses it.

        Never raises, does not block the loop.
        """
        self.root.later(self.let_go)

    def let_go(self) -> None:
        """Do what ``discard`` does. Blocks."""
        self.end(self._remove)

    def close(self) -> None:
        """Let go of the descriptors, once no call uses them; the file stays as it is.

        Never raises, does not block the loop.
        """
        self.root.later(self._let_be)

    def _let_be(self) -> None:
        self.end(self._close)

    def _remove(self) -> None:
        with suppress(OSError):
            os.unlink(self.temporary, dir_fd=self.folder)
        self._close()
        self.root.forget(self._entry, self.temporary)

    def settle(self) -> None:
        """Let go of a file that has its own name. Never raises. Blocks."""
        self.root.forget(self._entry, self.temporary)
        self._let_be()

    def _close(self) -> None:
        descriptors = self.descriptor, self.folder
        self.descriptor = self.folder = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                # Whatever this may say, a flush has said before; and the descriptor is gone in any case.
                with suppress(OSError):
                    os.close(descriptor)


@dataclass(frozen=True, slots=True)
class KeptPart:
    """The beginning of a file, which nobody has open.

    Attributes:
        root: the root that it is below.
        parts: the way from the root to its own name.
        temporary: the name that it has.
    """

    root: LocalRoot
    parts: tuple[str, ...]
    temporary: str

    def open(self, *, replace: bool) -> PartFile:
        """Go on with it; arguments and errors as for ``PartFile``. Blocks."""
        return PartFile(self.root, self.parts, self.temporary, replace=replace, kept=True)

    def discard(self) -> None:
        """Remove it. Never raises, does not block the loop."""
        self.root.later(self._remove)

    def _remove(self) -> None:
        with suppress(OSError, PoolerError):
            folder = self.root.open_folder(self.parts[:-1], create=False)
            try:
                os.unlink(self.temporary, dir_fd=folder)
            finally:
                os.close(folder)
        self.root.forget(Entry("", "/".join(self.parts[:-1])), self.temporary)


def existing(root: LocalRoot, parts: Sequence[str]) -> SourceFile | None:
    """Open what stands at a path, None where nothing does. Blocks.

    Raises:
        LocalFileError: it cannot be told.
        JobError: ``DESTINATION_EXISTS``, where what stands there is no regular file; ``PATH_OUTSIDE_ROOT``,
            where a symbolic link leads out of the root.
    """
    try:
        return root.open_source(parts)
    except LocalFileError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return None
        raise
    except JobError as error:
        if error.code is ErrorCode.INVALID_JOB:
            raise JobError(ErrorCode.DESTINATION_EXISTS, str(error)) from error
        raise


def land(files: Sequence[PartFile], policy: FlushPolicy) -> list[PoolerError | None]:
    """Make a batch of files durable, and give each its own name. Blocks.

    Args:
        files: all written to their end, of one root. They are let go of, whatever happens. One that is
            discarded meanwhile, since nobody waits for it any more, does not get its name.
        policy: ``batch``: one flush of the file system for all; ``always``: one of each file; ``never``:
            none, so that a crash of the machine may lose files that were answered.

    Returns:
        For each file None, or why it has not its name; such a file is removed. One whose folder could not be
        flushed has its name, for as long as the machine stands.
    """
    with ExitStack() as using:
        for file in files:
            using.enter_context(file.in_use())
        errors: list[PoolerError | None] = [_flush(file) if policy == "always" else None for file in files]
        if policy == "batch":
            errors = _flush_together(files)
        errors = _confirmed(files, errors)
        for index, file in enumerate(files):
            if errors[index] is None:
                errors[index] = _published(file)
        if policy != "never":
            _flush_folders(files, errors)
        for file, error in zip(files, errors, strict=True):
            if error is None:
                file.settle()
            else:
                file.let_go()
    return errors


def _flush(file: PartFile) -> PoolerError | None:
    try:
        os.fsync(file.descriptor)
    except OSError as error:
        return meaning(error, file.path)
    return None


def _flush_together(files: Sequence[PartFile]) -> list[PoolerError | None]:
    """Flush each file system once; where that fails, ask each file for itself."""
    failed = set()
    for device, file in {file.place[0]: file for file in files}.items():
        if _libc.syncfs(file.descriptor) != 0:
            failed.add(device)
    return [_flush(file) if file.place[0] in failed else None for file in files]


def _confirmed(files: Sequence[PartFile], errors: list[PoolerError | None]) -> list[PoolerError | None]:
    """See, once for all of them, that the root is the one that they were written for."""
    try:
        for root in {file.root for file in files}:
            root.confirm_lease()
    except PoolerError as error:
        return [found or error for found in errors]
    return errors


def _published(file: PartFile) -> PoolerError | None:
    if file.unwanted:
        return LocalFileError(ErrorCode.IO_ERROR, f"{file.path}: nobody waits for it any more")
    try:
        file.publish()
    except PoolerError as error:
        return error
    return None


def _flush_folders(files: Sequence[PartFile], errors: list[PoolerError | None]) -> None:
    """Flush every folder that got a new name; a name that may be lost is an error of its file."""
    flushed: dict[tuple[int, int], PoolerError | None] = {}
    for index, file in enumerate(files):
        if errors[index] is not None:
            continue
        if file.place not in flushed:
            flushed[file.place] = None
            try:
                flush_folder(file.folder)
            except OSError as error:
                flushed[file.place] = LocalFileError(
                    ErrorCode.IO_ERROR, f"{file.path}: {error.strerror}", Remedy.LATER
                )
        errors[index] = flushed[file.place]
