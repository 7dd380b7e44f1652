"""Where files go and what they are called meanwhile, as for a job."""

import os
from pathlib import Path
from typing import Final

from pooler.cli.ftp.hand import Hand
from pooler.errors import ErrorCode, LocalFileError, Remedy, TransferMismatch
from pooler.ftp.session import FtpSession
from pooler.model.job import Direction, Options, Origin
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.names import Author, incarnation, local_name
from pooler.transfer.plan import plan_of

BUFFER_BYTES: Final = 256 * 1024  # progress is shown once for each of them
_ROOT: Final = "local"


def attempt(
    hand: Hand, session: FtpSession, direction: Direction, parts: tuple[str, ...], left: list[str]
) -> Attempt:
    """Make the attempt that a job would have, with the whole machine as its local root."""
    plan = plan_of(hand.remote, direction, hand.path, folder=_ROOT, local_parts=parts, options=Options())
    return Attempt(
        plan,
        session,
        LocalRoot(_ROOT, Path("/")),
        _author(),
        memoryview(bytearray(BUFFER_BYTES)),
        hand.meter.moved,
        left.append,
        resume_above_bytes=0,  # nothing is resumed here
    )


def _author() -> Author:
    return Author(incarnation(), Origin("ftp", 0, 0), 1)


def beside(path: str) -> str:
    """Give a name that nothing else has, in the folder of ``path``."""
    return f"{path.rpartition('/')[0]}/{local_name(_author().token())}"


def local_parts(local: str, name: str) -> tuple[str, ...]:
    """Tell where a file goes that is fetched.

    Raises:
        LocalFileError: what is there can be no file's copy.
    """
    path = Path(local)
    if local.endswith("/") or path.is_dir():
        path /= name
    if path.exists() and not path.is_file():
        raise LocalFileError(ErrorCode.DESTINATION_EXISTS, f"{path}: not a regular file", Remedy.NEVER)
    return real_parts(path)


def real_parts(path: Path) -> tuple[str, ...]:
    """Give the way from the machine's root, with links on the way resolved, but not the file itself."""
    return (*Path(os.path.realpath(path.parent)).parts[1:], path.name)


def same_size(told: int | None, size: int, what: str) -> None:
    """See that the server knows of as many bytes as have moved.

    Args:
        told: by the server; None where it cannot tell.
        size: in bytes, of what has moved.
        what: it did, for the error.

    Raises:
        TransferMismatch: it does not.
    """
    if told not in {None, size}:
        raise TransferMismatch(ErrorCode.SIZE_MISMATCH, f"{size} bytes {what}, the server has {told}")
