"""Jobs to a topic, from whoever has them."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pooler.bus import clients
from pooler.bus.loops import open_loop
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError


class Letter(NamedTuple):
    """A record to be written.

    Attributes:
        key: its key.
        value: its value.
        headers: its headers.
    """

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


async def submit(
    settings: KafkaSettings,
    records: Iterable[tuple[bytes | None, bytes] | Letter],
    topic: str | None = None,
    *,
    per_s: float | None = None,
) -> int:
    """Write records to a topic, and wait until the brokers have them.

    Args:
        settings: where the brokers are.
        records: keys and values, or letters; read as fast as the brokers take them.
        topic: which one; by default the input topic.
        per_s: so many a second at most.

    Returns:
        How many were written.

    Raises:
        BusError: no broker answers, or one refused a record; in a group.
    """
    async with open_loop():
        topic = topic or settings.input_topic
        return int(await clients.on_asyncio(_submit, settings, records, topic, per_s))


async def _submit(
    settings: KafkaSettings,
    records: Iterable[tuple[bytes | None, bytes] | Letter],
    topic: str,
    per_s: float | None,
) -> int:
    await clients.reach(settings)
    producer = clients.make_producer(settings)
    count = 0
    try:
        await clients.start(producer, settings)
        began = asyncio.get_running_loop().time()
        waiting: deque[Any] = deque()
        for record in records:
            key, value, headers = Letter(*record)
            if per_s is not None:
                ahead_s = began + count / per_s - asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, ahead_s))
            waiting.append(await producer.send(topic, value, key, headers=list(headers)))
            count += 1
            if len(waiting) >= settings.max_poll_records:
                await waiting.popleft()
        await asyncio.gather(*waiting)
    except UnknownTopicOrPartitionError as error:
        raise BusError(
            f"cannot submit to {topic}: there is no such topic, and the brokers make none"
        ) from error
    except KafkaError as error:
        raise BusError(f"cannot submit to {topic}, after {count} records: {error!r}") from error
    finally:
        await clients.stop(producer)  # noqa: ASYNC102 - asyncio's, with a deadline of its own
    return count
