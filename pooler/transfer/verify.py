"""What is known of a file's bytes: the sum that its sender expects, and the server's own.

The steps of the ladder: nothing; the size; a checksum, which is computed while the bytes pass and compared
with the one that the job expects and with the one that the server computes, as far as each can be had; and,
of an upload, what the server gives back, where it lets us read.
"""

import os

from pooler.errors import ReplyError
from pooler.model.job import Checksum, Verify
from pooler.transfer import mover
from pooler.transfer.attempt import Attempt
from pooler.transfer.checksum import ALGORITHMS, Hasher, add_file, algorithm_for, compare, hasher


def new_hasher(attempt: Attempt) -> Hasher | None:
    """Begin the checksum that the job asks for; None where it asks for none."""
    options = attempt.plan.options
    wanted = options.verify in {Verify.CHECKSUM, Verify.READ_BACK}
    return hasher(algorithm_for(options.checksum)) if wanted else None


def checksum_of(attempt: Attempt, done: Hasher | None) -> Checksum | None:
    """End the checksum that ``new_hasher`` began."""
    if done is None:
        return None
    return Checksum(algorithm_for(attempt.plan.options.checksum), done.hexdigest())


def expect(attempt: Attempt, found: Checksum | None) -> bool:
    """Compare the checksum of what passed with the one that the job expects; False where it expects none.

    Raises:
        TransferMismatch: ``CHECKSUM_MISMATCH``.
    """
    expected = attempt.plan.options.checksum
    if found is None or expected is None:
        return False
    compare(found, expected, "the job expects")
    return True


async def both_sums(
    attempt: Attempt, remote_path: str, descriptor: int, known: Checksum | None = None
) -> tuple[Checksum, Checksum] | None:
    """Sum up a local file and one on the server, in the same way.

    Args:
        attempt: whose session and buffer are used.
        remote_path: of the file on the server.
        descriptor: of the local one.
        known: the local one's, where it was computed already.

    Returns:
        The local sum and the server's; None where the server has none, or none of this file.
    """
    liked = ALGORITHMS if known is None else (known.algorithm, *ALGORITHMS)
    try:
        told = await attempt.session.checksum(remote_path, liked)
    except ReplyError:
        # It has the command, and will not say: as good as not having it. The result tells what was verified.
        return None
    if told is None:
        return None
    theirs = Checksum(*told)
    if known is None or known.algorithm != theirs.algorithm:
        known = await attempt.root.run(_sum, theirs.algorithm, descriptor, attempt)
    return known, theirs


async def is_servers_own(attempt: Attempt, remote_path: str, descriptor: int, known: Checksum | None) -> bool:
    """Compare a local file with the server's own sum of its copy, where the job asks for a checksum.

    Returns:
        True: they are equal. False: nobody asked, or the server has no sum.

    Raises:
        TransferMismatch: ``CHECKSUM_MISMATCH``.
    """
    if known is None:
        return False
    sums = await both_sums(attempt, remote_path, descriptor, known)
    if sums is not None:
        compare(*sums, "the server's file has")
    return sums is not None


async def is_read_back(attempt: Attempt, remote_path: str, sent: Checksum) -> bool:
    """Fetch an upload again, and compare it with what was sent.

    Args:
        attempt: whose session and buffer are used.
        remote_path: of the file on the server.
        sent: the sum of what was sent.

    Returns:
        True: they are equal. False: the server does not let us read it.

    Raises:
        TransferMismatch: ``CHECKSUM_MISMATCH``.
    """
    done, has_begun = hasher(sent.algorithm), False
    try:
        async with attempt.session.retrieving(remote_path) as stream:
            has_begun = True
            await mover.digest(stream, attempt.root, attempt.buffer, done, throttle=attempt.throttle)
    except ReplyError:
        if has_begun:
            raise
        return False
    compare(Checksum(sent.algorithm, done.hexdigest()), sent, "read back; what was sent has")
    return True


def _sum(algorithm: str, descriptor: int, attempt: Attempt) -> Checksum:
    done = hasher(algorithm)
    add_file(done, descriptor, attempt.local_path, attempt.buffer, os.fstat(descriptor).st_size)
    return Checksum(algorithm, done.hexdigest())
