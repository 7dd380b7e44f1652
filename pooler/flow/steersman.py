"""What `pooler.flow.steering` and `pooler.flow.alone` have in common: the configuration that they go by."""

import abc
from collections.abc import Mapping

from pooler.flow.commons import Totals
from pooler.flow.deployment import Deployment
from pooler.flow.group import LimitGroup
from pooler.flow.remote import Remote


class Steersman(abc.ABC):
    """Steers the remotes of this process.

    Args:
        totals: what the configuration allows all pods together, by the name of each remote.

    Attributes:
        deployment: what is known of all pods.
        totals: what the configuration allows all pods together now.
    """

    def __init__(self, totals: Mapping[str, Totals]) -> None:
        self.totals = totals
        self.deployment = Deployment(totals)

    @abc.abstractmethod
    def attach(self, groups: Mapping[str, LimitGroup], remotes: Mapping[str, Remote]) -> None:
        """Steer these from now on.

        Args:
            groups: the limits of the remotes, by a name that all pods give them.
            remotes: by name.
        """

    def rebound(
        self,
        groups: Mapping[str, LimitGroup],
        remotes: Mapping[str, Remote],
        totals: Mapping[str, Totals],
    ) -> None:
        """Steer these from now on, by another configuration."""
        self.totals = totals
        self.deployment.remotes = tuple(totals)
        self.attach(groups, remotes)
