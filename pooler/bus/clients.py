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
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from pooler.config.settings import KafkaSettings
from pooler.errors import BusError

log = structlog.get_logger(__name__)

CLOSE_S = 5.0
"""How long closing a client may take: by itself it may hang."""


def make_consumer(settings: KafkaSettings) -> Any:
    """Make the consumer of the input topic; not started, not subscribed."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=settings.client_id,
        group_id=settings.consumer_group,
        # Committed is what is answered, never what was fetched.
        enable_auto_commit=False,
        # Positions are set at each assignment; one that is out of range is to be loud.
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=[StickyPartitionAssignor],
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
    )


def make_producer(settings: KafkaSettings) -> Any:
    """Make a producer; not started."""
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=settings.client_id,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        # What is too large is the topic's to say: a dead letter may be as large as what was read.
        max_request_size=16 * 1024 * 1024,
    )


async def start(client: Any, settings: KafkaSettings) -> None:
    """Start a client, trying as often as the configuration says.

    Raises:
        BusError: no broker answers.
    """
    pauses = pauses_s(settings)
    while True:
        try:
            await client.start()
        except (KafkaError, OSError) as error:
            pause_s = next(pauses, None)
            servers = ",".join(settings.bootstrap_servers)
            if pause_s is None:
                raise BusError(f"cannot reach Kafka at {servers}: {error}") from error
            log.warning("broker_unreachable", servers=servers, error=str(error), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
        else:
            return


async def stop(client: Any) -> None:
    """Close a client, within ``CLOSE_S``."""
    await bounded(client.stop(), CLOSE_S)


def pauses_s(settings: KafkaSettings) -> Iterator[float]:
    """Give the pauses between tries to reach the brokers, in seconds; as many as there may be tries more."""
    for attempt in range(settings.max_retries):
        yield min(settings.base_backoff_ms * 2**attempt, settings.max_backoff_ms) / 1000


async def bounded(work: Awaitable[Any], seconds: float) -> Any:
    """Await work for so long at most; None where it took longer: it is told to end, and not waited for."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        return task.result() if task.done() else None
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
    """Log an exception that nobody retrieved: by default it would take the whole nursery down."""
    log.error("asyncio_exception", message=context.get("message"), error=repr(context.get("exception")))
