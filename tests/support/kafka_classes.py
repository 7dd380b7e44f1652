"""Keeps the classes of Kafka ready to be mapped: a broker starts in a quarter of the processor's time.

``python -m tests.support.kafka_classes`` runs a broker once, lets it do what tests ask of one, and has Java
write down which classes it took (a dynamic archive, JEP 350). Java takes it for what it is: where its own
version or the jars are others by now, it loads the classes as ever.
"""

import tempfile
from pathlib import Path

from tests.support import install
from tests.support.kafka import Message, committed, create_topics, produce, read_topic, running_broker

_DUMP_S = 300.0


def write_archive() -> None:
    """Write the archive, where it is not there."""
    archive = install.kafka_classes()
    if archive.exists():
        return
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".kafka-classes-") as name:
        made = Path(name) / archive.name
        with running_broker(
            Path(name) / "kafka", java_options=[f"-XX:ArchiveClassesAtExit={made}"]
        ) as broker:
            create_topics(broker.bootstrap, {"jobs": 1})
            produce(broker.bootstrap, "jobs", [Message(b"job")])
            read_topic(broker.bootstrap, "jobs")
            committed(broker.bootstrap, "nobody")
            broker.stop(within_s=_DUMP_S)
        made.rename(archive)


if __name__ == "__main__":
    write_archive()
