"""From a job to what is to be done: which way, on which remote, at which path. Pure.

No path leaves its root here: ``..`` may not climb above it, and no byte may end a command line. What
symbolic links do on the local side is the business of `pooler.storage.root`.
"""

import re
from dataclasses import dataclass

from pooler.config.remotes import Connections, FtpRemote
from pooler.errors import ErrorCode, JobError
from pooler.model.job import Direction, Endpoint, Job, Options


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for a job.

    Attributes:
        direction: which way.
        remote: the name of the server's section.
        remote_path: absolute on the server, base path included.
        folder: the name of the local section.
        local_parts: the way from that folder to the file; at least one name.
        options: how.
        moved_parts: where an upload's source is moved to afterwards, from the folder; else None.
        moved_path: where a download's source is moved to afterwards, on the server; else None.
    """

    direction: Direction
    remote: str
    remote_path: str
    folder: str
    local_parts: tuple[str, ...]
    options: Options
    moved_parts: tuple[str, ...] | None = None
    moved_path: str | None = None

    @property
    def destination(self) -> tuple[str, str]:
        """What two jobs have in common that write the same file."""
        if self.direction is Direction.UPLOAD:
            return self.remote, self.remote_path
        return self.folder, "/".join(self.local_parts)


_ENDS_A_LINE = re.compile(r"[\r\n\0]")


def plan(job: Job, connections: Connections) -> Plan:
    """Work out what is to be done for a job.

    Args:
        job: what is asked for.
        connections: every remote and local folder that there is.

    Raises:
        JobError: ``UNKNOWN_REMOTE``, ``INVALID_JOB`` or ``PATH_OUTSIDE_ROOT``, with what is wrong.
    """
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
    moved_parts = moved_path = None
    if job.options.move_to is not None:
        moved_to = job.source._replace(path=job.options.move_to)
        if direction is Direction.UPLOAD:
            moved_parts = _parts(moved_to, backslash=False)
        else:
            moved_path = on_server(remote, moved_to)
        if local_parts == moved_parts or remote_path == moved_path:
            raise JobError(ErrorCode.INVALID_JOB, f"{job.source}: is to be moved to where it is")
    return Plan(
        direction, remote.name, remote_path, near.remote, local_parts, job.options, moved_parts, moved_path
    )


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
