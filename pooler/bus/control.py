"""The control topic: what is written to it, and all that stands in it, read from its beginning on.

One partition is used, whose order all pods share; nobody is in a group. Nothing is taken for known before a
record of our own has been read back: then everything before it has been.

Each time that the topic is opened is a *life*, with a name and a producer of its own. A producer keeps the
order of what it writes, but what it could not bring to an end may arrive at any time later: so a failure
ends the life, and nothing of it is gone on with.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import structlog
import trio
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pooler.bus import clients
from pooler.bus.clients import CLOSE_S, on_asyncio
from pooler.bus.control_records import WrongRecord, decode, encode, tombstone
from pooler.bus.control_topic import make_control_topic
from pooler.bus.loops import open_loop
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError, ConfigError, PoolerError
from pooler.model.control import Gone, News

log = structlog.get_logger(__name__)

_POLL_MS = 500


class Listener(Protocol):
    """Who is told what stands in the topic: called in the order of the log, and never awaiting."""

    def begin(self, incarnation: str) -> None:
        """Forget what was read: it is read again from the beginning, under a new name."""
        ...

    def hear(self, news: News | Gone, now: float) -> None:
        """Take in one record."""
        ...

    def end(self) -> None:
        """Know that nothing more is heard, or can be said, until ``begin``."""
        ...


class ControlTopic:
    """The control topic, as the Trio side sees it; made where its asyncio loop runs.

    Args:
        settings: where it is.
        listener: who is told what stands in it.
        write_s: how long a record may take to be written, in seconds.
    """

    def __init__(self, settings: KafkaSettings, listener: Listener, *, write_s: float) -> None:
        self._settings = settings
        self._listener = listener
        self._write_s = write_s
        self._place = TopicPartition(settings.control_topic_name, 0)
        self._loop = trio_asyncio.current_loop.get()
        self._producer: Any = None
        self._life = trio.CancelScope()
        self._failure: BusError | None = None

    async def write(self, news: News | Gone) -> None:
        """Write a record, and wait until the brokers have it.

        Raises:
            BusError: whether they have it is not known; that ends the life.

        Cancellation: likewise not known, but what is written later comes behind it.
        """
        if self._producer is None:
            raise BusError(f"{self._place.topic} cannot be written to now")
        key, value = (tombstone(news), None) if isinstance(news, Gone) else encode(news)
        try:
            with self._on_our_loop():
                await on_asyncio(self._write, self._producer, key, value)
        except BusError as error:
            self._failure = error
            self._life.cancel()
            raise

    @contextmanager
    def _on_our_loop(self) -> Iterator[None]:
        """Have the caller's task use the loop that the clients live on: it may know another, or none."""
        token = trio_asyncio.current_loop.set(self._loop)
        try:
            yield
        finally:
            trio_asyncio.current_loop.reset(token)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read the topic and follow it, life for life, until cancelled.

        Args:
            task_status: started once it is being read.

        Raises:
            BusError: no broker answers or lets us in, at the start.
            ConfigError: the topic is missing, or not as it should be, at the start.
        """
        started = False
        while True:
            failure: PoolerError | None = None
            try:
                async with self._alive() as consumer:
                    if not started:
                        task_status.started()
                    started = True
                    with trio.CancelScope() as self._life:
                        await on_asyncio(self._follow, consumer)
                failure = self._failure
            except (BusError, ConfigError) as error:
                if not started:
                    raise
                failure = error
            log.error("control_topic_lost", topic=self._place.topic, error=str(failure))
            await trio.sleep(self._settings.base_backoff_ms / 1000)

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[Any]:
        await on_asyncio(clients.reach, self._settings)
        await on_asyncio(make_control_topic, self._settings)
        consumer, producer = clients.make_follower(self._settings), clients.make_producer(self._settings)
        try:
            await on_asyncio(clients.start, consumer, self._settings)
            await on_asyncio(clients.start, producer, self._settings)
            self._producer = producer
            self._listener.begin(secrets.token_hex(8))
            try:
                yield consumer
            finally:
                self._producer = None
                self._listener.end()
        finally:
            with trio.move_on_after(2 * CLOSE_S + 1, shield=True):
                await on_asyncio(clients.stop, producer)
                await on_asyncio(clients.stop, consumer)

    async def _write(self, producer: Any, key: bytes, value: bytes | None) -> None:
        topic, partition = self._place
        try:
            sent = await clients.bounded(
                producer.send_and_wait(topic, value, key, partition=partition), self._write_s
            )
        except KafkaError as error:
            raise BusError(f"{topic} cannot be written to: {error!r}") from error
        if sent is None:
            raise BusError(f"{topic} cannot be written to: no answer within {self._write_s:g} s")

    async def _follow(self, consumer: Any) -> None:
        """Read from the beginning, for ever; on the asyncio side."""
        consumer.assign([self._place])
        try:
            await consumer.seek_to_beginning(self._place)
            while True:
                found = await consumer.getmany(self._place, timeout_ms=_POLL_MS)
                for message in found.get(self._place, ()):
                    self._hear(message)
        except KafkaError as error:
            raise BusError(f"{self._place.topic} cannot be read: {error!r}") from error

    def _hear(self, message: Any) -> None:
        try:
            news = decode(message.key, message.value)
        except WrongRecord as error:
            log.warning(
                "control_record_wrong", topic=self._place.topic, offset=message.offset, error=str(error)
            )
            return
        if news is None:
            log.info("control_record_unknown", topic=self._place.topic, offset=message.offset)
            return
        self._listener.hear(news, trio.current_time())


@asynccontextmanager
async def open_control(
    settings: KafkaSettings, listener: Listener, *, write_s: float
) -> AsyncIterator[ControlTopic]:
    """Follow the control topic for as long as the block lasts.

    Args:
        settings: where it is.
        listener: who is told what stands in it.
        write_s: how long a record may take to be written, in seconds.

    Raises:
        BusError: no broker answers or lets us in, at the start; in a group.
        ConfigError: the topic is missing, or not as it should be, at the start; in a group.

    Cancellation: both clients are closed, each within ``CLOSE_S`` seconds.
    """
    async with open_loop(), trio.open_nursery() as nursery:
        control = ControlTopic(settings, listener, write_s=write_s)
        await nursery.start(control.run)
        yield control
        nursery.cancel_scope.cancel()
