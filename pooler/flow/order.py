"""Jobs with one destination, or one ``order_key``, never overlap, and end as they came. Pure."""

from collections import deque
from collections.abc import Hashable

from pooler.flow.work import Work


class Order:
    """Who does what, and who waits behind whom.

    A job stands in line at its destination, and in a second one where it has an ``order_key``. Its turn has
    come when it stands first in each.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[Work]] = {}

    def admit(self, work: Work) -> bool:
        """Take in a job.

        Returns:
            True where it may go on now; False where it waits behind another, and will be among those that
            ``release`` returns.
        """
        for key in _keys(work):
            self._lines.setdefault(key, deque()).append(work)
        return self._has_its_turn(work)

    def release(self, work: Work) -> list[Work]:
        """Take out a job whose turn has come, and that has ended.

        Returns:
            The jobs whose turn has come now.
        """
        next_ones: dict[Work, None] = {}
        for key in _keys(work):
            line = self._lines[key]
            line.popleft()
            if line:
                next_ones[line[0]] = None
            else:
                del self._lines[key]
        return [following for following in next_ones if self._has_its_turn(following)]

    def is_followed(self, work: Work) -> bool:
        """Tell whether others wait behind a job."""
        return any(len(self._lines[key]) > 1 for key in _keys(work))

    def _has_its_turn(self, work: Work) -> bool:
        return all(self._lines[key][0] is work for key in _keys(work))


def _keys(work: Work) -> list[Hashable]:
    keys: list[Hashable] = [("destination", *work.plan.destination)]
    if work.plan.options.order_key is not None:
        keys.append(("order_key", work.plan.options.order_key))
    return keys
