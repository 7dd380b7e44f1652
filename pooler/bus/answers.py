"""The form of results and failures, for the schemas: a test compares it with what `records` writes. Pure."""

from typing import Annotated, Any, Literal

import msgspec


class Peer(msgspec.Struct, omit_defaults=True):
    """Whom we spoke to."""

    address: str
    account: str | None = None
    tls_version: str | None = None
    certificate_sha256: str | None = None


class _Answer(msgspec.Struct, omit_defaults=True, kw_only=True):
    task_id: str
    src_id: str | None = None
    src_path: Any = None
    dst_id: str | None = None
    dst_path: Any = None
    bytes_transferred: Annotated[int, msgspec.Meta(ge=0)]
    duration_ms: Annotated[int, msgspec.Meta(ge=0)]
    timestamp: Annotated[str, msgspec.Meta(description="RFC 3339, in UTC.")]
    attempts: Annotated[int, msgspec.Meta(ge=0)]
    queued_ms: Annotated[int, msgspec.Meta(ge=0)]
    worker: str
    verified: Literal["none", "size", "time", "checksum", "read_back"]
    source_checked: Literal["none", "size", "time"]
    checksum: str | None = None
    resumed_from: int | None = None
    after: Literal["deleted", "moved", "left"] | None = None
    after_error: Any = None
    check: dict[str, Any] | None = None
    mtime: Literal["kept", "not kept"] | None = None
    marker: Any = None
    operation: Literal["download", "upload"] | None = None
    metadata: Any = None
    submitted_by: str | None = None
    peer: Peer | None = None
    reply: str | None = None


class Result(_Answer):
    """The answer to a job that is done, or had nothing to do; fields of the job that are not known follow."""

    status: Literal["success", "skipped"]


class Failure(_Answer):
    """The answer to a job that failed; with the job whole, or where to find it."""

    status: Literal["failed"]
    error_code: str
    error_message: Any
    retriable: bool
    job: Any
