"""How publications reach Kafka: what both ways have in common, and the one that may answer twice.

*At least once*: records are acknowledged, then their offsets committed by the consumer. A crash between the
two answers those jobs again. `pooler.bus.transactions` has *exactly once*.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pooler.bus.clients import bounded, pauses_s
from pooler.bus.ledger import Partition
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Outgoing, Publication, topics
from pooler.bus.start import Start
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError

log = structlog.get_logger(__name__)

_PUBLISH_S = 90.0


class Delivery(Protocol):
    """One way of publishing."""

    async def open(self, partitions: Collection[Partition]) -> Mapping[Partition, Start]:
        """Get ready to publish for these partitions and for no others; tell where reading begins.

        Raises:
            KafkaError: the brokers do not tell.
            BusError: they cannot be reached for as long as the configuration allows.
        """
        ...

    async def write(self, publications: Sequence[Publication]) -> bool:
        """Publish and commit, and settle what is published.

        Returns:
            False where not all of it is known to be published: what is still ours must be published anew.

        Raises:
            BusError: the brokers cannot be reached for as long as the configuration allows.
        """
        ...

    async def let_go(self) -> None:
        """Commit what is settled, before the partitions may become somebody else's."""
        ...

    async def aclose(self) -> None:
        """Close every client that this has made; bounded."""
        ...


class AtLeastOnce:
    """Records first, then their offsets.

    Args:
        producer: started; not closed by this.
        settings: the topics, and how long to try.
        offsets: commits.
        ownership: who may commit.
    """

    def __init__(
        self, producer: Any, settings: KafkaSettings, offsets: Offsets, ownership: Ownership
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._topics = topics(settings)
        self._offsets = offsets
        self._ownership = ownership

    async def open(self, partitions: Collection[Partition]) -> Mapping[Partition, Start]:
        """Tell where reading begins."""
        return await self._offsets.fetch(partitions)

    async def write(self, publications: Sequence[Publication]) -> bool:
        """Have all records acknowledged, settle them, and commit."""
        assignment = self._ownership.assignments
        await self._acknowledged([record for publication in publications for record in publication.records])
        for publication in publications:
            publication.acknowledged()
        # While it was written the partitions may have changed hands: then their new owner commits.
        if assignment == self._ownership.assignments:
            commitments = {publication.partition: publication.commitment for publication in publications}
            await self._offsets.commit(commitments)
        return True

    async def let_go(self) -> None:
        """Commit what is settled."""
        await self._offsets.commit(self._offsets.behind())

    async def aclose(self) -> None:
        """Close nothing: the producer is its maker's."""

    async def _acknowledged(self, records: Sequence[Outgoing]) -> None:
        """Have every record acknowledged; those that failed are sent again, those too large made smaller."""
        waiting = list(records)
        pauses = pauses_s(self._settings)
        while waiting:
            answers = await bounded(send_all(self._producer, self._topics, waiting), _PUBLISH_S)
            if answers is None:
                answers = [BusError("no acknowledgement in time")] * len(waiting)
            again, failure = [], None
            for outgoing, answer in zip(waiting, answers, strict=True):
                if is_too_large(outgoing, answer):
                    again.append(shrunk(outgoing))
                elif isinstance(answer, BaseException):
                    again.append(outgoing)
                    failure = answer
            if failure is not None:
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise BusError(f"cannot publish outcomes: {failure!r}") from failure
                log.warning("publish_failed", error=repr(failure), records=len(again), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
            waiting = again


async def send_all(producer: Any, names: Mapping[str, str], records: Sequence[Outgoing]) -> list[Any]:
    """Send all, then wait for all: the answer of each, or its exception.

    Args:
        producer: started.
        names: the topic for each kind of record.
        records: what to send.
    """
    futures: list[Any] = []
    for (kind, key, value, headers), _ in records:
        try:
            future = await producer.send(names[kind], value, key, headers=list(headers))
        except KafkaError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        futures.append(future)
    return await asyncio.gather(*futures, return_exceptions=True)


def is_too_large(outgoing: Outgoing, answer: object) -> bool:
    """Tell whether the topic did not take a record for its size, and a smaller one can be had."""
    return isinstance(answer, MessageSizeTooLargeError) and outgoing.smaller is not None


def shrunk(outgoing: Outgoing) -> Outgoing:
    """Give what is written in place of a record that is too large."""
    assert outgoing.smaller is not None  # noqa: S101 - is_too_large has told
    return Outgoing(outgoing.smaller(), None)
