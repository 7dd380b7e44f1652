"""Notes of what is done and not answered yet, kept in a root for whoever has to answer it if we cannot.

A file for each writer and each subject, in the control folder. A note is one line; what it says is the
writer's business. Nothing is flushed: a note outlives its process, which is what it is for, and one that is
lost with its machine costs another copy.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pooler.storage.control import FOLDER, control_folder
from pooler.storage.failures import translated

LOGBOOK = ".logbook"
KEPT_S = 86_400.0
"""For how long the notes of a process that is gone are kept, in seconds: as long as a job may be tried."""

_READ_LIMIT_BYTES = 16 * 1024 * 1024
_NS = 1_000_000_000


class LogbookFile:
    """The notes of one process on one subject. Its methods block, also for each other.

    So a call that nobody waits for any more does not come behind a later one.

    Args:
        root: the root's folder.
        subject: letters and digits; what readers ask for.
        process: the writer.
    """

    def __init__(self, root: Path, subject: str, process: str) -> None:
        self._root = root
        self._name = f"{subject}-{process}{LOGBOOK}"
        self._turn = threading.Lock()
        self.lines = 0
        """How many it has."""

    def append(self, notes: Iterable[bytes]) -> None:
        """Add notes; none of them has a line end in it.

        Raises:
            LocalFileError: they cannot be written.
        """
        notes = list(notes)
        # Opened each time: a network file system hands on what was written at the close.
        with self._folder() as folder:
            _write(self._name, os.O_APPEND, notes, folder)
            self.lines += len(notes)

    def replace(self, notes: Iterable[bytes]) -> None:
        """Leave these notes and no others.

        Raises:
            LocalFileError: they cannot be written.
        """
        notes, new = list(notes), f"{self._name}.new"
        with self._folder() as folder:
            _write(new, os.O_TRUNC, notes, folder)
            os.rename(new, self._name, src_dir_fd=folder, dst_dir_fd=folder)
            self.lines = len(notes)

    def remove(self) -> None:
        """Leave no note. Never raises."""
        with self._turn, suppress(OSError):
            with control_folder(self._root) as folder:
                os.unlink(self._name, dir_fd=folder)
            (self._root / FOLDER).rmdir()  # there was nothing else

    @contextmanager
    def _folder(self) -> Iterator[int]:
        with self._turn, translated(self._root / FOLDER), control_folder(self._root) as folder:
            yield folder


def read_notes(root: Path, subject: str) -> list[bytes]:
    """Read what all processes have noted on a subject. Blocks.

    Returns:
        Lines; one that a crash has cut in two is among them. Empty where there is no control folder.

    Raises:
        LocalFileError: they cannot be read.
    """
    found: list[bytes] = []
    with translated(root / FOLDER), suppress(FileNotFoundError), control_folder(root) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - by its descriptor
            if name.startswith(f"{subject}-") and name.endswith(LOGBOOK):
                found += _read(name, folder)
    return found


def remove_old(root: Path, now_ns: int) -> None:
    """Remove notes that nobody has added to for `KEPT_S`. Blocks.

    Args:
        root: the root's folder.
        now_ns: the time by the clock of the file system, in nanoseconds since 1970.

    Raises:
        LocalFileError: the folder cannot be read.
    """
    with translated(root / FOLDER), control_folder(root) as folder:
        for name in os.listdir(folder):  # noqa: PTH208 - by its descriptor
            if name.endswith((LOGBOOK, f"{LOGBOOK}.new")):
                with suppress(FileNotFoundError):
                    written_ns = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
                    if now_ns - written_ns > KEPT_S * _NS:
                        os.unlink(name, dir_fd=folder)


def _write(name: str, how: int, notes: list[bytes], folder: int) -> None:
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o666, dir_fd=folder
    )
    try:
        # A line end before each, too: behind a line that was cut in two the next one begins anew.
        rest = memoryview(b"".join(b"\n%b\n" % note for note in notes))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _read(name: str, folder: int) -> list[bytes]:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return []  # its writer has left
    with os.fdopen(descriptor, "rb") as stream:
        return [line for line in stream.read(_READ_LIMIT_BYTES).split(b"\n") if line]
