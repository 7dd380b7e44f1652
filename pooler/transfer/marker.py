"""The marker of a destination: an empty file beside it, ``{name}.ok``, for others who wait for the file.

It comes last, when the file has its name, and on our own side when it is durable: then the finisher writes
it. One that stands there already is left alone.
"""

from dataclasses import replace

from pooler.errors import ErrorCode, ReplyError
from pooler.model.job import Direction, marker_of
from pooler.storage.marker import mark
from pooler.transfer.attempt import Attempt, Transferred


async def write_marker(attempt: Attempt) -> None:
    """Write the marker of an upload."""
    async with attempt.session.storing(marker_of(attempt.plan.remote_path)):
        pass


async def withdraw_marker(attempt: Attempt) -> None:
    """Remove the marker of a file that is about to be written over in place, and is not whole meanwhile."""
    try:
        await attempt.session.remove(marker_of(attempt.plan.remote_path))
    except ReplyError:
        # A drop box where nothing can be removed: nobody can tell whether there is one.
        if not attempt.plan.write_only:
            raise


async def mark_existing(attempt: Attempt, kept: Transferred) -> Transferred:
    """See that a destination that stays has its marker: an earlier run may have ended just before.

    Args:
        attempt: the one that has looked at the destination.
        kept: what it has found; unless that is the source's copy, nothing is marked.
    """
    plan = attempt.plan
    if not plan.options.write_marker or kept.verified == "none":
        return kept
    if plan.direction is Direction.DOWNLOAD:
        (error,) = await attempt.root.run(mark, attempt.root, [plan.local_parts])
        if error is not None:
            raise error
    elif not await _is_there(attempt):
        await write_marker(attempt)
    return replace(kept, marked=True)


async def _is_there(attempt: Attempt) -> bool:
    try:
        return await attempt.session.size(marker_of(attempt.plan.remote_path)) is not None
    except ReplyError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return False
        raise
