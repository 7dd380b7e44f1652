"""A real Apache Kafka for tests, and a plain client for what stands around them.

``with running_broker(tmp_path) as broker:`` gives a single node (KRaft, broker and controller in one) that
has answered for itself. The other functions are synchronous, each with a connection of its own: a Trio test
calls them in a thread. They are not the code under test and share nothing with it but aiokafka.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from tests.support import install
from tests.support.process import Daemon, answers, free_port

_T = TypeVar("_T")
_PAUSE_S = 0.02
_JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a program that is over before a better compiler would have paid off."""
_CLUSTER_ID = "poolerpoolerpoolerpoog"
_WITHIN_S = 60.0
"""How long one call may take: a hanging broker is an error, not a hanging test."""


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that runs.

    Attributes:
        bootstrap: ``host:port``; the same after each start.
        log: what it logs.
    """

    bootstrap: str
    log: Path
    _daemon: Daemon = field(repr=False)

    @property
    def pid(self) -> int:
        """The Java process."""
        return self._daemon.pid

    def stop(self, *, within_s: float = 30.0) -> None:
        """Shut it down in good order: clients are told. After so many seconds it is killed."""
        self._daemon.stop(within_s=within_s)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._daemon.kill()

    def start(self) -> None:
        """Start it again after ``stop`` or ``kill``, on the same port, with all that it had stored."""
        self._daemon.start()

    def freeze(self) -> None:
        """Let it fall silent without closing a connection."""
        self._daemon.freeze()

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._daemon.thaw()


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it is written, or as it was read; what is None was not set, or is for Kafka to choose."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None


@contextlib.contextmanager
def running_broker(
    folder: Path,
    *,
    options: Mapping[str, str] | None = None,
    listeners: Mapping[str, str] | None = None,
    format_options: Sequence[str] = (),
    java_options: Sequence[str] = (),
) -> Iterator[RunningBroker]:
    """Run a broker until the block ends.

    Args:
        folder: where its configuration, its log and its data go.
        options: added to its ``server.properties``. By default no topic is created by being named.
        listeners: those besides its plain one, each with how clients are told of it.
        format_options: for the tool that formats its storage.
        java_options: for the broker's Java machine, besides those that all have.

    Raises:
        MissingProgramError: Kafka or Java is not there; says what to do.
        DaemonFailedError: it does not come up; says what it logged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, controller_port = free_port(), free_port()
    bootstrap = f"127.0.0.1:{port}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join(
            [f"PLAINTEXT://{bootstrap}", f"CONTROLLER://127.0.0.1:{controller_port}", *(listeners or {})]
        ),
        "advertised.listeners": ",".join([f"PLAINTEXT://{bootstrap}", *(listeners or {}).values()]),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        **(options or {}),
    }
    broker = make_broker(
        folder,
        properties,
        bootstrap=bootstrap,
        java_options=[*_JAVA, *java_options],
        format_options=["--standalone", *format_options],
    )
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def make_broker(
    folder: Path,
    properties: Mapping[str, str],
    *,
    bootstrap: str,
    java_options: Sequence[str],
    format_options: Sequence[str] = (),
) -> RunningBroker:
    """Write a broker's configuration and format its storage; it is not started.

    Args:
        folder: where its configuration, its log and its data go.
        properties: its ``server.properties``, over those that all brokers of ours have.
        bootstrap: ``host:port`` where it is asked whether it is up.
        java_options: for the Java machine.
        format_options: for Kafka's own tool.

    Raises:
        MissingProgramError: Kafka or Java is not there; says what to do.
        RuntimeError: the tool refused; says why.
    """
    classes = ["-cp", f"{install.broker_jars()}/*", "-Dorg.apache.logging.log4j.level=INFO"]
    archive = install.kafka_classes()
    if archive.exists():
        classes.append(f"-XX:SharedArchiveFile={archive}")
    folder.mkdir(parents=True, exist_ok=True)
    everything = {
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        # A killed broker is let in again only when its former self has timed out.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.num.partitions": "5",
        **properties,
    }
    conf = folder / "server.properties"
    conf.write_text("".join(f"{key}={value}\n" for key, value in everything.items()))
    tool = ["java", *_JAVA, *classes, "kafka.tools.StorageTool", "format", *format_options]
    tool += ["-t", _CLUSTER_ID, "-c", str(conf)]
    formatted = subprocess.run(tool, check=False, capture_output=True, text=True)
    if formatted.returncode != 0:
        raise RuntimeError(f"formatting the broker's storage failed:\n{formatted.stdout}{formatted.stderr}")
    host, _, port = bootstrap.rpartition(":")
    daemon = Daemon(
        ["java", *java_options, *classes, "kafka.Kafka", conf],
        folder=folder,
        log=folder / "kafka.log",
        ready=[lambda: answers(host, int(port)), lambda: _has_metadata(bootstrap)],
        ready_within_s=_WITHIN_S,
    )
    return RunningBroker(bootstrap=bootstrap, log=daemon.log, _daemon=daemon)


def create_topics(
    bootstrap: str, topics: Mapping[str, int], *, configs: Mapping[str, str] | None = None
) -> None:
    """Create topics, each with so many partitions, and wait until they have leaders.

    Raises:
        RuntimeError: the broker refused one; says why.
    """

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            answer = await admin.create_topics(
                [
                    NewTopic(name, count, 1, topic_configs=dict(configs or {}))
                    for name, count in topics.items()
                ]
            )
            refused = [error for error in answer.topic_errors if error[1] != 0]
            if refused:
                raise RuntimeError(f"topics were refused: {refused}")
            names = list(topics)
            while not all(map(_is_led, await admin.describe_topics(names))):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(_PAUSE_S)
        finally:
            await admin.close()

    _run(create())


def produce(bootstrap: str, topic: str, messages: Iterable[Message | bytes]) -> list[Message]:
    """Write messages (bytes are values without a key), and return them with partition and offset."""

    async def write() -> list[Message]:
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
        await producer.start()
        try:
            given = [Message(item) if isinstance(item, bytes) else item for item in messages]
            futures = [
                await producer.send(
                    topic,
                    value=message.value,
                    key=message.key,
                    headers=list(message.headers),
                    partition=message.partition,
                    timestamp_ms=message.timestamp_ms,
                )
                for message in given
            ]
            places = await asyncio.gather(*futures)
        finally:
            await producer.stop()
        return [
            Message(
                message.value, message.key, message.headers, place.partition, place.offset, place.timestamp
            )
            for message, place in zip(given, places, strict=True)
        ]

    return _run(write())


def read_topic(bootstrap: str, topic: str, *, committed_only: bool = True) -> list[Message]:
    """Read a topic from its start to where it ends now, in the order of partition and offset.

    Args:
        bootstrap: the broker.
        topic: which topic.
        committed_only: leave out what stands in aborted transactions, and stop before an open one.

    Raises:
        RuntimeError: there is no such topic.
    """

    async def read() -> list[Message]:
        places = await _partitions(bootstrap, topic)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed" if committed_only else "read_uncommitted",
        )
        await consumer.start()
        try:
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[Message] = []
            for place in places:
                while await consumer.position(place) < ends[place]:
                    batches = await consumer.getmany(place, timeout_ms=100)
                    found += [
                        Message(
                            record.value,
                            record.key,
                            record.headers,
                            record.partition,
                            record.offset,
                            record.timestamp,
                        )
                        for record in batches.get(place, [])
                        if record.offset < ends[place]
                    ]
            return found
        finally:
            await consumer.stop()

    return _run(read())


def committed(bootstrap: str, group: str) -> dict[tuple[str, int], tuple[int, str]]:
    """Return what a consumer group has committed: topic and partition → offset and metadata."""

    async def ask() -> dict[tuple[str, int], tuple[int, str]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            answer = await _patiently(lambda: admin.list_consumer_group_offsets(group))
        finally:
            await admin.close()
        return {
            (place.topic, place.partition): (commit.offset, commit.metadata)
            for place, commit in answer.items()
        }

    return _run(ask())


async def _patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Ask again until the broker has made the topic of its groups' offsets, which it does at first use."""
    while True:
        try:
            return await ask()
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(_PAUSE_S)


async def _partitions(bootstrap: str, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (answer,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if answer["error_code"] != 0:
        raise RuntimeError(f"there is no topic {topic} (error {answer['error_code']})")
    return sorted(TopicPartition(topic, part["partition"]) for part in answer["partitions"])


def _is_led(topic: Mapping[str, Any]) -> bool:
    return topic["error_code"] == 0 and all(part["leader"] >= 0 for part in topic["partitions"])


def _has_metadata(bootstrap: str) -> bool:
    async def ask() -> bool:
        client = AIOKafkaClient(bootstrap_servers=bootstrap)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()

    return _run(ask())


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(asyncio.wait_for(work, _WITHIN_S))
