"""What a remote's configuration makes of it: its connector, its limits, how it is to be driven."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf

import structlog

from pooler.config.passwords import FixedPassword
from pooler.config.remotes import FtpRemote
from pooler.config.settings import PoolSettings, Settings
from pooler.config.tls import TlsVersion
from pooler.flow.alone import Alone
from pooler.flow.breaker import Thresholds
from pooler.flow.climb import Climb
from pooler.flow.commons import Totals
from pooler.flow.group import LimitGroup
from pooler.flow.limit import SessionLimit
from pooler.flow.logins import CautiousConnector, fixed, read_anew
from pooler.flow.pace import DataPace, TokenBucket
from pooler.flow.policy import RemotePolicy
from pooler.flow.retry import Backoff
from pooler.flow.secrets import Digester, unshared
from pooler.flow.steering import Steering
from pooler.ftp.connector import FtpConnector
from pooler.ftp.encoding import parse_encoding
from pooler.ftp.names import Form
from pooler.ftp.profile import Profile, Proxy
from pooler.transfer.session import Connector

log = structlog.get_logger(__name__)

_TLS_VERSIONS: Mapping[TlsVersion, ssl.TLSVersion] = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_FIRST_SESSIONS = 4
"""Of a remote of which nothing is known yet."""


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


def limit_groups(remotes: Sequence[FtpRemote], pool: PoolSettings) -> dict[str, LimitGroup]:
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
