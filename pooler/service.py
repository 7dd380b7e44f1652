"""The running service as its operators see it: snapshots for the API and the metrics, and their commands."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import trio

from pooler import posting
from pooler.bus.batches import Batches
from pooler.bus.bridge import KafkaBridge
from pooler.bus.ledger import Partition
from pooler.bus.letterbox import Letterbox
from pooler.config import Configuration
from pooler.config.described import described
from pooler.config.remotes import Connections
from pooler.config.settings import Settings
from pooler.config.worker import worker_name
from pooler.crew import Crew
from pooler.errors import BusError
from pooler.flow.chronicle import short
from pooler.flow.lately import Recent
from pooler.flow.probe import NoRoomToProbe, probe
from pooler.flow.steering import Steering
from pooler.flow.work import Work
from pooler.flow.worker import Worker
from pooler.model.control import Knob, Mode
from pooler.model.outcome import Status
from pooler.ops.http import questions
from pooler.ops.http.deployment import ALONE, DeploymentStatus, describe
from pooler.ops.http.everywhere import NOBODY, Query, Told
from pooler.ops.http.jobs import (
    EndedJob,
    FailureCause,
    JobInHand,
    OpenBatch,
    ended_job,
    failure_causes,
    in_hand,
    open_batch,
    running_jobs,
)
from pooler.ops.http.ledger import AuditLedger, Deed
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.reloading import ReloadReport
from pooler.ops.http.service import (
    CannotProbe,
    FolderStatus,
    PartitionStatus,
    ProbeStatus,
    RemoteStatus,
    ServiceStatus,
    Submission,
    Submitted,
)
from pooler.ops.http.submitting import Receipts
from pooler.snapshots import folder_status, partition_status, remote_status
from pooler.version import version


class Reloader(Protocol):
    """Reads the configuration again; `pooler.reload` has one."""

    async def reload(self, by: str) -> ReloadReport:
        """Do so, and tell what came of it."""
        ...

    async def watch(self) -> None:
        """Do so whenever a file has changed, for ever."""
        ...


class RunningService:
    """What the admin API asks; implements `pooler.ops.http.service.Service`.

    Before Kafka answers there is no crew yet: the service is alive and not ready.

    Args:
        hosts: the configured remotes' hosts, by name.
        drain: begins the drain.
        steering: what it does together with other pods; None where each is for itself.

    Attributes:
        hosts: the configured remotes' hosts, by name.
        ledger: what was done over the API.
        reloader: reads the configuration again; None before there is one.
    """

    def __init__(
        self, hosts: Mapping[str, str], drain: Callable[[], None], steering: Steering | None = None
    ) -> None:
        self.hosts = dict(hosts)
        self.ledger = AuditLedger()
        self.reloader: Reloader | None = None
        self._owners: dict[str, str] = {}
        self._drain = drain
        self._steering = steering
        self._receipts = Receipts()
        self._configuration: Configuration | None = None
        self._letterbox: Letterbox | None = None
        if steering is not None:
            steering.inquiries.answer = partial(questions.answer, self)
        self._version = version()
        self._started = trio.current_time()
        self._bridge: KafkaBridge | None = None
        self._crew: Crew | None = None
        self._batches: Batches | None = None
        self.draining = False

    def attach(self, bridge: KafkaBridge, crew: Crew, batches: Batches | None = None) -> None:
        """Show these from now on."""
        self._bridge, self._crew, self._batches = bridge, crew, batches

    def configured(self, configuration: Configuration) -> None:
        """Go by this configuration from now on."""
        self._configuration = configuration
        remotes = configuration.connections.remotes
        self.hosts = {remote.name: remote.host for remote in remotes}
        self._owners = {remote.name: remote.owner or "" for remote in remotes}

    def post_by(self, letterbox: Letterbox | None) -> None:
        """Submit jobs this way from now on; None for no more."""
        self._letterbox = letterbox

    @property
    def pod(self) -> str:
        """Our name."""
        return worker_name()

    async def ask_others(self, what: str, query: Query, within_s: float) -> Told:
        """Ask all other pods something.

        Raises:
            BusError: the question is not known to be written.
        """
        if self._steering is None:
            await trio.lowlevel.checkpoint()
            return NOBODY
        told, silent = await self._steering.ask(what, query, within_s)
        return Told(
            {tell.pod: tell.body for tell in told.values() if tell.body is not None},
            {tell.pod: tell.error for tell in told.values() if tell.body is None},
            silent,
        )

    def configuration(self) -> dict[str, Any]:
        """Tell what is in force, with where each key comes from; secrets are masked."""
        return described(self._configuration or Configuration(Settings(), Connections()))

    async def submit(self, submission: Submission) -> Submitted:
        """Write jobs to the topic: see `pooler.ops.http.service.Service.submit`."""
        if self._letterbox is None or self._configuration is None:
            raise BusError("this pod is not ready yet")
        return await posting.submit(submission, self._configuration, self._letterbox)

    def receipt(self, key: str) -> Receipt | None:
        """Tell what came of a request with this key before."""
        return self._receipts.get(key)

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        """Remember what came of a request with this key."""
        self._receipts.keep(key, receipt)

    def deeds(self) -> Iterator[Deed]:
        """Tell what was done over the API of this pod, and refused, the newest first."""
        return iter(self.ledger)

    async def reload(self, by: str) -> ReloadReport:
        """Read the configuration again: see `pooler.reload`."""
        if self.reloader is None:
            return ReloadReport(done=False, mistakes=("this pod is not ready yet",))
        return await self.reloader.reload(by)

    async def probe(self, name: str) -> ProbeStatus:
        """Try a remote out: see `pooler.ops.http.service.Service.probe`."""
        if self._crew is None:
            raise KeyError(name)
        try:
            tried = await probe(self._crew.fleet.remotes[name])
        except NoRoomToProbe as why:
            raise CannotProbe(str(why)) from None
        peer = tried.peer
        return ProbeStatus(
            ok=tried.code is None,
            seconds=tried.seconds,
            peer=None if peer is None else peer.address,
            tls_version=None if peer is None else peer.tls_version,
            certificate_sha256=None if peer is None else peer.certificate_sha256,
            error_code=None if tried.code is None else tried.code.value,
            error=tried.error,
            dialogue=tried.dialogue,
        )

    @property
    def attached(self) -> bool:
        """Whether there is a crew at work."""
        return self._crew is not None

    def drain(self) -> None:
        """Begin to drain: finish what runs, take nothing new, end."""
        self.draining = True
        self._drain()

    async def steer(self, name: str, knob: Knob, value: Mode | int | None, *, by: str, why: str) -> None:
        """Have something hold for a remote: on all pods, or on this one where there is no control topic.

        Raises:
            KeyError: there is no remote of that name.
            BusError: it is not known whether it holds.
        """
        if self._crew is None or name not in self.hosts:
            raise KeyError(name)
        if self._steering is None:
            self._crew.alone.want(name, knob, value, by=by, why=why)
        elif knob is Knob.BREAKER:
            await self._steering.forgive(name, by=by, why=why)
        else:
            await self._steering.want(name, knob, value, by=by, why=why)

    def deployment(self) -> DeploymentStatus:
        """Tell the state of all pods at this moment."""
        if self._steering is None:
            return ALONE
        return describe(self._steering.deployment, self._steering.incarnation, trio.current_time())

    def status(self) -> ServiceStatus:
        """Tell the state of the service at this moment."""
        now = trio.current_time()
        bridge = self._bridge
        reasons = self._why_not_ready()
        commit = None if bridge is None else bridge.last_commit
        return ServiceStatus(
            version=self._version,
            ready=not reasons,
            reasons=reasons,
            draining=self.draining,
            uptime_s=round(now - self._started, 3),
            window_records=0 if bridge is None else bridge.ledger.load.records,
            window_bytes=0 if bridge is None else bridge.ledger.load.size_bytes,
            oldest_job_age_s=self._oldest_age(now),
            partitions=self._partitions(now),
            succeeded=self._count(Status.SUCCESS),
            failed=self._count(Status.FAILED),
            skipped=self._count(Status.SKIPPED),
            bytes_transferred=0 if self._crew is None else self._crew.endings.bytes_transferred,
            commit_age_s=None if commit is None else round(now - commit, 3),
        )

    def _partitions(self, now: float) -> tuple[PartitionStatus, ...]:
        if self._bridge is None:
            return ()
        positions = self._bridge.positions()
        oldest = self._oldest_in_hand({at[:2] for at in positions if at.in_hand})
        return tuple(partition_status(at, oldest.get(at[:2]), now) for at in positions)

    def _oldest_in_hand(self, partitions: set[Partition]) -> dict[Partition, float]:
        """Tell when the oldest job of each of these partitions was first read."""
        found: dict[Partition, float] = {}
        for work in () if self._crew is None else self._crew.endings.in_flow:
            if len(found) == len(partitions):
                break
            partition = work.delivery.record.origin[:2]
            if partition in partitions:
                found.setdefault(partition, work.delivery.received)
        return found

    def _why_not_ready(self) -> tuple[str, ...]:
        reasons = []
        if self.draining:
            reasons.append("draining")
        if self._bridge is None:
            unread = self._steering is not None and self._steering.incarnation
            reasons.append("the control topic is not read yet" if unread else "connecting to Kafka")
        elif not self._bridge.assigned:
            reasons.append("no partitions assigned yet")
        return tuple(reasons)

    def _count(self, status: Status) -> int:
        if self._crew is None:
            return 0
        return sum(count for (_, ended), count in self._crew.endings.counts.items() if ended is status)

    def _oldest_age(self, now: float) -> float | None:
        oldest = None if self._crew is None else next(iter(self._crew.endings.in_flow), None)
        return None if oldest is None else round(now - oldest.delivery.received, 3)

    def remotes(self) -> tuple[RemoteStatus, ...]:
        """Tell the state of every configured remote at this moment."""
        crew = self._crew
        if crew is None:
            return ()
        now, oldest = trio.current_time(), self._oldest_waiting()
        return tuple(
            remote_status(
                remote,
                host=self.hosts.get(name, ""),
                owner=self._owners.get(name, ""),
                learnt=crew.connectors[name].learnt,
                endings=crew.endings,
                oldest=oldest.get(name),
                now=now,
            )
            for name, remote in crew.fleet.remotes.items()
            if remote.removed is None
        )

    def folders(self) -> tuple[FolderStatus, ...]:
        """Tell the state of every local folder at this moment."""
        if self._crew is None:
            return ()
        now = trio.current_time()
        return tuple(folder_status(name, keeper, now) for name, keeper in self._crew.keepers.items())

    def running(self) -> tuple[JobInHand, ...]:
        """Tell of the jobs that sessions work on at this moment, the slowest first."""
        return running_jobs(self._workers(), trio.current_time())

    def batches(self) -> tuple[OpenBatch, ...]:
        """Tell of the bulk jobs that this pod sums up, the oldest first."""
        return () if self._batches is None else tuple(map(open_batch, self._batches.open()))

    def ended(self) -> Iterator[EndedJob]:
        """Tell of the jobs that ended last, the newest first."""
        return iter(()) if self._crew is None else map(ended_job, self._crew.endings.chronicle)

    def find_jobs(self, task_id: str) -> tuple[tuple[JobInHand, ...], tuple[EndedJob, ...]]:
        """Find the jobs of a name: those in hand, and those that ended last, the newest first."""
        if self._crew is None:
            return (), ()
        now, endings = trio.current_time(), self._crew.endings
        at_work = {worker.work: worker for worker in self._workers()}
        waiting = (work for work in endings.in_flow if work.delivery.job.task_id == task_id)
        ended = (chapter for chapter in endings.chronicle if chapter.task_id == short(task_id))
        return (
            tuple(in_hand(work, at_work.get(work), now) for work in waiting),
            tuple(map(ended_job, ended)),
        )

    def failures(self) -> tuple[FailureCause, ...]:
        """Tell why jobs have failed since the start, the newest reason first."""
        return () if self._crew is None else failure_causes(self._crew.endings.chronicle)

    def recent(self) -> Mapping[str | None, Recent]:
        """Tell how jobs have ended of late, by remote."""
        return {} if self._crew is None else self._crew.endings.lately.recent(trio.current_time())

    def bytes_moved(self) -> int:
        """Tell how many bytes have gone over since the start."""
        remotes = () if self._crew is None else self._crew.fleet.remotes.values()
        return sum(remote.tally.size_bytes for remote in remotes)

    def cancel(self, task_id: str, why: str) -> None:
        """Cancel the jobs of a name that are in hand."""
        if self._crew is not None:
            self._crew.fleet.cancel(task_id, why)

    def _workers(self) -> Iterator[Worker]:
        for remote in () if self._crew is None else self._crew.fleet.remotes.values():
            yield from remote.workers

    def _oldest_waiting(self) -> dict[str, Work]:
        """Find the first job of each remote that no worker has in hand, in one walk."""
        assert self._crew is not None  # noqa: S101 - asked only then
        at_work = {worker.work for worker in self._workers()}
        found: dict[str, Work] = {}
        for work in self._crew.endings.in_flow:
            if work not in at_work:
                found.setdefault(work.plan.remote, work)
        return found
