"""What the two directions have in common: the tools of an attempt, and what comes of one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pooler.storage.landing import PartFile
from pooler.storage.root import LocalRoot, SourceState
from pooler.transfer.memory import Memory
from pooler.transfer.plan import Plan
from pooler.transfer.session import Session, Stat

RESUME_ABOVE_BYTES = 8 * 1024 * 1024
"""Smaller files are sent anew: that is faster than to ask how much of them is there."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job.

    Attributes:
        plan: what is to be done.
        session: on which session.
        root: the local root of the plan.
        temporary: the name that the file has until it is whole; this attempt's alone.
        buffer: room for bytes; nobody else uses it meanwhile.
        moved: told how many bytes have passed, now and then.
        left_behind: told of a path on the server that may hold a part of a file, and that nobody will go
            on with.
        memory: what earlier attempts at the job left, and what this one leaves.
        resume_above_bytes: from which size on a file is resumed, where the job asks for it.
    """

    plan: Plan
    session: Session
    root: LocalRoot
    temporary: str
    buffer: memoryview
    moved: Callable[[int], None]
    left_behind: Callable[[str], None]
    memory: Memory = field(default_factory=Memory)
    resume_above_bytes: int = RESUME_ABOVE_BYTES

    @property
    def local_path(self) -> str:
        """The local end, for messages."""
        return f"{self.root.name}:/{'/'.join(self.plan.local_parts)}"

    @property
    def remote_path(self) -> str:
        """The remote end, for messages."""
        return f"{self.plan.remote}:{self.plan.remote_path}"

    def resumes(self, size_bytes: int | None) -> bool:
        """Tell whether a file of this size is to be gone on with where an attempt before broke off."""
        return self.plan.options.resume and size_bytes is not None and size_bytes >= self.resume_above_bytes


@dataclass(frozen=True, slots=True)
class Transferred:
    """What came of an attempt that succeeded.

    Attributes:
        bytes_transferred: the size of the file that was copied.
        verified: what was really compared: ``none``, ``size``, ``time`` or ``checksum``.
        skipped: nothing was copied, since the destination is the source's copy already, or is newer.
        part: a download's file, whole but still under its temporary name; None for all else.
        source_checked: by what the source is known not to have changed meanwhile: ``none``, ``size`` or
            ``time``.
        checksum: of the bytes that passed, ``algorithm:hexadecimal``; None where none was asked for.
        mtime_kept: whether the destination has the source's time; None where nobody asked for it.
        resumed_from: how many of the bytes an earlier attempt had brought; None where none had.
        source: what the source was like, on either side; None where it is no longer there.
        after: what an earlier run of the job did with the source; None where there was none.
    """

    bytes_transferred: int = 0
    verified: str = "none"
    skipped: bool = False
    part: PartFile | None = None
    source_checked: str = "none"
    checksum: str | None = None
    mtime_kept: bool | None = None
    resumed_from: int | None = None
    source: SourceState | Stat | None = field(default=None, compare=False)
    after: str | None = None
