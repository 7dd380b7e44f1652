"""A job: what one record asks for; and a delivery: a job with where it came from."""

import enum
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from pooler.model.batch import NOT_YET, Filters, Spreading, is_bulk


class Direction(enum.StrEnum):
    """Which way the bytes go, seen from the local folder."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


class Overwrite(enum.StrEnum):
    """What to do about a destination that exists already."""

    ALWAYS = "always"
    NEVER = "never"
    IF_NEWER = "if_newer"
    IF_DIFFERENT = "if_different"


class Verify(enum.StrEnum):
    """What is compared once the bytes have arrived."""

    NONE = "none"
    SIZE = "size"
    CHECKSUM = "checksum"
    READ_BACK = "read_back"


class Checksum(NamedTuple):
    """The sum of a file's bytes.

    Attributes:
        algorithm: such as ``sha256``.
        digits: the sum, in hexadecimal small letters.
    """

    algorithm: str
    digits: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digits}"


class After(enum.StrEnum):
    """What becomes of the source once its copy is verified and durable."""

    NONE = "none"
    DELETE = "delete"
    MOVE = "move"


class Options(Struct, frozen=True):
    """How a job is to be done; every field has the default of a record that says nothing.

    Attributes:
        overwrite: what to do about a destination that exists.
        retry_count: further attempts after the first; None leaves it to the configuration.
        deadline_seconds: how long after its first reading the job may still be tried; None leaves it to
            the configuration.
        verify: what is compared before the destination gets its name; None leaves it to the remote.
        in_place: upload under the final name, for servers that cannot rename; None leaves it to the remote.
        checksum: what the file's bytes must sum up to; None where the sender does not say.
        preserve_mtime: give the destination the source's time.
        resume: go on with a large file where an attempt before broke off.
        after: what becomes of the source.
        move_to: where ``after`` moves it, below the root of its own side; None for all else.
        write_marker: once the destination has its name, write an empty file beside it, ``{name}.ok``.
        check: do everything but the bytes.
        order_key: jobs with an equal one are done one after the other, in the order they came; None where
            the job minds nobody.
        urgent: the job goes before others of its remote that wait.
        literal: the source is the name of one file, whatever characters it has.
        filters: which files of a folder are meant; None where the job does not say.
    """

    overwrite: Overwrite = Overwrite.ALWAYS
    retry_count: int | None = None
    deadline_seconds: float | None = None
    verify: Verify | None = None
    in_place: bool | None = None
    checksum: Checksum | None = None
    preserve_mtime: bool = False
    resume: bool = False
    after: After = After.NONE
    move_to: str | None = None
    write_marker: bool = False
    check: bool = False
    order_key: str | None = None
    urgent: bool = False
    literal: bool = False
    filters: Filters | None = None


def marker_of(path: str) -> str:
    """Name the marker of a file, from the file's name or from its path."""
    return f"{path}.ok"


class Endpoint(NamedTuple):
    """One end of a job: a section of connections.ini, and a path below its root."""

    remote: str
    path: str

    def __str__(self) -> str:
        return f"{self.remote}:{self.path}"


class Job(Struct, frozen=True):
    """What a record asks for.

    Attributes:
        task_id: the sender's name for it, or one made from where it was first read.
        source: where the file is.
        destination: where it is to be.
        options: how it is to be done.
        operation: which way, where the record says so; else None.
        metadata: the sender's own, handed back as it came; None where there was none.
        extra: fields that we do not know, handed back as they came.
    """

    task_id: str
    source: Endpoint
    destination: Endpoint
    options: Options = Options()
    operation: Direction | None = None
    metadata: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bulk(self) -> bool:
        """Whether it stands for many files, and is to be spread into a job for each."""
        return not self.options.literal and is_bulk(self.source.path)


class Origin(NamedTuple):
    """Where a record stands: the one name of a job that nobody can give twice."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


class Record(Struct, frozen=True):
    """A record as it was read, nothing decoded.

    Attributes:
        origin: where it stands.
        key: its key, byte for byte; None where it has none.
        value: its value, byte for byte; None for a tombstone.
        headers: its headers, in order.
        timestamp_ms: its time, in milliseconds since 1970.
        tenure: in which time of its partition's being ours it was read, counted from 1.
    """

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    tenure: int = 1


class Past(Struct, frozen=True):
    """What a job has behind it that was parked.

    Attributes:
        origin: where it was read first.
        first_seen_ms: when that was, in milliseconds since 1970.
        attempts: attempts begun.
        forgiven: those of them that do not count.
        times: how often it was parked.
        error: what went wrong at last, for people; None where nothing has.
    """

    origin: Origin
    first_seen_ms: int
    attempts: int = 0
    forgiven: int = 0
    times: int = 0
    error: str | None = None


class Delivery(Struct, frozen=True):
    """A job on its way through the flow.

    Attributes:
        job: what is asked for.
        record: what it was read from; kept whole, because a failure carries the job whole.
        received: when it was first read, in seconds of ``trio.current_time()``.
        past: what it has behind it; None where it was never parked.
        not_before: when it may be begun, in the same seconds.
        urgent: whether it goes before others of its remote that wait.
        spreading: how far a bulk job has come; of any other it means nothing.
    """

    job: Job
    record: Record
    received: float
    past: Past | None = None
    not_before: float = -inf
    urgent: bool = False
    spreading: Spreading = NOT_YET

    @property
    def original(self) -> Record:
        """The record with where it was read first: what the sender knows it by."""
        return original(self.record, self.past)


def original(record: Record, past: Past | None) -> Record:
    """Give a record with where it was read first."""
    return record if past is None else replace(record, origin=past.origin)
