"""What one attempt at a job leaves for the next one, which has another session.

A session that is lost leaves an end unknown: the last reply to an upload, or to a rename, may have been on
its way. Nothing is known of it until somebody looks, so what was begun is remembered with the job; the next
attempt looks first. Once the job ends, or is no longer ours, ``release`` gives it to whoever tidies up.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pooler.model.job import Checksum
from pooler.storage.landing import KeptPart
from pooler.storage.root import SourceState
from pooler.transfer.session import Stat


class Stage(enum.Enum):
    """How far an upload had come when its session was lost."""

    SENDING = "sending"
    """Some of its bytes may be there."""
    SENT = "sent"
    """All bytes were sent; what is unknown is whether they arrived."""
    RENAMING = "renaming"
    """It was whole, and its rename was asked for."""
    SPOILED = "spoiled"
    """It was looked at and found wrong: of no use, but to be removed."""


class Unfinished(NamedTuple):
    """A file that an upload left on the server.

    Attributes:
        path: where it is.
        source: what the source was like that it was sent from.
        left_behind: who is told of it when nobody goes on with it; None where it is the file's own name.
        stage: how far it had come.
        checksum: of what was sent; None where none was asked for, or not all was sent.
    """

    path: str
    source: SourceState
    left_behind: Callable[[str], None] | None
    stage: Stage = Stage.SENDING
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The first bytes of a download.

    Attributes:
        part: the file that they are in.
        source: what the source was like that they came from.
    """

    part: KeptPart
    source: Stat


@dataclass(slots=True, eq=False)
class Memory:
    """What is remembered between the attempts at one job.

    Attributes:
        unfinished: what an upload left on the server; None where nothing is.
        kept: what a download left on the disk; None where nothing is.
        has_looked: whether somebody has looked for what earlier processes left of it.
        noted: the parts on the server that are written down for those who tidy up should we die, and what
            takes each back.
    """

    unfinished: Unfinished | None = None
    kept: Kept | None = None
    has_looked: bool = False
    noted: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether there is anything for a next attempt to go on with, or to look at."""
        return self.unfinished is not None or self.kept is not None

    def release(self) -> None:
        """Go on with nothing of it: no further attempt will be made here. Never raises."""
        unfinished, self.unfinished = self.unfinished, None
        if unfinished is not None and unfinished.left_behind is not None:
            self.noted.pop(unfinished.path, None)  # until it is removed
            unfinished.left_behind(unfinished.path)
        for forget in self.noted.values():
            forget()
        self.noted.clear()
        kept, self.kept = self.kept, None
        if kept is not None:
            kept.part.discard()
