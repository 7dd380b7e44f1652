"""``pooler job validate``: is each line of a list a job that this configuration can do?"""

import sys
from typing import Annotated

import trio
from cyclopts import Parameter

from pooler.bus import records
from pooler.bus.jobfile import lines, open_list
from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.view import Output
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.errors import JobError
from pooler.model.job import Job, Origin, Record
from pooler.transfer.plan import plan


async def validate(
    jobs: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """Look whether each line of a list is a job that can be begun; nothing is submitted, and no server asked.

    Exits with 0 where all are, 6 where some are not, 2 where the list cannot be read.

    Args:
        jobs: a file, or ``-`` for the standard input.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    connections = files.load().connections
    try:
        stream = open_list(jobs)
    except OSError as error:
        print(f"{jobs}: {error.strerror}", file=sys.stderr)
        return exits.USAGE
    wrong, count = [], 0
    with stream:
        for count, line in enumerate(lines(stream), start=1):
            job = records.decode(Record(Origin(jobs, 0, count), None, line))
            if not isinstance(job, Job):
                code = "INVALID_JOB" if isinstance(job, records.Invalid) else "no JSON object"
                wrong.append({"job": count, "code": code, "message": job.message})
                continue
            try:
                plan(job, connections)
            except JobError as error:
                wrong.append({"job": count, "code": error.code.value, "message": str(error)})
    await trio.lowlevel.checkpoint()
    if output == "json":
        view.print_json({"jobs": count, "wrong": wrong})
    else:
        for one in wrong:
            words = f"{jobs}: job {one['job']}: {one['code']}: {one['message']}"
            print(plain(words, sys.stderr.encoding), file=sys.stderr)
        print(f"{count - len(wrong)} of {count} jobs can be begun")
    return exits.JOBS_FAILED if wrong else exits.OK
