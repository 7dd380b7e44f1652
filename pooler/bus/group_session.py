"""Whether the group counts on us: a member that was not heard for its session may have lost its partitions.

Whoever was frozen, or is cut off from the brokers, is not told that others have its partitions now. But it
knows how long it was not heard, and must take for lost what may be: it begins nothing, until it is heard
again or has been told what it has. What runs goes on, since the file is the same whoever writes it.

To remove a source is another matter: who gets the job next must know that it is done. While we are counted
on, and the group is not deciding anew, nobody has got it yet, and whoever will finds what we have noted.
"""

from math import inf

import structlog
import trio

log = structlog.get_logger(__name__)


class GroupSession:
    """Our session in the consumer group: as long as the coordinator reckons with, or shorter.

    Args:
        timeout_s: after how many seconds of silence the coordinator takes a member for gone
            (``kafka.session_timeout_ms``).

    Attributes:
        ends_at: until when we are counted on, unless we are heard again; in seconds of
            ``trio.current_time()``.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.ends_at = -inf
        self._in_question = False
        self._renewed = trio.Event()
        self._was_member = False
        self._is_told = False

    @property
    def lasts(self) -> bool:
        """Whether what we were given is still ours."""
        return trio.current_time() < self.ends_at

    @property
    def is_exclusive(self) -> bool:
        """Whether nobody else has got what we have, nor is just getting it."""
        return self.lasts and not self._in_question

    def renew(self, said_at: float) -> None:
        """Take in that the coordinator has heard us.

        Args:
            said_at: when we said it, in seconds of ``trio.current_time()``: it was heard then or later.
        """
        self.ends_at = max(self.ends_at, said_at + self._timeout_s)
        self._was_member = True
        self._renewed.set()
        self._renewed = trio.Event()

    def question(self) -> None:
        """Take in that the group decides anew who has what."""
        self._in_question = True

    def decide(self, said_at: float) -> None:
        """Take in what the group has decided.

        Args:
            said_at: when we asked for it, in seconds of ``trio.current_time()``.
        """
        self._in_question = False
        self.renew(said_at)

    def end(self) -> None:
        """Take in that the coordinator does not know us any more."""
        self.ends_at = -inf

    async def exclusive(self) -> None:
        """Wait until nobody else has got what we have, nor is just getting it.

        Cancellation: nothing has changed.
        """
        while not self.is_exclusive:
            await self._renewed.wait()

    async def lasting(self) -> None:
        """Wait until what we were given is ours for sure.

        Cancellation: nothing has changed.
        """
        while not self.lasts:
            if self._was_member and not self._is_told:
                self._is_told = True
                log.warning("group_session_over", timeout_s=self._timeout_s, effect="no transfer is begun")
            await self._renewed.wait()
        if self._is_told:
            self._is_told = False
            log.info("group_session_renewed")
