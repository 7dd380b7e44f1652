"""How partitions are shared out among the members of the group."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pooler.bus.assignor import assignor

JOBS, URGENT = "ftp-tasks", "urgent-tasks"


class Group:
    """Members, and what each has."""

    def __init__(self, **topics: int) -> None:
        self._topics = {name.replace("_", "-"): count for name, count in topics.items()}
        self._generation = 0
        self.has: dict[str, set[TopicPartition]] = {}

    def settle(self, *members: str) -> None:
        """Share out among these members, each with what it had before."""
        rule = assignor(JOBS, URGENT)
        metadata = {
            member: rule._metadata(list(self._topics), sorted(self.has.get(member, set())), self._generation)
            for member in members
        }
        self._generation += 1
        cluster = SimpleNamespace(
            partitions_for_topic=lambda topic: set(range(self._topics[topic])),
            topics=lambda: set(self._topics),
        )
        found: Mapping[str, Any] = rule.assign(cluster, metadata)
        self.has = {member: set(found[member].partitions()) for member in members}

    def shares(self, kind: str | None) -> list[int]:
        """How many each has, of a topic of jobs, or of the others."""
        return [sum(_kind(place) == kind for place in had) for had in self.has.values()]

    def assert_even(self) -> None:
        everything = [place for had in self.has.values() for place in had]
        assert len(everything) == len(set(everything)) == sum(self._topics.values())
        for kind in (JOBS, URGENT, None):
            assert max(self.shares(kind)) - min(self.shares(kind)) <= 1


def _kind(place: TopicPartition) -> str | None:
    return place.topic if place.topic in {JOBS, URGENT} else None


def test_a_second_member_gets_half_of_the_jobs_and_not_half_of_all() -> None:
    group = Group(ftp_tasks=4, parked_1=1, parked_2=1, parked_3=1, parked_4=1)
    group.settle("a")
    before = group.has["a"]
    group.settle("a", "b")
    group.assert_even()
    assert group.shares(JOBS) == [2, 2]
    assert group.shares(None) == [2, 2]
    # What stays, stays where it was.
    assert group.has["a"] < before


def test_without_retry_topics_it_is_as_it_was() -> None:
    group = Group(ftp_tasks=5)
    group.settle("a", "b")
    group.assert_even()


@given(
    st.integers(1, 12),
    st.integers(0, 5),
    st.lists(st.integers(1, 4), max_size=4),
    st.lists(
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True), min_size=1, max_size=6
    ),
)
def test_whoever_comes_and_goes_all_kinds_are_shared_out_evenly(
    jobs: int, urgent: int, parked: list[int], memberships: list[list[str]]
) -> None:
    others = {f"parked_{number}": count for number, count in enumerate(parked)}
    group = Group(ftp_tasks=jobs, **({"urgent_tasks": urgent} if urgent else {}), **others)
    for members in memberships:
        group.settle(*members)
        group.assert_even()


def test_nothing_moves_where_nobody_comes_or_goes() -> None:
    group = Group(ftp_tasks=7, parked_1=2, parked_2=2)
    group.settle("a", "b", "c")
    before = group.has
    group.settle("a", "b", "c")
    assert group.has == before


def test_its_name_is_that_of_the_one_it_is_made_of() -> None:
    assert assignor(JOBS).name == "sticky"
