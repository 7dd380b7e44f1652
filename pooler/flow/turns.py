"""Whose turn it is among the jobs that wait for one remote. Pure."""

from collections import deque
from collections.abc import Callable, Iterator

from pooler.flow.work import Work

URGENT_TURNS = 4
"""So many urgent jobs go before one that waits longer: it is overtaken, and never starved."""


class Turns:
    """A queue of jobs: first come, first served, but for the urgent ones."""

    def __init__(self) -> None:
        self._urgent: deque[Work] = deque()
        self._others: deque[Work] = deque()
        self._overtaken = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def __iter__(self) -> Iterator[Work]:
        """Go through all of them, the urgent ones first."""
        yield from self._urgent
        yield from self._others

    def add(self, work: Work) -> None:
        """Let a job wait behind those of its kind."""
        (self._urgent if work.delivery.urgent else self._others).append(work)

    def take(self) -> Work | None:
        """Take out the job whose turn it is; None where there is none."""
        if self._urgent and not (self._others and self._overtaken >= URGENT_TURNS):
            self._overtaken += bool(self._others)
            return self._urgent.popleft()
        self._overtaken = 0
        return self._others.popleft() if self._others else None

    def take_out(self, is_meant: Callable[[Work], bool]) -> list[Work]:
        """Take out all that are meant; the others keep their order."""
        taken: list[Work] = []
        for queue in (self._urgent, self._others):
            for _ in range(len(queue)):
                work = queue.popleft()
                (taken if is_meant(work) else queue).append(work)
        return taken

    def take_last(self, count: int, is_meant: Callable[[Work], bool]) -> list[Work]:
        """Take out jobs, so many at most: of those that are meant the last ones, and no urgent one before.

        Returns:
            The jobs, the last one first.
        """
        taken: list[Work] = []
        for queue in (self._others, self._urgent):
            for _ in range(len(queue)):
                work = queue.pop()
                if len(taken) < count and is_meant(work):
                    taken.append(work)
                else:
                    queue.appendleft(work)
        return taken
