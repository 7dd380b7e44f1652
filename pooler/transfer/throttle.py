"""What a transfer asks of whoever bounds its bandwidth."""

from typing import Protocol


class Throttle(Protocol):
    """Holds a transfer back, so that it keeps to its bandwidth.

    Attributes:
        piece_bytes: how many bytes may pass between two calls of ``passed``; None while nothing is bounded,
            and then ``passed`` need not be called. It may change at any time.
    """

    piece_bytes: int | None

    async def passed(self, size_bytes: int) -> None:
        """Wait until that many bytes, which have passed, are within the bandwidth.

        Cancellation: they count, or not.
        """
        ...


class Unthrottled:
    """Holds nothing back."""

    piece_bytes: int | None = None

    async def passed(self, size_bytes: int) -> None:
        """Do nothing; nobody calls it."""


UNTHROTTLED: Throttle = Unthrottled()
