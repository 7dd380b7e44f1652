"""Records compressed in each way that Kafka knows: jobs by a client that is not ours, answers by us."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support.install import broker_jars
from tests.support.kafka import RunningBroker, create_topics, read_topic, running_broker
from tests.support.service import Site, wait_until

pytestmark = pytest.mark.broker

COUNT = 50


@pytest.fixture(scope="module")
def kafka_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kafka")


@pytest.fixture(scope="module")
def broker(kafka_folder: Path) -> Iterator[RunningBroker]:
    with running_broker(kafka_folder) as running:
        yield running


def codecs_on_disk(kafka_folder: Path, topic: str) -> set[str]:
    """Tell how the records of a topic's one partition are compressed, by Kafka's own tool."""
    log = kafka_folder / "data" / f"{topic}-0" / f"{0:020}.log"
    tool = ["java", "-cp", f"{broker_jars()}/*", "kafka.tools.DumpLogSegments", "--files", str(log)]
    dump = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    batches = [line.split() for line in dump.splitlines() if "isControl: false" in line]
    return {words[words.index("compresscodec:") + 1].lower() for words in batches}


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_jobs_and_answers(tmp_path: Path, kafka_folder: Path, broker: RunningBroker, codec: str) -> None:
    names = {key: f"{codec}-{key}" for key in ("input_topic", "result_topic", "fail_topic", "dlq_topic")}
    create_topics(broker.bootstrap, dict.fromkeys(names.values(), 1))
    producer = Producer({"bootstrap.servers": broker.bootstrap, "compression.type": codec, "linger.ms": 100})
    for number in range(COUNT):
        ends = {"src_id": "nowhere", "src_path": "/a", "dst_id": "local", "dst_path": f"/{number}"}
        producer.produce(names["input_topic"], json.dumps({"task_id": str(number), **ends}))
    assert producer.flush(30) == 0
    assert codecs_on_disk(kafka_folder, names["input_topic"]) == {codec}
    site = Site(tmp_path / codec, broker.bootstrap, {}, {"kafka": {**names, "compression": codec}})

    def answers() -> set[str]:
        found = read_topic(broker.bootstrap, names["fail_topic"])
        return {json.loads(message.value or b"")["task_id"] for message in found}

    with site.running() as running:
        wait_until(lambda: len(answers()) == COUNT, "all answers")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert codecs_on_disk(kafka_folder, names["fail_topic"]) == {codec}
