"""A bulk job: one record that stands for the files of a folder, and is spread into a job for each of them.

The first visit at its folder, and each further one, takes the next few thousand names in their order. Where
it has come to is a `Spreading`. What has become of the jobs is summed up in a `Tally`: tallies may be added
in any order, and however they are grouped, the sum is the same.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

_GLOB = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which files of a folder are meant; every field has the default of a record that says nothing.

    Attributes:
        name: patterns, one of which the name must match; none for any name.
        exclude: patterns, none of which it may match.
        min_size: the fewest bytes that a file may have.
        max_size: the most.
        min_age_s: how long ago it must have been changed, in seconds.
        max_age_s: how long ago at most.
        stable_for_s: how long its size and time are watched not to change, in seconds.
        marker: the name of the file beside it that says that it is whole, with ``{name}`` in it.
    """

    name: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int | None = None
    max_size: int | None = None
    min_age_s: float | None = None
    max_age_s: float | None = None
    stable_for_s: float | None = None
    marker: str | None = None

    def named(self, name: str) -> bool:
        """Tell whether a file is meant by its name."""
        if self.name and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.name):
            return False
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude)

    def sized(self, size_bytes: int | None) -> bool:
        """Tell whether a file is meant by its size; one that is not known is no size that is asked for."""
        if self.min_size is None and self.max_size is None:
            return True
        if size_bytes is None:
            return False
        return (self.min_size or 0) <= size_bytes and (self.max_size is None or size_bytes <= self.max_size)

    def aged(self, modified: datetime | None, precision_s: float, now: datetime) -> bool:
        """Tell whether a file is meant by its age; one that is not known is no age that is asked for.

        Args:
            modified: when it was changed; without a zone where nobody knows the server's.
            precision_s: it may have been so much later.
            now: with a zone.
        """
        if self.min_age_s is None and self.max_age_s is None:
            return True
        if modified is None or modified.tzinfo is None:
            return False
        age_s = (now - modified.astimezone(UTC)).total_seconds()
        if self.min_age_s is not None and age_s - precision_s < self.min_age_s:
            return False
        return self.max_age_s is None or age_s <= self.max_age_s


def is_bulk(path: str) -> bool:
    """Tell whether the source of a job names many files: it ends in ``/``, or has ``*`` or ``?`` in it."""
    return path.endswith("/") or _GLOB.search(path) is not None


def split(path: str) -> tuple[str, str]:
    """Part a bulk job's source into its folder, without a ``/`` at the end, and the pattern of the names.

    Raises:
        ValueError: the pattern is not in the last part.
    """
    folder, _, pattern = path.rpartition("/")
    if _GLOB.search(folder):
        raise ValueError(f"{path}: `*` and `?` may stand behind the last `/` alone")
    return folder, pattern or "*"


def beneath(destination: str, name: str) -> str:
    """Name the destination of a file of a bulk job.

    Args:
        destination: of the bulk job: a folder with a ``/`` at its end, or a path with ``{name}``, ``{stem}``
            or ``{suffix}`` in it.
        name: of the file.

    Raises:
        ValueError: it is neither.
    """
    stem, dot, suffix = name.rpartition(".")
    values = {"{name}": name, "{stem}": stem or name, "{suffix}": dot + suffix if stem else ""}
    found = re.sub(r"\{(?:name|stem|suffix)\}", lambda match: values[match[0]], destination)
    if destination.endswith("/"):
        return found + name
    if found == destination:
        raise ValueError(f"{destination}: many files go there: expected a folder, with `/` at its end")
    return found


def matcher(pattern: str) -> Callable[[str], bool]:
    """Make what tells whether a name matches a pattern; as in a shell, a dot in front must be asked for."""
    matches = re.compile(fnmatch.translate(pattern)).match
    hidden = pattern.startswith(".")
    return lambda name: (hidden or not name.startswith(".")) and matches(name) is not None


@dataclass(frozen=True, slots=True)
class Spreading:
    """How far the spreading of a bulk job has come.

    Attributes:
        cursor: the last name that was taken, in the order of names; empty before the first.
        files: how many jobs were made so far.
        size_bytes: of their files, as far as that was told.
        visits: how often the folder was listed.
    """

    cursor: str = ""
    files: int = 0
    size_bytes: int = 0
    visits: int = 0


NOT_YET = Spreading()
"""Before the first visit."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a visit at the folder has found.

    Attributes:
        files: names and sizes, in the order of names.
        cursor: the last name that is dealt with.
        more: whether there may be names behind that.
    """

    files: tuple[tuple[str, int | None], ...]
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True)
class Parent:
    """The record of a bulk job that is spread, as its closing answer needs it.

    Attributes:
        topic: where it was read first.
        partition: likewise.
        offset: likewise.
        timestamp_ms: its time.
        first_seen_ms: when it was read first, in milliseconds since 1970.
        key: its key.
        value: its value.
        headers: its headers, as the sender gave them.
        attempts: visits begun at its folder, the last time.
        jobs: how many jobs were made of it in all.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    first_seen_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    attempts: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Broken:
    """Why the spreading of a bulk job ended before its end.

    Attributes:
        code: the reason, for programs.
        message: the reason, for people.
        retriable: whether the same job may succeed later.
    """

    code: str
    message: str
    retriable: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of a bulk job, or a part of that.

    Attributes:
        batch: names it; no other bulk job ever has that name.
        task_id: of it; empty where this part does not know.
        source: what is spread, for people; likewise.
        since_ms: when it was read first, in milliseconds since 1970; 0 likewise.
        at_ms: when the newest of this happened, likewise.
        files: jobs that it was spread into.
        files_bytes: of their files, as far as that was told.
        succeeded: those of them that succeeded.
        skipped: those that found their file there.
        failed: those that failed.
        for_good: those of the failed that will not succeed by being tried again.
        bytes: that were copied.
        codes: why they failed, and how many of each.
        parent: its record; there once all of its jobs are made, and not before.
        broken: why not all that should have been were made; None where they were.
    """

    batch: str
    task_id: str = ""
    source: str = ""
    since_ms: int = 0
    at_ms: int = 0
    files: int = 0
    files_bytes: int = 0
    succeeded: int = 0
    skipped: int = 0
    failed: int = 0
    for_good: int = 0
    bytes: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    parent: Parent | None = None
    broken: Broken | None = None

    @property
    def ended(self) -> int:
        """How many of the jobs have ended."""
        return self.succeeded + self.skipped + self.failed

    @property
    def complete(self) -> bool:
        """Whether all of its jobs are made, and known here, and all of them have ended.

        What tells that no more are made may be read before what tells of the others: that may have been
        written anew meanwhile, further behind.
        """
        return self.parent is not None and self.ended >= self.files >= self.parent.jobs


def total(tallies: Iterable[Tally]) -> Tally:
    """Add up tallies of one bulk job; at least one."""
    parts = list(tallies)
    codes: dict[str, int] = {}
    for part in parts:
        for code, count in part.codes.items():
            codes[code] = codes.get(code, 0) + count
    return Tally(
        parts[0].batch,
        task_id=next((part.task_id for part in parts if part.task_id), ""),
        source=next((part.source for part in parts if part.source), ""),
        since_ms=min((part.since_ms for part in parts if part.since_ms), default=0),
        at_ms=max(part.at_ms for part in parts),
        files=sum(part.files for part in parts),
        files_bytes=sum(part.files_bytes for part in parts),
        succeeded=sum(part.succeeded for part in parts),
        skipped=sum(part.skipped for part in parts),
        failed=sum(part.failed for part in parts),
        for_good=sum(part.for_good for part in parts),
        bytes=sum(part.bytes for part in parts),
        codes=codes,
        parent=next((part.parent for part in parts if part.parent is not None), None),
        broken=next((part.broken for part in parts if part.broken is not None), None),
    )
