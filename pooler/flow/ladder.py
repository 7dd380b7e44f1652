"""The steps on which jobs are parked, and who is parked. Pure.

A step is a retry topic: all that lies there waits equally long. A longer pause is made of steps: a job that
comes back before its time is parked again, on the longest step that is not longer than what is left. So it is
never much later than it should be, and each step writes it anew: what Kafka deletes by age never becomes old.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WORTH_PARKING_S = 5.0
"""Pauses below this are waited out here: parking would take nearly as long."""

_PATIENCE = 2.0
_LONGER_S = 60.0
"""The longest step that a job takes in place of the shortest one."""
_HIGH_MARK, _LOW_MARK = 0.7, 0.6


class Ladder:
    """The steps.

    Args:
        delays_s: how long each of them takes, in seconds, the shortest first; none to park nothing.
    """

    def __init__(self, delays_s: Sequence[float]) -> None:
        self._delays_s = tuple(delays_s)

    def __bool__(self) -> bool:
        return bool(self._delays_s)

    def step_for(self, pause_s: float, left_s: float) -> float | None:
        """Tell the step to park on for a pause.

        Args:
            pause_s: the pause, in seconds.
            left_s: seconds until the job's deadline.

        Returns:
            How long the step takes, in seconds. None where it is not worth it, or where the job would only
            come back to be told that its deadline has passed: it waits here.
        """
        if not self._delays_s or pause_s < min(WORTH_PARKING_S, self._delays_s[0]):
            return None
        return self._within(pause_s, left_s)

    def next_step(self, waited_s: float, left_s: float) -> float | None:
        """Tell the step for a job that waits for nobody knows how long.

        Short at first, and longer by and by: at most twice as long as it has waited so far.

        Args:
            waited_s: since its first reading, in seconds.
            left_s: seconds until its deadline.
        """
        return self._within(_PATIENCE * waited_s, left_s)

    def longer(self, step_s: float, left_s: float) -> float | None:
        """Tell the step to take instead of the shortest one, where not all should come back so soon.

        Args:
            step_s: the step that a job would take.
            left_s: seconds until its deadline.

        Returns:
            The next longer one. None where there is none, or it ends too late, or would make an hour of a few
            seconds; and where the step is not the shortest, which is long enough as it is.
        """
        longer = self._delays_s[1:2] if step_s == self._delays_s[0] else ()
        return max((delay_s for delay_s in longer if delay_s < left_s and delay_s <= _LONGER_S), default=None)

    def _within(self, pause_s: float, left_s: float) -> float | None:
        steps = [delay_s for delay_s in self._delays_s if delay_s <= pause_s] or self._delays_s[:1]
        return max((delay_s for delay_s in steps if delay_s < left_s), default=None)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for one remote.

    Attributes:
        jobs: jobs that can be parked.
        served: whether somebody takes jobs from it.
        hungry: whether it could do more jobs than it gets.
    """

    jobs: int
    served: bool = True
    hungry: bool = False


def relieve(backlogs: Mapping[str, Backlog], window: int, fill: float) -> dict[str, int]:
    """Decide how many jobs of each remote are parked, so that one backlog does not fill the whole window.

    Those that nobody serves go first. Those of a remote that is served go only where another one is hungry,
    since else nothing is gained; the longest backlog is cut first, down to the length of the next.

    Args:
        backlogs: what waits, by remote.
        window: jobs that may be in hand at once.
        fill: how much of the window is taken: 1 for all of it.

    Returns:
        The number of jobs, for those remotes where there are any.
    """
    if fill <= _HIGH_MARK:
        return {}
    excess = round((fill - _LOW_MARK) * window)
    idle = {name: backlog.jobs for name, backlog in backlogs.items() if not backlog.served}
    parked = _cut(idle, excess, floor=0)
    if any(backlog.hungry for backlog in backlogs.values()):
        served = {name: backlog.jobs for name, backlog in backlogs.items() if backlog.served}
        # As many as that are enough for a remote for long, and no remote with fewer is in anybody's way.
        fair = round(_LOW_MARK * window) // max(1, len(backlogs))
        parked |= _cut(served, excess - sum(parked.values()), floor=fair)
    return parked


def _cut(lengths: Mapping[str, int], excess: int, *, floor: int) -> dict[str, int]:
    """Cut the longest first, down to the length of the next, and so on, until there is no excess."""
    left = dict(lengths)
    longest = sorted(left, key=lambda name: left[name], reverse=True)
    for count, _ in enumerate(longest, 1):
        if excess <= 0:
            break
        level = max(floor, left[longest[count]] if count < len(longest) else floor)
        reach = longest[:count]
        # At most down to the level, and as little below each other as can be.
        total = sum(max(0, left[name] - level) for name in reach)
        if total > excess:
            level += (total - excess) // count
        for name in reach:
            excess -= max(0, left[name] - level)
            left[name] = min(left[name], level)
    return {name: lengths[name] - left[name] for name in lengths if left[name] < lengths[name]}
