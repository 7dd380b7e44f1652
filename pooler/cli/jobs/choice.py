"""Which answered jobs are to be tried again. Pure."""

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from pooler.bus.batches import batch_of
from pooler.bus.events import data_of, plain
from pooler.bus.records import decode
from pooler.model.job import Job, Origin, Record

RETRY_HEADER = "pooler.retry_of"
"""Of a record that was submitted anew: where what it repeats stands."""
_OURS = re.compile(r"pooler\.|__connect\.errors\.")
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Ends(NamedTuple):
    """What a job and its answers have in common, besides its task_id."""

    task_id: str
    src_id: str
    src_path: str
    dst_id: str
    dst_path: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A job that failed.

    Attributes:
        where: its failure record stands.
        at_ms: when that was written, in milliseconds since 1970.
        code: why it failed.
        value: the job's record.
        key: that was the key of the failure: its task_id.
        headers: of it.
        job: decoded.
    """

    where: Origin
    at_ms: int
    code: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    job: Job


@dataclass(slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        remotes: of either end; none for any.
        codes: why it failed; none for any that may pass, and with ``any_code`` for any at all.
        any_code: whether those count too that would fail again.
    """

    remotes: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    any_code: bool = False


@dataclass(slots=True)
class Choice:
    """The failures that are asked for, and what has become of their jobs since.

    Args:
        wanted: which.
        most: more than so many are too many.

    Attributes:
        failed: by what a job and its answers have in common; the newest of each.
        passed_over: why others are not among them, and how many.
        overflown: whether there are too many.
    """

    wanted: Wanted
    most: int
    failed: dict[Ends, Failed] = field(default_factory=dict)
    passed_over: dict[str, int] = field(default_factory=dict)
    overflown: bool = False

    def failures(self, records: Iterable[Record]) -> bool:
        """Take in records of the failure topic."""
        for record in records:
            self._failure(record)
        self.overflown = len(self.failed) > self.most
        return not self.overflown

    def _failure(self, record: Record) -> None:
        answer = _answer(record)
        if answer is None or not self._asked(answer):
            return
        if "batch" in answer:
            self._pass_over("they close a bulk job, whose own jobs count by themselves")
            return
        raw = _job_of(record)
        original = Record(Origin("", 0, 0), None, raw)
        job = decode(original) if raw is not None else None
        if raw is None or not isinstance(job, Job):
            self._pass_over("the failure does not carry the job whole, or it is none")
            return
        headers = tuple(pair for pair in plain(record.headers) if not _OURS.match(pair[0]))
        ends = _ends(answer)
        before = self.failed.get(ends)
        if before is None or before.at_ms <= record.timestamp_ms:
            code = str(answer.get("error_code"))
            self.failed[ends] = Failed(record.origin, record.timestamp_ms, code, raw, headers, job)

    def _asked(self, answer: dict[str, Any]) -> bool:
        wanted = self.wanted
        if wanted.remotes and not wanted.remotes & {answer.get("src_id"), answer.get("dst_id")}:
            return False
        if wanted.codes:
            return answer.get("error_code") in wanted.codes
        return wanted.any_code or answer.get("retriable") is True

    def results(self, records: Iterable[Record]) -> bool:
        """Take in records of the result topic: what has completed since is not repeated."""
        for record in records:
            answer = _answer(record)
            failed = None if answer is None else self.failed.get(_ends(answer))
            if answer is not None and failed is not None and record.timestamp_ms >= failed.at_ms:
                del self.failed[_ends(answer)]
                self._pass_over("they have completed since")
        return bool(self.failed)

    def jobs(self, records: Iterable[Record]) -> bool:
        """Take in records of the topics that jobs are read from: what was submitted anew is not repeated."""
        on_their_way = {str(failed.where): ends for ends, failed in self.failed.items()}
        for record in records:
            repeats = dict(record.headers).get(RETRY_HEADER, b"").decode("utf-8", "replace")
            ends = on_their_way.get(repeats)
            if ends is not None and ends in self.failed:
                del self.failed[ends]
                self._pass_over("they were submitted anew already")
        return bool(self.failed)

    def _pass_over(self, why: str) -> None:
        self.passed_over[why] = self.passed_over.get(why, 0) + 1


def repeated(failed: Failed) -> tuple[tuple[str, bytes], ...]:
    """Give the headers of the record that repeats a job."""
    return (*failed.headers, (RETRY_HEADER, str(failed.where).encode()))


def is_of_batch(record: Record) -> bool:
    """Tell whether a record is a job, or an answer to one, that a bulk job was spread into."""
    return batch_of(record.headers) is not None


def since(text: str, now: dt.datetime) -> int:
    """Read a time, or how long ago it was; give it in milliseconds since 1970.

    Raises:
        ValueError: it is neither.
    """
    match = _AGO.fullmatch(text)
    if match is not None:
        return round((now.timestamp() - float(match[1]) * _SECONDS[match[2]]) * 1000)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r}: expected such as 2h, 30m or 2026-11-30T09:00") from None
    return round((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1000)


def _answer(record: Record) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(data_of(record))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _job_of(record: Record) -> bytes | None:
    """Give the job in a failure, byte for byte; None where something else stands in its place."""
    try:
        raw = bytes(msgspec.json.decode(data_of(record), type=dict[str, msgspec.Raw]).get("job", b""))
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return raw if isinstance(found, dict) and "sha256" not in found else None


def _ends(answer: dict[str, Any]) -> Ends:
    return Ends(*(str(answer.get(name, "")) for name in Ends._fields))
