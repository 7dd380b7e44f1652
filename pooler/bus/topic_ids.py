"""Which topic a name stands for: a question of Kafka's protocol that aiokafka does not know yet.

A topic that is deleted and made anew has the old name and new offsets, and nothing else tells: reading goes
on in the middle of it, as soon as it is long enough. Since 2.8 (KIP-516) each topic has an id, which Metadata
tells from version 10 on. Each partition's leader is asked for it: a broker that lags behind the others then
knows of no other log than the one that it gives us records of.
"""

import base64
from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion, LeaderNotAvailableError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from pooler.bus.ledger import TOPIC_ID_BYTES

_UNKNOWN = bytes(TOPIC_ID_BYTES)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        found: bytes = data.read(TOPIC_ID_BYTES)
        return found


class MetadataResponse_v10(Response):  # type: ignore[misc]  # noqa: N801, D101 - aiokafka's, and named as its own are
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # noqa: N801, D101 - as above
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponse_v10
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Topics(Request[MetadataRequest_v10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, struct: type[MetadataRequest_v10]) -> MetadataRequest_v10:
        return struct([(_UNKNOWN, name, {}) for name in self._names], False, False, False, {})


class TopicIds:
    """Asks for topic ids.

    Args:
        consumer: whose connections are used; started by the time of the first question.

    Attributes:
        news: whether the brokers have told us anything of topics since the last question.
    """

    def __init__(self, consumer: Any) -> None:
        self.news = False
        self._client = consumer._client  # noqa: SLF001 - there is no public way
        self._client.cluster.add_listener(self._told)

    def _told(self, _cluster: object) -> None:
        self.news = True

    async def ask(self, places: Collection[TopicPartition]) -> dict[TopicPartition, bytes]:
        """Ask which topic each partition is of.

        Returns:
            Its id, for those of which it is known: brokers before 2.8 have none.

        Raises:
            KafkaError: a broker does not tell.
        """
        self.news = False
        asked: dict[int, list[TopicPartition]] = {}
        for place in places:
            asked.setdefault(await self._leader(place), []).append(place)
        found: dict[TopicPartition, bytes] = {}
        for node, here in asked.items():
            topics = await self._ask(node, {place.topic for place in here})
            found |= {place: topics[place.topic] for place in here if place.topic in topics}
        return found

    async def _leader(self, place: TopicPartition) -> int:
        leader = self._client.cluster.leader_for_partition(place)
        if leader is None:  # not heard of yet
            await self._client.force_metadata_update()
            leader = self._client.cluster.leader_for_partition(place)
        if leader is None or leader < 0:
            raise LeaderNotAvailableError(place)
        return int(leader)

    async def _ask(self, node: int, names: Collection[str]) -> dict[str, bytes]:
        try:
            answer = await self._client.send(node, _Topics(names))
        except (NotImplementedError, IncompatibleBrokerVersion):  # brokers before 2.8
            return {}
        return {topic: topic_id for _, topic, topic_id, *_ in answer.topics if topic_id != _UNKNOWN}


def as_kafka_writes(topic_id: bytes) -> str:
    """Write a topic's id as ``kafka-topics --describe`` does."""
    return base64.urlsafe_b64encode(topic_id).rstrip(b"=").decode("ascii")
