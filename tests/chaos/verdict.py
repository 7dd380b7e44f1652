"""What came of a run, against what should have: every promise that was broken, by name.

Neighbours: `workload` knows the truth, `topics` read the answers, `services` the logs.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.topics import Read
from tests.chaos.workload import Fate, Truth, digest

MEMORY_LIMIT_BYTES = 200_000_000
_SHOWN = 5
_COUNTED = {
    "assignments of partitions": "partitions_assigned",
    "starts of a process": "service_started",
    "drains": "drain_begun",
    "transactions of unknown end": "transaction_unsure",
    "exceptions nobody retrieved": "asyncio_exception",
    "answered from notes of others": "transfer_recalled",
}


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        figures: numbers, by what they count.
        breaks: each broken promise, with examples.
    """

    figures: dict[str, float] = field(default_factory=dict)
    breaks: list[str] = field(default_factory=list)

    def find(self, what: str, found: Sequence[object], *, allowed: float = 0) -> None:
        """Count something that there should be none of, or only so many."""
        self.figures[what] = len(found)
        if len(found) > allowed:
            self.breaks.append(f"{what}: {len(found)}, such as {', '.join(map(str, found[:_SHOWN]))}")


class Told(NamedTuple):
    """What an answer says.

    Attributes:
        name: whose it is.
        fate: what became of the job.
        left: whether its source is where it was, though it was to be deleted or moved.
    """

    name: str
    fate: str
    left: bool = False


def tell(answer: Read, dead_letters: str) -> Told:
    """Read an answer, or a dead letter from the topic of these."""
    if answer.topic == dead_letters:
        return Told(answer.key.decode(errors="replace"), "dead letter")
    said: dict[str, Any] = json.loads(answer.value)
    # Skipped is a copy too: one that an owner before has made.
    return Told(str(said["task_id"]), said.get("error_code") or "copied", said.get("after") == "left")


def judge_answers(verdict: Verdict, truth: Truth, answers: Iterable[Told], *, exactly_once: bool) -> None:
    """Compare what stands on the topics with what has to come of each job.

    Args:
        verdict: gets what is found.
        truth: about all jobs that were submitted.
        answers: everything on the topics of answers.
        exactly_once: whether two answers to one job are a break.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        found[answer.name].append(answer.fate)
    verdict.figures["jobs"] = len(truth.fates)
    verdict.find("lost", [name for name in truth.fates if name not in found])
    verdict.find("answers to nobody's job", [name for name in found if name not in truth.fates])
    wrong = [
        f"{name} is {fate} and should be {truth.fates[name]}"
        for name, fates in found.items()
        for fate in dict.fromkeys(fates)
        if name in truth.fates and fate != truth.fates[name]
    ]
    verdict.find("wrong answers", wrong)
    twice = [f"{name} ({len(fates)})" for name, fates in found.items() if len(fates) > 1]
    verdict.find("answered more than once", twice, allowed=0 if exactly_once else len(twice))


def judge_files(verdict: Verdict, truth: Truth, answers: Iterable[Told]) -> None:
    """Compare the files of both sides with what they should be.

    Args:
        verdict: gets what is found.
        truth: about all jobs that were submitted.
        answers: a source may be left if one of them says so.
    """
    verdict.find("destinations missing", [path for path in truth.files if not path.exists()])
    wrong = [
        path
        for path, right in truth.files.items()
        if path.exists() and digest(path.read_bytes()) not in right
    ]
    verdict.find("destinations wrong", wrong)
    said = {answer.name for answer in answers if answer.left}
    verdict.figures["sources left, and said so"] = len(said)
    left = [path for path, name in truth.gone.items() if name not in said and path.exists()]
    verdict.find("sources left without a word", left)
    lost = [
        path
        for path, (name, right) in truth.moved.items()
        if name not in said and not (path.exists() and digest(path.read_bytes()) == right)
    ]
    verdict.find("moved sources missing", lost)


def leftovers(folders: Iterable[Path]) -> list[Path]:
    """Look for temporary files, in any depth."""
    return [path for folder in folders for path in folder.rglob(".pooler-*")]


def judge_logs(
    verdict: Verdict, events: Iterable[Mapping[str, Any]], fates: Mapping[str, Fate], *, doubles: float
) -> None:
    """Count what the processes say of themselves.

    Args:
        verdict: gets what is found.
        events: of all processes.
        fates: of all jobs.
        doubles: how many copies may be made again of what was right already, for each job.
    """
    seen: Counter[str] = Counter()
    copies: Counter[str] = Counter()
    crashes: list[str] = []
    for event in events:
        name = str(event.get("event"))
        seen[name] += 1
        if name == "transfer_completed":
            copies[str(event.get("task_id"))] += 1
        elif name == "transfer_recalled":
            copies[str(event.get("task_id"))] -= 1  # it is told as completed, too
        elif name == "transfer_crashed":
            crashes.append(f"{event.get('task_id')}: {event.get('exception')}")
    copied = sum(fate == "copied" for fate in fates.values())
    again = [f"{name} ({count})" for name, count in copies.items() if count > 1]
    verdict.find("copied more than once", again, allowed=doubles * copied)
    extra = sum(count - 1 for count in copies.values() if count > 1)
    verdict.figures["copies too many, in percent"] = round(100 * extra / max(copied, 1), 2)
    verdict.find("transfers that crashed", crashes)
    for what, name in _COUNTED.items():
        verdict.figures[what] = seen[name]
