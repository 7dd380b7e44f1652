"""Bulk jobs on their way: the records that they are spread into, and the tallies of what became of them.

All of it is written in the transactions in which jobs are answered, so nothing is there twice and nothing is
missing:

* a visit at the folder writes its jobs, the bulk job itself with a new cursor (or nothing, behind the last
  visit), and a tally of what it made, with the offset of the record that it read;
* answers to jobs of a bulk job go out with a tally of these answers, and their offsets;
* tallies are read from the batch topic, on one partition for each bulk job. Whoever has that partition adds
  up those in hand and writes the sum in their place, with the offsets of all of them. Where the sum is
  complete the closing answer is written in its stead: so there is one, whoever dies when.

Pure: `pooler.bus.sink` has it written.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from pooler.bus.events import Headers, plain
from pooler.bus.ledger import Partition
from pooler.bus.records import OutRecord, decode
from pooler.bus.retries import park
from pooler.errors import ErrorCode
from pooler.model.batch import Broken, Parent, Spreading, Tally, beneath, split, total
from pooler.model.job import Delivery, Job, Origin, Past, Record
from pooler.model.outcome import Ended, Failure, Outcome, Spread, Status

log = structlog.get_logger(__name__)

BATCH_HEADER = "pooler.batch"
"""Of the jobs of a bulk job, and of their answers: which one."""
_STATE_HEADER = "pooler.batch.spreading"
_TALLY_HEADER = "pooler.batch.tally"
_TASK_ID_LIMIT = 1024
_REWRITE_AFTER_OFFSETS = 2_000
"""Others may have gone on so far since a tally was written: it must not hold up its partition."""
_CROWDED = 0.5
_REWRITE_AFTER_S = 3_600.0
"""So old may a tally be: the topic forgets."""
_FORGET_AFTER_S = 7 * 86_400.0
"""A bulk job of which nothing is heard for so long is closed as it stands."""


class Children(NamedTuple):
    """What a visit at the folder of a bulk job has to have written.

    Attributes:
        jobs: keys, values and headers of the jobs.
        state: how far it has come with them.
        tally: of them.
    """

    jobs: list[tuple[bytes | None, bytes, Headers]]
    state: Spreading
    tally: Tally


def batch_of(headers: Headers) -> str | None:
    """Tell of which bulk job a record is a job; None where of none."""
    found = next((value for name, value in headers if name == BATCH_HEADER), None)
    return None if found is None else found.decode("utf-8", "replace")


def state_of(headers: Headers) -> Spreading:
    """Read how far a bulk job has come, from its headers."""
    found = next((value for name, value in headers if name == _STATE_HEADER), None)
    if found is None:
        return Spreading()
    try:
        return msgspec.json.decode(found, type=Spreading)
    except msgspec.DecodeError:  # somebody else's
        return Spreading()


def stateless(record: Record) -> Record:
    """Give a record with the headers that its sender gave it."""
    return replace(record, headers=tuple(pair for pair in record.headers if pair[0] != _STATE_HEADER))


def name_of(record: Record) -> str:
    """Name a bulk job by its record, as it was read first: no other ever has that name."""
    return f"{record.origin}-{max(0, record.timestamp_ms):x}"


def children(spread: Spread, *, first_seen_ms: int, now_ms: int) -> Children:
    """Make the jobs of the files that a visit has found.

    Args:
        spread: what was found.
        first_seen_ms: when the bulk job was read first, in milliseconds since 1970.
        now_ms: the time, likewise.
    """
    delivery, found = spread.delivery, spread.found
    job, record, before = delivery.job, delivery.original, delivery.spreading
    batch = name_of(record)
    headers = (*plain(stateless(record).headers), (BATCH_HEADER, batch.encode()))
    by_task_id = record.key == job.task_id.encode()
    jobs = []
    for task_id, value in values(job, record.value or b"", [name for name, _ in found.files], batch):
        jobs.append((task_id.encode() if by_task_id else record.key, value, headers))
    size_bytes = sum(size or 0 for _, size in found.files)
    state = Spreading(
        found.cursor, before.files + len(jobs), before.size_bytes + size_bytes, before.visits + 1
    )
    tally = Tally(
        batch,
        task_id=job.task_id,
        source=str(job.source),
        since_ms=first_seen_ms,
        at_ms=now_ms,
        files=len(jobs),
        files_bytes=size_bytes,
        parent=None if found.more else _parent(delivery, first_seen_ms, spread.attempts, state.files),
    )
    return Children(jobs, state, tally)


def values(job: Job, value: bytes, names: Iterable[str], batch: str | None) -> Iterator[tuple[str, bytes]]:
    """Write the jobs of some files of a bulk job: their task_ids and their records.

    Args:
        job: the bulk job.
        value: of its record.
        names: of the files.
        batch: names the bulk job; None where nobody waits for its end.
    """
    fields: dict[str, Any] = msgspec.json.decode(value)
    options = {key: one for key, one in (fields.get("options") or {}).items() if key != "filter"}
    fields["options"] = options | {"literal": True}
    if batch is not None:
        fields["batch_id"] = batch
    folder, _ = split(job.source.path)
    for name in names:
        task_id = f"{job.task_id}/{name}"
        if len(task_id) > _TASK_ID_LIMIT:
            task_id = f"{task_id[: _TASK_ID_LIMIT - 300]}…{name[-250:]}"
        ends = f"{folder}/{name}", beneath(job.destination.path, name)
        if "source" in fields:
            for end, path in zip(("source", "destination"), ends, strict=True):
                fields[end] = {**fields[end], "path": path}
        else:
            fields["src_path"], fields["dst_path"] = ends
        fields["task_id"] = task_id
        yield task_id, msgspec.json.encode(fields)


def continuation(spread: Spread, state: Spreading, *, first_seen_ms: int) -> OutRecord:
    """Write a bulk job that is to be gone on with.

    Args:
        spread: the visit behind it.
        state: how far it has come.
        first_seen_ms: when it was read first, in milliseconds since 1970.
    """
    delivery = spread.delivery
    own = stateless(delivery.record)
    record = replace(own, headers=(*own.headers, (_STATE_HEADER, msgspec.json.encode(state))))
    return park(record, Past(delivery.original.origin, first_seen_ms), "batch", 0)


def broken_off(ended: Ended, *, first_seen_ms: int, now_ms: int) -> Tally | None:
    """Tell that no more jobs are made of a bulk job that failed behind a visit; None for another ending."""
    delivery, failure = ended.delivery, ended.outcome.failure
    if not delivery.spreading.visits or failure is None:
        return None
    return Tally(
        name_of(delivery.original),
        task_id=delivery.job.task_id,
        source=str(delivery.job.source),
        since_ms=first_seen_ms,
        at_ms=now_ms,
        parent=_parent(delivery, first_seen_ms, ended.outcome.attempts, delivery.spreading.files),
        broken=Broken(failure.code.value, failure.message, failure.retriable),
    )


def _parent(delivery: Delivery, first_seen_ms: int, attempts: int, jobs: int) -> Parent:
    record = stateless(delivery.original)
    return Parent(
        *record.origin,
        record.timestamp_ms,
        first_seen_ms,
        record.key,
        record.value or b"",
        record.headers,
        attempts,
        jobs,
    )


def of_answers(ended: Iterable[Ended], now_ms: int) -> list[Tally]:
    """Sum up answers to jobs of bulk jobs, one tally for each of these; others are passed over."""
    found: dict[str, list[Tally]] = {}
    for one in ended:
        batch = batch_of(one.delivery.record.headers)
        if batch is not None and not one.delivery.job.bulk:
            found.setdefault(batch, []).append(_of_answer(batch, one.outcome, now_ms))
    return [total(tallies) for tallies in found.values()]


def _of_answer(batch: str, outcome: Outcome, now_ms: int) -> Tally:
    failure = outcome.failure
    return Tally(
        batch,
        at_ms=now_ms,
        succeeded=int(outcome.status is Status.SUCCESS),
        skipped=int(outcome.status is Status.SKIPPED),
        failed=int(failure is not None),
        for_good=int(failure is not None and not failure.retriable),
        bytes=outcome.bytes_transferred,
        codes={} if failure is None else {failure.code.value: 1},
    )


def written(tally: Tally) -> OutRecord:
    """Write a tally. All of one bulk job have one key, and so stand on one partition."""
    return OutRecord("batch", tally.batch.encode(), msgspec.json.encode(tally), ((_TALLY_HEADER, b"1"),))


def read_tally(record: Record) -> Tally | None:
    """Read a tally; None where a record is none."""
    if record.headers != ((_TALLY_HEADER, b"1"),):
        return None
    try:
        return msgspec.json.decode(record.value or b"", type=Tally)
    except msgspec.DecodeError:
        return None


def closing(tally: Tally, now_ms: int) -> tuple[Job, Record, Outcome] | None:
    """Make the closing answer of a bulk job; None where its record is not known, or is no job any more."""
    parent = tally.parent
    if parent is None:
        return None
    origin = Origin(parent.topic, parent.partition, parent.offset)
    record = Record(origin, parent.key, parent.value, parent.headers, parent.timestamp_ms)
    job = decode(record)
    if not isinstance(job, Job):
        return None
    failure = _failure(tally)
    outcome = Outcome(
        Status.SUCCESS if failure is None else Status.FAILED,
        attempts=parent.attempts,
        bytes_transferred=tally.bytes,
        duration_ms=max(0, now_ms - parent.first_seen_ms),
        failure=failure,
        batch=shown(tally),
    )
    return job, record, outcome


def outcome_of(tally: Tally) -> str:
    """Tell how a bulk job is closed: one of `pooler.ops.metrics.BATCH_OUTCOMES`."""
    if tally.parent is None:
        return "forgotten"
    return "success" if _failure(tally) is None else "failed"


def _failure(tally: Tally) -> Failure | None:
    if tally.broken is not None:
        code, message, retriable = tally.broken.code, tally.broken.message, tally.broken.retriable
        return Failure(ErrorCode(code), f"{message}; {tally.files} jobs were made before", retriable)
    missing = tally.files - tally.ended
    if missing > 0:
        message = f"{missing} of {tally.files} jobs have no answer"
        return Failure(ErrorCode.BATCH_INCOMPLETE, message, retriable=True)
    if tally.failed:
        message = f"{tally.failed} of {tally.files} jobs failed"
        return Failure(ErrorCode.BATCH_INCOMPLETE, message, retriable=not tally.for_good)
    return None


def shown(tally: Tally) -> dict[str, Any]:
    """Tell of a bulk job, as its closing answer and the API do."""
    return {
        "id": tally.batch,
        "files": tally.files,
        "files_bytes": tally.files_bytes,
        "succeeded": tally.succeeded,
        "skipped": tally.skipped,
        "failed": tally.failed,
        "codes": dict(tally.codes),
    }


class Fold(NamedTuple):
    """Tallies that are in hand, and what is to be written in their place.

    Attributes:
        offsets: of their records.
        tally: their sum.
        closes: whether it is all that there is to come.
    """

    offsets: tuple[int, ...]
    tally: Tally
    closes: bool


_Held = dict[int, tuple[Tally, Record]]
"""Tallies and the records that they were read from, by offset."""


class Batches:
    """The tallies in hand of this process.

    Nothing is decided before it is written: what to fold is worked out anew for each publication, from what
    is still ours then.

    Args:
        wants: whether a record is still ours, and not settled.
        fill: tells how much of the room for what is in hand is taken: 1 for all of it. Where that is half of
            it all tallies are written anew, behind the others, which are read then.
        wall_s: tells the seconds since 1970.
    """

    def __init__(
        self,
        wants: Callable[[Record], bool],
        fill: Callable[[], float] = lambda: 0.0,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._wants = wants
        self._fill = fill
        self._wall_s = wall_s
        self._held: dict[Partition, _Held] = {}
        self._newest: dict[Partition, int] = {}

    def take(self, record: Record) -> bool:
        """Take a tally in hand; False where a record is none."""
        tally = read_tally(record)
        if tally is None:
            return False
        topic, partition, offset = record.origin
        self._held.setdefault((topic, partition), {})[offset] = tally, record
        self._newest[topic, partition] = max(offset, self._newest.get((topic, partition), 0))
        return True

    def folds(self) -> Mapping[Partition, list[Fold]]:
        """Tell what is to be written now, by the partition of the tallies; nothing is changed by asking."""
        found = {partition: self._folds(partition, held) for partition, held in self._ours()}
        return {partition: folds for partition, folds in found.items() if folds}

    def open(self) -> list[Tally]:
        """Sum up the bulk jobs whose tallies we have, the oldest first."""
        tallies: dict[str, list[Tally]] = {}
        for _, held in self._ours():
            for tally, _ in held.values():
                tallies.setdefault(tally.batch, []).append(tally)
        return sorted(map(total, tallies.values()), key=lambda tally: tally.since_ms)

    def _ours(self) -> Iterator[tuple[Partition, _Held]]:
        for partition, held in list(self._held.items()):
            ours = {offset: one for offset, one in held.items() if self._wants(one[1])}
            if ours:
                self._held[partition] = ours
                yield partition, ours
            else:
                del self._held[partition]

    def _folds(self, partition: Partition, held: Mapping[int, tuple[Tally, Record]]) -> list[Fold]:
        by_batch: dict[str, list[int]] = {}
        for offset, (tally, _) in held.items():
            by_batch.setdefault(tally.batch, []).append(offset)
        now_s, newest = self._wall_s(), self._newest[partition]
        crowded = self._fill() >= _CROWDED
        found = []
        for offsets in by_batch.values():
            tally = total(held[offset][0] for offset in offsets)
            given_up = now_s - tally.at_ms / 1000 > _FORGET_AFTER_S
            written_s = min(held[offset][1].timestamp_ms / 1000 for offset in offsets)
            behind = newest - min(offsets) > _REWRITE_AFTER_OFFSETS
            old = crowded or behind or now_s - written_s > _REWRITE_AFTER_S
            closes = tally.complete or given_up
            if closes or old or len(offsets) > 1:
                found.append(Fold(tuple(offsets), tally, closes))
        return found
