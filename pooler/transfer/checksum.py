"""Checksums of bytes as they pass, in the thread that reads or writes them, and of what lies on the disk."""

import hashlib
import os
import zlib
from typing import Protocol

from pooler.errors import ErrorCode, TransferMismatch
from pooler.model.job import Checksum
from pooler.storage.failures import translated
from pooler.storage.threads import goes_on

ALGORITHMS = ("sha256", "sha512", "sha1", "md5", "crc32")
"""Those that a server is asked for, the better ones first."""
_PREFERRED = "sha256"


class Hasher(Protocol):
    """One checksum on its way."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """Tell the sum so far."""
        ...


class _Crc32:
    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: memoryview) -> None:
        self._sum = zlib.crc32(data, self._sum)

    def hexdigest(self) -> str:
        return f"{self._sum:08x}"


def hasher(algorithm: str) -> Hasher:
    """Begin a checksum.

    Args:
        algorithm: one of ``ALGORITHMS``.
    """
    # A checksum here finds accidents, not attackers: so the weak ones do.
    return _Crc32() if algorithm == "crc32" else hashlib.new(algorithm, usedforsecurity=False)


def algorithm_for(expected: Checksum | None) -> str:
    """Tell which checksum is computed while bytes pass."""
    return _PREFERRED if expected is None else expected.algorithm


def add_file(
    to: Hasher, descriptor: int, path: str, buffer: memoryview, size_bytes: int | None = None
) -> None:
    """Take the first bytes of a file; where it is open stays as it is. Blocks.

    Args:
        to: takes them.
        descriptor: of the file.
        path: for messages.
        buffer: room to use; nobody else does meanwhile.
        size_bytes: how many bytes; None for all.

    Raises:
        LocalFileError: it cannot be read.
    """
    done = 0
    with translated(path):
        while size_bytes is None or done < size_bytes:
            room = buffer if size_bytes is None else buffer[: size_bytes - done]
            count = os.preadv(descriptor, [room], done)
            if count == 0:
                return
            to.update(room[:count])
            done += count
            goes_on()


def compare(found: Checksum, wanted: Checksum, whose: str) -> None:
    """Compare two sums of one algorithm.

    Args:
        found: of the bytes that passed.
        wanted: what it is to be.
        whose: who says so, for the message.

    Raises:
        TransferMismatch: ``CHECKSUM_MISMATCH``.
    """
    if found != wanted:
        raise TransferMismatch(
            ErrorCode.CHECKSUM_MISMATCH, f"the bytes that passed have {found}, {whose} {wanted}"
        )
