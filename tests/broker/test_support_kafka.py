import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.install import MissingProgramError
from tests.support.kafka import (
    Message,
    RunningBroker,
    committed,
    create_topics,
    produce,
    read_topic,
    running_broker,
)
from tests.support.process import DaemonFailedError, is_alive

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        pid = running.pid
        yield running
    assert not is_alive(pid)


def test_what_was_written_is_read_back(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"there-and-back": 3})
    message = Message(
        b"value", b"key", [("traceparent", b"00-1")], partition=2, timestamp_ms=1_700_000_000_000
    )
    written = produce(broker.bootstrap, "there-and-back", [message, b"bare"])
    assert written[0].offset == 0
    found = read_topic(broker.bootstrap, "there-and-back")
    assert {(item.value, item.key, tuple(item.headers)) for item in found} == {
        (b"value", b"key", (("traceparent", b"00-1"),)),
        (b"bare", None, ()),
    }
    assert {(item.partition, item.offset) for item in found} == {
        (item.partition, item.offset) for item in written
    }
    assert 1_700_000_000_000 in {item.timestamp_ms for item in found}


def test_an_aborted_transaction_is_seen_only_when_asked_for(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"aborted": 1})

    async def write(value: bytes, *, commit: bool) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="aborted-0")
        async with producer:
            await producer.begin_transaction()
            await producer.send_and_wait("aborted", value)
            await (producer.commit_transaction() if commit else producer.abort_transaction())

    asyncio.run(write(b"kept", commit=True))
    asyncio.run(write(b"dropped", commit=False))
    assert [item.value for item in read_topic(broker.bootstrap, "aborted")] == [b"kept"]
    everything = read_topic(broker.bootstrap, "aborted", committed_only=False)
    assert [item.value for item in everything] == [b"kept", b"dropped"]


def test_a_group_that_committed_nothing_has_nothing(broker: RunningBroker) -> None:
    assert committed(broker.bootstrap, "nobody") == {}


def test_a_topic_that_is_there_is_refused(broker: RunningBroker) -> None:
    create_topics(broker.bootstrap, {"once": 1})
    with pytest.raises(RuntimeError, match="once"):
        create_topics(broker.bootstrap, {"once": 1})


def test_a_topic_that_is_missing_is_not_made_by_reading(broker: RunningBroker) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="there is no topic nowhere"):
            read_topic(broker.bootstrap, "nowhere")


@pytest.mark.parametrize("end", [RunningBroker.stop, RunningBroker.kill], ids=["stop", "kill"])
def test_a_restart_keeps_what_was_written(
    end: Callable[[RunningBroker], None], broker: RunningBroker, request: pytest.FixtureRequest
) -> None:
    topic = f"kept-{request.node.callspec.id}"
    create_topics(broker.bootstrap, {topic: 1})
    produce(broker.bootstrap, topic, [b"before"])
    end(broker)
    broker.start()
    produce(broker.bootstrap, topic, [b"after"])
    assert [item.value for item in read_topic(broker.bootstrap, topic)] == [b"before", b"after"]


def test_a_broker_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(DaemonFailedError, match=r"(?s)ended with exit status.*no\.such\.Authorizer"),
        running_broker(tmp_path, options={"authorizer.class.name": "no.such.Authorizer"}),
    ):
        pass


def test_a_broker_whose_options_are_wrong_says_which(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"formatting(?s:.*)message\.max\.bytes"),
        running_broker(tmp_path, options={"message.max.bytes": "-1"}),
    ):
        pass


def test_a_missing_broker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLER_TEST_CACHE", str(tmp_path))
    with (
        pytest.raises(MissingProgramError, match=r"Kafka is missing.*support\.install broker"),
        running_broker(tmp_path),
    ):
        pass
