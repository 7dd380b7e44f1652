"""Makes the control topic where it is missing, and looks whether it forgets. On the asyncio side."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from pooler.bus import clients
from pooler.bus.topics import CHECK_S, Topic, ask
from pooler.config.settings import KafkaSettings
from pooler.errors import ConfigError

log = structlog.get_logger(__name__)

_CONFIGS = {
    "cleanup.policy": "compact",
    # Pods announce themselves every few seconds: what is superseded is to go soon, as all is read at a start.
    "segment.ms": "600000",
    "segment.bytes": str(16 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.01",
    # Who reads for the first time has this long to get from a value to the word that it is taken back.
    "delete.retention.ms": "86400000",
    # Who is behind by less than a lease finds every record, also what was said before it asked for something.
    "min.compaction.lag.ms": "600000",
    "max.message.bytes": str(1024 * 1024),
}


async def make_control_topic(settings: KafkaSettings) -> None:
    """Make the control topic where there is none, with as many copies as the input topic.

    Where the brokers do not tell what there is, that is logged, and nothing made.

    Raises:
        ConfigError: it is missing and we may not make it, or it forgets what it should keep; says what to
            do.
        BusError: no broker answers.
    """
    name = settings.control_topic_name
    admin = clients.make_admin(settings)
    try:
        await clients.start(admin, settings)
        async with asyncio.timeout(CHECK_S):
            (model,) = await ask(admin, [settings.input_topic])
            wanted = _wanted(model, settings)
            # Made before it is asked for: asked for one that is missing, some brokers make one as they like.
            answer = await admin.create_topics([wanted])
            refusal = for_code(answer.topic_errors[0][1])
            (topic,) = await ask(admin, [name])
    except (KafkaError, TimeoutError) as error:
        log.warning("control_topic_unchecked", topic=name, error=repr(error))
        return
    finally:
        await clients.bounded(admin.close(), clients.CLOSE_S)  # noqa: ASYNC102 - asyncio's, with a deadline
    if refusal is NoError:
        log.info("control_topic_made", topic=name)
    elif topic.there is False:
        raise ConfigError(_missing(wanted, refusal.__name__, settings))
    elif refusal is not TopicAlreadyExistsError:
        log.info("control_topic_not_made", topic=name, error=refusal.__name__)
    judge(topic, settings)


def judge(topic: Topic, settings: KafkaSettings) -> None:
    """Look whether a control topic keeps the newest record of each key, whatever its age.

    Raises:
        ConfigError: it does not.
    """
    policy = topic.config.get("cleanup.policy", "compact")
    if policy != "compact":
        raise ConfigError(
            f"topic {topic.name}: cleanup.policy is {policy}: what operators want would be forgotten: "
            f"expected compact; it is set by kafka-configs {_at(settings)} --alter --entity-type topics "
            f"--entity-name {topic.name} --add-config cleanup.policy=compact"
        )


def _wanted(model: Topic, settings: KafkaSettings) -> NewTopic:
    configs = dict(_CONFIGS)
    if "min.insync.replicas" in model.config:
        configs["min.insync.replicas"] = model.config["min.insync.replicas"]
    return NewTopic(settings.control_topic_name, 1, model.copies or 1, topic_configs=configs)


def _missing(wanted: Any, refusal: str, settings: KafkaSettings) -> str:
    given: Mapping[str, str] = wanted.topic_configs
    configs = "".join(f" --config {key}={value}" for key, value in given.items())
    return (
        f"topic {wanted.name}: there is none, and we may not make it ({refusal}); it is made by kafka-topics "
        f"{_at(settings)} --create --topic {wanted.name} --partitions 1 "
        f"--replication-factor {wanted.replication_factor}{configs}; or each pod is for itself: "
        'kafka.control_topic: ""'
    )


def _at(settings: KafkaSettings) -> str:
    return f"--bootstrap-server {','.join(settings.bootstrap_servers)}"
