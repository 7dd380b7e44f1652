"""What stands on the control topic: how to drive remotes, who was refused where, and who is at work.

Each record is one of these, under a key of its own; the newest with a key is what counts, and one without a
value takes it back. `pooler.bus.control_records` writes and reads them.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Knob(enum.StrEnum):
    """What of a remote can be set for all pods at once."""

    WORK = "work"
    """Whether jobs are begun: one of `Mode`."""
    MAX_SESSIONS = "max_sessions"
    """The most sessions of each pod; never more than its configuration allows."""
    MAX_SESSIONS_TOTAL = "max_sessions_total"
    """The most sessions of all pods together, instead of what the configuration says."""
    BANDWIDTH = "bandwidth"
    """Bytes a second of all pods together, instead of what the configuration says."""
    BREAKER = "breaker"
    """No setting but an event: when an operator last had the remote tried again."""


class Mode(enum.StrEnum):
    """Whether jobs of a remote are begun."""

    RUN = "run"
    PAUSE = "pause"
    DRAIN = "drain"
    """As paused; whoever asked waits until no session is left."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an operator wants of a remote.

    Attributes:
        remote: its section of connections.ini.
        knob: what is set.
        value: what to; a `Mode`, or a number.
        by: who wants it.
        at: when, in seconds of the Unix clock.
        why: in their words; empty where they said nothing.
    """

    remote: str
    knob: Knob
    value: Mode | int
    by: str
    at: float
    why: str = ""


class Trial(enum.StrEnum):
    """What is known of an account's secret."""

    TRIED = "tried"
    """Somebody is logging in with it: the others wait for what comes of it."""
    REFUSED = "refused"
    """It is wrong: nobody tries it again."""
    TAKEN = "taken"
    """It is right; said for those who wait, and taken back at once."""


@dataclass(frozen=True, slots=True)
class Login:
    """What came of logging in with one secret.

    Attributes:
        remote: its section of connections.ini.
        digest: stands for the secret; see `pooler.flow.secrets`.
        trial: what is known.
        by: the incarnation of the pod that tried.
        pod: its name.
        at: when, in seconds of the Unix clock.
        reply: the server's words; empty where there are none yet.
    """

    remote: str
    digest: str
    trial: Trial
    by: str
    pod: str
    at: float
    reply: str = ""


class Claim(NamedTuple):
    """What a pod says of its sessions on one host.

    Attributes:
        holds: sessions that it may have, and those that it has.
        asks: what it would hold if the others leave room for it; never less than ``holds``.
        wants: sessions that it has work for.
        total: the most for all pods together, as far as it knows.
    """

    holds: int
    asks: int
    wants: int
    total: int


@dataclass(frozen=True, slots=True)
class RemoteNews:
    """One remote, as one pod sees it.

    Attributes:
        state: its breaker.
        paused: whether no job is begun.
        busy: sessions that work on a job.
        idle: sessions that wait for one.
        opening: sessions that are being opened.
        limit: sessions that are allowed now.
        waiting: jobs that wait for a session.
        files_per_s: transfers that ended well, a second, since the announcement before.
        bytes_per_s: bytes that went over, a second, likewise.
    """

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
class PodNews:
    """What a pod says of itself.

    Attributes:
        incarnation: names the process; after a restart it is another.
        pod: its name, which it keeps.
        serial: counts its announcements.
        at: when, in seconds of the Unix clock.
        version: of the program.
        every_s: how often it announces, in seconds.
        claims: by what its sessions are counted under: a remote, or a ``limit_group``.
        remotes: those on which there is something to tell of, by name.
    """

    incarnation: str
    pod: str
    serial: int
    at: float
    version: str
    every_s: float
    claims: Mapping[str, Claim] = field(default_factory=dict)
    remotes: Mapping[str, RemoteNews] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to all other pods, or something that each of them is to do now.

    Attributes:
        name: names the question; no other has that name.
        by: the incarnation of the pod that asks.
        at: when, in seconds of the Unix clock.
        what: out of a list that those have who ask and answer.
        query: what else there is to say of it.
    """

    name: str
    by: str
    at: float
    what: str
    query: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tell:
    """What one pod answers.

    Attributes:
        name: of the question.
        by: the incarnation of the pod that answers.
        pod: its name.
        at: when, in seconds of the Unix clock.
        body: the answer, as JSON; None where there is none.
        error: why there is none; empty where there is one.
    """

    name: str
    by: str
    pod: str
    at: float
    body: bytes | None = None
    error: str = ""


News = Setting | Login | PodNews | Ask | Tell


class Gone(NamedTuple):
    """Something is taken back.

    Attributes:
        kind: ``remote``, ``login``, ``pod``, ``ask`` or ``tell``.
        names: what stands behind that in the key.
    """

    kind: str
    names: tuple[str, ...]
