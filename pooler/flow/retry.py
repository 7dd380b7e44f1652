"""Whether a failed job is tried again, and when. Pure.

What decides is the remedy that the error carries, never its message.
"""

from dataclasses import dataclass

from pooler.errors import PoolerError, Remedy


@dataclass(frozen=True, slots=True)
class Backoff:
    """A pause that doubles from try to try.

    Attributes:
        base_s: the first one, in seconds.
        maximum_s: the longest one, in seconds.
    """

    base_s: float
    maximum_s: float

    def after(self, failures: int) -> float:
        """Tell the pause after so many failures in a row, in seconds."""
        return min(self.base_s * 2.0 ** min(failures - 1, 63), self.maximum_s)


@dataclass(frozen=True, slots=True)
class Again:
    """The job is to be tried again.

    Attributes:
        after_s: not before so many seconds have passed.
        counts: whether the attempt that failed is one of those that it has.
    """

    after_s: float
    counts: bool


def judge(
    error: PoolerError,
    *,
    attempts: int,
    forgiven: int,
    allowed: int,
    left_s: float,
    backoff: Backoff,
    innocent: bool = False,
) -> Again | None:
    """Decide what becomes of a job whose attempt failed.

    An attempt is made on an open session. So what says that the remote is away, or refuses the login, is
    about this transfer here (TLS on the data connection; 532), and counts like any other failure.

    Args:
        error: why it failed.
        attempts: attempts begun, this one included.
        forgiven: those of them, before this one, that do not count.
        allowed: attempts that it has in all.
        left_s: seconds until its deadline.
        backoff: how long to wait.
        innocent: whether it is known that the job is not to blame.

    Returns:
        When to try again, or None where the job is to be answered now.
    """
    if error.remedy is Remedy.NEVER:
        return None
    # Where the server wants fewer sessions the job is not to blame: it costs it no attempt.
    counts = not innocent and error.remedy is not Remedy.FEWER_SESSIONS
    if counts and attempts - forgiven >= allowed:
        return None
    at_once = error.remedy is Remedy.ANOTHER_SESSION and attempts - forgiven == 1
    after_s = 0.0 if at_once else backoff.after(attempts)
    return Again(after_s, counts) if after_s < left_s else None
