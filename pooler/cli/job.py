"""``pooler job``: jobs on their way to the topic, and those that a running service has in hand.

``running``, ``show`` and ``cancel`` ask one pod, as nobody else has its jobs in hand. They exit with 0 when
it is done, 2 for a job that this pod does not know, and else as ``pooler remote`` does.
"""

import sys
from functools import partial

from cyclopts import App

from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, Where, asking
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
