"""``pooler remote``: see and steer the remotes of a running service, those of all its pods.

Exits with 0 when it is done, 2 for what cannot be meant, 5 where there is no answer and there may be one
later, 6 where the token does not allow it, 1 for the rest.
"""

from functools import partial
from math import inf

from cyclopts import App

from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, NotAnswered, Where, asking
from pooler.cli.admin.view import Output
from pooler.config.values import size

app = App(name="remote")


@app.command(name="list")
async def list_remotes(*, output: Output = "table", where: Where = ANY_POD) -> int:
    """List the remotes, those in trouble first.

    Args:
        output: ``json`` for an array of objects.
        where: the admin API.
    """
    return await asking(where, partial(_list, output))


@app.command
async def show(name: str, /, *, output: Output = "table", where: Where = ANY_POD) -> int:
    """Show all that is known of a remote: by the pod that answers, and over all pods.

    Args:
        name: the remote.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_show, name, output))


@app.command
async def pause(name: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD) -> int:
    """Start no more jobs on a remote; those that run go on. It stays so until it is resumed.

    Args:
        name: the remote.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_steer, name, "pause", "paused", {"why": why}, output))


@app.command
async def resume(name: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD) -> int:
    """Let the jobs of a remote run again.

    Args:
        name: the remote.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_steer, name, "resume", "resumed", {"why": why}, output))


@app.command
async def drain(name: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD) -> int:
    """Pause a remote in order to have no session on it; ``pooler remote list`` tells when there is none.

    Args:
        name: the remote.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_steer, name, "drain", "draining", {"why": why}, output))


@app.command
async def reset(name: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD) -> int:
    """Try a remote again at once: close its breaker, and forget that its login was refused.

    Args:
        name: the remote.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_steer, name, "reset", "tried again", {"why": why}, output))


@app.command
async def probe(name: str, /, *, output: Output = "table", where: Where = ANY_POD) -> int:
    """Have a remote tried out by the pod that answers: a connection, a login and a command.

    Args:
        name: the remote.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_probe, name, output))


@app.command
async def limit(
    name: str,
    /,
    *,
    sessions: int | None = None,
    total: int | None = None,
    why: str = "",
    output: Output = "table",
    where: Where = ANY_POD,
) -> int:
    """Bound the sessions on a remote; 0 leaves a bound to the configuration again.

    Args:
        name: the remote.
        sessions: of each pod, never more than its configuration allows.
        total: of all pods together.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    asked = {"max_sessions": sessions, "max_sessions_total": total}
    query = {key: value for key, value in asked.items() if value is not None}
    return await asking(where, partial(_steer, name, "limit", "bounded", {**query, "why": why}, output))


@app.command
async def bandwidth(
    name: str, rate: str, /, *, why: str = "", output: Output = "table", where: Where = ANY_POD
) -> int:
    """Bound how many bytes a second all pods together move on a remote.

    Args:
        name: the remote.
        rate: such as ``10M`` (MiB a second); ``off`` leaves it to the configuration again.
        why: for those who ask later.
        output: ``json`` for one object.
        where: the admin API.
    """
    return await asking(where, partial(_bound, name, rate, why, output))


async def _list(output: str, api: Api) -> None:
    found = view.lines(await api.get("remotes"), await api.get("pods"))
    if output == "json":
        view.print_json(view.as_objects(found))
    else:
        console = view.console()
        console.print(view.table(found, console))


async def _show(name: str, output: str, api: Api) -> None:
    remote, pods = await api.remote(name), await api.get("pods")
    remote["pods"] = [
        {"pod": pod["pod"], "silent": pod["silent"], **told}
        for pod in pods["pods"]
        for told in pod["remotes"]
        if told["name"] == name
    ]
    together = [one for one in pods["remotes"] if one["name"] == name]
    remote["together"] = together[0] if together else None
    if output == "json":
        view.print_json(remote)
    else:
        view.console().print(view.facts(remote))


async def _probe(name: str, output: str, api: Api) -> None:
    tried = await api.steer(name, "probe")
    if output == "json":
        view.print_json(tried)
    else:
        view.console().print(view.facts(tried))
    if not tried["ok"]:
        raise NotAnswered(f"{name}: {tried['error']}", exits.TEMPORARY)


async def _steer(  # noqa: PLR0917 - of `partial`
    name: str, verb: str, done: str, query: dict[str, str | int], output: str, api: Api
) -> None:
    steered = await api.steer(name, verb, **query)
    pods = await api.get("pods")
    if output == "json":
        view.print_json({"remote": steered, "for_all_pods": pods["together"]})
        return
    whom = "for all pods" if pods["together"] else "in the pod that was asked, as there is no control topic"
    view.console().print(f"{name}: {done}, {whom}", markup=False)


async def _bound(name: str, rate: str, why: str, output: str, api: Api) -> None:
    try:
        bytes_per_s = size(rate)
    except ValueError as error:
        raise NotAnswered(str(error), exits.USAGE) from None
    query: dict[str, str | int] = {"bytes_per_s": 0 if bytes_per_s == inf else int(bytes_per_s), "why": why}
    await _steer(name, "bandwidth", "bounded", query, output, api)
