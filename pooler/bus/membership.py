"""A consumer that knows how long it is a member, who has its place in the group, when its topic has grown.

Its heartbeats tell how long the group counts on it (`GroupSession`); aiokafka keeps that to itself.

A *static* member (``kafka.group_instance_id``) does not leave when it is stopped, and has its partitions back
when it is started again within the session timeout, without a rebalance. aiokafka takes part in that, but for
three things.

1. Two processes of one name would fight for ever. A broker shuts out the older of them; the heartbeats of
   aiokafka carry no name, so all that it is told is "unknown member", upon which it joins anew and shuts out
   the other one. So before a static member joins again it asks the brokers who has its name now. Is it
   somebody else, it ends.
2. aiokafka has the leader of a group watch for partitions that are added. A leader that is static and was
   started again is not told that it leads, and nobody watches. So each static member looks now and then
   whether every partition has an owner, and joins again where one has none. If it leads, the group then
   decides anew; if it does not, nothing changes.
3. A broker gives who comes back what its name had before, without a look at the topics that it asks for now.
   A former release, rolled back to, would be given a topic that it does not know, and end, again and again.
   So a name says which topics it is for (``KafkaSettings.member_name``), and who comes with another one has
   the group forget its former self, so that nobody waits for it.

Private names of aiokafka are used here for what has no public one.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import BrokerResponseError, KafkaError, kafka_errors
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest, SyncGroupRequest

from pooler.bus.group_session import GroupSession

log = structlog.get_logger(__name__)

_ASK_S = 5.0
_CHECK_S = 1.0
_GIVEN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""What a broker puts behind a name to make an id of it."""


class FencedInstanceIdError(BrokerResponseError):
    """Another member of the group has our name."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "another process has this group_instance_id now: each needs one of its own"


# aiokafka does not know this code, and would only say that it does not.
kafka_errors.setdefault(FencedInstanceIdError.errno, FencedInstanceIdError)


class GroupListener(ConsumerRebalanceListener):
    """What is told of a rebalance, as by aiokafka, and one thing more."""

    def forfeit(self) -> None:
        """Take in that others may have had all that was ours, before it is told what is ours now."""


class GroupConsumer(AIOKafkaConsumer):
    """A consumer that subscribes, as a static or a dynamic member.

    Attributes:
        session: how long what it was given is its own.
        asked_at: when it last asked what it is given, in seconds of the loop's time.
    """

    def __init__(
        self,
        *,
        metadata_max_age_ms: int,
        session_timeout_ms: int,
        rebalance_timeout_ms: int,
        holder: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            metadata_max_age_ms=metadata_max_age_ms,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            **options,
        )
        # Who is heard but does not join again is shut out, too.
        self.session = GroupSession(min(session_timeout_ms, rebalance_timeout_ms) / 1000)
        self.asked_at = 0.0
        self._look_every_s = metadata_max_age_ms / 1000
        self._place: _Place | None = None
        self._holder = holder

    async def start(self) -> None:
        """Connect, and have the group forget who was ``holder`` for other topics.

        Raises:
            KafkaError: see aiokafka.
        """
        await super().start()
        if self._holder is None:
            return
        former = re.compile(rf"{re.escape(self._holder)}(\.[0-9a-f]{{8}})?-{_GIVEN}")
        ours = _given(self._group_instance_id)
        members, _ = await _members(self._coordinator)
        for member in members:
            if former.fullmatch(member) and not ours.fullmatch(member):
                await _forget(self._coordinator, member)

    def subscribe(self, topics: Iterable[str], *, listener: "GroupListener") -> None:
        """Join the group, for these topics, once and after the start."""
        coordinator = self._coordinator
        coordinator._do_heartbeat = partial(self._beat, coordinator, coordinator._do_heartbeat)  # noqa: SLF001
        coordinator._send_req = partial(self._send, coordinator._send_req)  # noqa: SLF001
        self._place = _Place(self, frozenset(topics), listener, self._look_every_s)
        super().subscribe(list(topics), listener=self._place)

    async def _beat(self, coordinator: Any, beat: Callable[[], Awaitable[bool]]) -> bool:
        said_at = asyncio.get_running_loop().time()
        heard = await beat()
        if heard:
            self.session.renew(said_at)
        elif not coordinator.member_id:
            self.session.end()
        return heard

    async def _send(self, send: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        if isinstance(request, SyncGroupRequest):
            self.asked_at = asyncio.get_running_loop().time()
        return await send(request)

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> dict[TopicPartition, list[Any]]:
        """Fetch records, as long as we have our place.

        Raises:
            FencedInstanceIdError: another process has it.
            KafkaError: see aiokafka.
        """
        if self._place is not None:
            await self._place.look()
        # Before aiokafka does: it looks at its task at once, and would find it cancelled.
        self.check()
        poll = asyncio.ensure_future(super().getmany(*partitions, **options))
        try:
            # Aborted is only who waits at that moment: a poll that was just woken by records, and then waits
            # for an assignment that will never come, hears of nothing.
            while not (await asyncio.wait({poll}, timeout=_CHECK_S))[0]:
                self.check()
            found: dict[TopicPartition, list[Any]] = poll.result()
        finally:
            poll.cancel()
        return found

    def check(self) -> None:
        """Raise what has happened to our place in the group, whether or not records are being fetched.

        Raises:
            FencedInstanceIdError: another process has it.
            KafkaError: the group does not take us.
        """
        if self._place is not None and self._place.taken:
            raise self._place.fenced()
        self._coordinator.check_errors()


class _Place(ConsumerRebalanceListener):
    """Our place in the group, seen from between aiokafka and the listener.

    Attributes:
        taken: whether another process has our name.
    """

    def __init__(
        self,
        consumer: GroupConsumer,
        topics: frozenset[str],
        listener: GroupListener,
        look_every_s: float,
    ) -> None:
        self.taken = False
        self._consumer = consumer
        self._topics = topics
        self._listener = listener
        self._name = consumer._group_instance_id  # noqa: SLF001 - see above
        self._member_id = ""
        self._generation = 0
        self._look_every_s = look_every_s
        self._next_look = 0.0

    def fenced(self) -> FencedInstanceIdError:
        return FencedInstanceIdError(f"{self._name}: {FencedInstanceIdError.description}")

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._consumer.session.question()
        unknown = not self._consumer._coordinator.member_id  # noqa: SLF001 - see above
        # Before the first time nobody knows us; later on we were away for too long, or are shut out.
        if self._name is not None and self._member_id and unknown and await self._is_taken():
            self.taken = True
            log.error("group_instance_fenced", group_instance_id=self._name)
            # Whoever waits for partitions waits in vain.
            self._consumer._subscription.abort_waiters(self.fenced())  # noqa: SLF001 - see above
            # The one way to end aiokafka's task without its joining: other exceptions it logs, and goes on.
            raise asyncio.CancelledError
        await self._listener.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        coordinator = self._consumer._coordinator  # noqa: SLF001 - see above
        member_id, generation = coordinator.member_id, coordinator.generation
        # The group may have decided without us, or we may not have been told.
        if member_id != self._member_id or not 0 <= generation - self._generation <= 1:
            self._listener.forfeit()
        self._member_id, self._generation = member_id, generation
        await self._listener.on_partitions_assigned(assigned)
        self._consumer.session.decide(self._consumer.asked_at)

    async def look(self) -> None:
        """Join again where a partition has no owner; where it is not time yet, do nothing."""
        now = asyncio.get_running_loop().time()
        if self._name is None or not self._member_id or now < self._next_look:
            return
        self._next_look = now + self._look_every_s
        members, settled = await _members(self._consumer._coordinator)  # noqa: SLF001 - see above
        owned = {place for places in members.values() for place in places}
        if settled and not self._wanted() <= owned:
            log.info("partitions_added", topics=sorted(self._topics), owned=len(owned))
            self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - see above

    def _wanted(self) -> set[TopicPartition]:
        return {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in self._consumer.partitions_for_topic(topic) or ()
        }

    async def _is_taken(self) -> bool:
        """Ask the brokers whether somebody else has our name: the ids that they give out begin with it."""
        assert self._name is not None  # noqa: S101 - it is asked of static members only
        ours = _given(self._name)
        members, _ = await _members(self._consumer._coordinator)  # noqa: SLF001 - see above
        return any(ours.fullmatch(member) and member != self._member_id for member in members)


async def _members(coordinator: Any) -> tuple[Mapping[str, set[TopicPartition]], bool]:
    """Ask who is in the group, who has what, and whether that is settled; nobody, where nobody tells."""
    try:
        async with asyncio.timeout(_ASK_S):
            await coordinator.ensure_coordinator_known()
            request = DescribeGroupsRequest([coordinator.group_id])
            answer = await coordinator._send_req(request)  # noqa: SLF001 - see above
    except (KafkaError, TimeoutError) as error:
        log.warning("group_unknown", error=repr(error))
        return {}, False
    (group,) = answer.groups
    return {member[0]: _assigned(member[4]) for member in group[5]}, group[2] == "Stable"


async def _forget(coordinator: Any, member: str) -> None:
    """Take a member out of the group in its place."""
    try:
        async with asyncio.timeout(_ASK_S):
            request = LeaveGroupRequest(coordinator.group_id, member)
            answer = await coordinator._send_req(request)  # noqa: SLF001 - see above
    except (KafkaError, TimeoutError) as error:
        log.warning("former_member_stays", member=member, error=repr(error))
    else:
        log.info("former_member_gone", member=member, error_code=answer.error_code)


def _given(name: str) -> re.Pattern[str]:
    """Match the ids that brokers give to a static member: they begin with its name."""
    return re.compile(rf"{re.escape(name)}-{_GIVEN}")


def _assigned(assignment: bytes) -> set[TopicPartition]:
    return set(ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions()) if assignment else set()
