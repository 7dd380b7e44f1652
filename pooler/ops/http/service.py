"""What the admin API asks of the running service, and the snapshots that it gets.

`pooler.app` implements `Service`. Every method is plain: it decides and records without awaiting, so that an
answer shows one moment and not a mixture of two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pooler.ops.metrics import BreakerState

Plain = bool | int | str | list[str] | None
"""What stands for itself in JSON."""


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One session on a remote.

    Attributes:
        busy: whether it works on a job.
        job: that job's task_id; None while idle.
        since_s: seconds since the job began, or since the session fell idle.
        bytes: bytes of the job's file that have gone over so far.
        peer: ``host:port`` as connected; None where that is not known.
    """

    busy: bool
    job: str | None
    since_s: float
    bytes: int
    peer: str | None


@dataclass(frozen=True, slots=True)
class RemoteSummary:
    """One configured remote, without its sessions.

    Attributes:
        name: its section of connections.ini.
        host: as configured.
        state: its breaker.
        breaker_retry_s: seconds until an open breaker lets a job through on trial; None unless open.
        paused: whether an operator has paused it.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        limit: sessions that are allowed now.
        waiting: jobs in its lane.
        oldest_wait_s: how long the first of them has waited, in seconds; None where none waits.
        succeeded: jobs since the start, those that were skipped included.
        failed: jobs since the start.
        last_error: the newest failure, for people; None where there was none.
    """

    name: str
    host: str
    state: BreakerState
    breaker_retry_s: float | None
    paused: bool
    busy: int
    idle: int
    limit: int
    waiting: int
    oldest_wait_s: float | None
    succeeded: int
    failed: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class RemoteStatus(RemoteSummary):
    """One configured remote, with its sessions and what they have found out.

    Attributes:
        sessions: one entry for each that is open.
        learnt: what the server says of itself, and what of it was found to work; None where nothing was
            tried. docs/ftp.md has the names.
    """

    sessions: tuple[SessionStatus, ...]
    learnt: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """One local folder.

    Attributes:
        name: its section of connections.ini.
        paused: whether it cannot be used now; its jobs wait, those of others do not.
        reason: why, in a word: ``full``, ``read_only``, ``no_permission``, ``vanished``, ``stalled`` or
            ``failing``; None unless paused.
        error: the same for people; None unless paused.
        paused_s: since when, in seconds; None unless paused.
        uploads_go_on: whether files are still read from it; always so unless paused.
        waiting: jobs that wait for it.
        free_bytes: its room; None while that is not known.
    """

    name: str
    paused: bool
    reason: str | None
    error: str | None
    paused_s: float | None
    uploads_go_on: bool
    waiting: int
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition that this pod holds.

    Attributes:
        topic: its topic.
        partition: its number.
        position: the offset of the next record to read.
        watermark: the next offset to commit.
        lag: records not settled yet; None while the end is not known.
        settled_above: records settled above the watermark.
    """

    topic: str
    partition: int
    position: int
    watermark: int
    lag: int | None
    settled_above: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The service of this pod as a whole.

    Attributes:
        version: of the program.
        ready: whether it takes jobs.
        reasons: why it does not; empty if it does.
        draining: whether it finishes what runs and takes nothing new.
        uptime_s: seconds since the start.
        window_records: records read and not settled.
        window_bytes: their bytes.
        oldest_job_age_s: seconds since the oldest of them was first read; None where there are none.
        partitions: those that this pod holds.
        succeeded: jobs since the start.
        failed: jobs since the start.
        skipped: jobs since the start.
        commit_age_s: seconds since the last commit; None before the first.
    """

    version: str
    ready: bool
    reasons: tuple[str, ...]
    draining: bool
    uptime_s: float
    window_records: int
    window_bytes: int
    oldest_job_age_s: float | None
    partitions: tuple[PartitionStatus, ...]
    succeeded: int
    failed: int
    skipped: int
    commit_age_s: float | None


class Service(Protocol):
    """The running service, as far as the API is concerned."""

    def status(self) -> ServiceStatus:
        """Tell the state of the service at this moment."""
        ...

    def remotes(self) -> tuple[RemoteStatus, ...]:
        """Tell the state of every configured remote at this moment."""
        ...

    def folders(self) -> tuple[FolderStatus, ...]:
        """Tell the state of every local folder at this moment."""
        ...

    def pause(self, name: str) -> None:
        """Start no more jobs on a remote; those that run go on. No effect on one that is paused.

        Raises:
            KeyError: there is no such remote.
        """
        ...

    def resume(self, name: str) -> None:
        """Let a paused remote's jobs run again. No effect on one that is not paused.

        Raises:
            KeyError: there is no such remote.
        """
        ...

    def drain(self) -> None:
        """Start to drain this pod: finish what runs, take nothing new, end. No effect the second time."""
        ...
