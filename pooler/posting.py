"""Jobs that come by the admin API: checked, named, and handed to the brokers; none where one is wrong."""

import hashlib
import secrets

from pooler.bus.letterbox import Letterbox, check_job
from pooler.bus.records import SUBMITTER_HEADER
from pooler.config import Configuration
from pooler.ops.http.service import JobsRefused, Submission, Submitted

_MOST_PROBLEMS = 20


async def submit(submission: Submission, configuration: Configuration, letterbox: Letterbox) -> Submitted:
    """Write jobs to the topic.

    Args:
        submission: what is to be written.
        configuration: the one in force.
        letterbox: the way to the topic.

    Raises:
        JobsRefused: one of them is no valid job, or there is no priority topic; nothing is written.
        BusError: it is not known whether the brokers have them.
    """
    kafka = configuration.settings.kafka
    topic = kafka.priority_topic if submission.urgent else kafka.input_topic
    if not topic:
        raise JobsRefused("There is no priority topic: expected one as kafka.priority_topic.")
    name = _name_of(submission)
    jobs, records, problems = [], [], []
    for number, fields in enumerate(submission.jobs, 1):
        named = {"task_id": f"{name}-{number}", **fields}
        try:
            job, record = check_job(number, named, configuration.connections)
        except ValueError as error:
            problems.append(f"job {number}: {error}")
        else:
            records.append(record)
            jobs.append((job.task_id, record[0].decode()))
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        said = "; ".join(problems[:_MOST_PROBLEMS])
        raise JobsRefused(f"Nothing is submitted: {said}" + (f"; and {more} more" if more > 0 else ""))
    headers = [(SUBMITTER_HEADER, submission.by.encode())]
    if submission.traceparent is not None:
        headers.append(("traceparent", submission.traceparent.encode(errors="replace")))
    await letterbox.post(topic, records, headers)
    return Submitted(topic, tuple(jobs))


def _name_of(submission: Submission) -> str:
    """Name a request, for those of its jobs that have no name: alike where it is made again."""
    if submission.key is None:
        return f"api-{secrets.token_hex(8)}"
    return f"api-{hashlib.sha256(f'{submission.by} {submission.key}'.encode()).hexdigest()[:16]}"
