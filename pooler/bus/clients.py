"""aiokafka's clients, with the defaults that lose jobs turned around, and asyncio kept on a short lead.

Few modules know asyncio: `bridge` opens the crossing, `reader` and `writer` are its two pumps, `offsets`
commits, `submit` writes jobs, and here stands what they share.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import structlog
import trio
import trio_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pooler.bus.assignor import assignor
from pooler.bus.membership import GroupConsumer
from pooler.bus.security import credentials, knock
from pooler.config.settings import KafkaSettings
from pooler.errors import BrokerRefused, BusError

log = structlog.get_logger(__name__)

CLOSE_S = 5.0
"""How long closing a client may take: by itself it may hang."""

LOOK_S = 10.0
"""How long a look at the brokers by another consumer may take."""


def make_consumer(settings: KafkaSettings) -> Any:
    """Make the consumer of the input topic; not started, not subscribed."""
    return GroupConsumer(
        **_connection(settings),
        group_id=settings.consumer_group,
        # A static member does not leave when it is stopped: the group waits for it, a session's time.
        group_instance_id=settings.member_name,
        holder=settings.group_instance_id,
        # Committed is what is answered, never what was fetched.
        enable_auto_commit=False,
        # Positions are set at each assignment; one that is out of range is to be loud.
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=[assignor(*settings.job_topics)],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
    )


def make_producer(settings: KafkaSettings, *, transactional_id: str | None = None) -> Any:
    """Make a producer; not started.

    Args:
        settings: where the brokers are.
        transactional_id: makes it transactional; its start shuts out whoever had that name before.
    """
    return AIOKafkaProducer(
        transactional_id=transactional_id,
        transaction_timeout_ms=settings.transaction_timeout_ms,
        **_connection(settings),
        acks="all",
        enable_idempotence=True,
        compression_type=None if settings.compression == "none" else settings.compression,
        linger_ms=5,
        # What is too large is the topic's to say: a dead letter may be as large as what was read.
        max_request_size=16 * 1024 * 1024,
    )


def make_follower(settings: KafkaSettings) -> Any:
    """Make a consumer of no group, that is told which partitions to read; not started."""
    return AIOKafkaConsumer(
        **_connection(settings),
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    )


def make_admin(settings: KafkaSettings) -> Any:
    """Make a client that asks how topics are set up; not started."""
    return AIOKafkaAdminClient(**_connection(settings))


def _connection(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap_servers": settings.bootstrap_servers,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        **credentials(settings),
    }


async def has_more(settings: KafkaSettings, offsets: Mapping[tuple[str, int], int]) -> set[tuple[str, int]]:
    """Tell which partitions have a record at an offset or behind it, as a consumer of its own sees it.

    Args:
        settings: where the brokers are.
        offsets: by partition.
    """
    consumer = make_follower(settings)
    try:
        return await bounded(_look(consumer, offsets), LOOK_S) or set()
    except KafkaError as error:
        log.warning("probe_failed", error=repr(error))
        return set()
    finally:
        await stop(consumer)  # noqa: ASYNC102 - asyncio's, with a deadline of its own


async def _look(consumer: Any, offsets: Mapping[tuple[str, int], int]) -> set[tuple[str, int]]:
    await consumer.start()
    places = {TopicPartition(*partition): offset for partition, offset in offsets.items()}
    consumer.assign(list(places))
    for place, offset in places.items():
        consumer.seek(place, offset)
    found = await consumer.getmany(timeout_ms=int(LOOK_S * 500))
    return {(place.topic, place.partition) for place, messages in found.items() if messages}


async def reach(settings: KafkaSettings) -> None:
    """Wait until the brokers let us in, trying as often as the configuration says; before the first client.

    Raises:
        BrokerRefused: they do not, and would not later.
        BusError: no broker answers.
    """
    pauses = pauses_s(settings)
    while True:
        try:
            await knock(settings)
        except BusError as error:
            await _pause(error, pauses)
        else:
            return


async def start(client: Any, settings: KafkaSettings) -> None:
    """Start a client, trying as often as the configuration says.

    Raises:
        BrokerRefused: the brokers do not let us in, and would not later.
        BusError: no broker answers.
    """
    pauses = pauses_s(settings)
    while True:
        try:
            await client.start()
        except (KafkaError, OSError, ValueError) as error:
            await _pause(await _cause(error, settings), pauses)
        else:
            return


async def _cause(error: Exception, settings: KafkaSettings) -> BusError:
    """Find out why a client could not be started: itself it does not tell."""
    try:
        await knock(settings)
    except BusError as found:
        return found
    return BusError(f"cannot reach Kafka at {','.join(settings.bootstrap_servers)}: {error}")


async def _pause(error: BusError, pauses: Iterator[float]) -> None:
    """Wait before the next try.

    Raises:
        BusError: there is to be none.
    """
    pause_s = None if isinstance(error, BrokerRefused) else next(pauses, None)
    if pause_s is None:
        event = "broker_refused" if isinstance(error, BrokerRefused) else "broker_unreachable"
        log.error(event, error=str(error))
        raise error
    log.warning("broker_unreachable", error=str(error), again_in_s=pause_s)
    await asyncio.sleep(pause_s)


async def stop(client: Any) -> None:
    """Close a client, each step of it within ``CLOSE_S``. Never raises."""
    try:
        await bounded(client.stop(), CLOSE_S)
    except Exception as error:  # noqa: BLE001 - whatever it was, nobody goes on with this client
        # A producer says here what its last transaction has failed of, and leaves its connections open.
        log.info("client_failed_before", error=repr(error))
        connections = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
        await bounded(connections.close(), CLOSE_S)


def pauses_s(settings: KafkaSettings) -> Iterator[float]:
    """Give the pauses between tries to reach the brokers, in seconds; as many as there may be tries more."""
    for attempt in range(settings.max_retries):
        yield min(settings.base_backoff_ms * 2**attempt, settings.max_backoff_ms) / 1000


async def bounded(work: Awaitable[Any], seconds: float) -> Any:
    """Await work for so long at most.

    Returns:
        What comes of it; None where it took longer: it is told to end, and not waited for. None, too, where
        it was cancelled from inside: aiokafka cancels what waits for a client that is being closed.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        return task.result() if task.done() and not task.cancelled() else None
    finally:
        task.cancel()


async def on_asyncio(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Call an asyncio function from Trio.

    Raises:
        BusError: asyncio cancelled the call by itself.

    Cancellation: the call is cancelled, and waited for.
    """
    try:
        return await trio_asyncio.aio_as_trio(function)(*args)
    except asyncio.CancelledError as error:
        # It is asyncio's, which means nothing to Trio.
        await trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC102 - raises, where Trio has cancelled too
        raise BusError("an asyncio call was cancelled by its own loop") from error  # noqa: ASYNC104


def log_unretrieved(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an exception that nobody retrieved: by default it would take the whole nursery down.

    One of Kafka's is no news: aiokafka keeps it in a future of its own, and tells it also to whoever asks the
    client for anything.
    """
    error = context.get("exception")
    say = log.debug if isinstance(error, KafkaError) else log.error
    say("asyncio_exception", message=context.get("message"), error=repr(error))
