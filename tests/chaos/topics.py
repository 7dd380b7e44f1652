"""The Kafka side of a run, seen by a client that shares nothing with the one under test: librdkafka.

All calls block: the stage makes them in threads. Brokers come and go under them, which librdkafka rides out.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.chaos.workload import Order

_WITHIN_S = 60.0
_PAUSE_S = 0.1
_BATCH = 2_000
_BY_KEY = -1


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one run.

    Attributes:
        prefix: what their names begin with.
        partitions: how many the input topic has.
    """

    prefix: str
    partitions: int = 8

    @property
    def settings(self) -> dict[str, str]:
        """Their names, as config.yaml wants them."""
        return {
            "input_topic": f"{self.prefix}-tasks",
            "result_topic": f"{self.prefix}-results",
            "fail_topic": f"{self.prefix}-failures",
            "dlq_topic": f"{self.prefix}-dlq",
        }

    @property
    def tasks(self) -> str:
        """The input topic."""
        return self.settings["input_topic"]

    @property
    def dead_letters(self) -> str:
        """The topic of what is no job at all."""
        return self.settings["dlq_topic"]

    @property
    def answers(self) -> list[str]:
        """The three topics that are written."""
        return [name for setting, name in self.settings.items() if setting != "input_topic"]


@dataclass(slots=True)
class Read:
    """One record of an answer topic.

    Attributes:
        topic: where it stood.
        key: its key.
        value: its value.
        partition: of which partition.
        at_s: when it was written, in seconds since 1970.
    """

    topic: str
    key: bytes
    value: bytes
    partition: int = 0
    at_s: float = 0.0


@dataclass(slots=True)
class Submitter:
    """Writes jobs; whatever becomes of brokers meanwhile, each is written once.

    Attributes:
        bootstrap: the brokers.
        topic: where to.
        partition: tells of which partition a job is; None leaves that to its key.
    """

    bootstrap: str
    topic: str
    partition: Callable[[Order], int] | None = None
    _producer: Producer = field(init=False)
    _failed: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                # A broker that knows nothing of a producer yet takes whatever comes first. If that is the
                # second of two requests, it calls the first one a duplicate: taken, and written nowhere.
                "max.in.flight.requests.per.connection": 1,
                "linger.ms": 5,
                "delivery.timeout.ms": 300_000,
                "queue.buffering.max.messages": 200_000,
                "log_level": 0,
            }
        )

    def submit(self, orders: Iterable[Order]) -> None:
        """Hand over some jobs."""
        for order in orders:
            while True:
                try:
                    place = _BY_KEY if self.partition is None else self.partition(order)
                    self._producer.produce(self.topic, order.value, order.key, place, on_delivery=self._note)
                    break
                except BufferError:
                    self._producer.poll(_PAUSE_S)
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until the brokers have all of them.

        Raises:
            RuntimeError: some were not taken.
        """
        left = self._producer.flush(_WITHIN_S)
        if left or self._failed:
            raise RuntimeError(f"{left + len(self._failed)} jobs were not taken: {self._failed[:3]}")

    def _note(self, error: object, _message: Message) -> None:
        if error is not None:
            self._failed.append(str(error))


class Reader:
    """Reads topics whole, from their beginnings, committed records only."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "nobody",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )
        found = self._consumer.list_topics(timeout=_WITHIN_S).topics
        self._places = [
            TopicPartition(topic, number, OFFSET_BEGINNING)
            for topic in topics
            for number in found[topic].partitions
        ]
        self._consumer.assign(self._places)

    def read(self, seconds: float) -> list[Read]:
        """Read what there is, waiting for so long at most where there is nothing."""
        return [
            Read(
                message.topic() or "",
                message.key() or b"",
                message.value() or b"",
                message.partition() or 0,
                message.timestamp()[1] / 1000,
            )
            for message in self._consumer.consume(_BATCH, seconds)
            if message.error() is None
        ]

    def at_end(self) -> bool:
        """Tell whether everything committed has been read."""
        for place in self._consumer.position(self._places):
            first, end = self._consumer.get_watermark_offsets(place, timeout=_WITHIN_S)
            if end > first and place.offset < end:
                return False
        return True

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


class Overseer:
    """Makes topics, and looks at the cluster and at groups; one for as long as the cluster lives."""

    def __init__(self, bootstrap: str) -> None:
        settings: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self._admin = AdminClient(settings)
        self._consumer = Consumer({**settings, "group.id": "nobody"})

    def create(self, topics: Topics) -> None:
        """Make the topics of a run, and wait until each has all its copies."""
        wanted = [
            NewTopic(name, topics.partitions if name == topics.tasks else 3)
            for name in topics.settings.values()
        ]
        for made in self._admin.create_topics(wanted).values():
            made.result(_WITHIN_S)
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        """Wait until every copy of every partition is up to date: only then may a broker be lost.

        Raises:
            RuntimeError: that does not come.
        """
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline:
            topics = self._admin.list_topics(timeout=_WITHIN_S).topics.values()
            partitions = [partition for topic in topics for partition in topic.partitions.values()]
            if all(
                partition.leader >= 0 and set(partition.isrs) == set(partition.replicas)
                for partition in partitions
            ):
                return
            time.sleep(_PAUSE_S)
        raise RuntimeError(f"copies are not up to date after {_WITHIN_S:g} s")

    def uncommitted(self, group: str, topic: str) -> int:
        """Tell how many offsets of a topic a group has not committed.

        Raises:
            KafkaException: no broker has told, for a minute.
        """
        deadline = time.monotonic() + _WITHIN_S
        while True:
            try:
                return self._uncommitted(group, topic)
            except KafkaException:
                # Of "no leader here", as of much that passes, the client does not say that it passes.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)

    def records(self, topic: str) -> int:
        """Tell how many records a topic has had that no transaction wrote."""
        numbers = self._consumer.list_topics(topic, timeout=_WITHIN_S).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in numbers]
        return sum(self._consumer.get_watermark_offsets(place, timeout=_WITHIN_S)[1] for place in places)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _uncommitted(self, group: str, topic: str) -> int:
        (asked,) = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        committed: Mapping[tuple[str, int], int] = {
            (place.topic, place.partition): place.offset
            for place in asked.result(_WITHIN_S).topic_partitions or []
        }
        left = 0
        for number in self._consumer.list_topics(topic, timeout=_WITHIN_S).topics[topic].partitions:
            place = TopicPartition(topic, number)
            first, end = self._consumer.get_watermark_offsets(place, timeout=_WITHIN_S)
            left += end - max(committed.get((topic, number), first), first)
        return left
