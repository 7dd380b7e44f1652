"""Reads topics for people: from some time on to where they end now, or on and on. Belongs to no group.

What is read is handed on by the batch, as it stands; nothing is committed, and nobody else is disturbed.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pooler.bus import clients
from pooler.bus.loops import open_loop
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError
from pooler.model.job import Origin, Record

_POLL_MS = 500
_SILENT_S = 10.0
"""An open transaction ends a topic for its readers: behind it there is nothing to wait for."""

Taker = Callable[[Sequence[Record]], bool]
"""Takes a batch; tells whether it wants more."""


async def survey(
    settings: KafkaSettings,
    topics: Sequence[str],
    take: Taker,
    *,
    since_ms: int | None = None,
    follow: bool = False,
) -> None:
    """Read topics; called from Trio.

    Args:
        settings: where the brokers are.
        topics: which.
        take: gets the records, partition by partition.
        since_ms: from when on, in milliseconds since 1970; None for all, or with ``follow`` from now on.
        follow: go on with what is written later, until cancelled.

    Raises:
        BusError: no broker answers, or there is no such topic; in a group.
    """
    async with open_loop():
        await clients.on_asyncio(_survey, settings, topics, take, since_ms, follow)


async def _survey(
    settings: KafkaSettings,
    topics: Sequence[str],
    take: Taker,
    since_ms: int | None,
    follow: bool,  # noqa: FBT001 - it comes through `on_asyncio`, which knows no keywords
) -> None:
    await clients.reach(settings)
    consumer = clients.make_follower(settings)
    try:
        await clients.start(consumer, settings)
        places = await _places(consumer, topics)
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        for place, offset in (await _starts(consumer, places, since_ms, ends, follow=follow)).items():
            consumer.seek(place, offset)
        await _read(consumer, ends, take, follow=follow)
    except KafkaError as error:
        raise BusError(f"cannot read {', '.join(topics)}: {error!r}") from error
    finally:
        await clients.stop(consumer)  # noqa: ASYNC102 - asyncio's, with a deadline of its own


async def _places(consumer: Any, topics: Sequence[str]) -> list[TopicPartition]:
    known = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - in public it tells no partitions
    missing = [topic for topic in topics if not known.partitions_for_topic(topic)]
    if missing:
        raise BusError(f"topic {', '.join(missing)}: there is none")
    return [
        TopicPartition(topic, number)
        for topic in topics
        for number in sorted(known.partitions_for_topic(topic))
    ]


async def _starts(
    consumer: Any,
    places: Sequence[TopicPartition],
    since_ms: int | None,
    ends: dict[Any, int],
    *,
    follow: bool,
) -> dict[TopicPartition, int]:
    if since_ms is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        return {place: ends[place] if at is None else at.offset for place, at in found.items()}
    if follow:
        return dict(ends)
    firsts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
    return firsts


async def _read(consumer: Any, ends: dict[TopicPartition, int], take: Taker, *, follow: bool) -> None:
    heard = time.monotonic()
    left = set(ends)
    while left:
        found = await consumer.getmany(timeout_ms=_POLL_MS)
        for place, messages in found.items():
            records = [
                Record(
                    Origin(place.topic, place.partition, message.offset),
                    message.key,
                    message.value,
                    tuple(message.headers),
                    message.timestamp,
                )
                for message in messages
                if follow or message.offset < ends[place]
            ]
            if records and not take(records):
                return
            heard = time.monotonic()
        if follow:
            continue
        left = {place for place in left if await consumer.position(place) < ends[place]}
        if time.monotonic() - heard > _SILENT_S:
            return
