import errno
import os

import pytest

from pooler.errors import ErrorCode, LocalFileError, Remedy
from pooler.storage.failures import meaning, translated

TABLE = [
    (errno.ENOENT, ErrorCode.FILE_NOT_FOUND, Remedy.NEVER),
    (errno.EACCES, ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
    (errno.EPERM, ErrorCode.PERMISSION_DENIED, Remedy.NEVER),
    (errno.EROFS, ErrorCode.PERMISSION_DENIED, Remedy.LATER),
    (errno.ENOSPC, ErrorCode.DISK_FULL, Remedy.LATER),
    (errno.EDQUOT, ErrorCode.DISK_FULL, Remedy.LATER),
    (errno.EFBIG, ErrorCode.IO_ERROR, Remedy.NEVER),
    (errno.ENAMETOOLONG, ErrorCode.INVALID_JOB, Remedy.NEVER),
    (errno.EISDIR, ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    (errno.EEXIST, ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    (errno.ENOTEMPTY, ErrorCode.DESTINATION_EXISTS, Remedy.NEVER),
    (errno.ENOTDIR, ErrorCode.IO_ERROR, Remedy.NEVER),
    (errno.ENXIO, ErrorCode.INVALID_JOB, Remedy.NEVER),
    (errno.ELOOP, ErrorCode.PATH_OUTSIDE_ROOT, Remedy.NEVER),
    # What the table does not name may pass.
    (errno.EIO, ErrorCode.IO_ERROR, Remedy.LATER),
    (errno.ESTALE, ErrorCode.IO_ERROR, Remedy.LATER),
    (errno.EMFILE, ErrorCode.IO_ERROR, Remedy.LATER),
]


@pytest.mark.parametrize(("number", "code", "remedy"), TABLE)
def test_what_the_system_says_becomes_a_failure(number: int, code: ErrorCode, remedy: Remedy) -> None:
    found = meaning(OSError(number, os.strerror(number)), "disk:/a")
    assert (found.code, found.remedy) == (code, remedy)
    assert str(found) == f"disk:/a: {os.strerror(number)}"
    assert found.session_survives


def test_an_error_without_a_number() -> None:
    found = meaning(OSError("odd"), "disk:/a")
    assert (found.code, found.remedy, str(found)) == (ErrorCode.IO_ERROR, Remedy.LATER, "disk:/a: odd")


def test_only_what_the_system_says_is_translated() -> None:
    with pytest.raises(LocalFileError) as caught, translated("disk:/a"):
        raise FileNotFoundError(errno.ENOENT, "gone")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(ZeroDivisionError), translated("disk:/a"):
        raise ZeroDivisionError
