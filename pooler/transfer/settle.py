"""A destination that exists already: is it to be replaced, to be kept, or the very file that is asked for?"""

from pooler.errors import ErrorCode, JobError
from pooler.model.job import Direction, Overwrite
from pooler.storage.root import SourceFile
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.overwrite import compare, is_to_stay
from pooler.transfer.session import Stat
from pooler.transfer.verify import both_sums


async def settle_existing(attempt: Attempt, local: SourceFile, remote: Stat) -> Transferred | None:
    """Decide what becomes of a destination that exists.

    Args:
        attempt: with a plan that does not say ``always``.
        local: the local one of the two files.
        remote: what the server knows of the other.

    Returns:
        That the job is done without a copy; None where the destination is to be replaced.

    Raises:
        JobError: ``DESTINATION_EXISTS``; ``INVALID_JOB`` where the server does not say what the job wants
            to know.
    """
    how, downloads = attempt.plan.options.overwrite, attempt.plan.direction is Direction.DOWNLOAD
    source = remote if downloads else local.opened_as
    found = compare(local.opened_as, remote)
    stays = is_to_stay(how, found, source_is_remote=downloads)
    if how is Overwrite.NEVER:
        if not downloads and remote.size_bytes is None:
            # To go on would be to overwrite what nobody has looked at.
            raise _cannot_tell(attempt, "whether the file exists")
        if not found.same_size:
            shown = attempt.local_path if downloads else attempt.remote_path
            present = local.opened_as.size_bytes if downloads else remote.size_bytes
            raise JobError(ErrorCode.DESTINATION_EXISTS, f"{shown}: exists, with {present} bytes")
    elif stays is None and how is Overwrite.IF_NEWER:
        raise _cannot_tell(attempt, "times")
    elif stays is None:
        sums = await both_sums(attempt, attempt.plan.remote_path, local.descriptor)
        if sums is not None and sums[0] == sums[1]:
            return Transferred(verified="checksum", skipped=True, checksum=str(sums[0]), source=source)
    return Transferred(verified=found.verified, skipped=True, source=source) if stays else None


def _cannot_tell(attempt: Attempt, what: str) -> JobError:
    how = attempt.plan.options.overwrite.value
    return JobError(
        ErrorCode.INVALID_JOB,
        f"{attempt.remote_path}: overwrite is {how}, and this server cannot tell {what}",
    )
