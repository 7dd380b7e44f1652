"""Does to the remotes of this pod what operators want of them, as it stands on the control topic."""

from collections.abc import Iterable, Mapping

import structlog

from pooler.flow.deployment import Deployment
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

    def obey(self, deployment: Deployment, names: Iterable[str]) -> None:
        """Do what is new.

        Args:
            deployment: what is wanted.
            names: of the remotes to look at; others than ours are passed over.
        """
        for name in names:
            if name in self._remotes:
                self._obey(self._remotes[name], deployment)

    def _obey(self, remote: Remote, deployment: Deployment) -> None:
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

    def _is_new(self, remote: Remote, knob: Knob, value: object, at_first: object = None) -> bool:
        was = self._done.get((remote.name, knob), at_first)
        self._done[remote.name, knob] = value
        return was != value
