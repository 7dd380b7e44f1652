"""What becomes of a local file once its copy is safe: it is removed, or moved within its root.

Nothing is done to a file that is no longer the one that was copied, and nothing is ever replaced. What was
done already is no error: a job may be done twice.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pooler.errors import ErrorCode, JobError
from pooler.storage.failures import translated
from pooler.storage.landing import NO_LINKS
from pooler.storage.root import LocalRoot, SourceState, flush_folder


def remove_source(root: LocalRoot, parts: Sequence[str], copied: SourceState) -> None:
    """Remove a file; no error where there is none. Blocks.

    Args:
        root: the root that it is below.
        parts: the way from there to it.
        copied: what it was like when it was copied.

    Raises:
        LocalFileError: it cannot be removed.
        JobError: ``SOURCE_CHANGED``; ``INVALID_JOB`` where it is a symbolic link.
    """
    shown = f"{root.name}:/{'/'.join(parts)}"
    with _folder(root, parts, create=False) as folder, translated(shown):
        if _is_there(parts[-1], folder, copied, shown):
            os.unlink(parts[-1], dir_fd=folder)
            flush_folder(folder)


def move_source(root: LocalRoot, parts: Sequence[str], to: Sequence[str], copied: SourceState) -> None:
    """Move a file to another place below its root, making the folders on the way. Blocks.

    Args:
        root: the root that it is below.
        parts: the way from there to it.
        to: the way from there to where it is to be.
        copied: what it was like when it was copied.

    Raises:
        LocalFileError: it cannot be moved; ``DESTINATION_EXISTS``, where another file is there.
        JobError: as for ``remove_source``.
    """
    shown, name, new = f"{root.name}:/{'/'.join(parts)}", parts[-1], to[-1]
    with (
        _folder(root, parts, create=False) as folder,
        _folder(root, to, create=True) as target,
        translated(f"{root.name}:/{'/'.join(to)}"),
    ):
        if not _is_there(name, folder, copied, shown):
            os.stat(new, dir_fd=target, follow_symlinks=False)  # it was moved already, or is lost
            return
        try:
            os.link(name, new, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            # A run before this one may have ended between its two steps.
            if not _is_one(name, folder, new, target):
                raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if _exists(new, target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=target)
            flush_folder(target)
            flush_folder(folder)
            return
        flush_folder(target)
        os.unlink(name, dir_fd=folder)
        flush_folder(folder)


@contextmanager
def _folder(root: LocalRoot, parts: Sequence[str], *, create: bool) -> Iterator[int]:
    descriptor = root.open_folder(parts[:-1], create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_there(name: str, folder: int, copied: SourceState, shown: str) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(found.st_mode):
        raise JobError(ErrorCode.INVALID_JOB, f"{shown}: a symbolic link")
    if SourceState(found.st_size, found.st_mtime_ns) != copied:
        raise JobError(ErrorCode.SOURCE_CHANGED, f"{shown}: changed since it was copied")
    return True


def _is_one(name: str, folder: int, other: str, target: int) -> bool:
    first = os.stat(name, dir_fd=folder, follow_symlinks=False)
    second = os.stat(other, dir_fd=target, follow_symlinks=False)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
