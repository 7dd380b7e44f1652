"""Retry topics are made where they are missing, or asked for where we may not."""

import asyncio
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio_asyncio
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaConnectionError

from pooler.bus import clients, retry_topics
from pooler.bus.clients import on_asyncio
from pooler.config.settings import KafkaSettings
from pooler.errors import ConfigError

DAY_S = 86_400.0
UNKNOWN_TOPIC, ALREADY_THERE, NOT_ALLOWED = 3, 36, 29


class FakeAdmin:
    """An admin client, and the brokers that it asks."""

    def __init__(self, *there: str, partitions: int = 8, copies: int = 3, refusal: int = 0) -> None:
        self.there = set(there)
        self.partitions = partitions
        self.copies = copies
        self.refusal = refusal
        self.made: list[NewTopic] = []
        self.config = {"min.insync.replicas": "2", "max.message.bytes": "2000000"}
        self.error: Exception | None = None

    async def start(self) -> None:
        await asyncio.sleep(0)

    close = start

    async def describe_topics(self, names: Iterable[str]) -> list[Mapping[str, Any]]:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        parts = [{"replicas": list(range(self.copies))}] * self.partitions
        return [
            {
                "topic": name,
                "error_code": 0 if name in self.there else UNKNOWN_TOPIC,
                "partitions": parts if name in self.there else [],
            }
            for name in names
        ]

    async def describe_configs(self, resources: Iterable[Any]) -> list[Any]:
        await asyncio.sleep(0)
        entries = list(self.config.items())
        return [SimpleNamespace(resources=[(0, "", 2, resource.name, entries) for resource in resources])]

    async def create_topics(self, topics: list[NewTopic]) -> SimpleNamespace:
        await asyncio.sleep(0)
        self.made += topics
        return SimpleNamespace(topic_errors=[(topic.name, self.refusal, "") for topic in topics])


async def make(admin: FakeAdmin, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    monkeypatch.setattr(clients, "make_admin", lambda _settings: admin)
    # Brokers that make topics by themselves are not waited for.
    monkeypatch.setattr("pooler.bus.topics._PAUSES_S", ())
    refusal = None
    async with trio_asyncio.open_loop():
        try:
            await on_asyncio(retry_topics.make_retry_topics, KafkaSettings(**more), DAY_S)
        except ConfigError as error:
            refusal = error  # here it is in no group
    if refusal is not None:
        raise refusal


async def test_they_are_as_safe_as_the_input_topic_and_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = FakeAdmin("ftp-tasks", "ftp-tasks-retry-1m")
    await make(admin, monkeypatch)
    assert [topic.name for topic in admin.made] == [
        f"ftp-tasks-{kind}" for kind in ("retry-10s", "retry-10m", "retry-1h", "batches")
    ]
    assert {(topic.num_partitions, topic.replication_factor) for topic in admin.made} == {(4, 3)}
    configs = admin.made[-1].topic_configs
    assert configs["cleanup.policy"] == "delete"
    assert configs["min.insync.replicas"] == "2"
    assert int(configs["max.message.bytes"]) > 2_000_000
    assert int(configs["retention.ms"]) >= (DAY_S + 3600) * 1000


async def test_no_more_partitions_than_the_input_topic_has(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = FakeAdmin("ftp-tasks", partitions=2)
    await make(admin, monkeypatch, retry_partitions=6)
    assert {topic.num_partitions for topic in admin.made} == {2}


@pytest.mark.parametrize(
    ("admin", "settings"),
    [
        (FakeAdmin(), {}),  # there is no input topic: the checks tell
        (FakeAdmin("ftp-tasks"), {"retry_delays_seconds": ()}),
        (FakeAdmin("ftp-tasks", "ftp-tasks-retry-1s"), {"retry_delays_seconds": (1,), "batch_topic": ""}),
        (
            FakeAdmin("ftp-tasks", "ftp-tasks-retry-1s", "ftp-tasks-batches"),
            {"retry_delays_seconds": (1,)},
        ),
    ],
)
async def test_where_none_is_missing_none_is_made(
    admin: FakeAdmin, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(admin, monkeypatch, **settings)
    assert admin.made == []


async def test_another_pod_may_be_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = FakeAdmin("ftp-tasks", refusal=ALREADY_THERE)
    with structlog.testing.capture_logs() as events:
        await make(admin, monkeypatch)
    assert len(admin.made) == 5
    assert events == []


async def test_where_we_may_not_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = FakeAdmin("ftp-tasks", refusal=NOT_ALLOWED)
    with pytest.raises(ConfigError) as caught:
        await make(admin, monkeypatch, retry_delays_seconds=(10, 60), bootstrap_servers=("a:1", "b:2"))
    assert len(caught.value.problems) == 3
    assert caught.value.problems[2].endswith(', or kafka.batch_topic: "" to refuse bulk jobs')
    assert (
        "kafka-topics --bootstrap-server a:1,b:2 --create --topic ftp-tasks-retry-10s "
        "--partitions 4 --replication-factor 3 --config cleanup.policy=delete --config retention.ms="
    ) in caught.value.problems[0]
    assert "TopicAuthorizationFailedError" in caught.value.problems[0]


async def test_brokers_that_do_not_tell_are_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    admin = FakeAdmin("ftp-tasks")
    admin.error = KafkaConnectionError("no controller")
    with structlog.testing.capture_logs() as events:
        await make(admin, monkeypatch)
    assert [event["event"] for event in events] == ["retry_topics_unchecked"]
    assert admin.made == []
