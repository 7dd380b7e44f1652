"""What operators are told of a remote, a partition and a folder, as they are at one moment."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pooler.bus.bridge import PartitionPosition
from pooler.flow.endings import Endings
from pooler.flow.keeper import RootKeeper
from pooler.flow.limit import Decision
from pooler.flow.rates import Rates
from pooler.flow.remote import Remote
from pooler.flow.work import Work
from pooler.flow.worker import Worker
from pooler.model.outcome import Status
from pooler.ops.http.service import (
    FolderStatus,
    LimitDecision,
    LimitStatus,
    MovedStatus,
    PartitionStatus,
    RemoteStatus,
    SessionStatus,
)


def remote_status(
    remote: Remote,
    *,
    host: str,
    owner: str,
    learnt: Mapping[str, Any],
    endings: Endings,
    oldest: Work | None,
    now: float,
) -> RemoteStatus:
    """Tell the state of a remote.

    Args:
        remote: which one.
        host: where it is.
        owner: who is told when it is in trouble.
        learnt: what was found out about its server.
        endings: of all jobs.
        oldest: its first job that no session works on; None where there is none.
        now: the time, by trio's clock.
    """
    name, counts = remote.name, endings.counts
    return RemoteStatus(
        name=name,
        host=host,
        state=remote.breaker.state.value,
        breaker_retry_s=_in_seconds(remote.breaker.opens_until, now),
        owner=owner,
        paused=remote.paused,
        busy=sum(worker.work is not None for worker in remote.workers),
        idle=sum(worker.work is None for worker in remote.workers),
        limit=min(remote.most, remote.group.limit.current(now)),
        target=remote.group.limit.target,
        waiting=remote.waiting + remote.room.lane.waiting,
        parked=endings.parked[name],
        oldest_wait_s=None if oldest is None else round(now - oldest.delivery.received, 3),
        succeeded=counts[name, Status.SUCCESS] + counts[name, Status.SKIPPED],
        failed=counts[name, Status.FAILED],
        last_error=remote.last_error,
        maintenance_until=_iso(remote.maintenance.until),
        bandwidth_bytes_per_s=_bytes_per_s(remote),
        full_s=None if remote.room.since is None else round(now - remote.room.since, 3),
        limits=_limits(remote, now),
        sessions=tuple(_session(worker, now) for worker in remote.workers),
        learnt=learnt,
    )


def partition_status(at: PartitionPosition, oldest: float | None, now: float) -> PartitionStatus:
    """Tell where a partition stands, with when its oldest job in hand was first read."""
    stopped = at.stopped
    return PartitionStatus(
        topic=at.topic,
        partition=at.partition,
        state="stopped" if stopped is not None else "paused" if at.held_back else "running",
        reason=None if stopped is None else stopped.reason,
        way_on=None if stopped is None else stopped.way_on,
        position=at.position,
        watermark=at.watermark,
        committed=at.committed,
        lag=at.lag,
        settled_above=at.settled_above,
        in_hand=at.in_hand,
        oldest_age_s=None if oldest is None else round(now - oldest, 3),
    )


def _session(worker: Worker, now: float) -> SessionStatus:
    return SessionStatus(
        busy=worker.work is not None,
        job=None if worker.work is None else worker.work.delivery.job.task_id,
        since_s=round(now - worker.since, 3),
        bytes=worker.bytes_moved,
        peer=worker.session.peer.address,
    )


def _limits(remote: Remote, now: float) -> LimitStatus:
    group = remote.group
    return LimitStatus(
        state=group.limit.state(now),
        most=remote.most,
        shared_with=tuple(member.name for member in group.members if member is not remote),
        shared_most=group.limit.ceiling,
        share=group.limit.shared(now),
        let_in=group.limit.let_in,
        cools_s=_in_seconds(group.limit.cools_until(now), now),
        next_login_s=round(max(0.0, group.logins.ready_at(now) - now), 3),
        data_connections_per_s=round(group.data.per_s, 3),
        decisions=tuple(_decision(decision, now) for decision in reversed(group.limit.decisions)),
    )


def _decision(decision: Decision, now: float) -> LimitDecision:
    return LimitDecision(
        ago_s=round(now - decision.at, 3),
        before=decision.before,
        after=decision.after,
        reason=decision.reason.value,
        state=decision.state,
        seen=_moved(decision.seen),
        against=_moved(decision.against),
        gain=None if decision.gain is None else round(decision.gain, 3),
        error=decision.error,
    )


def _moved(rates: Rates | None) -> MovedStatus | None:
    if rates is None:
        return None
    reply_s = None if rates.reply_s is None else round(rates.reply_s, 3)
    return MovedStatus(
        rates.sessions,
        round(rates.seconds, 3),
        round(rates.files_per_s, 3),
        round(rates.bytes_per_s),
        reply_s,
    )


def folder_status(name: str, keeper: RootKeeper, now: float) -> FolderStatus:
    """Tell the state of a local folder."""
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


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _in_seconds(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, at - now), 3)


def _bytes_per_s(remote: Remote) -> float | None:
    bounds = [bandwidth.bytes_per_s for bandwidth in remote.bandwidths]
    return min((bound for bound in bounds if bound is not None), default=None)
