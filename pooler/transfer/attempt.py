"""What the two directions have in common: the tools of an attempt, and what comes of one."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct, field

from pooler.config.temp_name import NAME, TOKEN
from pooler.errors import ErrorCode, JobError
from pooler.model.batch import Found
from pooler.storage.journal import Entry
from pooler.storage.landing import PartFile
from pooler.storage.pipe import Pipes
from pooler.storage.root import LocalRoot, SourceState
from pooler.transfer.memory import Memory
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from pooler.transfer.session import Session, Stat
from pooler.transfer.throttle import UNTHROTTLED, Throttle


def _nobody(_process: str) -> bool:
    return False


def _unknown() -> bool:
    return False


class Attempt(Struct, frozen=True):
    """One attempt at a job.

    Attributes:
        plan: what is to be done.
        session: on which session.
        root: the local root of the plan.
        author: who makes it, for the name that the file has until it is whole.
        buffer: room for bytes; nobody else uses it meanwhile.
        moved: told how many bytes have passed, now and then.
        left_behind: told of a path on the server that may hold a part of a file, and that nobody will go
            on with.
        resume_above_bytes: from which size on a file is resumed, where the job asks for it: of a smaller one
            more time goes into asking how much of it is there.
        memory: what earlier attempts at the job left, and what this one leaves.
        is_gone: whether a process, by its incarnation, is provably no more, and none of its sessions either.
            May block.
        throttle: bounds the bandwidth.
        pipes: to have the kernel move the bytes; None for never.
        asks_along: whether a file's size and time may be asked in the write that fetches it: where it is
            likely to be too small to be gone on with, and nothing needs to be known of it before.
        more_waits: whether the session is likely to have another transfer right behind this one.
    """

    plan: Plan
    session: Session
    root: LocalRoot
    author: Author
    buffer: memoryview
    moved: Callable[[int], None]
    left_behind: Callable[[str], None]
    resume_above_bytes: int
    memory: Memory = field(default_factory=Memory)
    is_gone: Callable[[str], bool] = _nobody
    throttle: Throttle = UNTHROTTLED
    pipes: Pipes | None = None
    asks_along: bool = False
    more_waits: Callable[[], bool] = _unknown

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

    def token(self, size_bytes: int | None, modified: object) -> str:
        """Name this attempt's file, the pattern around it left out.

        Args:
            size_bytes: of the source.
            modified: when the source changed last. Both are in the token of a file that may be gone on with:
                so a part of a source that has changed since is never taken for a part of this one.
        """
        if not self.resumes(size_bytes):
            return self.author.token()
        plan = self.plan
        ends = (plan.direction.value, plan.remote, plan.remote_path, plan.folder, *plan.local_parts)
        return self.author.token("\0".join((str(size_bytes), str(modified), *ends)))

    def remote_name(self, token: str) -> str:
        """Name this attempt's file on the server, folder left out.

        Raises:
            JobError: ``INVALID_JOB``: there is no such name that the server would take.
        """
        pattern, name = self.plan.temp_name, self.plan.remote_path.rpartition("/")[2]
        before, wants_name, after = pattern.name.replace(TOKEN, token).partition(NAME)
        if not wants_name:
            return before
        fitted = self.session.fit(name, before=before, after=after)
        if not pattern.is_unique and fitted != before + name + after:
            raise JobError(ErrorCode.INVALID_JOB, f"{self.remote_path}: too long a name for temp_name")
        return fitted

    def look_ahead(self) -> None:
        """Let what is asked last of the session serve the transfer that follows as well."""
        if self.more_waits():
            self.session.foresee()

    async def note(self, path: str) -> None:
        """Write down a part on the server before it is made, for those who tidy up should we die.

        Raises:
            LocalFileError: it cannot be, or we may have been taken for gone.
        """
        entry = Entry(self.plan.remote, path)
        self.memory.noted[path] = partial(self.root.forget, entry, path)
        if self.root.lease is not None:
            call = self.root.brief if self.root.note_is_brief(entry) else self.root.run
            await call(self.root.note, entry, path)

    def may_adopt(self, process: str) -> bool:
        """Tell whether a part that a process left may be gone on with. May block.

        Of our own parts it is known: no two of our attempts have one destination at a time.
        """
        return process == self.author.process or self.is_gone(process)


@dataclasses.dataclass(frozen=True, slots=True)
class Transferred:
    """What came of an attempt that succeeded.

    Attributes:
        bytes_transferred: the size of the file that was copied.
        verified: what was really compared: ``none``, ``size``, ``time``, ``checksum`` or ``read_back``.
        skipped: nothing was copied, since the destination is the source's copy already, or is newer.
        part: a download's file, whole but still under its temporary name; None for all else.
        source_checked: by what the source is known not to have changed meanwhile: ``none``, ``size`` or
            ``time``.
        checksum: of the bytes that passed, ``algorithm:hexadecimal``; None where none was asked for.
        mtime_kept: whether the destination has the source's time; None where nobody asked for it.
        resumed_from: how many of the bytes an earlier attempt had brought; None where none had.
        source: what the source was like, on either side; None where it is no longer there.
        after: what an earlier run of the job did with the source; None where there was none.
        marked: whether the marker stands beside the destination.
        check: what was found, where nothing was to be done; else None.
        found: of a bulk job, its next files; else None.
    """

    bytes_transferred: int = 0
    verified: str = "none"
    skipped: bool = False
    part: PartFile | None = None
    source_checked: str = "none"
    checksum: str | None = None
    mtime_kept: bool | None = None
    resumed_from: int | None = None
    source: SourceState | Stat | None = dataclasses.field(default=None, compare=False)
    after: str | None = None
    marked: bool = False
    check: Mapping[str, str | int | None] | None = None
    found: Found | None = None
