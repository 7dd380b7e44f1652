"""Books, codec, rebalances and retries against a model: whatever dies or sleeps, each job has one answer.

The world is a broker that keeps transactions, a disk and a server, and processes with the real books. They
keep to the order of `pooler.bus.transactions`: start the partition's producer, then read what is committed,
then publish.

Some jobs remove their source. A process notes that it has copied before it removes, and removes only while
it is sure to be the owner (`GroupSession.exclusive`); the removal may arrive later, though the process is
dead by then. So whoever finds no source finds a note, and nobody parks a job that was done.
"""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pooler.bus.ledger import METADATA_BYTES, SPAN_LIMIT, Commitment, Ledger, Partition, decode_gaps
from pooler.model.job import Origin

JOBS: tuple[Partition, ...] = (("tasks", 0), ("tasks", 1), ("tasks", 2))
PARKED: Partition = ("retry", 0)
PARTITIONS = (*JOBS, PARKED)
PODS = 3
ATTEMPTS = 3
POLL = 40
REMEMBERED = 1_000  # offsets: a commitment that is older than that can come back from nowhere
STEPS = int(os.environ.get("POOLER_MACHINE_STEPS", "1000000"))

End = Literal["answered", "parked", "missing"]
"""How a job ends in a process; ``missing``: its source is not there, and nobody has noted why."""


class Tried(NamedTuple):
    """What a record of a job says: which job it is, by its first record, and the attempts made so far."""

    job: Origin
    attempts: int


def removes_its_source(job: Origin) -> bool:
    """Tell whether a job is one of those."""
    return job.offset % 3 == 0


@dataclass
class Broker:
    """What is in the topics, and what readers of committed records see; and what is on disk and server."""

    log: dict[Partition, list[int]] = field(default_factory=lambda: {where: [] for where in PARTITIONS})
    ends: Counter[Partition] = field(default_factory=Counter)
    committed: dict[Partition, Commitment] = field(
        default_factory=lambda: dict.fromkeys(PARTITIONS, Commitment(0, ""))
    )
    producers: Counter[Partition] = field(default_factory=Counter)
    exits: Counter[Origin] = field(default_factory=Counter)
    answers: Counter[Origin] = field(default_factory=Counter)
    records: dict[Origin, Tried] = field(default_factory=dict)
    copies: Counter[Origin] = field(default_factory=Counter)
    notes: defaultdict[Partition, set[int]] = field(default_factory=lambda: defaultdict(set))
    gone: set[Origin] = field(default_factory=set)
    on_their_way: list[Origin] = field(default_factory=list)

    def start_producer(self, where: Partition) -> int:
        """Shut out whoever had one."""
        self.producers[where] += 1
        return self.producers[where]

    def append(self, where: Partition, skipped: int, tried: Tried | None = None) -> None:
        """Write a record, behind so many offsets that have none."""
        offset = self.ends[where] + skipped
        self.log[where].append(offset)
        self.ends[where] = offset + 1
        origin = Origin(*where, offset)
        self.records[origin] = tried = tried or Tried(origin, 0)
        self.copies[tried.job] += 1

    def forget(self, origin: Origin) -> None:
        """Forget a record, and its job with the last one of it."""
        job = self.records.pop(origin).job
        self.notes[origin[:2]].discard(origin.offset)
        self.copies[job] -= 1
        if not self.copies[job]:
            assert self.answers.pop(job) == 1
            del self.copies[job]
            self.gone.discard(job)


@dataclass
class Pod:
    """A process: its books, its jobs, and what it believes about its producers and its place in the group."""

    ledger: Ledger = field(default_factory=Ledger)
    epochs: dict[Partition, int] = field(default_factory=dict)
    attempts: dict[Origin, int] = field(default_factory=dict)
    copied: set[Origin] = field(default_factory=set)
    ended: dict[Origin, End] = field(default_factory=dict)
    noted: dict[Partition, frozenset[int]] = field(default_factory=dict)
    ready: dict[Partition, tuple[dict[Origin, End], Commitment]] = field(default_factory=dict)
    generation: int = -1
    awake: bool = True

    def drop(self, where: Partition) -> None:
        """Let go of a partition and of its jobs."""
        if where in self.ledger:
            self.ledger.close(where)
        self.epochs.pop(where, None)
        self.forget()

    def wants(self, origin: Origin) -> bool:
        """Tell whether a job is still to be answered; what was read before it was lost is forgotten then."""
        return origin[:2] in self.ledger and origin.offset in self.ledger[origin[:2]].pending

    def forget(self) -> None:
        """Forget jobs that are not wanted any more, and what was made ready under an older opening."""
        self.attempts = {origin: count for origin, count in self.attempts.items() if self.wants(origin)}
        self.copied = {origin for origin in self.copied if self.wants(origin)}
        self.ended = {origin: end for origin, end in self.ended.items() if self.wants(origin)}
        self.ready.clear()


class World:
    """Every step is one that may happen at any time; ``seed`` numbers choose among what is possible."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.pods = [Pod() for _ in range(PODS)]
        self.owners: dict[Partition, Pod] = {}
        self.generation = 0
        self.rebalance(0)

    # ---- what happens --------------------------------------------------------------------------------

    def append(self, seed: int) -> None:
        """Jobs come in; offsets have holes."""
        for number in range(seed % 7):
            self.broker.append(JOBS[seed % len(JOBS)], (seed >> number) % 3)

    def poll(self, seed: int) -> None:
        """A process reads on; what comes as new has no answer yet, unless the process was shut out."""
        pod = self._awake(seed)
        if pod is None:
            return
        for where in list(pod.ledger):
            book = pod.ledger[where]
            log = self.broker.log[where]
            for offset in log[_first_from(log, book.next_offset) :][:POLL]:
                if book.full:
                    break
                origin = Origin(*where, offset)
                if pod.ledger.receive(origin, 1):
                    if self._rightful(pod, where):
                        assert not self.broker.exits[origin], f"{origin} is done again though answered"
                    pod.attempts[origin] = self.broker.records[origin].attempts

    def attempt(self, seed: int) -> None:
        """Attempts at jobs do them, or fail; after one that failed a job may be parked."""
        pod = self._awake(seed)
        if pod is None:
            return
        waiting = [origin for origin in pod.attempts if origin not in pod.ended and origin not in pod.copied]
        for number, origin in enumerate(waiting[seed % 5 :: 1 + seed % 3]):
            luck = (seed >> number % 16) % 4
            pod.attempts[origin] += 1
            self._try(pod, origin, fails=not luck and pod.attempts[origin] < ATTEMPTS)
            if luck == 1 and origin not in pod.copied and origin not in pod.ended:
                pod.ended[origin] = "parked"

    def _try(self, pod: Pod, origin: Origin, *, fails: bool) -> None:
        where, job = origin[:2], self.broker.records[origin].job
        if not removes_its_source(job):
            if not fails:
                pod.ended[origin] = "answered"
            return
        # The notes are read once for each opening, and again where a source is missing.
        noted = pod.noted.setdefault(where, frozenset(self.broker.notes[where]))
        if origin.offset in noted:
            pod.copied.add(origin)
        elif job in self.broker.gone:
            if origin.offset in self.broker.notes[where]:
                pod.copied.add(origin)
            else:
                pod.ended[origin] = "missing"
        elif not fails:
            self.broker.notes[where].add(origin.offset)
            pod.copied.add(origin)

    def fail(self, seed: int) -> None:
        """Attempts fail, and their jobs are parked."""
        pod = self._awake(seed)
        if pod is None:
            return
        for origin in [origin for origin in pod.attempts if origin not in pod.ended][seed % 5 :: 3]:
            if origin not in pod.copied and pod.attempts[origin] < ATTEMPTS - 1:
                pod.attempts[origin] += 1
                self._try(pod, origin, fails=True)
                if origin not in pod.copied:
                    pod.ended.setdefault(origin, "parked")

    def remove(self, seed: int) -> None:
        """A process that is sure to be the owner has sources removed; the server gets to it when it does."""
        pod = self._awake(seed)
        if pod is None:
            return
        for origin in sorted(pod.copied)[:: 1 + seed % 3]:
            if self._is_exclusive(pod, origin[:2]):
                self.broker.on_their_way.append(self.broker.records[origin].job)
                pod.copied.discard(origin)
                pod.ended[origin] = "answered"

    def arrive(self, seed: int) -> None:
        """What was to be removed is, but for what is still on its way."""
        arrived = self.broker.on_their_way[: -(seed % 64) or None]
        self.broker.gone.update(arrived)
        del self.broker.on_their_way[: len(arrived)]

    def prepare(self, seed: int) -> None:
        """A publication is made ready, to be written later."""
        pod = self._awake(seed)
        if pod is None:
            return
        for where in pod.ledger:
            batch = {origin: end for origin, end in pod.ended.items() if origin[:2] == where}
            if batch:
                commitment = pod.ledger[where].commitment({origin.offset for origin in batch})
                pod.ready[where] = batch, commitment

    def publish(self, seed: int) -> None:
        """It is written, or fails before the commit, or behind it: the process cannot tell these two."""
        pod = self._awake(seed)
        if pod is None or not pod.ready:
            return
        where = sorted(pod.ready)[seed % len(pod.ready)]
        batch, commitment = pod.ready.pop(where)
        if not self._rightful(pod, where):
            pod.drop(where)  # fenced: the group is asked anew
            return
        end = seed % 5
        if end != 0:
            self._commit(pod, where, batch, commitment)
        if end <= 1:
            self._open(pod, where)  # the end is not known: the producer is started anew, which tells
            return
        for origin in batch:
            pod.ledger.settle(origin)
            pod.attempts.pop(origin, None)
            pod.ended.pop(origin, None)

    def _commit(self, pod: Pod, where: Partition, batch: dict[Origin, End], commitment: Commitment) -> None:
        assert len(commitment.metadata) <= METADATA_BYTES
        self.broker.committed[where] = commitment
        for origin, end in batch.items():
            assert end != "missing", f"{origin} is answered as missing, and has itself removed its source"
            self.broker.exits[origin] += 1
            job = self.broker.records[origin].job
            if end == "parked":
                self.broker.append(PARKED, origin.offset % 2, Tried(job, pod.attempts[origin]))
            else:
                self.broker.answers[job] += 1

    def rebalance(self, seed: int) -> None:
        """The group decides anew among those who are awake; who sleeps keeps what it believes."""
        awake = [pod for pod in self.pods if pod.awake]
        if not awake:
            return
        self.generation += 1
        self.owners = {where: awake[(seed >> index) % len(awake)] for index, where in enumerate(PARTITIONS)}
        for pod in awake:
            # Who was not there when the group decided last forfeits what it had.
            interrupted = pod.generation != self.generation - 1
            pod.generation = self.generation
            for where in [held for held in pod.ledger if interrupted or self.owners[held] is not pod]:
                pod.drop(where)
        for where, pod in self.owners.items():
            self._open(pod, where)

    def die(self, seed: int) -> None:
        """A process is killed, and another one takes its place."""
        self.pods[seed % PODS] = Pod()
        if seed % 2:
            self.rebalance(seed)

    def doze(self, seed: int) -> None:
        """A process is stopped for longer than its session, or wakes up, perhaps to join at once."""
        pod = self.pods[seed % PODS]
        pod.awake = not pod.awake
        if not pod.awake or seed % 2:
            self.rebalance(seed)

    STEPS: tuple[Callable[["World", int], None], ...] = (
        append, poll, attempt, attempt, fail, remove, arrive, prepare, publish, publish,
    )  # fmt: skip
    TURNS: tuple[Callable[["World", int], None], ...] = (rebalance, die, doze)

    # ---- what must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        """Nobody has two answers, what is committed is answered or parked, and a job is in one place."""
        waiting: Counter[Origin] = Counter()
        for origin, covered in self._records():
            exits = self.broker.exits[origin]
            assert exits == covered, f"{origin}: left {exits} times, committed: {covered}"
            waiting[self.broker.records[origin].job] += not covered
        for job, count in waiting.items():
            assert count + self.broker.answers[job] == 1, f"{job}: {count} wait, {self.broker.answers[job]}"
        for pod in self.pods:
            for where in pod.ledger:
                book = pod.ledger[where]
                # A poll may go that far beyond, and holes count.
                assert book.next_offset - book.watermark < SPAN_LIMIT + 3 * POLL

    def _records(self) -> Iterator[tuple[Origin, bool]]:
        for where, commitment in self.broker.committed.items():
            gaps = decode_gaps(*commitment)
            for offset in self.broker.log[where]:
                yield Origin(*where, offset), offset < commitment.offset or offset in gaps

    def forget_the_past(self) -> None:
        """Drop what was committed long ago from the log, so that a long run stays as quick as a short one."""
        for where, commitment in self.broker.committed.items():
            log = self.broker.log[where]
            past = _first_from(log, commitment.offset - REMEMBERED)
            for offset in log[:past]:
                assert self.broker.exits.pop(Origin(*where, offset)) == 1
                self.broker.forget(Origin(*where, offset))
            del log[:past]

    def settle_down(self) -> None:
        """All wake up, and nothing goes wrong any more: then every job is answered, once."""
        for pod in self.pods:
            pod.awake = True
        self.rebalance(0)
        for _ in range(2_000):
            if all(self.broker.committed[where].offset >= self.broker.ends[where] for where in PARTITIONS):
                break
            for index in range(PODS):
                self.poll(index)
                pod = self.pods[index]
                for origin in [origin for origin in pod.attempts if origin not in pod.ended]:
                    self._try(pod, origin, fails=False)
                self.remove(index)
                self.prepare(index)
                for _ in range(len(pod.ready)):
                    self.publish(_ends_well(index))
        self.check()
        for where in PARTITIONS:
            assert self.broker.committed[where] == Commitment(self.broker.ends[where], "")

    def _awake(self, seed: int) -> Pod | None:
        pod = self.pods[seed % PODS]
        return pod if pod.awake else None

    def _rightful(self, pod: Pod, where: Partition) -> bool:
        return pod.epochs.get(where) == self.broker.producers[where]

    def _is_exclusive(self, pod: Pod, where: Partition) -> bool:
        """Tell what `GroupSession.exclusive` makes sure of; that the group counts on it, and it on that."""
        return pod.generation == self.generation and self.owners[where] is pod

    def _open(self, pod: Pod, where: Partition) -> None:
        pod.epochs[where] = self.broker.start_producer(where)
        commitment = self.broker.committed[where]
        pod.ledger.open(where, commitment.offset, decode_gaps(*commitment))
        pod.noted.pop(where, None)
        pod.forget()


def _first_from(log: list[int], offset: int) -> int:
    low, high = 0, len(log)
    while low < high:
        middle = (low + high) // 2
        if log[middle] < offset:
            low = middle + 1
        else:
            high = middle
    return low


def _ends_well(index: int) -> int:
    """Find a seed for a process, by which its publication neither fails nor has an unknown end."""
    return next(seed for seed in range(index, 100, PODS) if seed % 5 > 1)


SEEDS = st.integers(0, 2**16)


class WorldMachine(RuleBasedStateMachine):
    """Hypothesis looks for the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(step=st.sampled_from(World.STEPS), seed=SEEDS)
    def go_on(self, step: Callable[[World, int], None], seed: int) -> None:
        step(self.world, seed)

    @rule(turn=st.sampled_from(World.TURNS), seed=SEEDS)
    def be_disturbed(self, turn: Callable[[World, int], None], seed: int) -> None:
        turn(self.world, seed)

    @invariant()
    def each_job_has_one_answer(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle_down()


WorldMachine.TestCase.settings = settings(stateful_step_count=60, deadline=None)
TestWorld = WorldMachine.TestCase


def walk(seed: int, steps: int) -> Counter[str]:
    """Take so many steps at random; every 50th is a disturbance. What was done, by name."""
    drawn, world, done = random.Random(seed), World(), Counter[str]()
    for number in range(steps):
        step = drawn.choice(World.TURNS if number % 50 == 49 else World.STEPS)
        step(world, drawn.randrange(2**16))
        done[step.__name__] += 1
        if number % 100 == 99:
            world.check()
            world.forget_the_past()
    world.settle_down()
    return done


def test_a_walk_of_twenty_thousand_steps() -> None:
    done = walk(20261123, 20_000)
    assert done.total() == 20_000
    assert min(done.values()) > 100


@pytest.mark.long
def test_a_walk_of_a_million_steps() -> None:
    assert sum(walk(seed, STEPS // 10).total() for seed in range(10)) == STEPS
