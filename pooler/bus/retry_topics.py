"""Makes the retry topics and the batch topic where they are missing, at the start. On the asyncio side."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import structlog
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from pooler.bus import clients
from pooler.bus.topics import CHECK_S, Topic, ask
from pooler.config.settings import KafkaSettings
from pooler.errors import ConfigError

log = structlog.get_logger(__name__)

_DAY_S = 86_400
_ROOM_BYTES = 16 * 1024
"""For what parking adds to a record, and for a batch of one."""


async def make_retry_topics(settings: KafkaSettings, deadline_s: float) -> None:
    """Make the retry topics that are missing, after the likeness of the input topic.

    Where the brokers do not tell what there is, that is logged, and nothing made.

    Args:
        settings: the topics.
        deadline_s: how long after its first reading a job may still be tried, in seconds.

    Raises:
        ConfigError: some are missing, and we may not make them; says how to.
        BusError: no broker answers.
    """
    if not settings.side_topics:
        return
    admin = clients.make_admin(settings)
    try:
        await clients.start(admin, settings)
        async with asyncio.timeout(CHECK_S):
            model, *topics = await ask(admin, [settings.input_topic, *settings.side_topics])
            missing = [topic.name for topic in topics if topic.there is False]
            # Without an input topic nothing is begun: that is said by the checks.
            wanted = [
                _like(model, name, settings, deadline_s) for name in missing if model.there is not False
            ]
            answers = await _make(admin, wanted) if wanted else {}
    except (KafkaError, TimeoutError) as error:
        log.warning("retry_topics_unchecked", error=repr(error))
        return
    finally:
        await clients.bounded(admin.close(), clients.CLOSE_S)  # noqa: ASYNC102 - asyncio's, with a deadline
    # Another pod may have been faster.
    fine = (NoError, TopicAlreadyExistsError)
    refused = {name: error.__name__ for name, error in answers.items() if error not in fine}
    if refused:
        raise ConfigError(*_problems(wanted, refused, settings))
    for topic in wanted:
        if answers.get(topic.name) is NoError:
            log.info("retry_topic_made", topic=topic.name, partitions=topic.num_partitions)


def _like(model: Topic, name: str, settings: KafkaSettings, deadline_s: float) -> NewTopic:
    """Describe a retry topic: as safe as the input topic, and with room for all that stands there."""
    kept_s = max(7 * _DAY_S, 2 * deadline_s) + settings.side_topics[name]
    largest = int(model.config.get("max.message.bytes", settings.max_record_bytes))
    configs = {
        "cleanup.policy": "delete",
        "retention.ms": str(round(kept_s * 1000)),
        "max.message.bytes": str(max(largest, settings.max_record_bytes) + _ROOM_BYTES),
    }
    if "min.insync.replicas" in model.config:
        configs["min.insync.replicas"] = model.config["min.insync.replicas"]
    partitions = min(settings.retry_partitions, model.partitions or settings.retry_partitions)
    return NewTopic(name, partitions, model.copies or 1, topic_configs=configs)


async def _make(admin: Any, wanted: list[NewTopic]) -> Mapping[str, type[KafkaError]]:
    """Have topics made; tell what the brokers answer for each."""
    answer = await admin.create_topics(wanted)
    return {error[0]: for_code(error[1]) for error in answer.topic_errors}


def _problems(wanted: list[NewTopic], refused: Mapping[str, str], settings: KafkaSettings) -> Iterator[str]:
    servers = ",".join(settings.bootstrap_servers)
    for topic in wanted:
        if topic.name in refused:
            configs = "".join(f" --config {key}={value}" for key, value in topic.topic_configs.items())
            yield (
                f"topic {topic.name}: there is none, and we may not make one ({refused[topic.name]}): "
                f"expected kafka-topics --bootstrap-server {servers} --create --topic {topic.name} "
                f"--partitions {topic.num_partitions} --replication-factor {topic.replication_factor}"
                f"{configs}, or {_without(topic.name, settings)}"
            )


def _without(name: str, settings: KafkaSettings) -> str:
    if name == settings.batch_topic_name:
        return 'kafka.batch_topic: "" to refuse bulk jobs'
    return "kafka.retry_delays_seconds: [] to park nothing"
