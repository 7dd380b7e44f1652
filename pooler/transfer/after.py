"""What becomes of the source once its copy is verified and durable.

That it cannot be removed or moved is told in the result, and is no failure of the job: the copy is there, and
to fail would be to have the file copied again and again for the sake of one that nobody misses. Nothing is
done to a source that has changed since, and nothing is replaced where it is moved to. Where the session is
lost over it, nobody knows whether it was done: another one will tell.
"""

from typing import NamedTuple

from pooler.errors import ErrorCode, JobError, PoolerError, ReplyError
from pooler.model.job import After, Direction
from pooler.storage.landing import existing
from pooler.storage.root import SourceState
from pooler.storage.source import move_source, remove_source
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.overwrite import is_same
from pooler.transfer.plan import Plan
from pooler.transfer.session import Stat


class AfterAction(NamedTuple):
    """What became of a source.

    Attributes:
        done: ``deleted``, ``moved`` or ``left``; None where the job asks for nothing.
        error: why it was left.
    """

    done: str | None
    error: str | None = None


async def after_action(attempt: Attempt, copied: Transferred, *, again: bool = False) -> AfterAction:
    """Do with the source what the job asks for.

    Args:
        attempt: the one that copied it; its session may be dead.
        copied: what came of it; the copy has its name, and is durable.
        again: whether it may have been done before, on a session that could not say so any more: then a
            source that is not there is one that was deleted or moved.

    Raises:
        RemoteError: the session is lost, and nobody knows whether it was done.

    Cancellation: it is done, or not; the session is dead.
    """
    plan = attempt.plan
    if plan.options.after is After.NONE or copied.after is not None:
        return AfterAction(copied.after)
    # Of a file that was there before, its size alone does not make it the source's copy.
    enough = {"time", "checksum"} if copied.skipped else {"size", "time", "checksum", "read_back"}
    if copied.verified not in enough:
        return AfterAction("left", "the destination is not known to be a copy of it")
    try:
        if isinstance(copied.source, SourceState):
            await _act_here(attempt, copied.source)
            return _acted(plan)
        assert copied.source is not None  # noqa: S101 - what is to be deleted or moved was looked at
        if not (again and await _is_done_there(attempt, copied.source)):
            await _act_there(attempt, copied.source)
    except PoolerError as error:
        if not error.session_survives:
            raise
        return AfterAction("left", str(error))
    return _acted(plan)


def _acted(plan: Plan) -> AfterAction:
    return AfterAction("deleted" if plan.options.after is After.DELETE else "moved")


async def _act_here(attempt: Attempt, copied: SourceState) -> None:
    plan, root = attempt.plan, attempt.root
    if plan.moved_parts is None:
        await root.run(remove_source, root, plan.local_parts, copied)
    else:
        await root.run(move_source, root, plan.local_parts, plan.moved_parts, copied)


async def _act_there(attempt: Attempt, copied: Stat) -> None:
    plan, session = attempt.plan, attempt.session
    if not is_same(copied, await session.stat(plan.remote_path)):
        raise JobError(ErrorCode.SOURCE_CHANGED, f"{attempt.remote_path}: changed since it was copied")
    if plan.moved_path is None:
        await session.remove(plan.remote_path)
    else:
        await session.rename(plan.remote_path, plan.moved_path, replace=False)


async def _is_done_there(attempt: Attempt, copied: Stat) -> bool:
    """Tell whether the source is gone, and is where it was to be moved to, if it was."""
    plan, session = attempt.plan, attempt.session
    try:
        await session.stat(plan.remote_path)
    except ReplyError as error:
        if error.code is not ErrorCode.FILE_NOT_FOUND:
            raise
    else:
        return False
    return plan.moved_path is None or await session.size(plan.moved_path) == copied.size_bytes


async def moved_already(attempt: Attempt) -> Transferred | None:
    """Tell whether the source is missing because an earlier run of the job has moved it.

    Returns:
        That the job is done, where the source's new place and the destination hold files of one size; else
        None.
    """
    plan, root, session = attempt.plan, attempt.root, attempt.session
    if plan.options.after is not After.MOVE or not session.usable:
        return None
    upload = plan.direction is Direction.UPLOAD
    here, there = (
        plan.moved_parts if upload else plan.local_parts,
        plan.remote_path if upload else plan.moved_path,
    )
    assert here is not None  # noqa: S101 - a plan that moves says where to
    assert there is not None  # noqa: S101 - as above
    local = await root.run(existing, root, here)
    if local is None:
        return None
    local.close()
    try:
        size = await session.size(there)
    except ReplyError:
        return None
    if size != local.opened_as.size_bytes:
        return None
    return Transferred(verified="size", skipped=True, after="moved")
