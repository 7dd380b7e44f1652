"""Made-up files, and the check that a copy is one.

What is in a file follows from a seed and the file's number: a slice of one random block behind a head that
no other file has. So a thousand files take a second, no two are alike, and a second run makes the same ones.
"""

import hashlib
import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import trio

SMALLEST_BYTES: Final = 100_000
LARGEST_BYTES: Final = 1_000_000
_HEAD_BYTES = 16
_BATCH = 32  # what a thread takes at once, and a cancellation waits for

T = TypeVar("T")
R = TypeVar("R")


class MadeFile(NamedTuple):
    """What a copy of a file must be.

    Attributes:
        path: where the original is.
        size_bytes: its size.
        digest: its SHA-256.
    """

    path: Path
    size_bytes: int
    digest: bytes


class FileMaker:
    """Makes files of 100 KB to 1 MB, most of them small.

    Args:
        seed: equal seeds make equal files.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = memoryview(random.Random(seed).randbytes(2 * LARGEST_BYTES))  # noqa: S311 - no secret

    def make(self, path: Path, number: int) -> MadeFile:
        """Write one file; missing folders are made.

        Args:
            path: where.
            number: which of the seed's files it is.
        """
        dice = random.Random(f"{self._seed}/{number}")  # noqa: S311 - no secret
        size = round(math.exp(dice.uniform(math.log(SMALLEST_BYTES), math.log(LARGEST_BYTES))))
        offset = dice.randrange(LARGEST_BYTES)
        head = hashlib.blake2b(f"{self._seed}/{number}".encode(), digest_size=_HEAD_BYTES).digest()
        body = self._block[offset : offset + size - _HEAD_BYTES]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(head)
            file.write(body)
        known = hashlib.sha256(head)
        known.update(body)
        return MadeFile(path, size, known.digest())


def differs(made: MadeFile, copy: Path) -> str | None:
    """Compare a copy with what was made.

    Returns:
        What is wrong with it; None where every byte is right.
    """
    try:
        with copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            size = file.tell()
    except FileNotFoundError:
        return "is missing"
    if size != made.size_bytes:
        return f"has {size} bytes, not {made.size_bytes}"
    return None if digest == made.digest else "has other bytes"


async def in_threads(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call a function that works on the disk, for each item, with as many threads as there are processors.

    Args:
        function: what to call.
        items: its arguments, in order.

    Returns:
        What it returned, in the order of the items.

    Cancellation: what has begun is finished, the rest is not begun.
    """
    limiter = trio.CapacityLimiter(os.cpu_count() or 1)
    batches = [items[first : first + _BATCH] for first in range(0, len(items), _BATCH)]
    found: list[Sequence[R]] = [()] * len(batches)

    async def take(index: int) -> None:
        found[index] = await trio.to_thread.run_sync(
            lambda: [function(item) for item in batches[index]], limiter=limiter
        )

    async with trio.open_nursery() as nursery:
        for index in range(len(batches)):
            nursery.start_soon(take, index)
    return [answer for answers in found for answer in answers]
