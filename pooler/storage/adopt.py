"""What an earlier process left of a file, taken over by renaming it: of two that want it one gets it."""

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from pooler.errors import ErrorCode, LocalFileError
from pooler.storage.failures import translated
from pooler.storage.journal import Entry
from pooler.storage.landing import KeptPart
from pooler.storage.root import LocalRoot


def adopt_part(
    root: LocalRoot,
    parts: Sequence[str],
    temporary: str,
    *,
    is_ours: Callable[[str], bool],
    limit_bytes: int,
) -> KeptPart | None:
    """Look beside a file for parts of it, and take over the largest. Blocks.

    Args:
        root: the root that it is below.
        parts: the way from there to it.
        temporary: the name that the part is to have from now on.
        is_ours: whether what has a name is a part of it that nobody else goes on with.
        limit_bytes: the size of the whole; what is larger is no part of it.

    Returns:
        The part; None where there is none.

    Raises:
        LocalFileError: the folder cannot be read.
        JobError: a symbolic link leads out of the root.
    """
    try:
        folder = root.open_folder(parts[:-1], create=False)
    except LocalFileError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return None
        raise
    try:
        with translated(f"{root.name}:/{'/'.join(parts)}"):
            found = _largest(folder, is_ours, limit_bytes)
            if found is None:
                return None
            entry = Entry("", "/".join(parts[:-1]))
            root.note(entry, temporary)
            try:
                os.rename(found, temporary, src_dir_fd=folder, dst_dir_fd=folder)
            except FileNotFoundError:
                root.forget(entry, temporary)
                return None  # another was faster
            except OSError:
                root.forget(entry, temporary)
                raise
            return KeptPart(root, tuple(parts), temporary)
    finally:
        os.close(folder)


def _largest(folder: int, is_ours: Callable[[str], bool], limit_bytes: int) -> str | None:
    best, name = 0, None
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_ours(entry.name):
                continue
            with suppress(FileNotFoundError):
                state = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode) and best < state.st_size <= limit_bytes:
                    best, name = state.st_size, entry.name
    return name
