"""Whether a destination that exists is to be replaced, and what two files have in common. Pure."""

import datetime as dt
from dataclasses import dataclass

from pooler.model.job import Overwrite
from pooler.storage.root import SourceState
from pooler.transfer.session import Stat

_NANOSECONDS = 1_000_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def time_of(state: SourceState) -> dt.datetime:
    """Tell the time of a local file, to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=state.mtime_ns // 1000)


def nanoseconds(moment: dt.datetime) -> int:
    """Tell a time in nanoseconds since 1970."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two files have in common, of which one is local and the other on a server.

    Attributes:
        same_size: whether they are of one size; None where the server cannot tell.
        remote_is_ahead_s: by how much the remote file is the newer one, in seconds; negative where it is the
            older one, 0 within the precision of its time; None where the server cannot tell.
    """

    same_size: bool | None
    remote_is_ahead_s: float | None

    @property
    def verified(self) -> str:
        """What is equal: ``time`` (and size), ``size``, or ``none``."""
        if not self.same_size:
            return "none"
        return "time" if self.remote_is_ahead_s == 0 else "size"


def compare(local: SourceState, remote: Stat) -> Comparison:
    """Compare a local file with one on a server."""
    same_size = None if remote.size_bytes is None else local.size_bytes == remote.size_bytes
    if remote.modified is None:
        return Comparison(same_size, None)
    ahead_s = (remote.modified - time_of(local)).total_seconds()
    # A server that keeps whole seconds cuts off what is behind them.
    return Comparison(same_size, 0.0 if abs(ahead_s) < remote.precision_s or ahead_s == 0 else ahead_s)


def is_same(before: Stat, after: Stat) -> bool:
    """Tell whether a remote file has not changed between two looks, as far as they can tell."""
    if None not in {before.size_bytes, after.size_bytes} and before.size_bytes != after.size_bytes:
        return False
    if before.modified is None or after.modified is None:
        return True
    # The two may have been told by different commands, of which one knows fractions of a second.
    apart_s = abs((after.modified - before.modified).total_seconds())
    return apart_s == 0 or apart_s < max(before.precision_s, after.precision_s)


def is_to_stay(how: Overwrite, found: Comparison, *, source_is_remote: bool) -> bool | None:
    """Tell whether the destination stays as it is, without a look at its bytes.

    Args:
        how: one of those that ask for a comparison.
        found: what the two have in common.
        source_is_remote: which of them is the source.

    Returns:
        True: it stays. False: it is replaced. None: the server does not say enough to know.
    """
    if how is Overwrite.NEVER:
        return True
    if how is Overwrite.IF_DIFFERENT:
        if found.same_size is False:
            return False
        return True if found.verified == "time" else None
    ahead_s = found.remote_is_ahead_s
    if ahead_s is None:
        return None
    return (ahead_s if source_is_remote else -ahead_s) <= 0
