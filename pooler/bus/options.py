"""The options of a record, as docs/records.md has them, and what they mean together. Pure."""

import datetime as dt
import re
from typing import Annotated, Literal

import msgspec

from pooler.model.batch import Filters, is_bulk
from pooler.model.job import After, Checksum, Options, Overwrite, Record, Verify

_CHECKSUM = r"^(sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32}|crc32:[0-9a-fA-F]{8})$"
_AFTER = r"^(none|delete|move:.+)$"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


_Names = (
    Annotated[str, msgspec.Meta(min_length=1)]
    | Annotated[list[Annotated[str, msgspec.Meta(min_length=1)]], msgspec.Meta(max_length=100)]
)
_Size = Annotated[int, msgspec.Meta(ge=0)]
_Age = Annotated[float, msgspec.Meta(ge=0, le=100 * 366 * 86_400)]


class AskedFilter(msgspec.Struct, forbid_unknown_fields=True):
    """The filter of a bulk job as a record writes it."""

    name: _Names | None = None
    exclude: _Names | None = None
    min_size: _Size | None = None
    max_size: _Size | None = None
    min_age: _Age | None = None
    max_age: _Age | None = None
    stable_for: Annotated[float, msgspec.Meta(gt=0, le=300)] | None = None
    marker: Annotated[str, msgspec.Meta(pattern=r"^[^/]*\{name\}[^/]*$")] | None = None


class AskedOptions(msgspec.Struct, forbid_unknown_fields=True):
    """The options as a record writes them."""

    overwrite: bool | Literal["always", "never", "if_newer", "if_different"] = True
    retry_count: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | None = None
    deadline_seconds: Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)] | None = None
    verify: Literal["none", "size", "checksum", "read_back"] | None = None
    in_place: bool | None = None
    checksum: Annotated[str, msgspec.Meta(pattern=_CHECKSUM)] | None = None
    preserve_mtime: bool | None = None
    resume: bool | None = None
    after: Annotated[str, msgspec.Meta(pattern=_AFTER)] | None = None
    delete_source: bool | None = None
    write_marker: bool | None = None
    check: bool | None = None
    order_key: Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)] | None = None
    priority: Literal["high", "normal"] | None = None
    literal: bool | None = None
    filter: AskedFilter | None = None


def options_of(asked: AskedOptions, *, source_path: str, task_id: str, record: Record) -> Options:
    """Work out what options mean.

    Args:
        asked: as the record writes them.
        source_path: of the job's source; its name goes into where that is moved to.
        task_id: of the job; likewise.
        record: its time likewise, so that a job that is done twice moves to one place.

    Raises:
        ValueError: two of them contradict each other, or a template cannot be filled in.
    """
    overwrite = asked.overwrite
    if isinstance(overwrite, bool):
        overwrite = "always" if overwrite else "never"
    after, move_to = _after(asked)
    if asked.checksum is not None and asked.verify in {"none", "size"}:
        raise ValueError(f"A checksum is expected, but `verify` is {asked.verify} - at `$.options.verify`")
    if after is not After.NONE and asked.verify == "none":
        raise ValueError("Nothing is done to a source whose copy is not verified - at `$.options.verify`")
    bulk = is_bulk(source_path) and not asked.literal
    if asked.filter is not None and not bulk:
        raise ValueError("Only the files of a folder can be filtered - at `$.options.filter`")
    if asked.checksum is not None and bulk:
        raise ValueError("One checksum for many files - at `$.options.checksum`")
    return Options(
        overwrite=Overwrite(overwrite),
        retry_count=asked.retry_count,
        deadline_seconds=asked.deadline_seconds,
        verify=None if asked.verify is None else Verify(asked.verify),
        in_place=asked.in_place,
        checksum=None if asked.checksum is None else Checksum(*asked.checksum.lower().split(":")),
        preserve_mtime=bool(asked.preserve_mtime),
        resume=bool(asked.resume),
        after=after,
        move_to=None if move_to is None else _filled(move_to, source_path, task_id, record),
        write_marker=bool(asked.write_marker),
        check=bool(asked.check),
        order_key=asked.order_key,
        urgent=asked.priority == "high",
        literal=bool(asked.literal),
        filters=None if asked.filter is None else _filters(asked.filter),
    )


def _filters(asked: AskedFilter) -> Filters:
    if asked.marker == "{name}":
        raise ValueError("A file is no marker of itself - at `$.options.filter.marker`")
    return Filters(
        _names(asked.name),
        _names(asked.exclude),
        asked.min_size,
        asked.max_size,
        asked.min_age,
        asked.max_age,
        asked.stable_for,
        asked.marker,
    )


def _names(asked: str | list[str] | None) -> tuple[str, ...]:
    return () if asked is None else (asked,) if isinstance(asked, str) else tuple(asked)


def _after(asked: AskedOptions) -> tuple[After, str | None]:
    kind, _, template = (asked.after or "none").partition(":")
    after = After(kind)
    if asked.delete_source:
        if asked.after not in {None, "delete"}:
            raise ValueError(f"`delete_source` beside `after`: {asked.after} - at `$.options.delete_source`")
        after = After.DELETE
    return after, template if after is After.MOVE else None


def _filled(template: str, source_path: str, task_id: str, record: Record) -> str:
    name = source_path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    # A job from a list has no time of its own.
    moment = dt.datetime.fromtimestamp(record.timestamp_ms / 1000, dt.UTC)
    if record.timestamp_ms <= 0:
        moment = dt.datetime.now(dt.UTC)
    values = {
        "name": name,
        "stem": stem or name,
        "suffix": dot + suffix if stem else "",
        "date": moment.strftime("%Y-%m-%d"),
        "time": moment.strftime("%H%M%S"),
        "task_id": task_id.replace("/", "_"),
    }

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ValueError(f"{found[0]} is none of {', '.join(values)} - at `$.options.after`")
        return values[found[1]]

    filled = _PLACEHOLDER.sub(value, template)
    return filled + name if filled.endswith("/") else filled
