"""What the dead have left in a root is removed, and what they have left on servers becomes ours to remove.

The journal of a dead process says where to look; one process takes it, by renaming it. Only what bears the
name of a process that is provably gone is touched: never another's file, whatever a journal may say.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress

from pooler.errors import PoolerError
from pooler.storage.control import JOURNAL, LEASE, control_folder
from pooler.storage.failures import translated
from pooler.storage.incarnation import LivingOnes
from pooler.storage.journal import Entry, read_entries
from pooler.storage.probe import remove_probe
from pooler.storage.root import LocalRoot

_TOKEN = re.compile(r"pooler-([0-9a-z]+)-[0-9a-f]{16}-[0-9]+")


def sweep(
    root: LocalRoot, gone: str, by: str, living: LivingOnes, inherit: Callable[[Entry], None]
) -> int | None:
    """Tidy up after a process that is gone. Blocks.

    Args:
        root: where it had its lease.
        gone: its incarnation.
        by: our own.
        living: who else lives.
        inherit: takes each part that it left on a server; once it returns, that is ours to remove.

    Returns:
        How many parts were removed; None where another process is at it.

    Raises:
        PoolerError: it could not be done to the end; whoever tries again begins anew.
    """
    with translated(root.path), control_folder(root.path) as folder:
        ours = _take(folder, gone, by, living)
        if ours is None:
            return None
        remove_probe(root, gone)
        removed = 0
        for entry in _read(folder, ours):
            if not entry.remote:
                removed += _sweep_folder(root, entry.path, gone)
            elif (author := author_of(entry.path)) is not None and not living.lives(author):
                inherit(entry)
        # The journal first: without a lease nobody would come for it.
        for name in (ours, f"{gone}{JOURNAL}.new", gone + LEASE):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        return removed


def author_of(path: str) -> str | None:
    """Tell which process wrote a part on a server; None where it is no part of ours."""
    found = _TOKEN.search(path.rpartition("/")[2])
    return None if found is None else found[1]


def _take(folder: int, gone: str, by: str, living: LivingOnes) -> str | None:
    """Take the journal of the dead; its name from now on, or None where one who lives has it."""
    ours = f"{gone}{JOURNAL}.{by}"
    for name in os.listdir(folder):
        if name != ours and (name == gone + JOURNAL or name.startswith(f"{gone}{JOURNAL}.")):
            holder = name.removeprefix(gone + JOURNAL).removeprefix(".")
            if living.lives(holder):
                return None
            if holder != "new":
                try:
                    os.rename(name, ours, src_dir_fd=folder, dst_dir_fd=folder)
                except FileNotFoundError:
                    return None
    return ours


def _read(folder: int, name: str) -> list[Entry]:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, "rb") as stream:
        return list(dict.fromkeys(read_entries(stream.read())))


def _sweep_folder(root: LocalRoot, path: str, gone: str) -> int:
    part = re.compile(rf"\.pooler-{re.escape(gone)}-[0-9a-f]{{16}}-[0-9]+\.part")
    parts = [name for name in path.split("/") if name]
    if any(name in {".", ".."} for name in parts):
        return 0
    try:
        folder = root.open_folder(parts, create=False)
    except PoolerError as error:
        if error.retriable:
            raise
        return 0  # it is gone, or is no folder of the root any more
    removed = 0
    try:
        with os.scandir(folder) as entries:  # there may be millions
            for entry in entries:
                if part.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        os.unlink(entry.name, dir_fd=folder)
                        removed += 1
    finally:
        os.close(folder)
    return removed
