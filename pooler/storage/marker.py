"""Markers: empty files beside those that are whole, for others who wait for them."""

import os
from collections.abc import Sequence

from pooler.errors import PoolerError
from pooler.model.job import marker_of
from pooler.storage.failures import translated
from pooler.storage.landing import FlushPolicy
from pooler.storage.root import LocalRoot, flush_folder


def mark(
    root: LocalRoot, files: Sequence[Sequence[str]], policy: FlushPolicy = "batch"
) -> list[PoolerError | None]:
    """Write the markers of files that are durable under their own names. Blocks.

    Args:
        root: the root that they are below.
        files: the way from there to each of them.
        policy: ``never``: the markers are not flushed either.

    Returns:
        For each file None, or why it has no marker, or one that may be lost.
    """
    errors: list[PoolerError | None] = []
    for parts in files:
        try:
            _mark(root, parts, flush=policy != "never")
        except PoolerError as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors


def _mark(root: LocalRoot, parts: Sequence[str], *, flush: bool) -> None:
    name = marker_of(parts[-1])
    shown = f"{root.name}:/{'/'.join((*parts[:-1], name))}"
    folder = root.open_folder(parts[:-1], create=False)
    try:
        with translated(shown):
            how = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, how, 0o666, dir_fd=folder)
            try:
                if os.fstat(descriptor).st_size:
                    os.ftruncate(descriptor, 0)
            finally:
                os.close(descriptor)
            if flush:
                flush_folder(folder)
    finally:
        os.close(folder)
