"""``pooler top``: the remotes of a running service, live."""

import json
from functools import partial
from typing import Annotated, Any

import trio
from cyclopts import Parameter, validators
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, Document, NotAnswered, Where, asking

Seconds = Annotated[float, Parameter(validator=validators.Number(gte=0.2, lte=3600))]


async def top(
    *,
    interval: Seconds = 2.0,
    once: bool = False,
    output: view.Output = "table",
    where: Where = ANY_POD,
) -> int:
    """Show the remotes, those in trouble first, again and again; Ctrl-C ends it.

    Without a terminal there is one JSON object a line, and what could not be asked ends it.

    Args:
        interval: seconds from one look to the next.
        once: one look.
        output: ``json`` for one object a line, on a terminal too.
        where: the admin API.
    """
    return await asking(where, partial(_top, interval, once, output))


async def _top(interval_s: float, once: bool, output: str, api: Api) -> None:  # noqa: FBT001 - of `partial`
    console = view.console()
    if output == "json" or not console.is_terminal:
        while True:
            print(json.dumps(await _look(api)), flush=True)
            if once:
                return
            await trio.sleep(interval_s)
    # The first look is worth an exit code; a later one may fail, and the next one not.
    shown = _drawn(await _look(api), console)
    if once:
        console.print(shown)
        return
    with Live(shown, console=console, auto_refresh=False, screen=True) as live:
        live.refresh()
        while True:
            await trio.sleep(interval_s)
            try:
                shown = _drawn(await _look(api), console)
            except NotAnswered as error:
                live.update(Group(Text(str(error), style="bold red"), shown), refresh=True)
            else:
                live.update(shown, refresh=True)


async def _look(api: Api) -> dict[str, Any]:
    pods = await api.get("pods")
    found = view.lines(await api.get("remotes"), pods)
    return {"pods": _pods(pods), "remotes": view.as_objects(found)}


def _pods(pods: Document) -> dict[str, Any]:
    return {
        "together": pods["together"],
        "heard": sorted(pod["pod"] for pod in pods["pods"] if not pod["silent"]),
        "silent": sorted(pod["pod"] for pod in pods["pods"] if pod["silent"]),
    }


def _drawn(look: dict[str, Any], console: Console) -> Group:
    found = [view.Line(**line) for line in look["remotes"]]
    return Group(_strip(look["pods"], found), Text(), view.table(found, console))


def _strip(pods: dict[str, Any], found: list[view.Line]) -> Text:
    files = sum(line.files_per_s or 0.0 for line in found)
    megabytes = sum(line.bytes_per_s or 0 for line in found) / 1e6
    words = [
        f"{len(pods['heard'])} pods" if pods["together"] else "this pod alone",
        f"{sum(line.busy for line in found)} running",
        f"{sum(line.waiting for line in found)} waiting",
        f"{files:.1f} files/s",
        f"{megabytes:.1f} MB/s",
    ]
    strip = Text(", ".join(words))
    if pods["silent"]:
        strip.append(f"  silent: {', '.join(pods['silent'])}", style="bold red")
    return strip
