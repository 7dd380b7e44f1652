"""Committed offsets that are settled: a question of Kafka's protocol that aiokafka does not know yet.

The end of a transaction reaches the partition of its answers and the book of its offsets one after the other.
Who asks in between is told the offset before, as if nothing were under way; from version 7 of OffsetFetch on
(KIP-447, Kafka 2.5) one can ask to be told so instead, and ask again.
"""

import asyncio
from collections.abc import Collection
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.structs import OffsetAndMetadata

_AGAIN_S = 0.05
_UNSTABLE_OFFSET_COMMIT = 88
_COORDINATOR_LOAD_IN_PROGRESS = 14
_NOT_COORDINATOR = 16
_PASSING = {_UNSTABLE_OFFSET_COMMIT, _COORDINATOR_LOAD_IN_PROGRESS, _NOT_COORDINATOR}


class OffsetFetchResponse_v7(Response):  # type: ignore[misc]  # noqa: N801, D101 - aiokafka's, and named as its own are
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc]  # noqa: N801, D101 - as above
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = OffsetFetchResponse_v7
    SCHEMA = Schema(
        ("consumer_group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _StableOffsets(Request[OffsetFetchRequest_v7]):  # type: ignore[misc]
    API_KEY = 9

    def __init__(self, group: str, places: Collection[TopicPartition]) -> None:
        self._group = group
        self._topics: dict[str, list[int]] = {}
        for place in places:
            self._topics.setdefault(place.topic, []).append(place.partition)

    def build(self, struct: type[OffsetFetchRequest_v7]) -> OffsetFetchRequest_v7:
        topics = [(topic, partitions, dict[int, bytes]()) for topic, partitions in self._topics.items()]
        return struct(self._group, topics, True, {})


async def fetch_stable(
    consumer: Any, places: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Ask what is committed, once no transaction is about to change it.

    Args:
        consumer: started; a member of the group.
        places: the partitions.

    Returns:
        Offset and metadata, for those partitions that have any.

    Raises:
        KafkaError: the broker does not tell.
    """
    # committed() drops the metadata, and asks an older question: this is what it calls.
    coordinator = consumer._coordinator  # noqa: SLF001 - see above
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            answer = await coordinator._send_req(_StableOffsets(coordinator.group_id, places))  # noqa: SLF001
        except NotImplementedError:  # brokers before 2.5
            found: dict[TopicPartition, OffsetAndMetadata] = await coordinator.fetch_committed_offsets(
                list(places)
            )
            return found
        codes = {answer.error_code} | {part[4] for _, parts, _ in answer.topics for part in parts}
        codes.discard(NoError.errno)
        if not codes:
            return {
                TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata or "")
                for topic, parts, _ in answer.topics
                for partition, offset, _, metadata, _, _ in parts
                if offset >= 0
            }
        if not codes <= _PASSING:
            raise KafkaError(f"committed offsets: {sorted(for_code(code).__name__ for code in codes)}")
        if _NOT_COORDINATOR in codes:
            coordinator.coordinator_dead()
        await asyncio.sleep(_AGAIN_S)
