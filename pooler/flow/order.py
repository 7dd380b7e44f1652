"""Jobs with one destination never overlap, and end in the order in which they came. Pure."""

from collections import deque

from pooler.flow.work import Work


class DestinationOrder:
    """Who is writing where, and who waits behind whom."""

    def __init__(self) -> None:
        self._behind: dict[tuple[str, str], deque[Work]] = {}

    def admit(self, work: Work) -> bool:
        """Take in a job.

        Returns:
            True where it may go on now; False where it waits behind another with the same destination,
            and will be what ``release`` returns.
        """
        waiting = self._behind.get(work.plan.destination)
        if waiting is None:
            self._behind[work.plan.destination] = deque()
            return True
        waiting.append(work)
        return False

    def release(self, work: Work) -> Work | None:
        """Take out a job that has ended.

        Returns:
            The job that may go on in its place; None where nobody waits.
        """
        waiting = self._behind[work.plan.destination]
        if waiting:
            return waiting.popleft()
        del self._behind[work.plan.destination]
        return None
