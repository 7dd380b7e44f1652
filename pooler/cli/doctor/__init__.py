"""``pooler doctor``: is all there that the service needs? Asked before it is started, or when it is ill.

Exits with 0 where nothing is wrong (of what is doubtful it warns), 7 where the service could not start: the
configuration, the brokers, the topics, a folder; else 6 where a remote fails for good, 5 where one fails in a
way that may pass.

`examining` looks, `findings` judges, `sheet` writes what a partner signs.
"""

import json
import sys
from datetime import UTC, datetime
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from pooler.cli import exits
from pooler.cli.doctor import examining, sheet
from pooler.cli.doctor.findings import Finding, Part, worst
from pooler.cli.options import HERE, Files
from pooler.cli.signals import end_at_signal
from pooler.cli.text import plain
from pooler.config import Configuration
from pooler.config.problems import did_you_mean
from pooler.ops import logs


async def doctor(
    *remotes: str,
    only: Annotated[tuple[Part, ...], Parameter(name="--only", negative="")] = (),
    write: str | None = None,
    report: bool = False,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table",
    files: Files = HERE,
) -> int:
    """Check the configuration, Kafka and its topics, the local folders, and the remotes.

    Args:
        remotes: look at these alone, and at nothing else.
        only: ``kafka``, ``folders`` or ``remotes``; may be repeated. As an init container of a pod all but
            ``remotes`` is of use: a server that is away must keep no pod from starting.
        write: a folder of each remote, below its base path, in which small files are written, renamed and
            removed.
        report: write a sheet in Markdown of each remote, to be signed off with the partner.
        output: ``json`` for an array of objects.
        files: where the configuration stands.
    """
    configuration = files.load()
    logs.configure("CRITICAL", "console", sys.stderr)
    known = [remote.name for remote in configuration.connections.remotes]
    for name in remotes:
        if name not in known:
            words = f"{name}: no such remote{did_you_mean(name, known)}"
            print(plain(words, sys.stderr.encoding), file=sys.stderr)
            return exits.USAGE
    parts = frozenset(only) or (frozenset({Part.REMOTES}) if remotes or report else frozenset(Part))
    code = exits.INTERRUPTED
    async with trio.open_nursery() as nursery:
        await nursery.start(end_at_signal, nursery.cancel_scope)
        code = await _look(configuration, parts, remotes or known, write, report=report, output=output)
        nursery.cancel_scope.cancel()
    return code


async def _look(
    configuration: Configuration,
    parts: frozenset[Part],
    names: tuple[str, ...] | list[str],
    write: str | None,
    *,
    report: bool,
    output: str,
) -> int:
    found = [Finding("warn", "configuration", text) for text in configuration.warnings]
    found = found or [Finding("ok", "configuration", "no mistake")]
    if Part.KAFKA in parts:
        found += await examining.kafka(configuration)
    if Part.FOLDERS in parts:
        found += await examining.folders(configuration)
    examined = await examining.remotes(configuration, names, write) if Part.REMOTES in parts else []
    for one in examined:
        found += one.findings
    if report:
        now = datetime.now(UTC)
        print("\n".join(sheet.write(one, now) for one in examined))
    elif output == "json":
        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        for finding in found:
            print(plain(f"{finding.status:<4}  {finding.subject}: {finding.text}", sys.stdout.encoding))
    return worst(found)
