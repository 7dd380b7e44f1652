"""What all pods together look like, from the news that each of them has of the others."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pooler.flow.deployment import Deployment, Pod
from pooler.model.control import Knob, RemoteNews, Setting


@dataclass(frozen=True, slots=True)
class PodRemote:
    """One remote, as one pod tells of it.

    Attributes:
        name: its section of connections.ini.
        state: its breaker there.
        paused: whether no job is begun.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        opening: sessions that are being opened.
        limit: sessions that are allowed there.
        waiting: jobs that wait for a session.
        files_per_s: transfers that ended well, a second.
        bytes_per_s: bytes that went over, a second.
    """

    name: str
    state: str
    paused: bool
    busy: int
    idle: int
    opening: int
    limit: int
    waiting: int
    files_per_s: float
    bytes_per_s: int


@dataclass(frozen=True, slots=True)
class PodShare:
    """What a pod says of sessions that all pods have a bound on together.

    Attributes:
        of: what they are counted under: a remote, or a ``limit_group``.
        holds: sessions that it may have, and those that it has.
        asks: what it would hold, if the others leave room for it.
        wants: sessions that it has work for.
        total: the most for all pods together.
    """

    of: str
    holds: int
    asks: int
    wants: int
    total: int


@dataclass(frozen=True, slots=True)
class PodStatus:
    """One pod.

    Attributes:
        pod: its name.
        incarnation: names the process; after a restart it is another.
        me: whether it is the one that answers.
        silent: whether it has missed three announcements.
        heard_s: seconds since the last one.
        version: of the program.
        shares: of sessions that all pods have a bound on together.
        remotes: those on which it has something to tell of.
    """

    pod: str
    incarnation: str
    me: bool
    silent: bool
    heard_s: float
    version: str
    shares: tuple[PodShare, ...]
    remotes: tuple[PodRemote, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an operator wants of a remote.

    Attributes:
        what: ``work``, ``max_sessions``, ``max_sessions_total``, ``bandwidth``, or ``breaker`` for the time
            at which it was to be tried again.
        value: the value.
        by: who wants it.
        at: when, by ISO 8601 in UTC.
        why: in their words; empty where they said nothing.
    """

    what: str
    value: str | int
    by: str
    at: str
    why: str


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """A secret that a server has refused; no pod tries it again until it changes, or somebody resets it.

    Attributes:
        pod: who was refused.
        at: when, by ISO 8601 in UTC.
        reply: the server's words.
    """

    pod: str
    at: str
    reply: str


@dataclass(frozen=True, slots=True)
class RemoteTogether:
    """One remote, over all pods that are not silent.

    Attributes:
        name: its section of connections.ini.
        sessions: on it, those that are being opened included.
        busy: those of them that work on a job.
        waiting: jobs that wait for a session.
        files_per_s: transfers that ended well, a second.
        bytes_per_s: bytes that went over, a second.
        wanted: what operators want of it.
        refused: logins that were refused.
    """

    name: str
    sessions: int
    busy: int
    waiting: int
    files_per_s: float
    bytes_per_s: int
    wanted: tuple[Wanted, ...]
    refused: tuple[RefusedLogin, ...]


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """All pods.

    Attributes:
        together: whether they know of each other: whether there is a control topic.
        pods: by name.
        remotes: in the order of connections.ini.
    """

    together: bool
    pods: tuple[PodStatus, ...]
    remotes: tuple[RemoteTogether, ...]


ALONE = DeploymentStatus(together=False, pods=(), remotes=())
"""Where there is no control topic."""


def describe(deployment: Deployment, incarnation: str, now: float) -> DeploymentStatus:
    """Tell the state of the whole deployment.

    Args:
        deployment: what is known of it.
        incarnation: ours.
        now: the time, in the deployment's clock.
    """
    pods = sorted(deployment.pods.values(), key=lambda pod: (pod.news.pod, pod.news.at))
    heard = [pod.news.remotes for pod in pods if not pod.is_silent(now)]
    return DeploymentStatus(
        together=True,
        pods=tuple(_pod(pod, incarnation, now) for pod in pods),
        remotes=tuple(_together(deployment, name, heard) for name in deployment.remotes),
    )


def _pod(pod: Pod, incarnation: str, now: float) -> PodStatus:
    news = pod.news
    return PodStatus(
        pod=news.pod,
        incarnation=news.incarnation,
        me=news.incarnation == incarnation,
        silent=pod.is_silent(now),
        heard_s=round(now - pod.heard_at, 3),
        version=news.version,
        shares=tuple(PodShare(key, *claim) for key, claim in news.claims.items()),
        remotes=tuple(_remote(name, told) for name, told in news.remotes.items()),
    )


def _remote(name: str, told: RemoteNews) -> PodRemote:
    return PodRemote(
        name,
        told.state,
        told.paused,
        told.busy,
        told.idle,
        told.opening,
        told.limit,
        told.waiting,
        told.files_per_s,
        told.bytes_per_s,
    )


def _together(deployment: Deployment, name: str, heard: list[Mapping[str, RemoteNews]]) -> RemoteTogether:
    told = [remotes[name] for remotes in heard if name in remotes]
    return RemoteTogether(
        name=name,
        sessions=sum(one.busy + one.idle + one.opening for one in told),
        busy=sum(one.busy for one in told),
        waiting=sum(one.waiting for one in told),
        files_per_s=round(sum(one.files_per_s for one in told), 3),
        bytes_per_s=sum(one.bytes_per_s for one in told),
        wanted=tuple(_wanted(setting) for setting in _settings(deployment, name)),
        refused=tuple(
            RefusedLogin(login.pod, _iso(login.at), login.reply) for login in deployment.refusals(name)
        ),
    )


def _settings(deployment: Deployment, name: str) -> Iterator[Setting]:
    for knob in Knob:
        setting = deployment.setting(name, knob)
        if setting is not None:
            yield setting


def _wanted(setting: Setting) -> Wanted:
    value = setting.value
    return Wanted(
        setting.knob.value,
        value if isinstance(value, int) else value.value,
        setting.by,
        _iso(setting.at),
        setting.why,
    )


def _iso(at: float) -> str:
    # Who wrote it may have had any clock.
    return dt.datetime.fromtimestamp(min(at, 2.0**33), dt.UTC).isoformat()
