"""From a local folder to a server: a temporary name there, checked, then renamed."""

from contextlib import suppress

from pooler.errors import (
    ErrorCode,
    LocalFileError,
    PoolerError,
    Remedy,
    ReplyError,
    StoredTooSoon,
    TransferMismatch,
)
from pooler.model.job import Checksum, Overwrite, Verify
from pooler.storage.root import SourceFile
from pooler.transfer import mover
from pooler.transfer.adopt import adopt_there
from pooler.transfer.after import moved_already
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.checksum import add_file
from pooler.transfer.marker import mark_existing, withdraw_marker, write_marker
from pooler.transfer.memory import Stage, Unfinished
from pooler.transfer.overwrite import time_of
from pooler.transfer.resolve import Start, abandon, is_gone, take_up, was_renamed
from pooler.transfer.settle import settle_existing
from pooler.transfer.verify import checksum_of, expect, is_read_back, is_servers_own, new_hasher

_NOT_KNOWN = frozenset({500, 502, 504})
"""RFC 959 §4.2.2: the command itself is not known, or not implemented."""
_AS_IF_RENAMED = frozenset({ErrorCode.FILE_NOT_FOUND, ErrorCode.DESTINATION_EXISTS})
"""How a rename is refused that the session before has just brought about after all, among other things."""


async def upload(attempt: Attempt) -> Transferred:
    """Copy a local file to a server.

    Args:
        attempt: with a plan that is an upload.

    Returns:
        What was copied and checked; the file has its own name on the server.

    Raises:
        PoolerError: what went wrong. A part that could not be removed is in the attempt's memory: the next
            attempt looks at it first.

    Cancellation: as for an error; the session is dead.
    """
    attempt.session.foresee()
    try:
        source = await attempt.root.brief(attempt.root.open_source, attempt.plan.local_parts)
    except LocalFileError as error:
        moved = await moved_already(attempt) if error.code is ErrorCode.FILE_NOT_FOUND else None
        if moved is None:
            raise
        return moved
    try:
        # In place, what stands under the name after a first attempt is ours.
        is_first = attempt.memory.unfinished is None
        start = await take_up(attempt, source)
        if start is None and (is_first or not attempt.plan.options.in_place):
            kept = await _look(attempt, source)
            if kept is not None:
                return await mark_existing(attempt, kept)
        if start is None:
            start = await adopt_there(attempt, source)
        return await _tidy(attempt, source, start)
    finally:
        source.close()


async def _look(attempt: Attempt, source: SourceFile) -> Transferred | None:
    """Look whether the destination exists, where that matters; None where the file is to be sent."""
    if attempt.plan.options.overwrite is Overwrite.ALWAYS:
        return None
    try:
        present = await attempt.session.stat(attempt.plan.remote_path)
    except ReplyError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return None
        raise
    return await settle_existing(attempt, source, present)


async def _tidy(attempt: Attempt, source: SourceFile, start: Start | None) -> Transferred:
    """Send, and remove the part after an error, where the session still can."""
    try:
        return await _send(attempt, source, start)
    except PoolerError as error:
        failure = error
    left = attempt.memory.unfinished
    if left is not None:
        if isinstance(failure, TransferMismatch):
            left = attempt.memory.unfinished = left._replace(stage=Stage.SPOILED)
        # In place it bears the file's own name, and nobody removes what stood there before.
        if attempt.session.usable and left.left_behind is not None:
            with suppress(PoolerError):  # it is still remembered, and must not hide what went wrong before it
                await abandon(attempt, left)
        refused = isinstance(failure, ReplyError) and left.stage is Stage.SENDING and attempt.session.usable
        if refused and start is not None and start.offset:
            # No byte has left: this server begins at the beginning only.
            return await _tidy(attempt, source, None)
    raise failure


async def _send(attempt: Attempt, source: SourceFile, start: Start | None) -> Transferred:
    left = attempt.memory.unfinished
    if start is None or left is None:
        left = _begin(attempt, source)
        if left.left_behind is not None and attempt.plan.temp_name.is_unique:
            await attempt.note(left.path)
    size, checksum = source.opened_as.size_bytes, left.checksum
    options, in_place = attempt.plan.options, left.path == attempt.plan.remote_path
    if start is None or not start.is_sent:
        if options.write_marker and in_place:
            await withdraw_marker(attempt)
        size, checksum = await _send_bytes(attempt, source, left, 0 if start is None else start.offset)
    try:
        verified = await _verify(attempt, source, left.path, size, checksum)
    except TransferMismatch:
        await _check_source(attempt, source, size)  # it may have been read again for the comparison
        raise
    mtime_kept = await _keep_time(attempt, source, left.path)
    if not in_place:
        _note(attempt, Stage.RENAMING)
        await _rename(attempt, left.path, size, again=left.stage is Stage.RENAMING)
    if options.write_marker:
        # An attempt after this one finds the file sent and under its name, and goes on from here.
        left = left._replace(path=attempt.plan.remote_path, left_behind=None)
        attempt.memory.unfinished = left._replace(stage=Stage.SENT, checksum=checksum)
        await write_marker(attempt)
    attempt.memory.unfinished = None
    return Transferred(
        size,
        verified,
        source_checked="time",
        checksum=None if checksum is None else str(checksum),
        mtime_kept=mtime_kept,
        resumed_from=None if start is None or start.is_sent else start.offset,
        source=source.opened_as,
        marked=options.write_marker,
    )


def _begin(attempt: Attempt, source: SourceFile) -> Unfinished:
    """Remember, before the first byte, what there will be to tidy up."""
    plan, state = attempt.plan, source.opened_as
    if plan.options.in_place:
        begun = Unfinished(plan.remote_path, state, None)
    else:
        own = attempt.remote_name(attempt.token(state.size_bytes, state.mtime_ns))
        # Later on a name that is not unique may be another's.
        left_behind = attempt.left_behind if plan.temp_name.is_unique else _nothing
        begun = Unfinished(f"{plan.temporary_folder}/{own}", state, left_behind)
    attempt.memory.unfinished = begun
    return begun


def _nothing(_path: str) -> None:
    pass


def _note(attempt: Attempt, stage: Stage, checksum: Checksum | None = None) -> None:
    left = attempt.memory.unfinished
    if left is not None:
        attempt.memory.unfinished = left._replace(stage=stage, checksum=checksum or left.checksum)


async def _send_bytes(
    attempt: Attempt, source: SourceFile, left: Unfinished, offset: int
) -> tuple[int, Checksum | None]:
    """Send the file from ``offset`` on; tell its size, and the whole's checksum where one is asked for."""
    try:
        size, checksum = await _store(attempt, source, left, offset, ahead=True)
    except StoredTooSoon:
        size, checksum = await _store(attempt, source, left, offset, ahead=False)
    await _check_source(attempt, source, size)
    return size, checksum


async def _store(
    attempt: Attempt, source: SourceFile, left: Unfinished, offset: int, *, ahead: bool
) -> tuple[int, Checksum | None]:
    """Send the file once; tell what `_send_bytes` does.

    Raises:
        StoredTooSoon: nothing of it is there, and it is to be sent again without ``ahead``.
    """
    _note(attempt, Stage.SENDING)
    hasher = new_hasher(attempt)
    if hasher is not None and offset:
        path, buffer = source.path, attempt.buffer
        await attempt.root.run(add_file, hasher, source.descriptor, path, buffer, offset)
    source.seek(offset)
    async with attempt.session.storing(left.path, offset=offset, ahead=ahead) as stream:
        size = offset + await mover.send(
            source,
            stream,
            attempt.root,
            attempt.buffer,
            attempt.moved,
            hasher=hasher,
            expected_bytes=source.opened_as.size_bytes - offset,
            throttle=attempt.throttle,
            pipes=attempt.pipes,
        )
        # What the server makes of it may never be told: its last reply can be lost.
        checksum = checksum_of(attempt, hasher)
        _note(attempt, Stage.SENT, checksum)
    return size, checksum


async def _check_source(attempt: Attempt, source: SourceFile, read_bytes: int) -> None:
    """Look at the source again.

    Raises:
        TransferMismatch: ``SOURCE_CHANGED``.
    """
    after = await attempt.root.brief(source.state)
    if after != source.opened_as or read_bytes != after.size_bytes:
        amount = f"{read_bytes} bytes of {source.opened_as.size_bytes}"
        raise TransferMismatch(
            ErrorCode.SOURCE_CHANGED, f"{source.path}: changed while it was read ({amount})"
        )


async def _verify(
    attempt: Attempt, source: SourceFile, path: str, size: int, checksum: Checksum | None
) -> str:
    """Compare what was sent with what the job expects, and with what the server says it has."""
    expect(attempt, checksum)
    how = attempt.plan.options.verify
    if how is Verify.NONE or attempt.plan.write_only:
        return "none"
    attempt.look_ahead()
    found = await _size_there(attempt, path)
    if found is not None and found != size:
        raise TransferMismatch(ErrorCode.SIZE_MISMATCH, f"{size} bytes were sent, the server has {found}")
    if how is Verify.READ_BACK:
        if checksum is not None and await is_read_back(attempt, path, checksum):
            return "read_back"
    elif await is_servers_own(attempt, path, source.descriptor, checksum):
        return "checksum"
    return "none" if found is None else "size"


async def _size_there(attempt: Attempt, path: str) -> int | None:
    """Ask for the size of what was sent; None where this server cannot or does not tell."""
    try:
        return await attempt.session.size(path)
    except ReplyError as error:
        if error.code is ErrorCode.PERMISSION_DENIED:
            return None
        if error.code is ErrorCode.FILE_NOT_FOUND:
            why = "it took the file a moment ago; write_only = true is for servers that show none"
            raise _explained(error, why) from error
        raise


async def _rename(attempt: Attempt, path: str, size: int, *, again: bool) -> None:
    """Give what was sent its name.

    Args:
        attempt: of a job.
        path: where it is.
        size: of it, in bytes.
        again: whether an attempt before this one has asked for it, and never heard of it.
    """
    may_replace = attempt.plan.options.overwrite is not Overwrite.NEVER
    if attempt.plan.temp_name.is_unique:
        attempt.root.check_lease(path)
    attempt.look_ahead()
    try:
        await attempt.session.rename(path, attempt.plan.remote_path, replace=may_replace)
    except ReplyError as error:
        if error.reply_code in _NOT_KNOWN:
            raise _explained(error, "in_place = true is for servers that cannot rename") from error
        if error.code not in _AS_IF_RENAMED or not await is_gone(attempt, path):
            raise
        if not (again and await was_renamed(attempt, size)):
            # It was there when it was looked at: that says nothing of the source, and it can be sent anew.
            text = f"{error.text} (it was there a moment ago)"
            raise ReplyError(error.reply_code, text, error.command, remedy=Remedy.LATER) from error


def _explained(error: ReplyError, why: str) -> ReplyError:
    text = f"{error.text} ({why})"
    return ReplyError(error.reply_code, text, error.command, code=error.code, remedy=error.remedy)


async def _keep_time(attempt: Attempt, source: SourceFile, path: str) -> bool | None:
    if not attempt.plan.options.preserve_mtime:
        return None
    try:
        return await attempt.session.set_modified(path, time_of(source.opened_as))
    except ReplyError:
        return False
