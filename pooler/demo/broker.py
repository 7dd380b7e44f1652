"""The embedded broker: librdkafka's mock, which comes with the wheel of confluent-kafka.

It speaks Kafka's protocol on loopback ports, and any client can use it. Its limits:

* nothing is kept: its topics are gone with it;
* topics cannot be created, only used: each gets 4 partitions the first time it is asked for;
* its transactions are a mock: aborted records can be read, and nobody is fenced;
* it takes about 1,500 records a second that are sent one by one: send them by the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException, Producer

from pooler.demo.errors import DemoFailed

_READY_S = 10.0


@contextmanager
def embedded_broker(brokers: int = 1) -> Iterator[str]:
    """Run a broker for as long as the block lasts.

    Args:
        brokers: how many make the cluster.

    Yields:
        The bootstrap servers, ``host:port`` with commas between.

    Raises:
        DemoFailed: it did not come up.
    """
    # The cluster is a part of this client, and lives as long as it does. Its own servers are what it would
    # look for first; the mock replaces them.
    producer = Producer(
        {"bootstrap.servers": "embedded.invalid", "test.mock.num.brokers": brokers, "log_level": 0}
    )
    try:
        found = producer.list_topics(timeout=_READY_S).brokers.values()
    except KafkaException as error:
        raise DemoFailed(f"the embedded broker did not come up: {error}") from error
    try:
        yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    finally:
        del producer
