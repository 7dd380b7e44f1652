"""The producer pump: takes publications from the Trio side, has them acknowledged, and commits."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
import trio
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from pooler.bus.clients import bounded, pauses_s
from pooler.bus.ledger import Commitment
from pooler.bus.offsets import Offsets
from pooler.bus.reader import Ownership
from pooler.bus.records import OutRecord
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError

log = structlog.get_logger(__name__)

_PUBLISH_S = 90.0


class Outgoing(NamedTuple):
    """A record to be written.

    Attributes:
        record: as it should be.
        smaller: makes what to write in its place where the topic finds it too large; None where it
            stands in such a place already.
    """

    record: OutRecord
    smaller: Callable[[], OutRecord] | None


@dataclass(frozen=True, slots=True)
class Publication:
    """What goes out together: answers, and the offsets that may be committed once they are acknowledged.

    Attributes:
        records: what to write.
        commitments: by topic and partition.
        acknowledged: called once the brokers have all records, to settle what they answer. Here and not
            behind ``publish``: a rebalance that came in between would commit as if they were not written.
    """

    records: Sequence[Outgoing]
    commitments: Mapping[tuple[str, int], Commitment]
    acknowledged: Callable[[], object]


@dataclass(slots=True)
class _Request:
    publication: Publication
    epoch: int
    done: trio.Event = field(default_factory=trio.Event)
    written: bool = False
    error: BusError | None = None


class ProducerPump:
    """Writes publications, one after the other.

    Args:
        producer: started.
        settings: the topics, and how long to try.
        offsets: commits.
        ownership: shared with the consumer pump.
    """

    def __init__(
        self, producer: Any, settings: KafkaSettings, offsets: Offsets, ownership: Ownership
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._topics = topics(settings)
        self._offsets = offsets
        self._ownership = ownership
        # As long as there are callers of `publish` that wait: the sink is the only one.
        self._outbox: deque[_Request] = deque()
        self._wake = asyncio.Event()

    async def publish(self, publication: Publication) -> bool:
        """Have records acknowledged by the brokers, then commit; called from Trio.

        Returns:
            True once it is done; False where the partitions changed hands before anything was written,
            so that the publication must be made anew from what is still ours.

        Raises:
            BusError: the brokers cannot be reached for as long as the configuration allows.

        Cancellation: whether the records were written is not known.
        """
        request = _Request(publication, self._ownership.epoch)
        self._outbox.append(request)
        self._wake.set()
        await request.done.wait()
        if request.error is not None:
            raise request.error
        return request.written

    async def run(self) -> None:
        """Write what is published, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await self._ownership.settled.wait()
                await self._fulfil(self._outbox.popleft())

    async def _fulfil(self, request: _Request) -> None:
        self._ownership.idle.clear()
        try:
            if request.epoch == self._ownership.epoch:
                await self._write(request.publication.records)
                request.written = True
                request.publication.acknowledged()
            # While it was written the partitions may have changed hands: then their new owner commits.
            if request.epoch == self._ownership.epoch:
                await self._offsets.commit(request.publication.commitments)
        except BusError as error:
            request.error = error
        finally:
            self._ownership.idle.set()
            request.done.set()

    async def _write(self, records: Sequence[Outgoing]) -> None:
        """Have every record acknowledged; those that failed are sent again, those too large made smaller."""
        waiting = list(records)
        pauses = pauses_s(self._settings)
        while waiting:
            answers = await bounded(self._send(waiting), _PUBLISH_S)
            if answers is None:
                answers = [BusError("no acknowledgement in time")] * len(waiting)
            again, failure = [], None
            for outgoing, answer in zip(waiting, answers, strict=True):
                if isinstance(answer, MessageSizeTooLargeError) and outgoing.smaller is not None:
                    again.append(Outgoing(outgoing.smaller(), None))
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

    async def _send(self, records: Sequence[Outgoing]) -> list[Any]:
        """Send all, then wait for all: the answer of each, or its exception."""
        futures: list[Any] = []
        for (kind, key, value, headers), _ in records:
            try:
                future = await self._producer.send(self._topics[kind], value, key, headers=list(headers))
            except KafkaError as error:
                future = asyncio.get_running_loop().create_future()
                future.set_exception(error)
            futures.append(future)
        return await asyncio.gather(*futures, return_exceptions=True)


def topics(settings: KafkaSettings) -> dict[str, str]:
    """Tell which topic each kind of record goes to."""
    return {
        "result": settings.result_topic,
        "failure": settings.fail_topic,
        "dead_letter": settings.dlq_topic,
    }
