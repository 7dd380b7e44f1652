import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.topics import Read
from tests.chaos.verdict import (
    Told,
    Verdict,
    judge_answers,
    judge_files,
    judge_logs,
    leftovers,
    tell,
)
from tests.chaos.workload import Fate, Truth, digest

FATES: dict[str, Fate] = {"a": "copied", "b": "FILE_NOT_FOUND", "c": "dead letter"}
GOOD = [Told("a", "copied"), Told("b", "FILE_NOT_FOUND"), Told("c", "dead letter")]


def broken(verdict: Verdict) -> set[str]:
    return {what.partition(":")[0] for what in verdict.breaks}


def judged(answers: list[Told], *, exactly_once: bool = True) -> set[str]:
    verdict = Verdict()
    judge_answers(verdict, Truth(dict(FATES)), answers, exactly_once=exactly_once)
    return broken(verdict)


def test_what_is_right_breaks_nothing() -> None:
    assert judged(GOOD) == set()


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        (GOOD[1:], "lost"),
        ([*GOOD, GOOD[0]], "answered more than once"),
        ([*GOOD, Told("x", "copied")], "answers to nobody's job"),
        ([Told("a", "FILE_NOT_FOUND"), *GOOD[1:]], "wrong answers"),
        ([*GOOD[:2], Told("c", "INVALID_JOB")], "wrong answers"),
    ],
)
def test_each_wrong_answer_is_a_break(answers: list[Told], what: str) -> None:
    assert judged(answers) == {what}


def test_two_answers_are_allowed_where_once_is_the_least() -> None:
    assert judged([*GOOD, GOOD[0]], exactly_once=False) == set()
    wrong = [*GOOD, Told("a", "FILE_NOT_FOUND")]
    assert judged(wrong, exactly_once=False) == {"wrong answers"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"task_id": "a", "status": "success"}, Told("a", "copied")),
        ({"task_id": "a", "status": "skipped", "after": "moved"}, Told("a", "copied")),
        ({"task_id": "a", "status": "success", "after": "left"}, Told("a", "copied", left=True)),
        ({"task_id": "b", "status": "failed", "error_code": "INVALID_JOB"}, Told("b", "INVALID_JOB")),
    ],
)
def test_answers_are_read(answer: dict[str, Any], told: Told) -> None:
    assert tell(Read("results", b"", json.dumps(answer).encode()), "dead") == told


def test_a_dead_letter_is_known_by_its_key() -> None:
    assert tell(Read("dead", b"c", b"{"), "dead") == Told("c", "dead letter")


class Files:
    def __init__(self, folder: Path) -> None:
        self.copy, self.source, self.moved = folder / "copy", folder / "source", folder / "moved"
        self.truth = Truth(
            files={self.copy: {digest(b"one"), digest(b"other")}},
            gone={self.source: "a"},
            moved={self.moved: ("a", digest(b"one"))},
        )
        self.copy.write_bytes(b"other")
        self.moved.write_bytes(b"one")

    def judged(self, *, left: bool = False) -> set[str]:
        verdict = Verdict()
        judge_files(verdict, self.truth, [Told("a", "copied", left=left)])
        return broken(verdict)


def test_right_files_break_nothing(tmp_path: Path) -> None:
    assert Files(tmp_path).judged() == set()


def test_a_destination_that_is_missing_mixed_or_cut_off_is_a_break(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.copy.write_bytes(b"oneer")
    assert files.judged() == {"destinations wrong"}
    files.copy.unlink()
    assert files.judged() == {"destinations missing"}


def test_a_source_may_be_left_only_where_the_answer_says_so(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.moved.rename(files.source)
    assert files.judged() == {"sources left without a word", "moved sources missing"}
    assert files.judged(left=True) == set()


def test_what_was_moved_must_be_whole(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.moved.write_bytes(b"on")
    assert files.judged() == {"moved sources missing"}


def test_temporary_files_are_found_in_any_depth(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    part = tmp_path / "in" / ".pooler-1-2-3.part"
    part.touch()
    assert leftovers([tmp_path]) == [part]


def test_as_many_as_are_allowed_are_no_break() -> None:
    verdict = Verdict()
    verdict.find("one", ["a"], allowed=1)
    verdict.find("two", ["a", "b"], allowed=1)
    assert verdict.figures == {"one": 1, "two": 2}
    assert broken(verdict) == {"two"}


def test_copies_too_many_are_counted_from_the_logs() -> None:
    fates: dict[str, Fate] = {str(number): "copied" for number in range(200)}
    copies = [{"event": "transfer_completed", "task_id": name} for name in fates]
    for more, breaks in ((2, set()), (3, {"copied more than once"})):
        verdict = Verdict()
        judge_logs(verdict, [*copies, *copies[:more]], fates, doubles=0.01)
        assert verdict.figures["copied more than once"] == more
        assert broken(verdict) == breaks


def test_an_answer_from_a_note_is_no_copy() -> None:
    events = [
        {"event": name, "task_id": "a"}
        for name in ("transfer_completed", "transfer_recalled", "transfer_completed")
    ]
    verdict = Verdict()
    judge_logs(verdict, events, FATES, doubles=0)
    assert not broken(verdict)
    assert verdict.figures["answered from notes of others"] == 1
    judge_logs(verdict, events[:1] + events, FATES, doubles=0)
    assert broken(verdict) == {"copied more than once"}


def test_a_crash_in_the_logs_is_a_break() -> None:
    verdict = Verdict()
    judge_logs(verdict, [{"event": "transfer_crashed", "task_id": "a"}], FATES, doubles=0)
    assert broken(verdict) == {"transfers that crashed"}
