"""What goes out together: the answers to one partition's jobs, and the offset that they allow to commit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pooler.bus.ledger import Commitment, Partition
from pooler.bus.records import OutRecord
from pooler.config.settings import KafkaSettings


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
    """Answers to jobs of one partition, and what may be committed for it once they are acknowledged.

    Attributes:
        partition: topic and number, of the jobs.
        records: what to write; none where an earlier commit is only caught up with.
        commitment: what is committed with them.
        acknowledged: called once the brokers have them, to settle what they answer. Here and not behind
            ``publish``: a rebalance that came in between would commit as if they were not written.
    """

    partition: Partition
    records: Sequence[Outgoing]
    commitment: Commitment
    acknowledged: Callable[[], object]


def topics(settings: KafkaSettings) -> dict[str, str]:
    """Tell which topic each kind of record goes to."""
    return {
        "result": settings.result_topic,
        "failure": settings.fail_topic,
        "dead_letter": settings.dlq_topic,
        "job": settings.input_topic,
        "urgent_job": settings.priority_topic,
        "batch": settings.batch_topic_name,
        **{parked_for(delay_s): topic for topic, delay_s in settings.retry_topics.items()},
    }


def parked_for(delay_s: float) -> str:
    """Name the kind of record that a job is while it is parked for so many seconds."""
    return f"parked {delay_s:g}"
