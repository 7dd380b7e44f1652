"""What the admin API asks of the running service, and the snapshots that it gets.

`pooler.service` implements `Service`. What tells something is plain: it does not await, so that an
answer shows one moment and not a mixture of two.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pooler.flow.lately import Recent
from pooler.model.control import Knob, Mode
from pooler.ops.http.deployment import DeploymentStatus
from pooler.ops.http.everywhere import Asker
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand, OpenBatch
from pooler.ops.http.ledger import AuditLedger, Deed
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.reloading import ReloadReport
from pooler.ops.readings import BreakerState, PartitionState

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
        owner: who is told of trouble with it; empty where the configuration names nobody.
        paused: whether an operator has paused it.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        limit: sessions that are allowed now.
        target: sessions that would serve best, as far as is known, whatever is allowed.
        waiting: jobs that wait for a session, or for room there.
        parked: how often a job was parked since the start.
        oldest_wait_s: how long the first of them has waited, in seconds; None where none waits.
        succeeded: jobs since the start, those that were skipped included.
        failed: jobs since the start.
        last_error: the newest failure, for people; None where there was none.
        maintenance_until: the end of the maintenance window that it is in, by ISO 8601 in UTC; None outside
            of any.
        bandwidth_bytes_per_s: how many bytes a second may pass; None for any number.
        full_s: since when it has no room for uploads, in seconds; None while it has.
    """

    name: str
    host: str
    state: BreakerState
    breaker_retry_s: float | None
    owner: str
    paused: bool
    busy: int
    idle: int
    limit: int
    target: int
    waiting: int
    parked: int
    oldest_wait_s: float | None
    succeeded: int
    failed: int
    last_error: str | None
    maintenance_until: str | None
    bandwidth_bytes_per_s: float | None
    full_s: float | None


@dataclass(frozen=True, slots=True)
class MovedStatus:
    """What so many sessions moved within a few seconds.

    Attributes:
        sessions: how many.
        seconds: how long that was looked at.
        files_per_s: transfers that ended well, a second.
        bytes_per_s: bytes that went over, a second.
        reply_s: how long one of those transfers took, in seconds; None where none ended.
    """

    sessions: int
    seconds: float
    files_per_s: float
    bytes_per_s: int
    reply_s: float | None


@dataclass(frozen=True, slots=True)
class LimitDecision:
    """A change of a remote's limit, or a try that led to none.

    Attributes:
        ago_s: how long ago, in seconds.
        before: sessions that were allowed.
        after: sessions that are allowed since.
        reason: why, for people.
        state: what the limit was about then, as in ``LimitStatus``.
        seen: what was moved; None where that did not count.
        against: what it was compared with; None likewise.
        gain: the one over the other, as a factor; None likewise.
        error: the server's words; None where it said nothing.
    """

    ago_s: float
    before: int
    after: int
    reason: str
    state: str
    seen: MovedStatus | None
    against: MovedStatus | None
    gain: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """Why a remote's limit is what it is.

    Attributes:
        state: ``starting`` (doubling), ``probing`` (between too few and too many), ``steady`` (now and then
            one more or fewer), ``cooling`` (the server has just refused more), or ``fixed`` (nothing is
            tried).
        most: sessions that it may have for itself.
        shared_with: the other remotes of its ``limit_group``.
        shared_most: sessions that all of them may have together.
        share: sessions of all pods together that are this one's now; None where there is no such bound.
        let_in: sessions that the server had let in when it refused more; None where it never did.
        cools_s: seconds until one more than that may be tried; None where it may.
        next_login_s: seconds until the bound on logins a minute lets one through.
        data_connections_per_s: data connections a second that are allowed now.
        decisions: the last ones, newest first.
    """

    state: str
    most: int
    shared_with: tuple[str, ...]
    shared_most: int
    share: int | None
    let_in: int | None
    cools_s: float | None
    next_login_s: float
    data_connections_per_s: float
    decisions: tuple[LimitDecision, ...]


@dataclass(frozen=True, slots=True)
class RemoteStatus(RemoteSummary):
    """One configured remote, with its sessions and what they have found out.

    Attributes:
        limits: why its limit is what it is.
        sessions: one entry for each that is open.
        learnt: what the server says of itself, and what of it was found to work; None where nothing was
            tried. docs/ftp.md has the names.
    """

    limits: LimitStatus
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
        state: ``running``; ``paused`` while enough is in hand, the pod drains, or no parked job is due; or
            ``stopped``: it is not read, and will not be by itself.
        reason: why it is stopped, for people; None where it is not.
        way_on: what they can do about that; None where it is not.
        position: the offset of the next record to read.
        watermark: the next offset to commit.
        committed: the offset on record; None where there is none yet.
        lag: records not settled yet, or all that there are where it is stopped; None while the end is not
            known.
        settled_above: records settled above the watermark.
        in_hand: records read and not settled.
        oldest_age_s: seconds since the oldest job of these was first read; None where there is none.
        pod: who holds it.
    """

    topic: str
    partition: int
    state: PartitionState
    reason: str | None
    way_on: str | None
    position: int
    watermark: int
    committed: int | None
    lag: int | None
    settled_above: int
    in_hand: int
    oldest_age_s: float | None
    pod: str = ""


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
        bytes_transferred: of the files of these jobs.
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
    bytes_transferred: int
    commit_age_s: float | None


@dataclass(frozen=True, slots=True)
class Submission:
    """Jobs that are to be written to the topic.

    Attributes:
        jobs: as docs/records.md has them.
        urgent: whether they are for the priority topic.
        by: who submits them.
        key: names the request; None where nothing does.
        traceparent: the trace that they are part of; None without one.
    """

    jobs: tuple[dict[str, Any], ...]
    urgent: bool
    by: str
    key: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """Jobs that the brokers have.

    Attributes:
        topic: where they stand.
        jobs: the name and the remote of each.
    """

    topic: str
    jobs: tuple[tuple[str, str], ...]


class JobsRefused(ValueError):
    """Nothing was submitted, as some of it is no valid job; says which, and why."""


@dataclass(frozen=True, slots=True)
class ProbeStatus:
    """What came of trying a remote out: a connection, a login and a command, on a session of its own.

    Attributes:
        ok: whether all of it went well.
        seconds: how long it took.
        peer: ``host:port`` as connected; None where nothing was.
        tls_version: such as ``TLSv1.3``; None without TLS, or where it failed before.
        certificate_sha256: of the server's certificate; None likewise.
        error_code: why it failed; None unless it did.
        error: the same for people; None unless it failed.
        dialogue: the last lines of the dialogue with the server, secrets masked.
    """

    ok: bool
    seconds: float
    peer: str | None
    tls_version: str | None
    certificate_sha256: str | None
    error_code: str | None
    error: str | None
    dialogue: tuple[str, ...]


class CannotProbe(Exception):
    """It cannot be tried out now, and why."""


class Service(Asker, Protocol):
    """The running service, as far as the API is concerned.

    Attributes:
        ledger: what was done over the API.
    """

    ledger: AuditLedger

    def configuration(self) -> Mapping[str, Any]:
        """Tell what is in force, with where each key comes from; secrets are masked."""
        ...

    async def submit(self, submission: Submission) -> Submitted:
        """Write jobs to the topic.

        Raises:
            JobsRefused: one of them is no valid job; nothing is written.
            BusError: it is not known whether the brokers have them.
        """
        ...

    def receipt(self, key: str) -> Receipt | None:
        """Tell what came of a request with this key before."""
        ...

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        """Remember what came of a request with this key."""
        ...

    def deeds(self) -> Iterator[Deed]:
        """Tell what was done over the API of this pod, and refused, the newest first."""
        ...

    async def reload(self, by: str) -> ReloadReport:
        """Read the configuration again, and do at this pod what of it can be done without a restart.

        Args:
            by: who wants it.
        """
        ...

    async def probe(self, name: str) -> ProbeStatus:
        """Try a remote out, on a session of its own.

        Raises:
            KeyError: there is no such remote.
            CannotProbe: it may not have another session now.
        """
        ...

    def status(self) -> ServiceStatus:
        """Tell the state of the service at this moment."""
        ...

    def remotes(self) -> tuple[RemoteStatus, ...]:
        """Tell the state of every configured remote at this moment."""
        ...

    def folders(self) -> tuple[FolderStatus, ...]:
        """Tell the state of every local folder at this moment."""
        ...

    def deployment(self) -> DeploymentStatus:
        """Tell the state of all pods at this moment."""
        ...

    def running(self) -> tuple[JobInHand, ...]:
        """Tell of the jobs that sessions work on at this moment, the slowest first."""
        ...

    def batches(self) -> tuple[OpenBatch, ...]:
        """Tell of the bulk jobs that this pod sums up, the oldest first."""
        ...

    def ended(self) -> Iterator[EndedJob]:
        """Tell of the jobs that ended last, the newest first."""
        ...

    def find_jobs(self, task_id: str) -> tuple[tuple[JobInHand, ...], tuple[EndedJob, ...]]:
        """Find the jobs of a name: those in hand, and those that ended last, the newest first."""
        ...

    def failures(self) -> tuple[FailureCause, ...]:
        """Tell why jobs have failed since the start, the newest reason first."""
        ...

    def recent(self) -> Mapping[str | None, Recent]:
        """Tell how jobs have ended of late, by remote; None stands for those that never had one."""
        ...

    def bytes_moved(self) -> int:
        """Tell how many bytes have gone over since the start, those of failed attempts included."""
        ...

    def cancel(self, task_id: str, why: str) -> None:
        """Cancel the jobs of a name that are in hand.

        Args:
            task_id: the sender's name for it.
            why: who cancels it, and why, for people.
        """
        ...

    async def steer(self, name: str, knob: Knob, value: Mode | int | None, *, by: str, why: str) -> None:
        """Have something hold for a remote, on all pods where they know of each other.

        Args:
            name: the remote's.
            knob: what is set.
            value: what to; None to leave it to the configuration again, and for what has no value.
            by: who wants it.
            why: in their words.

        Raises:
            KeyError: there is no such remote.
            BusError: it is not known whether it holds.
        """
        ...

    def drain(self) -> None:
        """Start to drain this pod: finish what runs, take nothing new, end. No effect the second time."""
        ...
