"""The running service as its operators see it: snapshots for the API and the metrics, and their commands."""

from collections.abc import Callable, Mapping

import trio

from pooler.bus.bridge import KafkaBridge
from pooler.crew import Crew
from pooler.flow.keeper import RootKeeper
from pooler.flow.remote import Remote
from pooler.flow.work import Work
from pooler.flow.worker import Worker
from pooler.model.outcome import Status
from pooler.ops.http.service import FolderStatus, PartitionStatus, RemoteStatus, ServiceStatus, SessionStatus
from pooler.version import version


class RunningService:
    """What the admin API asks; implements `pooler.ops.http.service.Service`.

    Before Kafka answers there is no crew yet: the service is alive and not ready.

    Args:
        hosts: the configured remotes' hosts, by name.
        drain: begins the drain.
    """

    def __init__(self, hosts: Mapping[str, str], drain: Callable[[], None]) -> None:
        self._hosts = hosts
        self._drain = drain
        self._started = trio.current_time()
        self._bridge: KafkaBridge | None = None
        self._crew: Crew | None = None
        self.draining = False

    def attach(self, bridge: KafkaBridge, crew: Crew) -> None:
        """Show these from now on."""
        self._bridge, self._crew = bridge, crew

    @property
    def attached(self) -> bool:
        """Whether there is a crew at work."""
        return self._crew is not None

    def drain(self) -> None:
        """Begin to drain: finish what runs, take nothing new, end."""
        self.draining = True
        self._drain()

    def pause(self, name: str) -> None:
        """Begin no job on a remote; KeyError where there is none of that name."""
        self._remote(name).pause()

    def resume(self, name: str) -> None:
        """Take ``pause`` back; KeyError where there is no remote of that name."""
        self._remote(name).resume()

    def _remote(self, name: str) -> Remote:
        if self._crew is None:
            raise KeyError(name)
        return self._crew.fleet.remotes[name]

    def status(self) -> ServiceStatus:
        """Tell the state of the service at this moment."""
        now = trio.current_time()
        bridge = self._bridge
        reasons = self._why_not_ready()
        positions = [] if bridge is None else bridge.positions()
        commit = None if bridge is None else bridge.last_commit
        return ServiceStatus(
            version=version(),
            ready=not reasons,
            reasons=reasons,
            draining=self.draining,
            uptime_s=round(now - self._started, 3),
            window_records=0 if bridge is None else bridge.ledger.load.records,
            window_bytes=0 if bridge is None else bridge.ledger.load.size_bytes,
            oldest_job_age_s=self._oldest_age(now),
            partitions=tuple(
                PartitionStatus(at.topic, at.partition, at.position, at.watermark, at.lag, at.settled_above)
                for at in positions
            ),
            succeeded=self._count(Status.SUCCESS),
            failed=self._count(Status.FAILED),
            skipped=self._count(Status.SKIPPED),
            commit_age_s=None if commit is None else round(now - commit, 3),
        )

    def _why_not_ready(self) -> tuple[str, ...]:
        reasons = []
        if self.draining:
            reasons.append("draining")
        if self._bridge is None:
            reasons.append("connecting to Kafka")
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
        if self._crew is None:
            return ()
        now = trio.current_time()
        oldest = self._oldest_waiting()
        counts = self._crew.endings.counts
        return tuple(
            RemoteStatus(
                name=name,
                host=self._hosts[name],
                state=remote.breaker.state.value,
                breaker_retry_s=_in_seconds(remote.breaker.opens_until, now),
                paused=remote.paused,
                busy=sum(worker.work is not None for worker in remote.workers),
                idle=sum(worker.work is None for worker in remote.workers),
                limit=remote.limit.current(now),
                waiting=remote.waiting,
                oldest_wait_s=None if name not in oldest else round(now - oldest[name].delivery.received, 3),
                succeeded=counts[name, Status.SUCCESS] + counts[name, Status.SKIPPED],
                failed=counts[name, Status.FAILED],
                last_error=remote.last_error,
                sessions=tuple(_session(worker, now) for worker in remote.workers),
                learnt=self._crew.connectors[name].learnt,
            )
            for name, remote in self._crew.fleet.remotes.items()
        )

    def folders(self) -> tuple[FolderStatus, ...]:
        """Tell the state of every local folder at this moment."""
        if self._crew is None:
            return ()
        now = trio.current_time()
        return tuple(_folder(name, keeper, now) for name, keeper in self._crew.keepers.items())

    def _oldest_waiting(self) -> dict[str, Work]:
        """Find the first job of each remote that no worker has in hand, in one walk."""
        assert self._crew is not None  # noqa: S101 - asked only then
        in_hand = {worker.work for remote in self._crew.fleet.remotes.values() for worker in remote.workers}
        found: dict[str, Work] = {}
        for work in self._crew.endings.in_flow:
            if work not in in_hand:
                found.setdefault(work.plan.remote, work)
        return found


def _session(worker: Worker, now: float) -> SessionStatus:
    return SessionStatus(
        busy=worker.work is not None,
        job=None if worker.work is None else worker.work.delivery.job.task_id,
        since_s=round(now - worker.since, 3),
        bytes=worker.bytes_moved,
        peer=worker.session.peer.address,
    )


def _folder(name: str, keeper: RootKeeper, now: float) -> FolderStatus:
    trouble = keeper.trouble
    return FolderStatus(
        name=name,
        paused=trouble is not None,
        reason=None if trouble is None else trouble.reason,
        error=None if trouble is None else str(trouble.error),
        paused_s=None if trouble is None else round(now - trouble.since, 3),
        uploads_go_on=trouble is None or trouble.uploads_go_on,
        waiting=keeper.waiting,
        free_bytes=keeper.free_bytes,
    )


def _in_seconds(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, at - now), 3)
