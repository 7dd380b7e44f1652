"""Whether a root can be used for what it is there for, tried out and not asked."""

import os
import secrets
from contextlib import suppress

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.failures import translated
from pooler.storage.root import LocalRoot, flush_folder

_CONTENT = bytes(4096)


def probe(root: LocalRoot) -> None:
    """Try out what a root is needed for: create, write, flush, rename within one file system, remove. Blocks.

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
                os.write(descriptor, _CONTENT)
                os.fsync(descriptor)
                _see_that_it_is_one(root, descriptor, folder)
                os.rename(name, f"{name}.renamed", src_dir_fd=folder, dst_dir_fd=folder)
                flush_folder(folder)
                os.unlink(f"{name}.renamed", dir_fd=folder)
            finally:
                os.close(descriptor)
                for left in (name, f"{name}.renamed"):
                    with suppress(OSError):
                        os.unlink(left, dir_fd=folder)
        finally:
            os.close(folder)


def free_bytes(root: LocalRoot) -> int:
    """Tell how many bytes may still be written. Blocks.

    Raises:
        LocalFileError: it cannot be told.
    """
    with translated(root.path):
        found = os.statvfs(root.path)
    return found.f_bavail * found.f_frsize


def _see_that_it_is_one(root: LocalRoot, file: int, folder: int) -> None:
    if os.fstat(file).st_dev != os.fstat(folder).st_dev:
        raise LocalFileError(
            ErrorCode.IO_ERROR, f"{root.path}: what is made in it lies on another file system than itself"
        )
