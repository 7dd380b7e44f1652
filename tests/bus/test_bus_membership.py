"""What a member makes of what the group tells it: was it without a break one of those who decide?"""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from trio.testing import MockClock

from pooler.bus.clients import on_asyncio
from pooler.bus.group_session import GroupSession
from pooler.bus.membership import GroupConsumer, GroupListener, _Place

HERE = {TopicPartition("tasks", 0)}


@dataclass
class Consumer:
    """What a place in a group sees of its consumer."""

    session: GroupSession
    asked_at: float = 0.0
    _coordinator: Any = field(default_factory=lambda: SimpleNamespace(member_id="", generation=-1))
    _group_instance_id: str | None = None


class Listener(GroupListener):
    def __init__(self, session: GroupSession) -> None:
        self.told: list[str] = []
        self._session = session

    def forfeit(self) -> None:
        self.told.append("forfeit")

    async def on_partitions_revoked(self, _revoked: object) -> None:
        self.told.append("revoked")
        await asyncio.sleep(0)

    async def on_partitions_assigned(self, _assigned: object) -> None:
        assert not self._session.is_exclusive, "what was lost was not let go of yet"
        self.told.append("assigned")
        await asyncio.sleep(0)


class Member:
    """A place in a group; see `decided`."""

    def __init__(self, timeout_s: float = 45.0) -> None:
        self.consumer = Consumer(GroupSession(timeout_s))
        self.listener = Listener(self.consumer.session)
        self.place = _Place(self.consumer, frozenset({"tasks"}), self.listener, 5.0)  # type: ignore[arg-type]

    async def decided(self, member_id: str, generation: int) -> list[str]:
        """Have the group decide, and tell what the listener was told of it."""
        self.listener.told.clear()
        await self.place.on_partitions_revoked(HERE)
        assert not self.consumer.session.is_exclusive
        self.consumer._coordinator.member_id, self.consumer._coordinator.generation = member_id, generation
        await self.place.on_partitions_assigned(HERE)
        return self.listener.told


KEEPS, FORFEITS = ["revoked", "assigned"], ["revoked", "forfeit", "assigned"]


@pytest.mark.parametrize(
    ("member_id", "generation", "told"),
    [
        ("a", 8, KEEPS),
        ("a", 7, KEEPS),  # nothing was decided anew
        ("a", 9, FORFEITS),  # what was decided in between we were not told
        ("b", 8, FORFEITS),  # we were taken for gone
        ("a", 1, FORFEITS),  # the group has been forgotten
    ],
)
async def test_who_was_not_there_without_a_break_forfeits_all(
    member_id: str, generation: int, told: list[str]
) -> None:
    async with trio_asyncio.open_loop():
        member = Member()
        assert await on_asyncio(member.decided, "a", 7) == FORFEITS
        assert await on_asyncio(member.decided, member_id, generation) == told


async def test_a_session_lasts_from_when_the_assignment_was_asked_for(autojump_clock: MockClock) -> None:
    """And not from when it came: the group has counted us in when it was asked."""
    gates: list[tuple[Any, asyncio.Event]] = []

    async def send(request: Any) -> None:
        gates.append((request, asyncio.Event()))
        await gates[-1][1].wait()

    async with trio_asyncio.open_loop():
        member = Member(timeout_s=45.0)
        consumer: Any = member.consumer

        async def story() -> None:
            asked_at = asyncio.get_running_loop().time()
            task = asyncio.create_task(GroupConsumer._send(consumer, send, SYNC))
            await asyncio.sleep(20)
            await GroupConsumer._send(consumer, _nothing, BEAT)
            gates[0][1].set()
            await task
            await member.decided("a", 1)
            assert member.consumer.session.ends_at == asked_at + 45.0

        await on_asyncio(story)


async def _nothing(_request: object) -> None:
    await asyncio.sleep(0)


SYNC = SyncGroupRequest("group", 1, "a", None, [])
BEAT = HeartbeatRequest("group", 1, "a")
