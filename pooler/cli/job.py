"""``pooler job``: jobs on their way to the topic, and those that a running service has in hand.

``running``, ``show`` and ``cancel`` ask one pod, as nobody else has its jobs in hand. They exit with 0 when
it is done, 2 for a job that this pod does not know, and else as ``pooler remote`` does.
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import trio
from cyclopts import App, Parameter

from pooler.bus import records
from pooler.bus.jobfile import lines, open_list
from pooler.bus.submit import submit as write
from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, Where, asking
from pooler.cli.admin.view import Output
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.config.remotes import Connections, LocalFolder
from pooler.model.job import Job, Origin, Record
from pooler.ops import logs

app = App(name="job")
app.command("pooler.cli.jobs.again:retry", name="retry", help="Submit failed jobs once more.")
app.command(
    "pooler.cli.imports.command:import_",
    name="import",
    help="Make jobs of command lines of rclone and lftp, or of a crontab.",
)
app.command("pooler.cli.jobs.tailing:tail", name="tail", help="Show answers as they are written.")
app.command(
    "pooler.cli.jobs.validating:validate",
    name="validate",
    help="Look whether a list has jobs that can be begun.",
)


@app.command
async def running(*, output: Output = "table", where: Where = ANY_POD) -> int:
    """List the transfers that run on the pod that is asked, the slowest first.

    Args:
        output: ``json`` for an array of objects.
        where: the admin API.
    """
    return await asking(where, partial(_running, output))


@app.command
async def show(task_id: str, /, *, output: Output = "table", where: Where = ANY_POD) -> int:
    """Show a job that the pod that is asked has in hand, or has answered of late.

    Args:
        task_id: the sender's name for it.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_show, task_id, output))


@app.command
async def cancel(task_id: str, /, *, why: str = "", where: Where = ANY_POD) -> int:
    """Cancel a job that the pod that is asked has in hand: it fails as CANCELLED, unless it is done already.

    Args:
        task_id: the sender's name for it.
        why: for those who read its failure record.
        where: the admin API.
    """
    return await asking(where, partial(_cancel, task_id, why))


async def _running(output: str, api: Api) -> None:
    jobs = (await api.get("jobs/running"))["jobs"]
    if output == "json":
        view.print_json(jobs)
    else:
        view.console().print(view.transfers(jobs))


async def _show(task_id: str, output: str, api: Api) -> None:
    found = await api.get("jobs/find", task_id=task_id)
    if output == "json":
        view.print_json(found)
    else:
        view.console().print(view.facts(found))


async def _cancel(task_id: str, why: str, api: Api) -> None:
    found = await api.post("jobs/cancel", task_id=task_id, why=why)
    for job in found["in_hand"]:
        where = "its transfer is broken off" if job["running"] else "it waits, and is not begun"
        print(f"{plain(task_id, sys.stdout.encoding)}: cancelled, {where}")


@app.command
async def submit(
    jobs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    urgent: Annotated[bool, Parameter(negative="")] = False,
    files: Files = HERE,
) -> int:
    """Write a list of jobs to the input topic, or to the priority topic: one JSON object a line.

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
