"""Writes jobs to the input topic on behalf of the admin API, with a producer of its own.

The producer is begun with the first jobs, since most pods never get any, and begun anew after a failure.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
import trio_asyncio
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pooler.bus import clients, records
from pooler.bus.clients import CLOSE_S, on_asyncio
from pooler.bus.loops import open_loop
from pooler.config.remotes import Connections, LocalFolder
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError, JobError
from pooler.model.job import Job, Origin, Record
from pooler.transfer.plan import plan

_WRITE_S = 20.0
_AT_ONCE = 4


class Letterbox:
    """The way of jobs from this process to the topic; made where its asyncio loop runs.

    Args:
        settings: where the brokers are.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._loop = trio_asyncio.current_loop.get()
        self._producer: Any = None
        self._starting = trio.Lock()
        self._places = trio.CapacityLimiter(_AT_ONCE)

    async def post(
        self,
        topic: str,
        jobs: Sequence[tuple[bytes | None, bytes]],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Write records, and wait until the brokers have them.

        Args:
            topic: where to.
            jobs: the key and the value of each.
            headers: of all of them.

        Raises:
            BusError: it is not known whether the brokers have them.

        Cancellation: likewise.
        """
        # The caller's task may know another loop, or none.
        token = trio_asyncio.current_loop.set(self._loop)
        try:
            async with self._places:
                producer = await self._started()
                try:
                    await on_asyncio(self._post, producer, topic, jobs, headers)
                except BusError:
                    await self._give_up(producer)
                    raise
        finally:
            trio_asyncio.current_loop.reset(token)

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                await on_asyncio(clients.reach, self._settings)
                producer = clients.make_producer(self._settings)
                try:
                    await on_asyncio(clients.start, producer, self._settings)
                except BaseException:
                    await self._stop(producer)  # noqa: ASYNC102 - shielded, with a deadline
                    raise
                self._producer = producer
            return self._producer

    async def _post(
        self,
        producer: Any,
        topic: str,
        jobs: Sequence[tuple[bytes | None, bytes]],
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        if await clients.bounded(self._send(producer, topic, jobs, headers), _WRITE_S) is None:
            raise BusError(f"{topic}: no answer within {_WRITE_S:g} s")

    async def _send(
        self,
        producer: Any,
        topic: str,
        jobs: Sequence[tuple[bytes | None, bytes]],
        headers: Sequence[tuple[str, bytes]],
    ) -> bool:
        try:
            waiting = [await producer.send(topic, value, key, headers=list(headers)) for key, value in jobs]
            for one in waiting:
                await one
        except UnknownTopicOrPartitionError as error:
            raise BusError(
                f"cannot write to {topic}: there is no such topic, and the brokers make none"
            ) from error
        except KafkaError as error:
            raise BusError(f"cannot write to {topic}: {error!r}") from error
        return True

    async def _give_up(self, producer: Any) -> None:
        """Begin with another one next time: what this one could not bring to an end may arrive later."""
        if producer is self._producer:
            self._producer = None
            await self._stop(producer)

    @staticmethod
    async def _stop(producer: Any) -> None:
        with trio.move_on_after(CLOSE_S + 1, shield=True):
            await on_asyncio(clients.stop, producer)

    async def aclose(self) -> None:
        """Close it, within ``CLOSE_S`` seconds."""
        if self._producer is not None:
            await self._give_up(self._producer)


@asynccontextmanager
async def open_letterbox(settings: KafkaSettings) -> AsyncIterator[Letterbox]:
    """Have a letterbox for as long as the block lasts.

    Cancellation: its producer is closed, within ``CLOSE_S`` seconds.
    """
    async with open_loop():
        letterbox = Letterbox(settings)
        try:
            yield letterbox
        finally:
            with trio.move_on_after(CLOSE_S + 2, shield=True):
                await letterbox.aclose()


def check_job(
    number: int, fields: Mapping[str, Any], connections: Connections
) -> tuple[Job, tuple[bytes, bytes]]:
    """Make a record of a job that is to be submitted.

    Args:
        number: which of them it is, for messages.
        fields: as docs/records.md has them, with a ``task_id``.
        connections: every remote and local folder that there is.

    Returns:
        The job, and the key and value of its record; the key is the remote's name, so that one remote's jobs
        stay in one partition.

    Raises:
        ValueError: it is no valid job, or names what there is not.
    """
    value = msgspec.json.encode(fields)
    job = records.decode(Record(Origin("request", 0, number), None, value))
    if not isinstance(job, Job):
        raise ValueError(job.message)  # noqa: TRY004 - the value is wrong, whatever its type
    try:
        plan(job, connections)
    except JobError as error:
        raise ValueError(f"{error.code.value}: {error}") from None
    local = isinstance(connections.get(job.source.remote), LocalFolder)
    return job, ((job.destination if local else job.source).remote.encode(), value)
