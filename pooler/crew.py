"""Builds the flow from the configuration: remotes with their connectors, roots with their finishers."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
import trio

from pooler.bus.window import Window
from pooler.config import Configuration
from pooler.config.remotes import FtpRemote
from pooler.config.settings import Settings
from pooler.config.worker import worker_name
from pooler.flow.alone import Alone
from pooler.flow.bandwidth import Bandwidth
from pooler.flow.breaker import Breaker
from pooler.flow.budget import Budget
from pooler.flow.endings import Endings
from pooler.flow.finisher import Finisher
from pooler.flow.fleet import Fleet, bulk_room
from pooler.flow.group import LimitGroup
from pooler.flow.keeper import RootKeeper
from pooler.flow.ladder import Ladder
from pooler.flow.lane import Lane
from pooler.flow.logbook import Books, Done, Logbook, remember_nothing
from pooler.flow.logins import CautiousConnector
from pooler.flow.order import Order
from pooler.flow.parking import Parking, never_park
from pooler.flow.remote import Remote
from pooler.flow.shares import Terms
from pooler.flow.steering import Me, Steering
from pooler.flow.tools import ALWAYS_OURS, Membership, Tools
from pooler.flow.work import Landed, Work
from pooler.ftp.connector import FtpConnector
from pooler.model.job import Delivery
from pooler.model.outcome import Ended, Parked, Spread
from pooler.ops.metrics import Metrics
from pooler.ops.tracing import Tracer
from pooler.remotes import (
    cautious_connector,
    connector,
    limit_groups,
    limit_key,
    policy_of,
    thresholds_of,
    totals_of,
)
from pooler.storage.journal import Entry
from pooler.storage.nearness import Nearness
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import Tenancy
from pooler.transfer.names import incarnation
from pooler.version import version

log = structlog.get_logger(__name__)

_LEASE = 0.8
"""Of the session timeout: what is left of it is for closing sessions, and for clocks that do not go alike."""
_LANDED_ROOM = 64  # what may land while a batch is being flushed


@dataclass(frozen=True, slots=True)
class Crew:
    """Everybody who takes part in the flow, ready to be run.

    Attributes:
        fleet: the remotes.
        connectors: of the remotes, by name; they keep what was learnt of each server.
        endings: the door through which jobs leave.
        roots: the local folders, by name.
        keepers: by the name of their root.
        finishers: by the name of their root.
        landing: the way to each finisher; closed by whoever runs them.
        landed: its other end.
        logbooks: by the name of their root; none where no job ever comes again.
        bandwidth: of all remotes together.
        alone: steers this process where there is no control topic.
        reins: what it takes to change the remotes while all runs.
    """

    fleet: Fleet
    connectors: Mapping[str, FtpConnector]
    endings: Endings
    roots: Mapping[str, LocalRoot]
    keepers: Mapping[str, RootKeeper]
    finishers: Mapping[str, Finisher]
    landing: Mapping[str, trio.MemorySendChannel[Landed]]
    landed: Mapping[str, trio.MemoryReceiveChannel[Landed]]
    logbooks: Mapping[str, Logbook]
    bandwidth: Bandwidth
    alone: Alone
    reins: "Reins"

    def partitions_changed(self) -> None:
        """Break off what is no longer ours to do, and know that others have done things meanwhile."""
        for logbook in self.logbooks.values():
            logbook.look_again()
        self.fleet.abandon_lost()


class Hire(Protocol):
    """Makes a remote."""

    def __call__(
        self,
        remote: FtpRemote,
        now: Settings,
        group: LimitGroup,
        by: CautiousConnector,
        *,
        prewarm: bool = True,
    ) -> Remote:
        """Make one that is driven by these settings, and opens its sessions in that way."""
        ...


@dataclass(frozen=True, slots=True)
class Reins:
    """What it takes to change the remotes while all runs; `pooler.reload` does.

    Attributes:
        remotes: by name; those that were removed, too.
        groups: what bounds their sessions, by what they are counted under.
        budget: the sessions of this process.
        connectors: of the remotes, by name.
        hire: makes one more remote.
        steering: steers them.
        metrics: where they are counted.
    """

    remotes: dict[str, Remote]
    groups: dict[str, LimitGroup]
    budget: Budget
    connectors: dict[str, FtpConnector]
    hire: Hire
    steering: Steering | Alone
    metrics: Metrics


def assemble(
    configuration: Configuration,
    *,
    wants: Callable[[Delivery], bool],
    membership: Membership = ALWAYS_OURS,
    answers: trio.MemorySendChannel[Ended | Parked | Spread],
    metrics: Metrics,
    window: int,
    books: Books | None = None,
    in_hand: Window | None = None,
    give_up: bool = False,
    steering: Steering | None = None,
    bulk: bool = True,
    tracer: Tracer | None = None,
) -> Crew:
    """Make the crew.

    Args:
        configuration: as loaded.
        wants: whether a delivery is still ours to do.
        membership: tells whether it is sure that this is so.
        answers: where outcomes go; stays the caller's to close.
        metrics: where all is counted.
        window: how many jobs can be in hand at once.
        books: of the partitions that jobs come from; None where no job ever comes again.
        in_hand: how much of that there is; None to park nothing.
        give_up: answer what waits for a remote once its breaker opens, instead of letting it wait.
        steering: knows what other processes do, and steers this one; None where there is none.
        bulk: whether there is somebody to take the jobs that a bulk job is spread into.
        tracer: makes a span of each job; None for none.
    """
    settings, connections = configuration.settings, configuration.connections
    order = Order()
    endings = Endings(answers, order, metrics, tracer)
    transfer = settings.transfer
    roots = {
        folder.name: LocalRoot(
            folder.name,
            folder.path,
            stall_s=transfer.disk_timeout_seconds,
            nearness=Nearness() if transfer.disk_calls == "auto" else None,
        )
        for folder in connections.folders
    }
    keepers: dict[str, RootKeeper] = {}
    landing, landed = {}, {}
    for name in roots:
        landing[name], landed[name] = trio.open_memory_channel[Landed](_LANDED_ROOM)

    async def land(item: Landed) -> None:
        await landing[item.work.plan.folder].send(item)

    def removed(remote: str, path: str) -> None:
        for root in roots.values():
            root.forget(Entry(remote, path), path)

    process = incarnation()
    logbooks = _logbooks(roots, process, settings.kafka.consumer_group, books)

    async def note(done: Done) -> None:
        if done.work.plan.folder in logbooks:
            await logbooks[done.work.plan.folder].note([done])

    async def recall(work: Work, /, *, anew: bool = False) -> Done | None:
        logbook = logbooks.get(work.plan.folder)
        return None if logbook is None else await logbook.recall(work, anew=anew)

    remotes: dict[str, Remote] = {}
    parking = (
        None if in_hand is None else _parking(settings, endings, order, remotes, logbooks, in_hand=in_hand)
    )
    tools = Tools(
        roots=roots,
        incarnation=process,
        serials=itertools.count(1),
        attempt_s=transfer.transfer_timeout_seconds,
        resume_above_bytes=transfer.resume_above_bytes,
        keepalive_s=settings.pool.keepalive_seconds,
        wants=wants,
        membership=membership,
        land=land,
        end=endings.end,
        drop=endings.dropped,
        spread=endings.spread,
        is_gone=lambda folder, process: keepers[folder].is_gone(process),
        hold=lambda work: keepers[work.plan.folder].hold(work),
        doubt=lambda work, error, blame: keepers[work.plan.folder].doubt(work, error, blame),
        removed=removed,
        note=note,
        recall=recall,
        park=never_park if parking is None else parking.retry,
        bandwidth=Bandwidth(settings.pool.bandwidth),
    )
    budget = Budget(settings.pool.max_sessions_per_pod)
    connectors = {remote.name: connector(remote, settings) for remote in connections.remotes}
    alone = Alone(worker_name(), totals_of(connections.remotes))
    steered_by = alone if steering is None else steering
    cautious = {
        remote.name: cautious_connector(
            remote, connectors[remote.name], alone if steering is None else steering
        )
        for remote in connections.remotes
    }
    groups = limit_groups(connections.remotes, settings.pool)

    hire = _hirer(remotes, budget, tools, metrics, window=window, give_up=give_up)
    for remote in connections.remotes:
        remotes[remote.name] = hire(remote, settings, groups[remote.name], cautious[remote.name])
    retry = settings.retry
    fleet = Fleet(
        connections,
        remotes,
        endings,
        order,
        attempts=retry.attempts,
        deadline_s=retry.deadline_seconds,
        hold=tools.hold,
        parking=parking,
        bulk_room=bulk_room if bulk else lambda _size: 0,
        connectors=cautious,
    )
    for name, root in roots.items():
        keepers[name] = RootKeeper(
            root,
            Tenancy(
                root,
                incarnation,
                min_free_bytes=transfer.min_free_bytes,
                sweep_after_s=transfer.sweep_after_seconds,
            ),
            Lane(window, wants=wants, end=endings.end, drop=endings.dropped),
            submit=fleet.submit,
            inherit=fleet.inherit,
            metrics=metrics,
            stall_s=transfer.disk_timeout_seconds,
            give_up=give_up,
        )
    by_key = {limit_key(remote): groups[remote.name] for remote in connections.remotes}
    steered_by.attach(by_key, remotes)
    policy = transfer.flush
    finishers = {
        name: Finisher(
            root, policy, endings, fleet.failed, logbooks[name].note if logbooks else remember_nothing
        )
        for name, root in roots.items()
    }
    return Crew(
        fleet,
        connectors,
        endings,
        roots,
        keepers,
        finishers,
        landing,
        landed,
        logbooks,
        tools.bandwidth,
        alone,
        Reins(remotes, by_key, budget, connectors, hire, steered_by, metrics),
    )


def _hirer(
    remotes: Mapping[str, Remote],
    budget: Budget,
    tools: Tools,
    metrics: Metrics,
    *,
    window: int,
    give_up: bool,
) -> Hire:
    def hire(
        remote: FtpRemote, now: Settings, group: LimitGroup, by: CautiousConnector, *, prewarm: bool = True
    ) -> Remote:
        policy = policy_of(remote, now, give_up=give_up)
        return Remote(
            remote.name,
            by,
            policy=policy if prewarm else replace(policy, prewarm=0),
            group=group,
            breaker=Breaker(thresholds_of(now)),
            budget=budget,
            others=lambda: list(remotes.values()),
            lane_room=window,
            tools=tools,
            metrics=metrics,
        )

    return hire


def _logbooks(
    roots: Mapping[str, LocalRoot], process: str, group: str, books: Books | None
) -> dict[str, Logbook]:
    if books is None:
        return {}
    return {name: Logbook(root, process, group, books) for name, root in roots.items()}


def _parking(
    settings: Settings,
    endings: Endings,
    order: Order,
    remotes: Mapping[str, Remote],
    logbooks: Mapping[str, Logbook],
    *,
    in_hand: Window,
) -> Parking:
    async def is_done(work: Work) -> bool:
        return work.plan.folder in logbooks and await logbooks[work.plan.folder].knows(work)

    return Parking(
        Ladder(settings.kafka.retry_delays_seconds),
        endings,
        order,
        remotes,
        window=in_hand,
        is_done=is_done,
        fits=in_hand.fits,
    )


def make_steering(configuration: Configuration) -> Steering | None:
    """Make what steers this process together with the others; None where there is no control topic."""
    kafka = configuration.settings.kafka
    remotes = configuration.connections.remotes
    if not kafka.control_topic_name:
        return None
    session_s = kafka.session_timeout_ms / 1000
    return Steering(
        Me(
            worker_name(), version(), kafka.heartbeat_interval_ms / 1000, Terms(_LEASE * session_s, session_s)
        ),
        totals_of(remotes),
    )
