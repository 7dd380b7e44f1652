"""From a job to what is to be done: which way, on which remote, at which path. Pure.

No path leaves its root here: ``..`` may not climb above it, and no byte may end a command line. What
symbolic links do on the local side is the business of `pooler.storage.root`.
"""

import os
import re
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from pooler.config.remotes import Connections, FtpRemote
from pooler.config.temp_name import BESIDE, TempName
from pooler.errors import ErrorCode, JobError
from pooler.model.batch import beneath, split
from pooler.model.job import After, Direction, Endpoint, Job, Options, Overwrite, Verify, marker_of


class Plan(Struct, frozen=True):
    """What is to be done for a job.

    Attributes:
        direction: which way.
        remote: the name of the server's section.
        remote_path: absolute on the server, base path included.
        folder: the name of the local section.
        local_parts: the way from that folder to the file; at least one name.
        options: how; nothing that a remote has a default for is left open.
        moved_parts: where an upload's source is moved to afterwards, from the folder; else None.
        moved_path: where a download's source is moved to afterwards, on the server; else None.
        temp_name: what an upload is called until it is whole.
        base_path: what an absolute folder of that name is below; without a ``/`` at its end.
        write_only: whether nothing can be asked about what was uploaded.
        spread: of a bulk job, what its files are called, and behind which name they begin; None of any other.
            The two ends are those of a file that stands for all of them.
    """

    direction: Direction
    remote: str
    remote_path: str
    folder: str
    local_parts: tuple[str, ...]
    options: Options
    moved_parts: tuple[str, ...] | None = None
    moved_path: str | None = None
    temp_name: TempName = BESIDE
    base_path: str = ""
    write_only: bool = False
    spread: "SpreadPlan | None" = None

    @property
    def destination(self) -> tuple[str, str]:
        """What two jobs have in common that write the same file."""
        if self.direction is Direction.UPLOAD:
            return self.remote, self.remote_path
        return self.folder, "/".join(self.local_parts)

    @property
    def temporary_folder(self) -> str:
        """The folder of an upload that is not whole yet; without a ``/`` at its end."""
        folder = self.temp_name.folder
        if folder.startswith("/"):
            return f"{self.base_path}{folder}".rstrip("/")
        beside = self.remote_path.rpartition("/")[0]
        return f"{beside}/{folder}" if folder else beside


class SpreadPlan(NamedTuple):
    """Which files of a folder are to be found next.

    Attributes:
        pattern: of their names.
        cursor: they come behind it, in the order of names.
        room: how many at most.
    """

    pattern: str
    cursor: str = ""
    room: int = 0


_NAME_MAX_BYTES = 255
_STANDS_FOR_ALL = "file"
_ENDS_A_LINE = re.compile(r"[\r\n\0]")


def plan(job: Job, connections: Connections) -> Plan:
    """Work out what is to be done for a job.

    Args:
        job: what is asked for.
        connections: every remote and local folder that there is.

    Raises:
        JobError: ``UNKNOWN_REMOTE``, ``INVALID_JOB`` or ``PATH_OUTSIDE_ROOT``, with what is wrong.
    """
    if job.bulk:
        return _plan_of_many(job, connections)
    for end in (job.source, job.destination):
        if end.remote not in connections:
            raise JobError(ErrorCode.UNKNOWN_REMOTE, f"{end.remote!r}: no such section in connections.ini")
    source, destination = connections[job.source.remote], connections[job.destination.remote]
    if isinstance(source, FtpRemote) == isinstance(destination, FtpRemote):
        both = "remote servers" if isinstance(source, FtpRemote) else "local folders"
        raise JobError(ErrorCode.INVALID_JOB, f"both ends are {both}; one must be local, the other remote")
    if isinstance(source, FtpRemote):
        direction, remote, far, near = Direction.DOWNLOAD, source, job.source, job.destination
    else:
        assert isinstance(destination, FtpRemote)  # noqa: S101 - of the two exactly one is
        direction, remote, far, near = Direction.UPLOAD, destination, job.destination, job.source
    if job.operation is not None and job.operation != direction:
        raise JobError(
            ErrorCode.INVALID_JOB,
            f"operation is {job.operation.value!r}, but from {job.source} to {job.destination} it is "
            f"{direction.value!r}",
        )
    remote_path, local_parts = on_server(remote, far), _parts(near, backslash=False)
    found = plan_of(
        remote, direction, remote_path, folder=near.remote, local_parts=local_parts, options=job.options
    )
    _check(job, found, remote)
    if job.options.move_to is None:
        return found
    moved_to = job.source._replace(path=job.options.move_to)
    moved_parts = moved_path = None
    if direction is Direction.UPLOAD:
        moved_parts = _parts(moved_to, backslash=False)
    else:
        moved_path = on_server(remote, moved_to)
    if local_parts == moved_parts or remote_path == moved_path:
        raise JobError(ErrorCode.INVALID_JOB, f"{job.source}: is to be moved to where it is")
    return replace(found, moved_parts=moved_parts, moved_path=moved_path)


def _plan_of_many(job: Job, connections: Connections) -> Plan:
    try:
        folder, pattern = split(job.source.path)
        destination = beneath(job.destination.path, _STANDS_FOR_ALL)
    except ValueError as error:
        raise JobError(ErrorCode.INVALID_JOB, str(error)) from error
    options = replace(
        job.options,
        literal=True,
        move_to=None
        if job.options.move_to is None
        else f"{job.options.move_to.rpartition('/')[0]}/.{_STANDS_FOR_ALL}",
    )
    one = replace(
        job,
        source=job.source._replace(path=f"{folder}/{_STANDS_FOR_ALL}"),
        destination=job.destination._replace(path=destination),
        options=options,
    )
    return replace(plan(one, connections), spread=SpreadPlan(pattern))


def plan_of(
    remote: FtpRemote,
    direction: Direction,
    remote_path: str,
    *,
    folder: str,
    local_parts: tuple[str, ...],
    options: Options,
) -> Plan:
    """Put together a plan of what is known already, and the remote's defaults. Arguments as of ``Plan``."""
    return Plan(
        direction,
        remote.name,
        remote_path,
        folder,
        local_parts,
        _completed(options, remote),
        temp_name=remote.temp_name,
        base_path=remote.base_path.rstrip("/"),
        write_only=remote.write_only,
    )


def _completed(options: Options, remote: FtpRemote) -> Options:
    """Put the remote's defaults where the job says nothing."""
    verify = options.verify or remote.verify
    if options.checksum is not None and verify is not Verify.READ_BACK:
        verify = Verify.CHECKSUM
    in_place = remote.in_place if options.in_place is None else options.in_place
    return replace(options, verify=verify, in_place=in_place)


def _check(job: Job, found: Plan, remote: FtpRemote) -> None:
    """See that the remote can do what the job asks for.

    Raises:
        JobError: ``INVALID_JOB``.
    """
    shown, options = f"{job.source} to {job.destination}", found.options
    downloads = found.direction is Direction.DOWNLOAD
    why = None
    if remote.write_only and downloads:
        why = "nothing can be fetched"
    elif remote.write_only and options.overwrite is not Overwrite.ALWAYS:
        why = f"overwrite is {options.overwrite.value}, and nobody can tell what is there"
    elif remote.write_only and options.after is not After.NONE:
        why = f"after is {options.after.value}, and the copy cannot be verified"
    if why is not None:
        raise JobError(ErrorCode.INVALID_JOB, f"{shown}: {remote.name} is write_only: {why}")
    if options.after is not After.NONE and options.verify is Verify.NONE:
        why = f"after is {options.after.value}, but verify is none, which is the default of {remote.name}"
    elif remote.transfer_type == "ascii" and options.verify is Verify.READ_BACK:
        why = "verify is read_back, but what an ascii transfer reads back is not what was sent"
    elif options.write_marker and downloads and _is_too_long(marker_of(found.local_parts[-1])):
        why = "the name of its marker is too long"
    if why is not None:
        raise JobError(ErrorCode.INVALID_JOB, f"{shown}: {why}")


def _is_too_long(name: str) -> bool:
    return len(os.fsencode(name)) > _NAME_MAX_BYTES


def on_server(remote: FtpRemote, end: Endpoint, *, folder: bool = False) -> str:
    """Give the absolute path on a server of what a job, or a person, names.

    Args:
        remote: the server.
        end: the path below its base path.
        folder: whether a folder may be meant, the base path itself included.

    Raises:
        JobError: ``INVALID_JOB`` or ``PATH_OUTSIDE_ROOT``.
    """
    return "/".join((remote.base_path.rstrip("/"), *_parts(end, backslash=True, folder=folder))) or "/"


def _parts(end: Endpoint, *, backslash: bool, folder: bool = False) -> tuple[str, ...]:
    """Split a path into the names on the way down from its root."""
    if _ENDS_A_LINE.search(end.path):
        raise JobError(ErrorCode.INVALID_JOB, f"{end.remote}:{end.path!r}: CR, LF or NUL in a path")
    parts: list[str] = []
    for part in end.path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == ".." or (backslash and ".." in part.split("\\")):
            # To a server on Windows a backslash parts names too.
            raise JobError(ErrorCode.PATH_OUTSIDE_ROOT, f"{end}: leaves the root")
        elif part not in {"", "."}:
            parts.append(part)
    if not folder and (not parts or end.path.endswith(("/", "/.", "/.."))):
        raise JobError(ErrorCode.INVALID_JOB, f"{end}: names a folder, not a file")
    return tuple(parts)
