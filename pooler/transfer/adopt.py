"""Parts of the same job that an earlier process left behind: the largest is taken over, and gone on with.

Its name tells who wrote it, for which job and from which state of the source. One that a process may still be
writing is never touched, and what nobody can tell is not taken over. It takes one look at the folder where
such parts are, once for a job that asks to be resumed.
"""

from pooler.errors import ReplyError
from pooler.storage.adopt import adopt_part
from pooler.storage.root import SourceFile
from pooler.transfer.attempt import Attempt
from pooler.transfer.memory import Kept, Unfinished
from pooler.transfer.names import former_author, local_name
from pooler.transfer.resolve import Start
from pooler.transfer.session import EntryKind, Stat

_PARTS = 8  # of one file; more are no accident


async def adopt_here(attempt: Attempt, source: Stat) -> None:
    """Look for the first bytes of a download on the disk, and remember them for this attempt to take up.

    Args:
        attempt: with a plan that is a download.
        source: as the server tells it now.

    Raises:
        PoolerError: the folder cannot be read.
    """
    memory, size = attempt.memory, source.size_bytes
    if memory.kept is not None or memory.has_looked or size is None:
        return
    if source.modified is None or not attempt.resumes(size):
        return
    memory.has_looked = True
    token = attempt.token(size, source.modified)
    own = local_name(token)

    def is_ours(name: str) -> bool:
        process = former_author(name, own, token)
        return process is not None and attempt.may_adopt(process)

    def adopt() -> None:
        # In the thread: what was renamed is remembered, whatever becomes of the wait for it.
        parts = attempt.plan.local_parts
        part = adopt_part(attempt.root, parts, own, is_ours=is_ours, limit_bytes=size)
        if part is not None:
            memory.kept = Kept(part, source)

    await attempt.root.run(adopt)


async def adopt_there(attempt: Attempt, source: SourceFile) -> Start | None:
    """Look for the first bytes of an upload on the server.

    Args:
        attempt: with a plan that is an upload.
        source: what is to be sent.

    Returns:
        How to go on with them; they have this attempt's name, and are remembered. None where there are none.

    Raises:
        RemoteError: the session was lost; the next attempt begins anew.
    """
    plan, memory, state = attempt.plan, attempt.memory, source.opened_as
    if memory.has_looked or plan.options.in_place or plan.write_only or not plan.temp_name.is_unique:
        return None
    if not attempt.resumes(state.size_bytes):
        return None
    memory.has_looked = True
    token = attempt.token(state.size_bytes, state.mtime_ns)
    own = attempt.remote_name(token)
    try:
        found = await _largest(attempt, own, token, state.size_bytes)
        if found is None:
            return None
        path = f"{plan.temporary_folder}/{own}"
        # Before the rename, whose reply may be lost: what is there then is tidied up.
        memory.unfinished = Unfinished(path, state, attempt.left_behind)
        await attempt.note(path)
        await attempt.session.rename(f"{plan.temporary_folder}/{found}", path)
        size = await attempt.session.size(path)
    except ReplyError:
        return None  # nothing to be seen, or somebody was faster
    return Start(size, is_sent=False) if size and size <= state.size_bytes else None


async def _largest(attempt: Attempt, own: str, token: str, limit_bytes: int) -> str | None:
    """Find the largest part that may be taken over; its name."""
    parts: list[tuple[int, str, str]] = []
    async with attempt.session.listing(attempt.plan.temporary_folder or "/") as entries:
        async for entry in entries:
            process, size = former_author(entry.name, own, token), entry.size_bytes or 0
            if process is not None and entry.kind is EntryKind.FILE and 0 < size <= limit_bytes:
                parts = sorted([*parts, (size, entry.name, process)], reverse=True)[:_PARTS]
    for _, name, process in parts:
        if await attempt.root.run(attempt.may_adopt, process):
            return name
    return None
