"""How a job ended."""

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from pooler.errors import ErrorCode
from pooler.model.batch import Found
from pooler.model.job import Delivery


class Status(enum.StrEnum):
    """The three ways in which a job can end."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    FAILED = "failed"


class Peer(NamedTuple):
    """Whom we spoke to, for the audit.

    Attributes:
        address: ``host:port`` of the control connection as connected, not as configured.
        tls_version: such as ``TLSv1.3``; None without TLS.
        certificate_sha256: hexadecimal fingerprint of the server's certificate; None without TLS.
        account: the name that we logged in with; None where nobody knows.
    """

    address: str
    tls_version: str | None = None
    certificate_sha256: str | None = None
    account: str | None = None


class Failure(Struct, frozen=True):
    """Why a job failed.

    Attributes:
        code: the reason, for programs.
        message: the reason, for people.
        retriable: whether the same job may succeed later without anybody changing it.
    """

    code: ErrorCode
    message: str
    retriable: bool


class Outcome(Struct, frozen=True):
    """How a job ended.

    Attributes:
        status: success, skipped or failed.
        attempts: transfers begun; 0 where the job was refused before any.
        bytes_transferred: the size of the file that was copied; 0 where none was.
        duration_ms: the last attempt, from its start to its file being durable under its name.
        queued_ms: from the first reading to the start of the last attempt.
        verified: what was really checked: ``none``, ``size``, ``time`` (and size), ``checksum`` or
            ``read_back``.
        source_checked: by what the source is known not to have changed while it was read: ``none``,
            ``size`` or ``time``.
        checksum: of the bytes that passed, ``algorithm:hexadecimal``; None where none was asked for.
        mtime_kept: whether the destination has the source's time; None where nobody asked for it.
        resumed_from: how many of the bytes an earlier attempt had brought; None where none had.
        after: what became of the source: ``deleted``, ``moved`` or ``left``; None where nobody asked.
        after_error: why it was left; None otherwise.
        marked: whether the marker stands beside the destination.
        check: what a check has found; None for a job that was to be done.
        peer: whom we spoke to; None where we never did.
        reply: the server's last reply; None where there was none.
        failure: why; None unless ``status`` is failed.
        dialogue: the last lines of the dialogue with the server, secrets masked, for people; empty unless it
            failed there. It is in no record.
        batch: what has become of the jobs of a bulk job; None for any other.
    """

    status: Status
    attempts: int = 0
    bytes_transferred: int = 0
    duration_ms: int = 0
    queued_ms: int = 0
    verified: str = "none"
    peer: Peer | None = None
    reply: str | None = None
    failure: Failure | None = None
    source_checked: str = "none"
    checksum: str | None = None
    mtime_kept: bool | None = None
    resumed_from: int | None = None
    after: str | None = None
    after_error: str | None = None
    marked: bool = False
    check: Mapping[str, str | int | None] | None = None
    dialogue: tuple[str, ...] = ()
    batch: Mapping[str, Any] | None = None

    @classmethod
    def failed(
        cls,
        code: ErrorCode,
        message: str,
        *,
        retriable: bool = False,
        attempts: int = 0,
        duration_ms: int = 0,
        queued_ms: int = 0,
        peer: Peer | None = None,
        reply: str | None = None,
        dialogue: tuple[str, ...] = (),
    ) -> "Outcome":
        """Make the outcome of a job that failed."""
        return cls(
            Status.FAILED,
            attempts=attempts,
            duration_ms=duration_ms,
            queued_ms=queued_ms,
            peer=peer,
            reply=reply,
            failure=Failure(code, message, retriable),
            dialogue=dialogue,
        )


class Ended(Struct, frozen=True):
    """A delivery that is answered.

    Attributes:
        delivery: what was asked for, and where it came from.
        outcome: how it ended.
        traceparent: which span its answer tells of; None to hand on what the record has.
    """

    delivery: Delivery
    outcome: Outcome
    traceparent: bytes | None = None


class Parked(Struct, frozen=True):
    """A delivery that is to come again: an ending that is no answer.

    Attributes:
        delivery: what was asked for, and where it came from.
        delay_s: of the retry topic that it goes to, in seconds.
        not_before: when it may be begun, in seconds of ``trio.current_time()``; minus infinity for any time.
        attempts: attempts begun so far.
        forgiven: those of them that do not count.
        error: what went wrong at last, for people; None where nothing has.
    """

    delivery: Delivery
    delay_s: float
    not_before: float
    attempts: int
    forgiven: int
    error: str | None


class Spread(Struct, frozen=True):
    """A bulk job of which the next files are found: an ending that is no answer.

    Attributes:
        delivery: what was asked for, and where it came from.
        found: the files.
        attempts: visits begun at the folder so far.
        forgiven: those of them that do not count.
    """

    delivery: Delivery
    found: Found
    attempts: int
    forgiven: int
