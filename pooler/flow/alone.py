"""Steers a process that knows of no other: what is wanted of a remote holds until the process ends."""

import time
from collections.abc import Mapping, Sequence
from math import inf

from pooler.flow.commons import Common, Totals, commons
from pooler.flow.group import LimitGroup
from pooler.flow.helm import Helm
from pooler.flow.logins import OwnBook
from pooler.flow.remote import Remote
from pooler.flow.steersman import Steersman
from pooler.model.control import Gone, Knob, Mode, Setting


class Alone(Steersman):
    """All that there is to steer, in one process.

    Args:
        pod: our name.
        totals: what the configuration allows all pods together, by the name of each remote: here it is ours.

    Attributes:
        book: what is known of logins.
    """

    def __init__(self, pod: str, totals: Mapping[str, Totals]) -> None:
        super().__init__(totals)
        self.book = OwnBook(pod)
        self._remotes: Mapping[str, Remote] = {}
        self._commons: Sequence[Common] = ()
        self._helm = Helm({})

    def attach(self, groups: Mapping[str, LimitGroup], remotes: Mapping[str, Remote]) -> None:
        """Steer these from now on: see `pooler.flow.steersman.Steersman.attach`."""
        self._remotes, self._helm = remotes, Helm(remotes)
        self._helm.obey(self.deployment, remotes)
        self._commons = tuple(commons(groups, remotes, self.totals))
        self._share_out()

    def want(self, remote: str, knob: Knob, value: Mode | int | None, *, by: str, why: str = "") -> None:
        """Have something hold for a remote: see `pooler.flow.steering.Steering.want`."""
        if knob is Knob.BREAKER:
            self.book.forgive(remote)
            self._remotes[remote].try_again()
            return
        said = Gone("remote", (remote, knob))
        self.deployment.hear(
            said if value is None else Setting(remote, knob, value, by, time.time(), why), 0.0
        )
        self._helm.obey(self.deployment, [remote])
        self._share_out()

    def _share_out(self) -> None:
        for common in self._commons:
            common.give(common.total(self.deployment), inf)
