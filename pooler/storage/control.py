"""Where the processes that share a root keep account of each other: a folder in it that no job reaches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = ".pooler"
LEASE, JOURNAL = ".lease", ".journal"


@contextmanager
def control_folder(root: Path) -> Iterator[int]:
    """Open it; no link is followed. Blocks.

    Raises:
        OSError: it cannot be opened.
    """
    how = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    top = os.open(root, how)
    try:
        folder = os.open(FOLDER, how | os.O_NOFOLLOW, dir_fd=top)
    finally:
        os.close(top)
    try:
        yield folder
    finally:
        os.close(folder)
