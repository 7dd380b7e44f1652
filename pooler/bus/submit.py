"""Jobs to a topic, from whoever has them."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

import trio_asyncio
from aiokafka.errors import KafkaError

from pooler.bus import clients
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError


async def submit(
    settings: KafkaSettings, records: Iterable[tuple[bytes | None, bytes]], topic: str | None = None
) -> int:
    """Write records to a topic, and wait until the brokers have them.

    Args:
        settings: where the brokers are.
        records: keys and values; read as fast as the brokers take them.
        topic: which one; by default the input topic.

    Returns:
        How many were written.

    Raises:
        BusError: no broker answers, or one refused a record; in a group.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(clients.log_unretrieved)
        return int(await clients.on_asyncio(_submit, settings, records, topic or settings.input_topic))


async def _submit(settings: KafkaSettings, records: Iterable[tuple[bytes | None, bytes]], topic: str) -> int:
    await clients.reach(settings)
    producer = clients.make_producer(settings)
    count = 0
    try:
        await clients.start(producer, settings)
        waiting: deque[Any] = deque()
        for key, value in records:
            waiting.append(await producer.send(topic, value, key))
            count += 1
            if len(waiting) >= settings.max_poll_records:
                await waiting.popleft()
        await asyncio.gather(*waiting)
    except KafkaError as error:
        raise BusError(f"cannot submit to {topic}, after {count} records: {error!r}") from error
    finally:
        await clients.stop(producer)  # noqa: ASYNC102 - asyncio's, with a deadline of its own
    return count
