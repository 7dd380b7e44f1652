"""A job with ``check: true``: everything but the bytes, and nothing is written on either side.

What is found is told; what would make the job fail is raised, as the job itself would. Whether a server takes
a file only a STOR can tell, so of its side the right to write is not known.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import replace

from pooler.errors import ErrorCode, JobError, LocalFileError, ReplyError
from pooler.model.job import Direction, Overwrite
from pooler.storage.failures import translated
from pooler.storage.landing import existing
from pooler.storage.root import LocalRoot, SourceFile
from pooler.transfer.after import moved_already
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.overwrite import compare
from pooler.transfer.session import EntryKind, Stat
from pooler.transfer.settle import settle_existing

_UNKNOWN = "unknown"


async def check(attempt: Attempt) -> Transferred:
    """Look whether a job could be done, and what it would do.

    Args:
        attempt: with a plan either way.

    Returns:
        As of the job itself, but that no byte has passed; and in ``check`` the source's size
        (``source_bytes``), what becomes of the ``destination`` (``new``, ``replaced``, ``kept`` or
        ``unknown``), whether its ``folder`` is ``there``, or ``missing`` and to be made, or ``unknown``; and
        in what it ``differs`` from the source now, whatever ``overwrite`` says (`_difference`).

    Raises:
        PoolerError: what the job would fail with.

    Cancellation: nothing has changed; the session is dead.
    """
    downloads = attempt.plan.direction is Direction.DOWNLOAD
    try:
        return await (_check_download(attempt) if downloads else _check_upload(attempt))
    except (ReplyError, LocalFileError) as error:
        gone = error.code is ErrorCode.FILE_NOT_FOUND and isinstance(error, ReplyError) == downloads
        moved = await moved_already(attempt) if gone else None
        if moved is None:
            raise
        return replace(moved, check=_found(None, "kept", "there", _UNKNOWN))


async def _check_upload(attempt: Attempt) -> Transferred:
    source = await attempt.root.run(attempt.root.open_source, attempt.plan.local_parts)
    try:
        size = source.opened_as.size_bytes
        if attempt.plan.write_only:
            return Transferred(check=_found(size, _UNKNOWN, _UNKNOWN, _UNKNOWN))
        folder = await _look_at_folder(attempt)
        there = None if folder == "missing" else await _stat(attempt)
        kept = await _settle(attempt, source, there)
        differs = _difference(source, there, kept)
    finally:
        source.close()
    if kept is not None:
        return replace(kept, check=_found(size, "kept", folder, differs))
    destination = "new" if there is None else _UNKNOWN if there.size_bytes is None else "replaced"
    return Transferred(check=_found(size, destination, folder, differs))


async def _check_download(attempt: Attempt) -> Transferred:
    plan, root = attempt.plan, attempt.root
    source = await attempt.session.stat(plan.remote_path)
    present = await root.run(existing, root, plan.local_parts)
    try:
        kept = None if present is None else await _settle(attempt, present, source)
        differs = _difference(present, source, kept)
    finally:
        if present is not None:
            present.close()
    folder = await root.run(_writable_folder, root, plan.local_parts)
    if kept is not None:
        return replace(kept, check=_found(source.size_bytes, "kept", folder, differs))
    destination = "new" if present is None else "replaced"
    return Transferred(check=_found(source.size_bytes, destination, folder, differs))


def _found(
    source_bytes: int | None, destination: str, folder: str, differs: str
) -> Mapping[str, str | int | None]:
    return {"source_bytes": source_bytes, "destination": destination, "folder": folder, "differs": differs}


def _difference(local: SourceFile | None, remote: Stat | None, kept: Transferred | None) -> str:
    """Tell in what source and destination differ, of which one is local.

    Returns:
        ``missing``: there is no destination; ``size``; ``time``, where the sizes are equal; ``nothing``,
        where both are, or a checksum is; ``unknown``, where nothing is known to differ and not all could be
        compared.
    """
    if local is None or remote is None:
        return "missing"
    if kept is not None and kept.verified == "checksum":
        return "nothing"
    found = compare(local.opened_as, remote)
    if found.same_size is False:
        return "size"
    if found.same_size and found.remote_is_ahead_s:
        return "time"
    return "nothing" if found.verified == "time" else _UNKNOWN


async def _settle(attempt: Attempt, local: SourceFile, remote: Stat | None) -> Transferred | None:
    if remote is None or attempt.plan.options.overwrite is Overwrite.ALWAYS:
        return None
    return await settle_existing(attempt, local, remote)


async def _stat(attempt: Attempt) -> Stat | None:
    try:
        return await attempt.session.stat(attempt.plan.remote_path)
    except ReplyError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return None
        raise


async def _look_at_folder(attempt: Attempt) -> str:
    """Look at the destination's folder on the server.

    Raises:
        JobError: ``DESTINATION_EXISTS``, where a folder stands at the destination itself.
    """
    folder, _, name = attempt.plan.remote_path.rpartition("/")
    taken = False
    try:
        async with attempt.session.listing(folder or "/") as entries:
            async for entry in entries:
                taken = taken or (entry.name == name and entry.kind is EntryKind.FOLDER)
    except ReplyError as error:
        return "missing" if error.code is ErrorCode.FILE_NOT_FOUND else _UNKNOWN
    if taken:
        raise JobError(ErrorCode.DESTINATION_EXISTS, f"{attempt.remote_path}: a folder")
    return "there"


def _writable_folder(root: LocalRoot, parts: tuple[str, ...]) -> str:
    """Look at the destination's folder here, or at the one that it would be made in. Blocks.

    Raises:
        LocalFileError: ``PERMISSION_DENIED``, or it cannot be opened.
        JobError: a symbolic link leads out of the root.
    """
    for depth in range(len(parts) - 1, -1, -1):
        try:
            folder = root.open_folder(parts[:depth], create=False)
        except LocalFileError as error:
            if error.code is not ErrorCode.FILE_NOT_FOUND:
                raise
            continue
        try:
            with translated(f"{root.name}:/{'/'.join(parts)}"):
                if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        finally:
            os.close(folder)
        return "there" if depth == len(parts) - 1 else "missing"
    raise AssertionError("a root opens, or says why it does not")
