"""What became of an upload whose session was lost: the server is asked, and the next step follows from it.

Unknown are the ends of two exchanges. A lost 226: the bytes may all be there, and then the temporary file has
the right size. A lost reply to RNTO: the file may have its name, and then the temporary one is gone, and the
final one has the right size. What cannot be told is done anew.

Nor need a command that a lost session has sent be carried out before another session looks: a server may get
to an RNTO only then.
"""

from dataclasses import dataclass

from pooler.errors import ErrorCode, ReplyError
from pooler.storage.root import SourceFile
from pooler.transfer.attempt import Attempt
from pooler.transfer.memory import Stage, Unfinished


@dataclass(frozen=True, slots=True)
class Start:
    """Where an attempt begins.

    Attributes:
        offset: how many bytes are on the server already.
        is_sent: whether that is all of them.
    """

    offset: int
    is_sent: bool


async def take_up(attempt: Attempt, source: SourceFile) -> Start | None:
    """Look at what the attempt before left on the server, and decide how to go on.

    Returns:
        How to go on with it; it is still remembered. None where there is nothing to go on with, and then
        nothing is left of it either.

    Raises:
        RemoteError: the server could not be asked; it is still remembered.
    """
    left = attempt.memory.unfinished
    if left is None:
        return None
    size = source.opened_as.size_bytes
    resumes = attempt.resumes(size)
    if (
        not attempt.plan.write_only
        and left.source == source.opened_as
        and (left.stage in {Stage.SENT, Stage.RENAMING} or (left.stage is Stage.SENDING and resumes))
    ):
        found = await _size(attempt, left.path)
        if found is _GONE and left.stage is Stage.RENAMING:
            if await _size(attempt, attempt.plan.remote_path) == size:
                # It has its name already; there is nothing left to be tidied up.
                attempt.memory.unfinished = left._replace(path=attempt.plan.remote_path, left_behind=None)
                return Start(size, is_sent=True)
        elif isinstance(found, int) and (found == size or (resumes and 0 < found < size)):
            return Start(found, is_sent=found == size and left.stage is not Stage.SENDING)
    await abandon(attempt, left)
    return None


async def abandon(attempt: Attempt, left: Unfinished) -> None:
    """Remove what an attempt left on the server; what it refuses to remove is left behind.

    Raises:
        RemoteError: the session was lost; it is still remembered.
    """
    if left.left_behind is not None:
        try:
            await attempt.session.remove(left.path)
        except ReplyError:
            left.left_behind(left.path)
    attempt.memory.unfinished = None


async def is_gone(attempt: Attempt, path: str) -> bool:
    """Tell whether a server says that it has no such file.

    Raises:
        SessionLost: it could not be asked.
    """
    try:
        return await _size(attempt, path) is _GONE
    except ReplyError:
        return False


async def was_renamed(attempt: Attempt, size: int) -> bool:
    """Tell whether what was sent has its name, by its size.

    Raises:
        RemoteError: the server could not be asked.
    """
    return await _size(attempt, attempt.plan.remote_path) == size


class _Gone:
    """There is no such file."""


_GONE = _Gone()


async def _size(attempt: Attempt, path: str) -> int | _Gone | None:
    try:
        return await attempt.session.size(path)
    except ReplyError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return _GONE
        raise
