"""What was done over the admin API, and what was refused: the last of it, for those who ask."""

import datetime as dt
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pooler.flow.chronicle import short

_ROOM: Final = 1000


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done, or refused.

    Attributes:
        at: when, by ISO 8601 in UTC.
        number: counts them, at one pod; it is unique together with the pod.
        action: such as ``pause`` or ``submit``; ``refused`` for what a token did not allow.
        by: whose token it was; ``anonymous`` without one.
        address: where the request came from.
        details: what was done, and why.
        pod: who was asked.
    """

    at: str
    number: int
    action: str
    by: str
    address: str
    details: Mapping[str, str]
    pod: str = ""


class AuditLedger:
    """The last thousand of them; the log has all."""

    def __init__(self) -> None:
        self._deeds: deque[Deed] = deque(maxlen=_ROOM)
        self._count = 0

    def note(self, action: str, by: str, address: str, details: Mapping[str, object]) -> None:
        """Note what was done."""
        self._count += 1
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        told = {name: short(str(value)) for name, value in details.items() if value not in {None, ""}}
        self._deeds.append(Deed(at, self._count, action, by, address, told))

    def __iter__(self) -> Iterator[Deed]:
        """Tell of them, the newest first."""
        return reversed(self._deeds)
