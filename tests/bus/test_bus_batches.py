"""Tallies: however they are grouped and written anew, each answer counts once and one end is told."""

import dataclasses
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.bus.batches import (
    BATCH_HEADER,
    Batches,
    broken_off,
    children,
    closing,
    continuation,
    name_of,
    of_answers,
    read_tally,
    state_of,
    values,
    written,
)
from pooler.bus.records import decode
from pooler.bus.source import read
from pooler.errors import ErrorCode
from pooler.model.batch import Found, Parent, Tally, beneath, is_bulk, split, total
from pooler.model.job import Delivery, Job, Origin, Record
from pooler.model.outcome import Ended, Outcome, Spread, Status

NOW_MS = 1_000_000
PLACE = ("batches", 0)


def record(**more: object) -> Record:
    ends = {"src_id": "far", "src_path": "/out/*.csv", "dst_id": "local", "dst_path": "/in/"}
    value = json.dumps({"task_id": "many", **ends, **more}).encode()
    return Record(Origin("tasks", 1, 7), b"far", value, (("trace", b"1"),), 500_000)


def delivery(**more: object) -> Delivery:
    decoded = decode(record(**more))
    assert isinstance(decoded, Job), decoded
    return Delivery(decoded, record(**more), 0.0)


def spread(*names: str, more: bool = False, of: Delivery | None = None) -> Spread:
    found = Found(tuple((name, 5) for name in names), names[-1] if names else "", more)
    return Spread(delivery() if of is None else of, found, 1, 0)


def parent() -> Parent:
    found = children(spread(), first_seen_ms=1, now_ms=NOW_MS).tally.parent
    assert found is not None
    return found


async def test_the_jobs_of_a_visit_are_as_the_bulk_job_was() -> None:
    options = {"overwrite": "never", "filter": {"min_size": 1}}
    made = children(
        spread("a.csv", "한글.csv", of=delivery(options=options, mine=[1])), first_seen_ms=1, now_ms=NOW_MS
    )
    (key, value, headers), (_, second, _) = made.jobs
    assert key == b"far"
    assert headers == (("trace", b"1"), (BATCH_HEADER, b"tasks-1-7-7a120"))
    assert json.loads(value) == {
        "task_id": "many/a.csv", "src_id": "far", "src_path": "/out/a.csv", "dst_id": "local",
        "dst_path": "/in/a.csv", "options": {"overwrite": "never", "literal": True}, "mine": [1],
        "batch_id": "tasks-1-7-7a120",
    }  # fmt: skip
    assert json.loads(second)["src_path"] == "/out/한글.csv"
    job = decode(Record(Origin("tasks", 0, 0), key, value))
    assert isinstance(job, Job)
    assert not job.bulk
    assert (made.tally.files, made.tally.files_bytes, made.state.cursor) == (2, 10, "한글.csv")
    assert made.tally.parent is not None


def test_the_nested_form_stays_nested_and_a_key_of_the_task_id_goes_along() -> None:
    value = json.dumps({
        "task_id": "many", "source": {"connection_id": "far", "path": "/out/"},
        "destination": {"connection_id": "local", "path": "/in/{stem}.new"},
    }).encode()  # fmt: skip
    mine = Record(Origin("tasks", 0, 1), b"many", value)
    job = decode(mine)
    assert isinstance(job, Job)
    made = children(spread("a.x", of=Delivery(job, mine, 0.0)), first_seen_ms=1, now_ms=NOW_MS)
    key, written_value, _ = made.jobs[0]
    assert key == b"many/a.x"
    assert json.loads(written_value)["destination"] == {"connection_id": "local", "path": "/in/a.new"}


def test_names_that_make_too_long_a_task_id_are_cut_and_stay_apart() -> None:
    job = decode(record(task_id="x" * 1000))
    assert isinstance(job, Job)
    found = [
        task_id for task_id, _ in values(job, record().value or b"", ["n" * 200 + "1", "n" * 200 + "2"], None)
    ]
    assert len(set(found)) == 2
    assert max(map(len, found)) <= 1024


async def test_what_is_gone_on_with_knows_where_it_was() -> None:
    one = spread("a", "b", more=True)
    made = children(one, first_seen_ms=77, now_ms=NOW_MS)
    assert made.tally.parent is None
    out = continuation(one, made.state, first_seen_ms=77)
    back = read(Record(Origin("batches", 3, 9), out.key, out.value, out.headers), {"batches"})
    assert isinstance(back, Delivery)
    assert (back.spreading, back.job, back.original.origin) == (
        made.state,
        one.delivery.job,
        Origin("tasks", 1, 7),
    )
    assert name_of(back.original) == made.tally.batch
    assert state_of(back.record.headers) == made.state
    again = continuation(Spread(back, Found((("c", 1),), "c", True), 1, 0), made.state, first_seen_ms=77)
    assert again.headers == out.headers  # the former state is gone

    # Behind a visit a failure is told by a tally, before the first by itself.
    failed = Outcome.failed(ErrorCode.FILE_NOT_FOUND, "gone")
    tally = broken_off(Ended(back, failed), first_seen_ms=77, now_ms=NOW_MS)
    assert tally is not None
    assert broken_off(Ended(one.delivery, failed), first_seen_ms=77, now_ms=NOW_MS) is None
    summed = total([made.tally, tally, Tally(tally.batch, succeeded=2)])
    assert summed.complete
    told = closing(summed, NOW_MS)
    assert told is not None
    assert told[1].headers == (("trace", b"1"),)
    assert told[2].failure is not None
    assert told[2].failure.message == "gone; 2 jobs were made before"


def test_answers_are_summed_up_by_their_bulk_job() -> None:
    def ended(batch: str | None, outcome: Outcome) -> Ended:
        headers = () if batch is None else ((BATCH_HEADER, batch.encode()),)
        job = delivery(src_path="/out/a", dst_path="/in/a").job
        return Ended(Delivery(job, Record(Origin("t", 0, 0), None, b"", headers), 0.0), outcome)

    found = of_answers(
        [
            ended("x", Outcome(Status.SUCCESS, bytes_transferred=3)),
            ended("x", Outcome(Status.SKIPPED)),
            ended("x", Outcome.failed(ErrorCode.IO_ERROR, "", retriable=True)),
            ended(None, Outcome(Status.SUCCESS)),
            ended("y", Outcome.failed(ErrorCode.FILE_NOT_FOUND, "")),
        ],
        NOW_MS,
    )
    assert [
        (t.batch, t.succeeded, t.skipped, t.failed, t.for_good, t.bytes, dict(t.codes)) for t in found
    ] == [
        ("x", 1, 1, 1, 0, 3, {"IO_ERROR": 1}),
        ("y", 0, 0, 1, 1, 0, {"FILE_NOT_FOUND": 1}),
    ]


class Topic:
    """One partition of the batch topic, and who has it: transactions, and the crash before any of them."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.settled: set[int] = set()
        self.closed: list[Tally] = []
        self.now_s = NOW_MS / 1000
        self.begin()

    def begin(self) -> None:
        """A new owner, that knows of what is committed and reads the rest."""
        self.read_to = 0
        self.batches = Batches(lambda at: at.origin.offset not in self.settled, wall_s=lambda: self.now_s)

    def write(self, tally: Tally) -> None:
        out = written(tally)
        origin = Origin(*PLACE, len(self.log))
        self.log.append(Record(origin, out.key, out.value, out.headers, round(self.now_s * 1000)))

    def read(self) -> None:
        for at in self.log[self.read_to :]:
            if at.origin.offset not in self.settled:
                assert self.batches.take(at)
        self.read_to = len(self.log)

    def commit(self) -> None:
        for folds in self.batches.folds().values():
            for fold in folds:
                self.settled.update(fold.offsets)
                if fold.closes:
                    self.closed.append(fold.tally)
                else:
                    self.write(fold.tally)

    @property
    def open(self) -> int:
        return len(self.log) - len(self.settled)


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 4))
def test_in_any_order_and_through_any_crash_one_end_has_all_answers(
    seed: int, files: int, visits: int
) -> None:
    chance = random.Random(seed)
    parts = [Tally("b", at_ms=NOW_MS, succeeded=1, bytes=2) for _ in range(files)]
    cuts = [files * visit // visits for visit in range(visits + 1)]
    last = dataclasses.replace(parent(), jobs=files)
    for visit in range(visits):
        told = last if visit == visits - 1 else None
        if told is not None or cuts[visit + 1] > cuts[visit]:
            parts.append(Tally("b", at_ms=NOW_MS, files=cuts[visit + 1] - cuts[visit], parent=told))
    chance.shuffle(parts)
    topic = Topic()
    while parts or topic.open:
        match chance.randrange(4):
            case 0 if parts:
                topic.write(parts.pop())
            case 1:
                topic.read()
            case 2:
                topic.commit()
            case 3:
                topic.begin()
            case _:
                pass
    assert [(tally.files, tally.ended, tally.bytes) for tally in topic.closed] == [(files, files, 2 * files)]


def test_a_tally_alone_waits_until_others_have_gone_on_or_it_is_old() -> None:
    topic = Topic()
    topic.write(Tally("b", at_ms=NOW_MS, files=9))
    topic.read()
    topic.commit()
    assert (len(topic.log), topic.open) == (1, 1)
    topic.now_s += 3_601
    topic.commit()
    assert (len(topic.log), topic.open) == (2, 1)
    for number in range(2_001):
        topic.write(Tally(f"c{number}", at_ms=NOW_MS))
    topic.read()
    topic.commit()
    assert 0 in topic.settled
    assert 1 in topic.settled
    assert json.loads(topic.log[-1].value or b"")["batch"] == "b"


def test_what_nobody_hears_of_is_closed_as_it_stands() -> None:
    topic = Topic()
    topic.write(Tally("b", at_ms=NOW_MS, files=9, succeeded=7, parent=parent()))
    topic.write(Tally("stray", at_ms=NOW_MS, succeeded=1))
    topic.now_s += 7 * 86_400 + 1
    topic.read()
    topic.commit()
    assert topic.open == 0
    told = {tally.batch: closing(tally, NOW_MS) for tally in topic.closed}
    assert told["stray"] is None
    assert told["b"] is not None
    failure = told["b"][2].failure
    assert failure is not None
    assert (failure.code, failure.message) == (ErrorCode.BATCH_INCOMPLETE, "2 of 9 jobs have no answer")


def test_where_there_is_no_room_all_are_written_anew_for_the_others_to_be_read() -> None:
    batches = Batches(lambda _: True, fill=lambda: 0.5, wall_s=lambda: NOW_MS / 1000)
    out = written(Tally("b", at_ms=NOW_MS, files=9))
    assert batches.take(Record(Origin(*PLACE, 0), out.key, out.value, out.headers, NOW_MS))
    assert [fold.offsets for fold in batches.folds()[PLACE]] == [(0,)]
    assert [tally.batch for tally in batches.open()] == ["b"]


@pytest.mark.parametrize(
    ("value", "headers"), [(b"{}", ()), (b"junk", (("pooler.batch.tally", b"1"),)), (None, ())]
)
def test_what_is_no_tally_is_none(value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> None:
    assert read_tally(Record(Origin(*PLACE, 0), b"k", value, headers)) is None


@pytest.mark.parametrize(
    ("path", "bulk"),
    [("/a", False), ("/a/", True), ("/", True), ("/a*", True), ("/a?b", True), ("/a[1].bin", False)],
)
def test_which_sources_are_many(path: str, bulk: bool) -> None:  # noqa: FBT001 - a row of a table
    assert is_bulk(path) is bulk


def test_where_files_go() -> None:
    assert split("/out/*.csv") == ("/out", "*.csv")
    assert split("out/") == ("out", "*")
    assert beneath("/in/", "a.b") == "/in/a.b"
    assert beneath("/in/{stem}-1{suffix}", ".b") == "/in/.b-1"
    assert beneath("/{name}/", "{stem}") == "/{stem}/{stem}"
    with pytest.raises(ValueError, match="expected a folder"):
        beneath("/in", "a")
    with pytest.raises(ValueError, match="behind the last"):
        split("/*/a")
