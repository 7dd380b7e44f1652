"""``pooler job``: jobs on their way to the topic, and those that a running service has in hand.

``running``, ``show`` and ``cancel`` ask any pod, which answers for all of them, and name those that say
nothing. They exit with 0 when it is done, 2 for a job that no pod knows, and else as ``pooler remote`` does.
"""

import sys
from functools import partial

from cyclopts import App

from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, Document, Where, asking
from pooler.cli.admin.view import Output
from pooler.cli.text import plain

app = App(name="job")
app.command("pooler.cli.jobs.submitting:submit", name="submit", help="Write jobs to the input topic.")
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
    """List the transfers that run, on any pod, the slowest first.

    Args:
        output: ``json`` for an array of objects.
        where: the admin API.
    """
    return await asking(where, partial(_running, output))


@app.command
async def show(task_id: str, /, *, output: Output = "table", where: Where = ANY_POD) -> int:
    """Show a job that any pod has in hand, or has answered of late; one of a name that was given twice, each.

    A job that failed is shown with the cause and the last lines of the dialogue with the server.

    Args:
        task_id: the sender's name for it.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_show, task_id, output))


@app.command
async def cancel(task_id: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD) -> int:
    """Cancel a job that any pod has in hand: it fails as CANCELLED, unless it is done already.

    Args:
        task_id: the sender's name for it.
        why: for those who read its failure record.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_cancel, task_id, why, output))


async def _running(output: str, api: Api) -> None:
    found = await api.get("jobs/running")
    jobs = found["jobs"]
    _name_silent(found)
    if output == "json":
        view.print_json(jobs)
    else:
        view.console().print(view.transfers(jobs))


async def _show(task_id: str, output: str, api: Api) -> None:
    found = await api.get("jobs/find", task_id=task_id)
    _name_silent(found)
    if output == "json":
        view.print_json(found)
    else:
        view.console().print(view.facts(found))


def _name_silent(found: Document) -> None:
    """Say on the standard error which pods have said nothing: a job may be theirs."""
    if found["silent"]:
        print(plain(f"not heard: {', '.join(found['silent'])}", sys.stderr.encoding), file=sys.stderr)


async def _cancel(task_id: str, why: str, output: str, api: Api) -> None:
    found = await api.post("jobs/cancel", task_id=task_id, why=why)
    _name_silent(found)
    if output == "json":
        view.print_json(found)
        return
    for job in found["in_hand"]:
        where = "its transfer is broken off" if job["running"] else "it waits, and is not begun"
        print(f"{plain(task_id, sys.stdout.encoding)}: cancelled, {where}")
