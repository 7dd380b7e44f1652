"""From a server to a local folder: everything but the file's own name, which the finisher gives it."""

from math import inf

from pooler.errors import ErrorCode, LocalFileError, ReplyError, TransferMismatch
from pooler.model.job import Checksum, Options, Overwrite, Verify
from pooler.storage.journal import Entry
from pooler.storage.landing import PartFile, existing
from pooler.transfer import mover
from pooler.transfer.adopt import adopt_here
from pooler.transfer.after import moved_already
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.checksum import add_file
from pooler.transfer.marker import mark_existing
from pooler.transfer.memory import Kept
from pooler.transfer.names import local_name
from pooler.transfer.overwrite import is_same, nanoseconds
from pooler.transfer.session import Stat
from pooler.transfer.settle import settle_existing
from pooler.transfer.verify import checksum_of, expect, is_servers_own, new_hasher

_UNKNOWN = Stat(None, None, 0.0)


async def download(attempt: Attempt) -> Transferred:
    """Copy a remote file to a temporary file beside its destination, and check it.

    Args:
        attempt: with a plan that is a download.

    Returns:
        The file, whole, under its temporary name; or that there is nothing to do.

    Raises:
        PoolerError: what went wrong. Nothing is left on the disk, but for a part that is large enough to be
            gone on with: that one is in the attempt's memory.

    Cancellation: as for an error; the session is dead.
    """
    attempt.session.foresee()
    try:
        return await _download(attempt)
    except ReplyError as error:
        moved = await moved_already(attempt) if error.code is ErrorCode.FILE_NOT_FOUND else None
        if moved is None:
            raise
        return moved


async def _download(attempt: Attempt) -> Transferred:
    options, memory = attempt.plan.options, attempt.memory
    kept = None if options.overwrite is Overwrite.ALWAYS else await _look(attempt)
    if kept is not None:
        return await mark_existing(attempt, kept)
    asks = _asks(options)
    # What is to be gone on with is told by size and time: then they come first.
    along = asks and attempt.asks_along and memory.kept is None
    part = _Part(attempt)
    if asks and not along:
        part.source = await attempt.session.stat(attempt.plan.remote_path)
        await adopt_here(attempt, part.source)
    try:
        return await _fetch(attempt, part, asking=along)
    except (TransferMismatch, LocalFileError):
        # It is wrong, or it is what fills the disk.
        part.discard()
        raise
    except BaseException:
        # The end of the exchange may fail too: the last bytes are here, and the server's word is not.
        part.keep()
        raise


def _asks(options: Options) -> bool:
    """Tell whether the server is asked for size and time; with them what arrived is known to be whole."""
    return options.verify is not Verify.NONE or options.preserve_mtime or options.resume


async def _look(attempt: Attempt) -> Transferred | None:
    """Look whether the destination exists; None where the file is to be fetched."""
    present = await attempt.root.brief(existing, attempt.root, attempt.plan.local_parts)
    if present is None:
        return None
    try:
        remote = await attempt.session.stat(attempt.plan.remote_path)
        return await settle_existing(attempt, present, remote)
    finally:
        present.close()


class _Part:
    """The file on its way: none before the server has begun, one from an attempt before, or a new one.

    Attributes:
        source: what the server has said of the file that it is a part of.
        source_again: what it has said of it once all was sent; None where that is still to be asked.
        file: where the bytes go; None for nowhere, yet or any more.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.source = _UNKNOWN
        self.source_again: Stat | None = None
        self.file: PartFile | None = None
        self._attempt = attempt

    @property
    def _replace(self) -> bool:
        return self._attempt.plan.options.overwrite is not Overwrite.NEVER

    async def take_up(self) -> int:
        """Open what an attempt before kept, if the source is still the same; tell how much of it there is."""
        memory, source = self._attempt.memory, self.source
        kept = memory.kept
        if kept is None:
            return 0
        # Without a time nobody can tell that it is the same: what has changed is never stitched.
        if source.modified is not None and is_same(kept.source, source):
            try:
                self.file = await self._attempt.root.brief(lambda: kept.part.open(replace=self._replace))
            except LocalFileError as error:
                if error.code is not ErrorCode.FILE_NOT_FOUND:
                    raise
            else:
                memory.kept = None
                if self.file.size_bytes <= (source.size_bytes or 0):
                    return self.file.size_bytes
                self.discard()
        memory.release()
        return 0

    async def begin(self) -> PartFile:
        """Make the file; it is there already where there was one to take up."""
        if self.file is None:
            root = self._attempt.root
            # The first part in a folder is what may have to make it, and to flush that.
            was_here = root.note_is_brief(Entry("", "/".join(self._attempt.plan.local_parts[:-1])))
            self.file = await (root.make if was_here else root.run)(self._make)
        return self.file

    def _make(self) -> PartFile:
        attempt, source = self._attempt, self.source
        temporary = local_name(attempt.token(source.size_bytes, source.modified))
        return PartFile(attempt.root, attempt.plan.local_parts, temporary, replace=self._replace)

    def keep(self) -> None:
        """Leave the file to the next attempt where that can go on with it; else remove it."""
        file, self.file = self.file, None
        if file is None:
            return
        if self.source.modified is not None and self._attempt.resumes(self.source.size_bytes):
            self._attempt.memory.kept = Kept(file.keep(), self.source)
        else:
            file.discard()

    def discard(self) -> None:
        """Remove the file."""
        file, self.file = self.file, None
        if file is not None:
            file.discard()


async def _fetch(attempt: Attempt, part: _Part, *, asking: bool) -> Transferred:
    offset = await part.take_up()
    if offset:
        try:
            size, checksum = await _receive(attempt, part, offset)
        except ReplyError:
            if not attempt.session.usable:
                raise
            # It was refused before any byte came: this server begins at the beginning only.
            part.discard()
            offset = 0
    if not offset:
        size, checksum = await _receive(attempt, part, 0, asking=asking)
    before = part.source
    source_checked = await _check_source(attempt, before, again=part.source_again)
    file = await part.begin()
    try:
        verified = await _verify(attempt, file, before, size, checksum)
    except TransferMismatch:
        await _check_source(attempt, before)  # the server may have read it again for the comparison
        raise
    mtime_kept = None
    if attempt.plan.options.preserve_mtime:
        mtime_kept = before.modified is not None and await attempt.root.brief(
            file.set_modified, nanoseconds(before.modified)
        )
    return Transferred(
        size,
        verified,
        part=file,
        source_checked=source_checked,
        checksum=None if checksum is None else str(checksum),
        mtime_kept=mtime_kept,
        resumed_from=offset or None,
        source=before,
    )


async def _receive(
    attempt: Attempt, part: _Part, offset: int, *, asking: bool = False
) -> tuple[int, Checksum | None]:
    """Receive the file from ``offset`` on; tell its size, and its checksum where one is asked for."""
    hasher = new_hasher(attempt)
    if hasher is not None and part.file is not None:
        path, buffer = attempt.local_path, attempt.buffer
        await attempt.root.run(add_file, hasher, part.file.descriptor, path, buffer, offset)
    async with attempt.session.retrieving(attempt.plan.remote_path, offset=offset, asking=asking) as stream:
        if stream.told is not None:
            part.source = stream.told
        # A job that compares nothing takes whatever comes.
        told_bytes = None if attempt.plan.options.verify is Verify.NONE else part.source.size_bytes
        # The server has the file, and its bytes are coming: only now does anything appear on the disk.
        file = await part.begin()
        size = offset + await mover.receive(
            stream,
            file,
            attempt.root,
            attempt.buffer,
            attempt.moved,
            hasher=hasher,
            expected_bytes=inf if told_bytes is None else told_bytes - offset,
            throttle=attempt.throttle,
            pipes=attempt.pipes,
        )
        if asking:
            attempt.look_ahead()
    part.source_again = stream.told_again
    return size, checksum_of(attempt, hasher)


async def _check_source(attempt: Attempt, before: Stat, *, again: Stat | None = None) -> str:
    """Look at the source again: what changed while it was read is no file that anybody wrote.

    Args:
        attempt: of a job.
        before: what the server has said of it.
        again: what it has said since; None to ask.

    Returns:
        By what it is known to be the same: ``time``, ``size``, or ``none``.
    """
    # A server whose last reply was lost, behind as many bytes as it had promised, cannot be asked any more.
    if (before.size_bytes is None and before.modified is None) or not attempt.session.usable:
        return "none"
    after = again if again is not None else await _stat_again(attempt)
    if after is None:
        return "none"
    if not is_same(before, after):
        raise TransferMismatch(
            ErrorCode.SOURCE_CHANGED,
            f"{attempt.remote_path}: changed while it was read ({_shown(before)}; now {_shown(after)})",
        )
    if before.modified is not None and after.modified is not None:
        return "time"
    return "none" if before.size_bytes is None or after.size_bytes is None else "size"


async def _stat_again(attempt: Attempt) -> Stat | None:
    """Ask for size and time again; None where the file is gone."""
    attempt.look_ahead()
    try:
        return await attempt.session.stat(attempt.plan.remote_path)
    except ReplyError as error:
        if error.code is ErrorCode.FILE_NOT_FOUND:
            return None  # some servers remove what was fetched, and then this is the only copy
        raise


def _shown(stat: Stat) -> str:
    time = "" if stat.modified is None else f" of {stat.modified.isoformat()}"
    return f"{stat.size_bytes} bytes{time}"


async def _verify(
    attempt: Attempt, file: PartFile, before: Stat, size: int, checksum: Checksum | None
) -> str:
    """Compare what arrived with what the job expects, and with what the server said it has."""
    as_expected = expect(attempt, checksum)
    if attempt.plan.options.verify is Verify.NONE:
        return "none"
    if before.size_bytes is not None and before.size_bytes != size:
        raise TransferMismatch(
            ErrorCode.SIZE_MISMATCH, f"{size} bytes arrived, the server has {before.size_bytes}"
        )
    path, session = attempt.plan.remote_path, attempt.session
    if session.usable and await is_servers_own(attempt, path, file.descriptor, checksum):
        return "checksum"
    if as_expected:
        return "checksum"
    return "none" if before.size_bytes is None else "size"
