"""What came back: reads the result, failure and dead-letter topics from their beginning.

It reads with a client that the service does not use, so that neither can hide the other's mistakes.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import trio
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from pooler.config.settings import KafkaSettings
from pooler.demo.errors import DemoFailed
from pooler.demo.jobs import LOCAL

_METADATA_S = 10.0
_POLL_S = 0.2
_POLL_RECORDS = 500


class Answers:
    """The answers so far.

    Attributes:
        by_job: the first answer to each job, by task_id.
        repeated: further answers to a job that has one; at least once means that there may be some.
        dead_letters: records on the dead-letter topic.
        done: jobs answered, by remote.
        size_bytes: what the answers say was copied.
    """

    def __init__(self) -> None:
        self.by_job: dict[str, dict[str, Any]] = {}
        self.repeated = 0
        self.dead_letters = 0
        self.done: Counter[str] = Counter()
        self.size_bytes = 0
        self._changed = trio.Event()

    def take(self, value: bytes) -> None:
        """Take in one record of the result or failure topic."""
        answer = json.loads(value)
        if answer["task_id"] in self.by_job:
            self.repeated += 1
            return
        self.by_job[answer["task_id"]] = answer
        self.done[answer["dst_id"] if answer["src_id"] == LOCAL else answer["src_id"]] += 1
        self.size_bytes += answer["bytes_transferred"]
        self._stir()

    def bury(self) -> None:
        """Take in one record of the dead-letter topic."""
        self.dead_letters += 1
        self._stir()

    def _stir(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def reach(self, count: int, *, remote: str | None = None, stall_s: float = 30.0) -> None:
        """Wait until so many jobs are answered.

        Args:
            count: how many.
            remote: count only this one's; None for all.
            stall_s: how long nothing at all may be answered, in seconds.

        Raises:
            DemoFailed: nothing was, for that long.
        """
        while (len(self.by_job) if remote is None else self.done[remote]) < count:
            try:
                with trio.fail_after(stall_s):
                    await self._changed.wait()
            except trio.TooSlowError as error:
                raise DemoFailed(
                    f"no answer for {stall_s:g} s, after {len(self.by_job)}: the service stands still"
                ) from error


async def collect(
    settings: KafkaSettings,
    answers: Answers,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Read answers until cancelled.

    Args:
        settings: where the brokers are, and which topics.
        answers: gets them.
        task_status: started once reading begins.

    Raises:
        DemoFailed: the broker does not let us read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(settings.bootstrap_servers),
            "group.id": "pooler-demo",
            "enable.auto.commit": False,
            "allow.auto.create.topics": True,
            "log_level": 0,
        }
    )
    try:
        topics = (settings.result_topic, settings.fail_topic, settings.dlq_topic)
        consumer.assign(await trio.to_thread.run_sync(_partitions, consumer, topics))
        task_status.started()
        while True:
            for message in await trio.to_thread.run_sync(consumer.consume, _POLL_RECORDS, _POLL_S):
                if message.error() is not None:
                    raise DemoFailed(f"cannot read {message.topic()}: {message.error()}")
                if message.topic() == settings.dlq_topic:
                    answers.bury()
                else:
                    answers.take(message.value() or b"")
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topics: Sequence[str]) -> list[TopicPartition]:
    """Name every partition of some topics; to ask for them makes them."""
    found = []
    for topic in topics:
        partitions = consumer.list_topics(topic, timeout=_METADATA_S).topics[topic].partitions
        if not partitions:
            raise DemoFailed(f"the embedded broker has no topic {topic}")
        found += [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions]
    return found
