"""Members that keep their place in the group while they restart, and partitions that are added."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from pooler.bus import clients
from pooler.bus.bridge import KafkaBridge, open_bridge
from pooler.bus.membership import FencedInstanceIdError, GroupConsumer, GroupListener
from pooler.config.settings import KafkaSettings
from tests.support.kafka import Message, RunningBroker, create_topics, produce, running_broker
from tests.support.service import Site

pytestmark = pytest.mark.broker

_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


def settings(broker: RunningBroker, group: str, name: str | None, **more: Any) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(broker.bootstrap,),
        consumer_group=group,
        input_topic=group,
        group_instance_id=name,
        heartbeat_interval_ms=200,
        **{"session_timeout_ms": 30_000, "metadata_max_age_ms": 500, **more},
    )


class Member(GroupListener):
    """A member of a group that reads from the start of what it is given, and remembers."""

    poll_ms = 50

    def __init__(self, made: KafkaSettings, *further: str) -> None:
        self.consumer: GroupConsumer = clients.make_consumer(made)
        self.history: list[set[int]] = []
        self.values: list[bytes] = []
        self.error: BaseException | None = None
        self.forfeits: list[int] = []
        self._topics = [made.input_topic, *further]

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        await asyncio.sleep(0)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        for place in assigned:
            self.consumer.seek(place, 0)
        self.history.append({place.partition for place in assigned})
        await asyncio.sleep(0)

    def forfeit(self) -> None:
        self.forfeits.append(len(self.history))

    async def run(self) -> None:
        await self.consumer.start()
        self.consumer.subscribe(self._topics, listener=self)
        try:
            while True:
                for found in (await self.consumer.getmany(timeout_ms=self.poll_ms)).values():
                    self.values += [message.value for message in found]
        except FencedInstanceIdError as error:
            self.error = error
        finally:
            await self.consumer.stop()  # noqa: ASYNC102 - asyncio's

    @property
    def has(self) -> set[int]:
        return self.history[-1] if self.history else set()


@asynccontextmanager
async def running(member: Member) -> AsyncIterator[Member]:
    task = asyncio.create_task(member.run())
    try:
        yield member
    finally:
        task.cancel()
        await asyncio.wait({task})  # noqa: ASYNC102 - asyncio's
    if not task.cancelled():
        task.result()


async def until(holds: Any) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def heartbeats(member: Member, count: int) -> None:
    """Wait until a member has been answered so often: whatever the group had to tell, it was told by then."""
    coordinator, answered = member.consumer._coordinator, 0
    ask = coordinator._do_heartbeat

    async def counted() -> bool:
        nonlocal answered
        done = bool(await ask())
        answered += done
        return done

    coordinator._do_heartbeat = counted
    await until(lambda: answered >= count)


def test_a_static_member_restarts_and_the_other_notices_nothing(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"static": 4})

    async def story() -> None:
        staying = Member(settings(broker, "static", "pooler-0"))
        async with running(staying):
            async with running(Member(settings(broker, "static", "pooler-1"))) as first:
                await until(lambda: len(staying.has) == len(first.has) == 2)
            before = len(staying.history)
            await heartbeats(staying, 5)
            async with running(Member(settings(broker, "static", "pooler-1"))) as second:
                await until(lambda: second.has)
                assert second.has == first.has
                await heartbeats(staying, 5)
                await heartbeats(second, 2)
            assert len(staying.history) == before
            assert second.history == [first.has]

    asyncio.run(story())


def test_who_comes_back_for_other_topics_waits_for_nobody_and_has_no_others(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"other": 4, "other-urgent": 4})
    fewer = settings(broker, "other", "pooler-1")
    more = settings(broker, "other", "pooler-1", priority_topic="other-urgent")
    assert fewer.member_name != more.member_name

    async def story() -> None:
        staying = Member(settings(broker, "other", "pooler-0"))
        async with running(staying):
            for made, further in ((fewer, ()), (more, ("other-urgent",)), (fewer, ())):
                async with running(Member(made, *further)) as member:
                    # The session of the former one lasts for 30 s: within 10 nobody has waited for it.
                    async with asyncio.timeout(10):
                        await until(lambda member=member: len(staying.has) == 2 and member.has)
                    subscribed = member.consumer.assignment()
                    assert {place.topic for place in subscribed} == {"other", *further}
                    assert len(subscribed) == 2 + 4 * len(further)

    asyncio.run(story())


def test_a_dynamic_member_leaves_at_once(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"dynamic": 4})

    async def story() -> None:
        async with running(Member(settings(broker, "dynamic", None, session_timeout_ms=300_000))) as staying:
            async with running(Member(settings(broker, "dynamic", None))) as leaving:
                await until(lambda: len(staying.has) == len(leaving.has) == 2)
            # Nobody has waited for a session of five minutes.
            await until(lambda: len(staying.has) == 4)
            # What stayed with it all the time was nobody else's.
            assert staying.forfeits == [0]

    asyncio.run(story())


def answer_while_waiting(member: Member, *, just_woken: bool) -> None:
    """Let a member learn that its name is taken while it waits for partitions, which then never come."""
    place = member.consumer._place
    assert place is not None
    ask, waiters = place._is_taken, member.consumer._subscription._assignment_waiters

    async def late() -> bool:
        taken = await ask()
        await until(lambda: waiters)
        if just_woken:
            records = member.consumer._fetcher._fetch_waiters
            waiters[-1].set_result(None)
            await until(lambda: records)
            # As by records that come just now. It runs later, and waits for partitions again.
            for waiter in records:
                waiter.set_result(None)
        return taken

    place._is_taken = late  # type: ignore[method-assign]


@pytest.mark.parametrize("just_woken", [False, True])
def test_of_two_with_one_name_the_older_ends_and_the_newer_stays(
    just_woken: bool,  # noqa: FBT001 - a parameter of the table
    broker: RunningBroker,
) -> None:
    group = f"twins-{just_woken}"
    create_topics(broker.bootstrap, {group: 4})

    async def story() -> None:
        async with running(Member(settings(broker, group, "pooler-0"))) as older:
            older.poll_ms = 5_000
            await until(lambda: older.has)
            answer_while_waiting(older, just_woken=just_woken)
            async with running(Member(settings(broker, group, "pooler-0"))) as newer:
                await until(lambda: older.error)
                assert "FENCED_INSTANCE_ID" not in str(newer.error)
                await heartbeats(newer, 5)
                assert newer.error is None
                assert newer.history == [{0, 1, 2, 3}]
        assert isinstance(older.error, FencedInstanceIdError)
        assert older.history == [{0, 1, 2, 3}]

    asyncio.run(story())


def test_of_two_services_with_one_name_the_older_says_so_and_exits(
    tmp_path: Path, broker: RunningBroker
) -> None:
    named = {"kafka": {"group_instance_id": "pooler-0"}}
    # Folders of one name: one group.
    older, newer = (Site(tmp_path / which / "site", broker.bootstrap, {}, named) for which in ("old", "new"))
    older.create_topics()
    with older.running() as first, newer.running() as second:
        assert first.wait() == 7
        assert second.get("/v1/status")["ready"]
        second.signal(signal.SIGTERM)
        assert second.wait() == 0
    log = first.log.read_text()
    assert "Traceback" not in log
    assert log.count('"event": "group_instance_fenced"') == 1
    assert "another process has this group_instance_id" in log.splitlines()[-1]


def test_a_static_member_that_was_away_for_too_long_comes_back(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"away": 2})

    async def story() -> None:
        async with running(Member(settings(broker, "away", "pooler-0"))) as member:
            await until(lambda: member.has)
            # What a broker says to one whose session has run out.
            member.consumer._coordinator.reset_generation()
            await until(lambda: len(member.history) == 2)
            await heartbeats(member, 3)
            assert member.error is None
            assert member.has == {0, 1}
            assert member.forfeits == [0, 1]

    asyncio.run(story())


async def add_partitions(broker: RunningBroker, topic: str, total: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(total)})
    finally:
        await admin.close()  # noqa: ASYNC102 - asyncio's


@pytest.mark.parametrize("name", [None, "pooler-0"], ids=["dynamic", "static"])
def test_partitions_that_are_added_are_read(broker: RunningBroker, name: str | None) -> None:
    topic = f"grows-{name}"
    create_topics(broker.bootstrap, {topic: 1})

    async def story() -> None:
        async with running(Member(settings(broker, topic, name))) as member:
            await until(lambda: member.has == {0})
            await add_partitions(broker, topic, 3)
            await until(lambda: member.has == {0, 1, 2})
            await asyncio.to_thread(
                produce, broker.bootstrap, topic, [Message(b"%d" % n, partition=n) for n in range(3)]
            )
            await until(lambda: sorted(member.values) == [b"0", b"1", b"2"])

    asyncio.run(story())


@pytest.mark.parametrize("meanwhile", [True, False], ids=["while-it-is-away", "after-it-is-back"])
def test_partitions_are_noticed_after_the_leader_was_started_again(
    broker: RunningBroker, *, meanwhile: bool
) -> None:
    """A broker does not tell a static leader that comes back that it leads: nobody would watch."""
    topic = f"leader-{meanwhile}"
    create_topics(broker.bootstrap, {topic: 2})

    async def story() -> None:
        async with running(Member(settings(broker, topic, "leader"))) as leader:
            await until(lambda: leader.has)
        if meanwhile:
            await add_partitions(broker, topic, 4)
        async with running(Member(settings(broker, topic, "leader"))) as again:
            await until(lambda: again.has)
            if not meanwhile:
                await add_partitions(broker, topic, 4)
            await until(lambda: again.has == {0, 1, 2, 3})

    asyncio.run(story())


def test_each_heartbeat_that_is_answered_renews_the_session(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"heard": 1})

    async def story() -> None:
        async with running(Member(settings(broker, "heard", None, session_timeout_ms=6_000))) as member:
            await until(lambda: member.has)
            given, ends_at = len(member.history), member.consumer.session.ends_at
            await heartbeats(member, 3)
            assert member.consumer.session.ends_at >= ends_at + 0.3
            assert len(member.history) == given
            # The group forgets us: that is known before anything else is given.
            coordinator = member.consumer._coordinator
            coordinator.generation = 1_000
            await until(lambda: member.consumer.session.ends_at == -inf)
            await until(lambda: len(member.history) > given)
            assert member.consumer.session.ends_at > ends_at

    asyncio.run(story())


def test_who_is_not_heard_does_not_know_what_is_its_own_until_it_is_heard_again(
    broker: RunningBroker,
) -> None:
    create_topics(broker.bootstrap, {"unheard": 1})
    made = settings(
        broker, "unheard", None, session_timeout_ms=6_000, retry_delays_seconds=(), topic_checks="warn"
    )

    async def story() -> None:
        async with open_bridge(made, 60.0) as bridge:
            with trio.fail_after(_WITHIN_S):
                await bridge.membership.lasting()
            broker.freeze()
            try:
                await _until_in_doubt(bridge)
            finally:
                broker.thaw()
            with trio.fail_after(_WITHIN_S):
                await bridge.membership.lasting()

    trio.run(story)


async def _until_in_doubt(bridge: KafkaBridge) -> None:
    with trio.fail_after(_WITHIN_S):
        in_doubt = False
        while not in_doubt:
            with trio.move_on_after(0.1) as asking:
                await bridge.membership.lasting()
                await trio.sleep(0.02)
            in_doubt = asking.cancelled_caught
