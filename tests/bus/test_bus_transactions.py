"""Exactly once, on a broker's book-keeping in memory: who may write, and what is on record afterwards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio_asyncio
from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from structlog.testing import capture_logs

from pooler.bus import clients
from pooler.bus.clients import on_asyncio
from pooler.bus.ledger import Ledger, Partition
from pooler.bus.offsets import Offsets
from pooler.bus.ownership import Ownership
from pooler.bus.publication import Outgoing, Publication
from pooler.bus.records import OutRecord
from pooler.bus.transactions import ExactlyOnce
from pooler.config.settings import KafkaSettings
from pooler.errors import BusError
from pooler.model.job import Origin
from tests.support.topics_double import TopicsDouble

SETTINGS = KafkaSettings(max_retries=3, base_backoff_ms=1, max_backoff_ms=2, consumer_group="g")
ZERO, ONE = ("ftp-tasks", 0), ("ftp-tasks", 1)


@dataclass
class Book:
    """What brokers keep of transactions.

    Attributes:
        epochs: the newest producer by transactional id.
        answers: values of committed records.
        offsets: committed, by partition.
        events: starts, offset fetches and commits, in order.
        faults: by the name of a step, errors that it raises, the first one first; a step named
            ``after-commit`` raises when all is committed.
        refused: errors for a record, by its value.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)
    offsets: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    faults: dict[str, list[BaseException]] = field(default_factory=dict)
    refused: dict[bytes, list[Exception]] = field(default_factory=dict)
    open: int = 0
    first: int = 0

    def step(self, name: str) -> None:
        if self.faults.get(name):
            raise self.faults[name].pop(0)

    # ---- what is asked of a consumer

    _client: TopicsDouble = field(default_factory=TopicsDouble)

    @property
    def _coordinator(self) -> "Book":
        return self

    async def ensure_coordinator_known(self) -> None:
        await asyncio.sleep(0)

    group_id = "g"

    async def _send_req(self, _request: object) -> None:
        raise NotImplementedError  # as old brokers make it

    def request_rejoin(self) -> None:
        self.events.append("rejoin")

    async def fetch_committed_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, Any]:
        await asyncio.sleep(0)
        self.step("fetch")
        self.events += [f"fetch {place.partition}" for place in places]
        return {place: self.offsets[place] for place in places if place in self.offsets}

    async def beginning_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(places, self.first)

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(places, 100)


class Producer:
    """A transactional producer on the book."""

    def __init__(self, book: Book, name: str) -> None:
        self._book = book
        self._name = name
        self._epoch = 0
        self._records: list[bytes] | None = None
        self._offsets: dict[TopicPartition, OffsetAndMetadata] = {}

    async def start(self) -> None:
        await asyncio.sleep(0)
        self._book.step("start")
        self._epoch = self._book.epochs[self._name] = self._book.epochs.get(self._name, 0) + 1
        self._book.open += 1
        self._book.events.append(f"start {self._name}")

    async def stop(self) -> None:
        await asyncio.sleep(0)
        self._book.step("stop")
        await self._client.close()

    @property
    def _client(self) -> "Producer":
        return self

    async def close(self) -> None:
        await asyncio.sleep(0)
        self._book.open -= self._epoch > 0
        self._epoch = 0

    async def _asked(self, step: str) -> None:
        await asyncio.sleep(0)
        if self._epoch != self._book.epochs[self._name]:
            raise ProducerFenced
        self._book.step(step)

    async def begin_transaction(self) -> None:
        await self._asked("begin")
        assert self._records is None, "in a transaction already"
        self._records, self._offsets = [], {}

    async def send(self, _topic: str, value: bytes, _key: bytes, **_more: Any) -> asyncio.Future[None]:
        await self._asked("send")
        assert self._records is not None
        future = asyncio.get_running_loop().create_future()
        if self._book.refused.get(value):
            future.set_exception(self._book.refused[value].pop(0))
        else:
            self._records.append(value)
            future.set_result(None)
        return future

    async def send_offsets_to_transaction(self, offsets: Any, group: str) -> None:
        assert group == "g"
        await self._asked("offsets")
        self._offsets = offsets

    async def commit_transaction(self) -> None:
        await self._asked("commit")
        assert self._records is not None
        self._book.answers += self._records
        self._book.offsets |= self._offsets
        self._records = None
        self._book.step("after-commit")

    async def abort_transaction(self) -> None:
        await self._asked("abort")
        self._records = None


class Pod:
    """One process that reads partitions of its own."""

    def __init__(self, book: Book) -> None:
        self.ledger, self.ownership = Ledger(), Ownership()
        self.offsets = Offsets(book, self.ledger, SETTINGS)
        self.delivery = ExactlyOnce(SETTINGS, self.offsets, self.ledger, self.ownership)

    async def take(self, *partitions: Partition, read: int = 3) -> None:
        """Own these partitions, and have so many jobs of each in hand."""
        starts = await on_asyncio(self.delivery.open, frozenset(partitions))
        for lost in set(self.ledger).difference(partitions):
            self.ledger.close(lost)
        self.ownership.epoch += 1
        for (topic, number), start in starts.items():
            book = self.ledger.open((topic, number), start.offset, start.settled)
            for offset in range(book.next_offset, read):
                self.ledger.receive(Origin(topic, number, offset), 10)
        self.ownership.settled.set()

    def publication(self, partition: Partition, *offsets: int, smaller: bytes | None = None) -> Publication:
        """Answer jobs, as the sink would: those that are still wanted."""
        wanted = [offset for offset in offsets if offset in self.ledger[partition].pending]
        made = None if smaller is None else OutRecord("result", b"k", smaller, ())
        records = [
            Outgoing(
                OutRecord("result", b"k", f"{partition[1]}-{offset}".encode(), ()),
                None if made is None else lambda: made,
            )
            for offset in wanted
        ]

        def settle() -> None:
            for offset in wanted:
                self.ledger.settle(Origin(*partition, offset))

        return Publication(partition, records, self.ledger[partition].commitment(wanted), settle)

    async def write(self, *publications: Publication) -> bool:
        written: bool = await on_asyncio(self.delivery.write, publications)
        return written


@pytest.fixture
async def book(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Book]:
    made = Book()

    def make(_settings: KafkaSettings, *, transactional_id: str) -> Producer:
        return Producer(made, transactional_id)

    monkeypatch.setattr(clients, "make_producer", make)
    with trio.fail_after(10):
        async with trio_asyncio.open_loop():
            yield made


async def test_a_producer_is_started_before_the_offset_of_its_partition_is_read(book: Book) -> None:
    await Pod(book).take(ZERO, ONE)
    assert set(book.events[:2]) == {"start g-ftp-tasks-0", "start g-ftp-tasks-1"}
    assert set(book.events[2:]) == {"fetch 0", "fetch 1"}


async def test_answers_and_offset_go_out_together_a_partition_each(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO, ONE)
    assert await pod.write(pod.publication(ZERO, 0, 1), pod.publication(ONE, 0, 2))
    assert sorted(book.answers) == [b"0-0", b"0-1", b"1-0", b"1-2"]
    assert [book.offsets[TopicPartition(*place)].offset for place in (ZERO, ONE)] == [2, 1]
    assert pod.ledger.load.records == 2
    assert pod.offsets.behind() == {}
    assert pod.offsets.last_commit is not None


@pytest.mark.parametrize(
    "fault", [KafkaError("no"), OSError("gone"), IllegalOperation("not in a transaction"), AssertionError()]
)
@pytest.mark.parametrize("step", ["begin", "send", "offsets", "commit"])
async def test_what_is_not_committed_is_settled_neither_here_nor_there(
    book: Book, step: str, fault: Exception
) -> None:
    pod = Pod(book)
    await pod.take(ZERO)
    book.faults[step] = [fault]
    assert not await pod.write(pod.publication(ZERO, 0))
    assert book.answers == []
    assert pod.ledger.load.records == 3
    assert await pod.write(pod.publication(ZERO, 0))
    assert book.answers == [b"0-0"]
    assert book.open == 1, "a producer was left open"


@pytest.mark.parametrize("fault", [ProducerFenced(), OSError("gone"), AssertionError()])
async def test_a_producer_that_fails_once_more_as_it_is_closed_is_closed_all_the_same(
    book: Book, fault: Exception
) -> None:
    """aiokafka tells at its end, and not where it is asked, that the offsets were refused."""
    pod = Pod(book)
    await pod.take(ZERO)
    book.faults |= {"commit": [KafkaError("no")], "stop": [fault]}
    assert not await pod.write(pod.publication(ZERO, 0))
    assert await pod.write(pod.publication(ZERO, 0))
    assert book.answers == [b"0-0"]
    assert book.open == 1, "a producer was left open"


async def test_a_transaction_that_is_cancelled_from_inside_or_never_ends_is_unsure(book: Book) -> None:
    """aiokafka cancels who waits for a producer whose sender has ended."""
    pod = Pod(book)
    await pod.take(ZERO)
    book.faults["commit"] = [asyncio.CancelledError()]
    assert not await pod.write(pod.publication(ZERO, 0))
    assert book.answers == []
    assert await pod.write(pod.publication(ZERO, 0))
    assert book.answers == [b"0-0"]


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO)
    book.faults["after-commit"] = [KafkaError("no answer")]
    assert not await pod.write(pod.publication(ZERO, 0, 2))
    # The new producer's start has settled it, and the offset on record tells: 0 and 2 are out.
    assert pod.publication(ZERO, 0, 2).records == []
    assert await pod.write(pod.publication(ZERO, 0, 1, 2))
    assert sorted(book.answers) == [b"0-0", b"0-1", b"0-2"]


async def test_what_is_in_hand_is_answered_though_the_topic_has_lost_it(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO)
    assert await pod.write(pod.publication(ZERO, 0))
    book.first = 3
    book.faults["commit"] = [KafkaError("no")]
    assert not await pod.write(pod.publication(ZERO, 1))
    assert await pod.write(pod.publication(ZERO, 1, 2))
    assert book.answers == [b"0-0", b"0-1", b"0-2"]


async def test_a_refused_record_keeps_the_others_from_being_committed(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO)
    book.refused[b"0-1"] = [KafkaError("not now")]
    assert not await pod.write(pod.publication(ZERO, 0, 1))
    assert book.answers == []
    assert await pod.write(pod.publication(ZERO, 0, 1))
    assert book.answers == [b"0-0", b"0-1"]


async def test_a_record_that_is_too_large_is_written_smaller_and_once(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO)
    book.refused[b"0-1"] = [MessageSizeTooLargeError()]
    assert await pod.write(pod.publication(ZERO, 0, 1, smaller=b"stub"))
    assert book.answers == [b"0-0", b"stub"]
    assert book.offsets[TopicPartition(*ZERO)].offset == 2


async def test_who_was_shut_out_writes_nothing_and_asks_the_group(book: Book) -> None:
    former, owner = Pod(book), Pod(book)
    await former.take(ZERO)
    await owner.take(ZERO)
    assert not await former.write(former.publication(ZERO, 0))
    assert book.answers == []
    assert "rejoin" in book.events
    assert not former.ownership.settled.is_set(), "it would try again at once"
    assert ZERO not in former.ledger, "it would go on with what the other one may have done"
    # It has not shut out the rightful owner in turn.
    assert await owner.write(owner.publication(ZERO, 0))
    assert book.answers == [b"0-0"]


async def test_a_former_owner_s_last_commit_is_known_to_the_next(book: Book) -> None:
    former, owner = Pod(book), Pod(book)
    await former.take(ZERO)
    assert await former.write(former.publication(ZERO, 0, 2))
    await owner.take(ZERO)
    assert await owner.write(owner.publication(ZERO, 0, 1, 2))
    assert sorted(book.answers) == [b"0-0", b"0-1", b"0-2"]


async def test_one_partition_in_trouble_does_not_keep_the_others_back(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO, ONE)
    book.refused[b"0-0"] = [KafkaError("no leader")]
    assert not await pod.write(pod.publication(ZERO, 0), pod.publication(ONE, 0))
    assert book.answers == [b"1-0"]
    assert pod.ledger.load.records == 5


async def test_a_rebalance_starts_the_producers_anew_and_closes_those_of_what_was_lost(book: Book) -> None:
    pod = Pod(book)
    await pod.take(ZERO, ONE)
    await pod.take(ONE)
    assert book.open == 1
    assert book.epochs == {"g-ftp-tasks-0": 1, "g-ftp-tasks-1": 2}
    await on_asyncio(pod.delivery.aclose)
    assert book.open == 0


async def test_an_offset_that_cannot_be_read_is_asked_for_again_and_then_an_error(book: Book) -> None:
    pod = Pod(book)
    book.faults["fetch"] = [KafkaError("no"), KafkaError("no")]
    await pod.take(ZERO)
    book.faults["fetch"] = [KafkaError("no") for _ in range(9)]
    with pytest.raises(BusError, match="committed offsets"):
        await pod.take(ZERO)


def test_an_exception_that_nobody_retrieved_is_an_error_unless_it_is_kafka_s() -> None:
    loop = asyncio.new_event_loop()
    with capture_logs() as logged:
        for error in (ProducerFenced(), KeyError("x"), None):
            clients.log_unretrieved(loop, {"message": "never retrieved", "exception": error})
    loop.close()
    assert [event["log_level"] for event in logged] == ["debug", "error", "error"]
