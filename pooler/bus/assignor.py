"""Shares the partitions out among the members: those of each topic of jobs, and apart from them all others.

aiokafka's sticky assignor gives each member as many partitions as the others, whatever their topic. With the
retry topics among them a member could get nothing but these, and another all of the jobs. So these, those of
the priority topic and the others are shared out by themselves: as evenly as can be, and with as few of them
moving as can be.
"""

from collections.abc import Iterable, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

_Members = Mapping[str, ConsumerProtocolMemberMetadata]


def assignor(*apart: str) -> type[StickyPartitionAssignor]:
    """Make the assignor of a group.

    Args:
        apart: topics, each of which is shared out apart from all else.
    """

    class Apart(StickyPartitionAssignor):  # type: ignore[misc]
        """Called as the one that it is made of: members of either kind get along while they are replaced."""

        @classmethod
        def assign(
            cls, cluster: ClusterMetadata, members: _Members
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            topics = {topic for member in members.values() for topic in member.subscription}
            parts = [part for part in (*({topic} & topics for topic in apart), topics - set(apart)) if part]
            shared = [super(Apart, cls).assign(cluster, _limited(members, part)) for part in parts]
            return {member: _joined(found[member] for found in shared) for member in members}

    return Apart


def _limited(members: _Members, topics: set[str]) -> _Members:
    """Have members want nothing but some topics; what they had of others is passed over then."""
    return {
        name: ConsumerProtocolMemberMetadata(
            member.version, [topic for topic in member.subscription if topic in topics], member.user_data
        )
        for name, member in members.items()
    }


def _joined(found: Iterable[ConsumerProtocolMemberAssignment]) -> ConsumerProtocolMemberAssignment:
    parts = list(found)
    places = sorted(place for part in parts for place in part.assignment)
    return ConsumerProtocolMemberAssignment(StickyPartitionAssignor.version, places, b"")
