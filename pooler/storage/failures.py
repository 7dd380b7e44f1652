"""What the operating system says about a file, in the words of the failure records."""

import errno
from types import TracebackType

from pooler.errors import ErrorCode, LocalFileError, Remedy

# What time or an operator may mend is tried again later; the rest is answered now.
_MEANINGS = {
    errno.ENOENT: (ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
    errno.EACCES: (ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
    errno.EPERM: (ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
    errno.EROFS: (ErrorCode.PERMISSION_DENIED, Remedy.LATER),
    errno.ENOSPC: (ErrorCode.DISK_FULL, Remedy.LATER),
    errno.EDQUOT: (ErrorCode.DISK_FULL, Remedy.LATER),
    errno.EFBIG: (ErrorCode.IO_ERROR, Remedy.NEVER),
    errno.ENAMETOOLONG: (ErrorCode.INVALID_JOB, Remedy.NEVER),
    errno.EISDIR: (ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    errno.EEXIST: (ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    errno.ENOTEMPTY: (ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    errno.ENOTDIR: (ErrorCode.IO_ERROR, Remedy.NEVER),
    # What opening a socket for reading says.
    errno.ENXIO: (ErrorCode.INVALID_JOB, Remedy.NEVER),
    errno.ELOOP: (ErrorCode.PATH_OUTSIDE_ROOT, Remedy.NEVER),
}


def meaning(error: OSError, path: object) -> LocalFileError:
    """Say what an error of the operating system means for a job.

    Args:
        error: as it was raised.
        path: what it happened to, for the message.
    """
    code, remedy = _MEANINGS.get(error.errno or 0, (ErrorCode.IO_ERROR, Remedy.LATER))
    return LocalFileError(code, f"{path}: {error.strerror or error}", remedy)


class translated:  # noqa: N801 - it is used as the function that it would be, were that not dearer
    """Turn errors of the operating system inside the block into ``LocalFileError``.

    Args:
        path: what they happen to, for the message.
    """

    __slots__ = ("_path",)

    def __init__(self, path: object) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise meaning(error, self._path) from error
