"""The jobs of a rehearsal: submitted at a pace while their partition has room, their answers read at once.

What comes faster than it is done would wait for its own kind: so a wait is one for the service.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import trio

from tests.chaos.topics import Read, Reader, Submitter
from tests.chaos.verdict import tell
from tests.chaos.workload import Order, Workload, digest
from tests.rehearsal.pauses import Case
from tests.support.kafka import Message, produce
from tests.support.servers import RunningServer

TOPICS: Mapping[str, int] = {"ftp-tasks": 8, "ftp-results": 4, "ftp-failures": 2, "ftp-tasks-dlq": 1}
TASKS, DEAD_LETTERS = "ftp-tasks", "ftp-tasks-dlq"
SERVER, HELD = "site", "held"
_PARTITIONS = range(TOPICS[TASKS])
_TICK_S, _READ_S = 0.1, 0.2
_CONTENTS, _LARGEST_BYTES = 50, 2048
_MOST_IN_HAND = 75
"""Jobs of one partition that wait for an answer at a time."""


class Traffic:
    """Jobs on their way.

    Args:
        bootstrap: the broker.
        server: where files come from and go to.
        local: the other side.
        workload: makes the jobs.
        jobs: how many there are to be, at least.
        per_s: how many a second, at most, as long as the play goes on.

    Attributes:
        workload: what it was given.
        answers: all that was read so far.
        last_act: set when the play is over: what is still to be submitted may come as fast as it can.
    """

    def __init__(
        self,
        bootstrap: str,
        server: RunningServer,
        local: Path,
        workload: Workload,
        *,
        jobs: int,
        per_s: float,
    ) -> None:
        self.workload = workload
        self.answers: list[Read] = []
        self.last_act = trio.Event()
        self._bootstrap = bootstrap
        self._server = server
        self._local = local
        self._jobs = jobs
        self._per_s = per_s
        self._dice = random.Random(jobs)
        self._in_hand: dict[str, int] = {}
        self._counts = [0] * len(_PARTITIONS)
        self._asked: dict[str, tuple[int, float]] = {}
        self._answered_s: dict[str, float] = {}
        self._served_s = [0.0] * len(_PARTITIONS)
        self._held: dict[str, float] = {}

    async def submit(self) -> None:
        """Submit jobs until there are enough and the play is over."""
        orders = self.workload.orders(2**62)
        submitter = Submitter(self._bootstrap, TASKS, partition=self._partition)
        began, given = trio.current_time(), 0
        while given < self._jobs or not self.last_act.is_set():
            due = self._per_s * (trio.current_time() - began) - given
            if self.last_act.is_set():
                due = self._jobs - given
            elif due > self._per_s:
                began += (due - self._per_s) / self._per_s  # what there was no room for is not made up for
            chunk = self._take(orders, int(due))
            given += len(chunk)
            await trio.to_thread.run_sync(submitter.submit, chunk)
            await trio.sleep(_TICK_S)
        await trio.to_thread.run_sync(submitter.finish)

    async def listen(self) -> None:
        """Read answers, until cancelled."""
        with closing(Reader(self._bootstrap, [topic for topic in TOPICS if topic != TASKS])) as reader:
            while True:
                for answer in await trio.to_thread.run_sync(reader.read, _READ_S):
                    self._note(answer)

    async def until_answered(self) -> None:
        """Wait until all that was submitted is answered."""
        while self._in_hand or len(self._answered_s) < len(self._asked) + len(self._held):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(_TICK_S)

    async def until_served(self) -> None:
        """Wait until each partition has an answer to what is submitted from now on."""
        now = time.time()
        while min(self._served_s) < now:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(_TICK_S)

    async def hold(self, name: str) -> None:
        """Submit a job of the held remote to each partition, which it keeps from going forward."""
        held = []
        for partition in _PARTITIONS:
            task_id, content = f"held-{name}-{partition}", f"{name} {partition}".encode()
            await trio.to_thread.run_sync(self._server.put, f"/run/held/{task_id}", content)
            job = {
                "task_id": task_id,
                "source": {"connection_id": HELD, "path": f"/run/held/{task_id}"},
                "destination": {"connection_id": "local", "path": f"/run/held/{task_id}"},
                "options": {"order_key": task_id},  # such a job is never parked
            }
            self.workload.truth.fates[task_id] = "copied"
            self.workload.truth.files[self._local / "run" / "held" / task_id] = {digest(content)}
            self._held[task_id] = float("inf")
            held.append(Message(json.dumps(job).encode(), key=task_id.encode(), partition=partition))
        await trio.to_thread.run_sync(partial(produce, self._bootstrap, TASKS, held))

    def release(self, name: str) -> None:
        """Note that the held jobs may be done from now on."""
        now = time.time()
        self._held |= {task_id: now for task_id in self._held if task_id.startswith(f"held-{name}-")}

    def too_early(self) -> list[str]:
        """Tell which held jobs were answered while nobody was to do them."""
        return [name for name, at_s in self._held.items() if self._answered_s.get(name, at_s) < at_s]

    def cases(self) -> list[Case]:
        """Tell what became of each job but those that were held."""
        return [
            Case(partition, asked_s, self._answered_s[name])
            for name, (partition, asked_s) in self._asked.items()
            if name in self._answered_s
        ]

    def _take(self, orders: Iterator[Order], count: int) -> list[Order]:
        """Take so many jobs, or as many as there is room for."""
        taken: list[Order] = []
        for _ in range(count):
            room = [partition for partition in _PARTITIONS if self._counts[partition] < _MOST_IN_HAND]
            if not room:
                break
            order = next(orders)
            # Jobs to one destination share a key that is not their name, and must share a partition.
            alone = order.key == order.name.encode()
            partition = self._dice.choice(room) if alone else sum(order.key) % len(_PARTITIONS)
            self._counts[partition] += 1
            self._in_hand[order.name] = partition
            self._asked[order.name] = (partition, time.time())
            taken.append(order)
        return taken

    def _partition(self, order: Order) -> int:
        return self._in_hand[order.name]

    def _note(self, answer: Read) -> None:
        self.answers.append(answer)
        name = tell(answer, DEAD_LETTERS).name
        self._answered_s.setdefault(name, answer.at_s)
        if (partition := self._in_hand.pop(name, None)) is not None:
            self._counts[partition] -= 1
            self._served_s[partition] = max(self._served_s[partition], self._asked[name][1])


def make_workload(seed: int, local: Path, server: RunningServer) -> Workload:
    """Make what jobs are made of; it blocks."""
    return Workload(
        seed, local, {SERVER: server}, contents=_CONTENTS, largest_bytes=_LARGEST_BYTES, prefix="run"
    )
