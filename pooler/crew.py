"""Builds the flow from the configuration: remotes with their connectors, roots with their finishers."""

import itertools
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import structlog
import trio

from pooler.config import Configuration
from pooler.config.remotes import FtpRemote
from pooler.config.settings import Settings
from pooler.config.tls import TlsVersion
from pooler.flow.breaker import Breaker, Thresholds
from pooler.flow.endings import Endings
from pooler.flow.finisher import Finisher
from pooler.flow.fleet import Fleet
from pooler.flow.keeper import RootKeeper
from pooler.flow.lane import Lane
from pooler.flow.limit import Budget, SessionLimit
from pooler.flow.order import Order
from pooler.flow.remote import Remote, RemotePolicy
from pooler.flow.retry import Backoff
from pooler.flow.work import Landed
from pooler.flow.worker import Tools
from pooler.ftp.connector import FtpConnector
from pooler.ftp.encoding import parse_encoding
from pooler.ftp.names import Form
from pooler.ftp.profile import Profile, Proxy
from pooler.model.job import Delivery
from pooler.model.outcome import Ended
from pooler.ops.metrics import Metrics
from pooler.storage.journal import Entry
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import Tenancy
from pooler.transfer.names import incarnation

log = structlog.get_logger(__name__)

_TLS_VERSIONS: Mapping[TlsVersion, ssl.TLSVersion] = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
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
    """

    fleet: Fleet
    connectors: Mapping[str, FtpConnector]
    endings: Endings
    roots: Mapping[str, LocalRoot]
    keepers: Mapping[str, RootKeeper]
    finishers: Mapping[str, Finisher]
    landing: Mapping[str, trio.MemorySendChannel[Landed]]
    landed: Mapping[str, trio.MemoryReceiveChannel[Landed]]


def worker_name() -> str:
    """Tell who we are, for results: the pod's name, else the host's."""
    return os.environ.get("POD_NAME") or socket.gethostname()


def assemble(
    configuration: Configuration,
    *,
    wants: Callable[[Delivery], bool],
    answers: trio.MemorySendChannel[Ended],
    metrics: Metrics,
    window: int,
    give_up: bool = False,
) -> Crew:
    """Make the crew.

    Args:
        configuration: as loaded.
        wants: whether a delivery is still ours to do.
        answers: where outcomes go; stays the caller's to close.
        metrics: where all is counted.
        window: how many jobs can be in hand at once.
        give_up: answer what waits for a remote once its breaker opens, instead of letting it wait.
    """
    settings, connections = configuration.settings, configuration.connections
    order = Order()
    endings = Endings(answers, order, metrics)
    transfer = settings.transfer
    roots = {
        folder.name: LocalRoot(folder.name, folder.path, stall_s=transfer.disk_timeout_seconds)
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

    tools = Tools(
        roots=roots,
        incarnation=incarnation(),
        serials=itertools.count(1),
        attempt_s=transfer.transfer_timeout_seconds,
        resume_above_bytes=transfer.resume_above_bytes,
        keepalive_s=settings.pool.keepalive_seconds,
        wants=wants,
        land=land,
        end=endings.end,
        drop=endings.dropped,
        is_gone=lambda folder, process: keepers[folder].is_gone(process),
        hold=lambda work: keepers[work.plan.folder].hold(work),
        doubt=lambda work, error, blame: keepers[work.plan.folder].doubt(work, error, blame),
        removed=removed,
    )
    budget = Budget(settings.pool.max_sessions_per_pod)
    connectors = {remote.name: connector(remote, settings) for remote in connections.remotes}
    remotes: dict[str, Remote] = {}
    for remote in connections.remotes:
        remotes[remote.name] = Remote(
            remote.name,
            connectors[remote.name],
            policy=_policy(remote, settings, give_up=give_up),
            limit=SessionLimit(remote.max_sessions or settings.pool.max_sessions_per_connection),
            breaker=Breaker(_thresholds(settings)),
            budget=budget,
            others=lambda: list(remotes.values()),
            lane_room=window,
            tools=tools,
            metrics=metrics,
        )
    retry = settings.retry
    fleet = Fleet(
        connections,
        remotes,
        endings,
        order,
        attempts=retry.attempts,
        deadline_s=retry.deadline_seconds,
        hold=tools.hold,
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
    policy = transfer.flush
    finishers = {name: Finisher(root, policy, endings, fleet.failed) for name, root in roots.items()}
    return Crew(fleet, connectors, endings, roots, keepers, finishers, landing, landed)


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


def _policy(remote: FtpRemote, settings: Settings, *, give_up: bool) -> RemotePolicy:
    pool, retry = settings.pool, settings.retry
    return RemotePolicy(
        backoff=Backoff(retry.base_backoff_ms / 1000, retry.max_backoff_ms / 1000),
        idle_s=pool.session_timeout_seconds if remote.idle_timeout_s is None else remote.idle_timeout_s,
        prewarm=pool.prewarm_sessions_per_connection if pool.prewarm_enabled and not give_up else 0,
        prewarm_s=pool.prewarm_timeout_seconds,
        give_up=give_up,
    )


def _thresholds(settings: Settings) -> Thresholds:
    breaker = settings.circuit_breaker
    return Thresholds(
        failures=breaker.failure_threshold,
        successes=breaker.success_threshold,
        timeout_s=breaker.timeout_seconds,
        probes=breaker.half_open_max_calls,
    )
