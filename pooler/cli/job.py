"""``pooler job``: jobs on their way to the topic."""

import sys
from collections.abc import Iterator
from typing import Annotated

import trio
from cyclopts import App, Parameter

from pooler.bus import records
from pooler.bus.jobfile import lines, open_list
from pooler.bus.submit import submit as write
from pooler.cli import exits
from pooler.cli.options import HERE, Files
from pooler.config.remotes import Connections, LocalFolder
from pooler.model.job import Job, Origin, Record
from pooler.ops import logs

app = App(name="job")


@app.command
async def submit(
    jobs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    urgent: Annotated[bool, Parameter(negative="")] = False,
    files: Files = HERE,
) -> int:
    """Write a list of jobs to the input topic: one JSON object a line.

    The record's key is the remote's name, so that one remote's jobs stay in one partition. A line that is no
    valid job is named on the standard error and not submitted; the others are.

    Exits with 0 where every line was submitted, 1 where some were not, 7 where the brokers cannot be reached.

    Args:
        jobs: a file, or ``-`` for the standard input.
        urgent: write them to the priority topic, for them to overtake the others.
        files: where the configuration stands.
    """
    configuration = files.load()
    kafka = configuration.settings.kafka
    topic = kafka.priority_topic if urgent else kafka.input_topic
    if not topic:
        print("--urgent: there is no priority topic: expected one as kafka.priority_topic", file=sys.stderr)
        return exits.USAGE
    logs.configure("WARNING", "console", sys.stderr)
    try:
        stream = open_list(jobs)
    except OSError as error:
        print(f"{jobs}: {error.strerror}", file=sys.stderr)
        return exits.USAGE
    with stream:
        checked = _Checked(jobs, lines(stream), configuration.connections)
        count = await write(kafka, checked, topic)
    await trio.lowlevel.checkpoint()
    print(f"submitted {count} jobs to {topic}")
    return exits.OTHER if checked.refused else exits.OK


class _Checked:
    """The lines that are valid jobs, with their keys; the others are named as they come by."""

    def __init__(self, name: str, found: Iterator[bytes], connections: Connections) -> None:
        self._name = name
        self._found = found
        self._connections = connections
        self.refused = 0

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes]]:
        for number, line in enumerate(self._found, start=1):
            job = records.decode(Record(Origin(self._name, 0, number), None, line))
            if isinstance(job, Job):
                yield self._key(job), line
            else:
                self.refused += 1
                print(f"{self._name}: job {number}: {job.message}", file=sys.stderr)

    def _key(self, job: Job) -> bytes:
        local = isinstance(self._connections.get(job.source.remote), LocalFolder)
        return (job.destination if local else job.source).remote.encode()
