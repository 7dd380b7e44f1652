"""Does to the remotes of this pod what operators want of them, as it stands on the control topic."""

from collections.abc import Iterable, Mapping
from math import inf

import structlog

from pooler.flow.deployment import Deployment
from pooler.flow.limit import Share
from pooler.flow.remote import Remote
from pooler.model.control import Knob, Mode

log = structlog.get_logger(__name__)


class Helm:
    """The remotes, and what was done to them last.

    Args:
        remotes: of this pod, by name.
    """

    def __init__(self, remotes: Mapping[str, Remote]) -> None:
        self._remotes = remotes
        self._done: dict[tuple[str, Knob], object] = {}

    def obey(self, deployment: Deployment, names: Iterable[str], *, sharers: Mapping[str, int]) -> None:
        """Do what is new.

        Args:
            deployment: what is wanted.
            names: of the remotes to look at; others than ours are passed over.
            sharers: how many pods share a bandwidth, by remote; those that are not there are ours alone.
        """
        for name in names:
            if name in self._remotes:
                self._obey(self._remotes[name], deployment, sharers.get(name, 1))

    def _obey(self, remote: Remote, deployment: Deployment, sharers: int) -> None:
        work = deployment.mode(remote.name)
        if self._is_new(remote, Knob.WORK, work, Mode.RUN):
            if work is Mode.RUN:
                remote.resume()
            else:
                remote.pause()
            log.info("remote_steered", remote=remote.name, work=work.value)
        most = deployment.number(remote.name, Knob.MAX_SESSIONS)
        if self._is_new(remote, Knob.MAX_SESSIONS, most):
            remote.allow(most)
            log.info("remote_steered", remote=remote.name, max_sessions=most)
        total = deployment.number(remote.name, Knob.BANDWIDTH)
        part = None if total is None else total / sharers
        if self._is_new(remote, Knob.BANDWIDTH, part):
            remote.bandwidth.limit(_least(part, remote.policy.bytes_per_s))
            log.info("remote_steered", remote=remote.name, bandwidth=total, ours=part)

    def _is_new(self, remote: Remote, knob: Knob, value: object, at_first: object = None) -> bool:
        was = self._done.get((remote.name, knob), at_first)
        self._done[remote.name, knob] = value
        return was != value


def steer_alone(remote: Remote, knob: Knob, value: Mode | int | None) -> None:
    """Do to one remote what an operator wants of this process, where there is nobody to tell of it."""
    number = value if isinstance(value, int) else None
    match knob:
        case Knob.WORK:
            if value is Mode.RUN:
                remote.resume()
            else:
                remote.pause()
        case Knob.MAX_SESSIONS:
            remote.allow(number)
        case Knob.MAX_SESSIONS_TOTAL:
            remote.group.share(None if number is None else Share(number, inf))
        case Knob.BANDWIDTH:
            remote.bandwidth.limit(_least(number, remote.policy.bytes_per_s))
        case Knob.BREAKER:
            remote.try_again()


def _least(*bounds: float | None) -> float | None:
    return min((bound for bound in bounds if bound is not None), default=None)
