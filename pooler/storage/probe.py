"""Whether a root can be used for what it is there for, tried out and not asked."""

import os
from contextlib import suppress

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.failures import translated
from pooler.storage.root import LocalRoot, flush_folder

_CONTENT = bytes(4096)


def probe(root: LocalRoot, process: str) -> None:
    """Try out what a root is needed for: create, write, flush, rename within one file system, remove. Blocks.

    Args:
        root: which one.
        process: our incarnation on it.

    Raises:
        LocalFileError: with what it was that failed.
    """
    name, renamed = _names(process)
    with translated(root.path):
        folder = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # One of ours may be there, where the disk stalled under it.
            how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, how, dir_fd=folder)
            try:
                os.write(descriptor, _CONTENT)
                os.fsync(descriptor)
                _see_that_it_is_one(root, descriptor, folder)
                os.rename(name, renamed, src_dir_fd=folder, dst_dir_fd=folder)
                flush_folder(folder)
                os.unlink(renamed, dir_fd=folder)
            finally:
                os.close(descriptor)
                for left in (name, renamed):
                    with suppress(OSError):
                        os.unlink(left, dir_fd=folder)
        finally:
            os.close(folder)


def remove_probe(root: LocalRoot, process: str) -> None:
    """Remove what a process that died in the middle of its probe has left. Blocks, never raises."""
    for left in _names(process):
        with suppress(OSError):
            (root.path / left).unlink()


def free_bytes(root: LocalRoot) -> int:
    """Tell how many bytes may still be written. Blocks.

    Raises:
        LocalFileError: it cannot be told.
    """
    with translated(root.path):
        found = os.statvfs(root.path)
    return found.f_bavail * found.f_frsize


def _names(process: str) -> tuple[str, str]:
    # Pods share roots, and whoever outlives one has to know them.
    name = f".pooler-probe-{process}"
    return name, f"{name}.renamed"


def _see_that_it_is_one(root: LocalRoot, file: int, folder: int) -> None:
    if os.fstat(file).st_dev != os.fstat(folder).st_dev:
        raise LocalFileError(
            ErrorCode.IO_ERROR, f"{root.path}: what is made in it lies on another file system than itself"
        )
