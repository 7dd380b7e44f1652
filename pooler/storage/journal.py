"""What a process has begun and not ended yet, written down for those who tidy up should it die.

One line is one JSON array: ``["", "a/b"]`` for a folder below the root in which parts of files are being
made, ``["site-a", "/in/.pooler-….part"]`` for a part on a server. A folder is one line however many parts are
made in it, and stands on the disk before the first of them; a part on a server is a line of its own, since
many servers list no names that begin with a dot. Lines whose parts are gone are left out when the file is
written anew, so that it stays short.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pooler.storage.control import control_folder

_LINES_LIMIT = 512


class Entry(NamedTuple):
    """A line of a journal.

    Attributes:
        remote: the server's section; empty for this root.
        path: of a part on a server; of a folder in the root, empty for the root itself.
    """

    remote: str
    path: str


class Journal:
    """The journal of one incarnation. Its methods may be called in any thread.

    Args:
        root: the root's folder.
        name: the file's, in the control folder of the root.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._lock = threading.Lock()
        self._written: set[Entry] = set()
        self._alive: dict[Entry, set[str]] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is left that somebody would have to tidy up."""
        return not self._alive

    def is_brief(self, entry: Entry) -> bool:
        """Tell whether nothing has to be flushed to note a part. Quick."""
        return entry in self._written or (bool(entry.remote) and not self._is_long)

    @property
    def _is_long(self) -> bool:
        return len(self._written) >= max(_LINES_LIMIT, 2 * len(self._alive))

    def note(self, entry: Entry, part: str) -> None:
        """Write down that a part is about to be made. Blocks.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            if entry not in self._written:
                if self._is_long:
                    self._rewrite()
                self._append(entry, flush=not entry.remote)
            self._alive.setdefault(entry, set()).add(part)

    def forget(self, entry: Entry, part: str) -> None:
        """Take back what was noted: the part is no more, or has its own name. Quick."""
        with self._lock:
            parts = self._alive.get(entry, set())
            parts.discard(part)
            if not parts:
                self._alive.pop(entry, None)

    def _append(self, entry: Entry, *, flush: bool) -> None:
        # Opened for each line: a network file system hands on what was written at the close.
        with control_folder(self._root) as folder:
            _write(self._name, os.O_APPEND, _line(entry), folder, flush=flush)
        self._written.add(entry)

    def _rewrite(self) -> None:
        new = f"{self._name}.new"
        with control_folder(self._root) as folder:
            _write(new, os.O_TRUNC, b"".join(map(_line, self._alive)), folder, flush=True)
            os.rename(new, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        self._written = set(self._alive)


def _write(name: str, how: int, content: bytes, folder: int, *, flush: bool) -> None:
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o666, dir_fd=folder
    )
    try:
        os.write(descriptor, content)
        if flush:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _line(entry: Entry) -> bytes:
    # A crash may cut a line in two; the next one begins anew.
    return f"\n{json.dumps(entry)}\n".encode()


def read_entries(content: bytes) -> Iterator[Entry]:
    """Read what a journal says; a line that is none, as after a crash, is passed over."""
    for line in content.splitlines():
        try:
            match json.loads(line):
                case [str(remote), str(path)]:
                    yield Entry(remote, path)
        except (ValueError, RecursionError):
            continue
