"""Are the topics set up so that no job and no answer is lost? Asked once, at the start.

What is found is judged by `judge`, which is pure; the rest asks the brokers.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import structlog
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from pooler.bus import clients
from pooler.config.settings import KafkaSettings
from pooler.errors import ConfigError

log = structlog.get_logger(__name__)

CHECK_S = 20.0
"""How long the brokers may take to tell."""

_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_CONFIGS = ("cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes")
_FOR_EVER = -1


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, as far as the brokers tell.

    Attributes:
        name: its name.
        there: whether it exists; None where we may not know.
        copies: how many brokers have the partition with the fewest; 0 where nobody tells.
        partitions: how many it has; 0 where nobody tells.
        config: the settings of `_CONFIGS` by their names; those that we may not know are not there.
    """

    name: str
    there: bool | None = True
    copies: int = 0
    partitions: int = 0
    config: Mapping[str, str] = field(default_factory=dict)


class Finding(NamedTuple):
    """Something about a topic that is not as it should be.

    Attributes:
        kind: ``stop`` where jobs or answers would be lost, or never be written; else ``warn``.
        topic: its name.
        text: what it is, and what was expected.
    """

    kind: Literal["stop", "warn"]
    topic: str
    text: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.text}"


def judge(topics: Iterable[Topic], settings: KafkaSettings, deadline_s: float) -> list[Finding]:
    """Tell what is wrong with topics.

    Args:
        topics: those of the settings.
        settings: which of them is which, and how large records may be.
        deadline_s: how long after its first reading a job may still be tried, in seconds.
    """
    return [found for topic in topics for found in _judged(topic, settings, deadline_s)]


def _judged(topic: Topic, settings: KafkaSettings, deadline_s: float) -> Iterator[Finding]:
    name = topic.name
    if topic.there is None:
        yield Finding("warn", name, "we may not see it: expected the right to describe it")
        return
    if not topic.there and name in settings.side_topics:
        yield Finding("warn", name, "there is none yet: the service makes it at its start")
        return
    if not topic.there:
        yield Finding("stop", name, "there is none, and the brokers make none")
        return
    if "compact" in topic.config.get("cleanup.policy", ""):
        yield Finding(
            "stop",
            name,
            f"cleanup.policy is {topic.config['cleanup.policy']}: of records with one key all but the last "
            "would vanish: expected delete",
        )
    if name in settings.job_topics or name in settings.side_topics:
        # A parked job is written anew at each step, however long it waits in all. But a service that is not
        # running writes nothing, and what it has parked may wait for it until its deadline.
        yield from _kept(topic, deadline_s + settings.side_topics.get(name, 0))
    if name not in settings.job_topics:
        yield from _written(topic, settings)
    if hidden := [key for key in _CONFIGS if key not in topic.config]:
        yield Finding("warn", name, f"we may not see {', '.join(hidden)}: expected the right to")
    if topic.copies == 1:
        yield Finding("warn", name, "replication factor 1: it is gone with its broker's disk: expected 3")


def _kept(topic: Topic, deadline_s: float) -> Iterator[Finding]:
    """Judge how long jobs are kept: as long as they may wait."""
    kept_ms = int(topic.config.get("retention.ms", _FOR_EVER))
    if kept_ms != _FOR_EVER and kept_ms < deadline_s * 1000:
        yield Finding(
            "stop",
            topic.name,
            f"retention.ms is {kept_ms}, and a job may wait {deadline_s:g} s: it would vanish unanswered: "
            f"expected at least {deadline_s * 1000:.0f}",
        )
    kept_bytes = int(topic.config.get("retention.bytes", _FOR_EVER))
    if kept_bytes != _FOR_EVER:
        yield Finding(
            "warn",
            topic.name,
            f"retention.bytes is {kept_bytes}: with too many jobs at once the first vanish unanswered: "
            "expected -1",
        )


def _written(topic: Topic, settings: KafkaSettings) -> Iterator[Finding]:
    """Judge how safe answers are, and whether there is room for them."""
    in_sync = int(topic.config.get("min.insync.replicas", 0))
    if in_sync > topic.copies > 0:
        yield Finding(
            "stop",
            topic.name,
            f"min.insync.replicas is {in_sync}, with {topic.copies} in all: nothing could be written",
        )
    elif in_sync == 1 < topic.copies:
        yield Finding(
            "warn",
            topic.name,
            "min.insync.replicas is 1: an answer may be acknowledged, and gone with one broker: expected 2",
        )
    room = int(topic.config.get("max.message.bytes", settings.max_record_bytes))
    if room < settings.max_record_bytes:
        yield Finding(
            "warn",
            topic.name,
            f"max.message.bytes is {room}, less than kafka.max_record_bytes ({settings.max_record_bytes}): "
            "larger answers are refused at first, and cut down",
        )


async def check_topics(settings: KafkaSettings, deadline_s: float) -> list[Finding]:
    """Ask the brokers how our topics are set up, and say what is wrong.

    On the asyncio side. What the brokers do not tell is not found wrong, but said.

    Args:
        settings: the topics, and what to do about findings.
        deadline_s: as for `judge`.

    Returns:
        What was found; it has been logged.

    Raises:
        ConfigError: one of them must stop us, and ``topic_checks`` is ``stop``; with all that must.
        BusError: no broker answers.
    """
    if settings.topic_checks == "off":
        return []
    try:
        findings = await examine_topics(settings, deadline_s)
    except (KafkaError, TimeoutError) as error:
        log.warning("topics_unchecked", error=repr(error))
        findings = []
    stops = [str(found) for found in findings if found.kind == "stop"]
    for found in findings:
        level = log.error if found.kind == "stop" else log.warning
        level("topic_unsuitable", topic=found.topic, reason=found.text)
    if stops and settings.topic_checks == "stop":
        raise ConfigError(*stops)
    return findings


async def examine_topics(settings: KafkaSettings, deadline_s: float) -> list[Finding]:
    """Ask the brokers how our topics are set up, and judge that: see `judge`. On the asyncio side.

    Raises:
        BusError: no broker answers.
        KafkaError: they do not tell.
        TimeoutError: they do not tell in time.
    """
    admin = clients.make_admin(settings)
    names = (
        *settings.job_topics,
        settings.result_topic,
        settings.fail_topic,
        settings.dlq_topic,
        *settings.side_topics,
    )
    try:
        await clients.start(admin, settings)
        async with asyncio.timeout(CHECK_S):
            return judge(await ask(admin, list(dict.fromkeys(names))), settings, deadline_s)
    finally:
        await clients.bounded(admin.close(), clients.CLOSE_S)  # noqa: ASYNC102 - asyncio's, with a deadline


async def ask(admin: Any, names: Sequence[str]) -> list[Topic]:
    """Ask how topics are set up; those that brokers make when asked for, they make.

    Args:
        admin: started.
        names: of the topics, each once.

    Raises:
        KafkaError: the brokers do not tell.
    """
    found = await _described_by_name(admin, names)
    for pause_s in _PAUSES_S:
        # Where brokers make topics by themselves, being asked for one makes it, after they have said no.
        if not any(map(_is_missing, found.values())):
            break
        await asyncio.sleep(pause_s)
        found = await _described_by_name(admin, names)
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for _, _, _, name, entries in answer.resources:
            configs[name] = {entry[0]: entry[1] for entry in entries if entry[0] in _CONFIGS}
    return [_topic(found[name], configs.get(name, {})) for name in names]


async def _described_by_name(admin: Any, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    return {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}


def _is_missing(described: Mapping[str, Any]) -> bool:
    return for_code(described["error_code"]) is UnknownTopicOrPartitionError


def _topic(described: Mapping[str, Any], config: Mapping[str, str]) -> Topic:
    hidden = for_code(described["error_code"]) is TopicAuthorizationFailedError
    there = None if hidden else not _is_missing(described)
    copies = min((len(part["replicas"]) for part in described["partitions"]), default=0)
    return Topic(described["topic"], there, copies, len(described["partitions"]), config)
