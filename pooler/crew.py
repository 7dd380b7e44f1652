"""Builds the flow from the configuration: remotes with their connectors, roots with their finishers."""

import itertools
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Protocol

import structlog
import trio

from pooler.bus.window import Window
from pooler.config import Configuration
from pooler.config.passwords import FixedPassword
from pooler.config.remotes import FtpRemote
from pooler.config.settings import PoolSettings, Settings
from pooler.config.tls import TlsVersion
from pooler.config.worker import worker_name
from pooler.flow.alone import Alone
from pooler.flow.bandwidth import Bandwidth
from pooler.flow.breaker import Breaker, Thresholds
from pooler.flow.budget import Budget
from pooler.flow.climb import Climb
from pooler.flow.commons import Totals
from pooler.flow.endings import Endings
from pooler.flow.finisher import Finisher
from pooler.flow.fleet import Fleet, bulk_room
from pooler.flow.group import LimitGroup
from pooler.flow.keeper import RootKeeper
from pooler.flow.ladder import Ladder
from pooler.flow.lane import Lane
from pooler.flow.limit import SessionLimit
from pooler.flow.logbook import Books, Done, Logbook, remember_nothing
from pooler.flow.logins import CautiousConnector, fixed, read_anew
from pooler.flow.order import Order
from pooler.flow.pace import DataPace, TokenBucket
from pooler.flow.parking import Parking, never_park
from pooler.flow.policy import RemotePolicy
from pooler.flow.remote import Remote
from pooler.flow.retry import Backoff
from pooler.flow.secrets import Digester, unshared
from pooler.flow.shares import Terms
from pooler.flow.steering import Me, Steering
from pooler.flow.work import Landed, Work
from pooler.flow.worker import ALWAYS_OURS, Membership, Tools
from pooler.ftp.connector import FtpConnector
from pooler.ftp.encoding import parse_encoding
from pooler.ftp.names import Form
from pooler.ftp.profile import Profile, Proxy
from pooler.model.job import Delivery
from pooler.model.outcome import Ended, Parked, Spread
from pooler.ops.metrics import Metrics
from pooler.storage.journal import Entry
from pooler.storage.nearness import Nearness
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import Tenancy
from pooler.transfer.names import incarnation
from pooler.transfer.session import Connector
from pooler.version import version

log = structlog.get_logger(__name__)

_TLS_VERSIONS: Mapping[TlsVersion, ssl.TLSVersion] = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_LEASE = 0.8
"""Of the session timeout: what is left of it is for closing sessions, and for clocks that do not go alike."""
_FIRST_SESSIONS = 4
"""Of a remote of which nothing is known yet."""
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
    """
    settings, connections = configuration.settings, configuration.connections
    order = Order()
    endings = Endings(answers, order, metrics)
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
    groups = _limit_groups(connections.remotes, settings.pool)

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


def connector(remote: FtpRemote, settings: Settings) -> FtpConnector:
    """Make what opens sessions on a remote."""
    transfer = settings.transfer
    profile = Profile(
        host=remote.host,
        user=remote.user,
        password=remote.password,
        port=remote.port,
        account=remote.account,
        virtual_host=remote.virtual_host,
        tls="implicit" if remote.tls else "explicit" if remote.explicit_tls else "none",
        verify_certificate=not remote.no_check_certificate,
        ca_file=None if remote.ca_file is None else str(remote.ca_file),
        client_certificate=None if remote.client_cert is None else str(remote.client_cert),
        client_key=None if remote.client_key is None else str(remote.client_key),
        minimum_tls=_TLS_VERSIONS[remote.tls_min_version],
        tls_ciphers=remote.tls_ciphers,
        disable_tls13=remote.disable_tls13,
        resume_tls=remote.resume_tls,
        passive=remote.passive,
        active_address=remote.active_address,
        active_ports=remote.active_ports,
        bind_address=remote.bind_address,
        proxy=_proxy(remote),
        disable_epsv=remote.disable_epsv,
        trust_pasv_address=remote.trust_pasv_address,
        charset=remote.charset,
        form=Form(remote.unicode_form),
        encoding=parse_encoding(remote.encoding),
        disable_utf8=remote.disable_utf8,
        path_style=remote.path_style,
        transfer_type=remote.transfer_type,
        after_login=remote.after_login,
        before_store=remote.before_store,
        disable_mlsd=remote.disable_mlsd,
        force_list_hidden=remote.force_list_hidden,
        timezone=remote.timezone,
        mdtm_timezone=remote.mdtm_timezone,
        writing_mdtm=remote.writing_mdtm,
        double_iac=remote.double_iac,
        connect_s=transfer.connect_timeout_seconds,
        exchange_s=transfer.reply_timeout_seconds,
        stall_s=transfer.stall_timeout_seconds,
    )
    if remote.close_timeout_s is not None and remote.close_timeout_s < inf:
        profile = replace(profile, exchange_s=remote.close_timeout_s)
    if remote.shut_timeout_s is not None and remote.shut_timeout_s < inf:
        profile = replace(profile, final_s=remote.shut_timeout_s)
    if remote.noop_after_s is not None:
        profile = replace(profile, noop_after_s=remote.noop_after_s)
    if remote.checksum_timeout_s is not None and remote.checksum_timeout_s < inf:
        profile = replace(profile, checksum_s=remote.checksum_timeout_s)
    return FtpConnector(profile, on_weak_tls=partial(_warn_of_weak_tls, remote.name))


def _warn_of_weak_tls(name: str, weakness: str) -> None:
    log.warning("tls_is_weak", remote=name, weakness=weakness)


def _proxy(remote: FtpRemote) -> Proxy | None:
    proxy = remote.proxy
    if proxy is None:
        return None
    return Proxy(proxy.kind, proxy.host, proxy.port, proxy.user, proxy.password.get_secret_value())


def _limit_groups(remotes: Sequence[FtpRemote], pool: PoolSettings) -> dict[str, LimitGroup]:
    """Make what bounds sessions, logins and data connections, by the name of the remote."""
    named: dict[str, list[FtpRemote]] = {}
    for remote in remotes:
        named.setdefault(limit_key(remote), []).append(remote)
    return {
        member.name: group
        for members in named.values()
        for group in [limit_group(members, pool)]
        for member in members
    }


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


def totals_of(remotes: Sequence[FtpRemote]) -> dict[str, Totals]:
    """Tell what a configuration allows all pods together, by the name of each remote."""
    return {
        remote.name: Totals(remote.max_sessions_total, remote.bandwidth_total_bytes_per_s)
        for remote in remotes
    }


def limit_key(remote: FtpRemote) -> str:
    """Tell what the sessions of a remote are counted under, at all pods."""
    # A remote's own name is never that of a group.
    return f"remote {remote.name}" if remote.limit_group is None else f"group {remote.limit_group}"


def cautious_connector(remote: FtpRemote, connector: Connector, by: Steering | Alone) -> CautiousConnector:
    """Make what opens sessions on a remote, as far as its secret is not known to be wrong."""
    password = remote.password
    if isinstance(by, Steering):
        digest = read_anew(password, Digester(remote.name, remote.host, remote.user))
        return CautiousConnector(remote.name, connector, digest, by)
    digester = unshared()
    digest = (
        fixed(digester(password())) if isinstance(password, FixedPassword) else read_anew(password, digester)
    )
    return CautiousConnector(remote.name, connector, digest, by.book)


def limit_group(members: Sequence[FtpRemote], pool: PoolSettings) -> LimitGroup:
    """Make what remotes on one host share: the most sessions and the lowest rates that one of them has."""
    ceiling = max(_max_sessions(remote, pool) for remote in members)
    logins = min(remote.connects_per_minute or pool.connects_per_minute for remote in members)
    data_per_s = min(remote.data_connections_per_s or pool.data_connections_per_second for remote in members)
    climb = Climb(min(_FIRST_SESSIONS, ceiling)) if pool.adaptive_sessions else None
    return LimitGroup(
        SessionLimit(ceiling, climb=climb), TokenBucket.per_minute(logins), DataPace(data_per_s)
    )


def _max_sessions(remote: FtpRemote, pool: PoolSettings) -> int:
    return remote.max_sessions or pool.max_sessions_per_connection


def policy_of(remote: FtpRemote, settings: Settings, *, give_up: bool) -> RemotePolicy:
    """Tell how a remote is to be driven."""
    pool, retry = settings.pool, settings.retry
    return RemotePolicy(
        max_sessions=_max_sessions(remote, pool),
        backoff=Backoff(retry.base_backoff_ms / 1000, retry.max_backoff_ms / 1000),
        idle_s=pool.session_timeout_seconds if remote.idle_timeout_s is None else remote.idle_timeout_s,
        prewarm=pool.prewarm_sessions_per_connection if pool.prewarm_enabled and not give_up else 0,
        prewarm_s=pool.prewarm_timeout_seconds,
        give_up=give_up,
        max_age_s=remote.max_session_age_s,
        bytes_per_s=remote.bandwidth_bytes_per_s,
        windows=remote.maintenance,
    )


def thresholds_of(settings: Settings) -> Thresholds:
    """Tell when breakers change their state."""
    breaker = settings.circuit_breaker
    return Thresholds(
        failures=breaker.failure_threshold,
        successes=breaker.success_threshold,
        timeout_s=breaker.timeout_seconds,
        probes=breaker.half_open_max_calls,
    )
