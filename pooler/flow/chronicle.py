"""What has ended of late, and why jobs fail: kept in bounded memory, for people who ask. Pure."""

from collections import Counter, deque
from collections.abc import Iterator

from msgspec import Struct

from pooler.errors import ErrorCode
from pooler.model.job import Delivery, Direction
from pooler.model.outcome import Outcome, Status

_ROOM = 1000
_LONGEST = 1000


class Chapter(Struct, frozen=True):
    """A job that has ended, without its record: a thousand of those may be large.

    Attributes:
        task_id: the sender's name for it; of this and all other texts no more is kept than a person reads.
        source: where the file was.
        destination: where it was to be.
        origin: where its record stands.
        remote: whose job it was; None where it never had a plan.
        direction: which way the bytes went; None likewise.
        status: how it ended.
        code: why it failed; None unless it did.
        message: the same for people; None unless it failed.
        reply: the last that the server said; None where it said nothing.
        attempts: that were begun.
        size_bytes: of the file that was copied.
        duration_ms: the last attempt.
        verified: what was really checked.
        at: when it ended, in seconds since 1970.
        dialogue: the last lines of the dialogue with the server; empty unless it failed there.
    """

    task_id: str
    source: str
    destination: str
    origin: str
    remote: str | None
    direction: Direction | None
    status: Status
    code: ErrorCode | None
    message: str | None
    reply: str | None
    attempts: int
    size_bytes: int
    duration_ms: int
    verified: str
    at: float
    dialogue: tuple[str, ...] = ()


def chapter(
    delivery: Delivery, remote: str | None, direction: Direction | None, outcome: Outcome, at: float
) -> Chapter:
    """Tell of a job that has ended."""
    job, failure = delivery.job, outcome.failure
    return Chapter(
        task_id=short(job.task_id),
        source=short(str(job.source)),
        destination=short(str(job.destination)),
        origin=str(delivery.record.origin),
        remote=remote,
        direction=direction,
        status=outcome.status,
        code=None if failure is None else failure.code,
        message=None if failure is None else short(failure.message),
        reply=None if outcome.reply is None else short(outcome.reply),
        attempts=outcome.attempts,
        size_bytes=outcome.bytes_transferred,
        duration_ms=outcome.duration_ms,
        verified=outcome.verified,
        at=at,
        dialogue=outcome.dialogue,
    )


def short(text: str) -> str:
    """Keep no more of a text than a person reads."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


class Chronicle:
    """The jobs that ended last, and the newest example of each reason for which jobs of a remote fail.

    Args:
        room: how many jobs are kept; of the reasons there are few, and all are kept.

    Attributes:
        failures: how often jobs failed since the start, by remote and code.
        examples: the newest of each of these.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._chapters: deque[Chapter] = deque(maxlen=room)
        self.failures: Counter[tuple[str | None, ErrorCode]] = Counter()
        self.examples: dict[tuple[str | None, ErrorCode], Chapter] = {}

    def add(self, ended: Chapter) -> None:
        """Write down how a job ended."""
        self._chapters.append(ended)
        if ended.code is not None:
            self.failures[ended.remote, ended.code] += 1
            self.examples[ended.remote, ended.code] = ended

    def __iter__(self) -> Iterator[Chapter]:
        """Tell of the jobs that ended last, the newest first."""
        return reversed(self._chapters)
