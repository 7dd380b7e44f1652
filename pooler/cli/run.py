"""``pooler run``: the service."""

import sys
from typing import Annotated

import structlog
from cyclopts import Parameter
from cyclopts.validators import Number

from pooler.cli.options import HERE, Files
from pooler.cli.processes import command, drained_at_eof, environment, grace_s, together
from pooler.config import Configuration
from pooler.config.worker import worker_name
from pooler.ops import garbage, logs

log = structlog.get_logger(__name__)


async def run(
    *,
    processes: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    drain_at_eof: bool = False,
    files: Files = HERE,
) -> int:
    """Run the service until SIGTERM or SIGINT; it drains, and exits with 0.

    Exits with 7 where the configuration or the brokers cannot be used.

    Args:
        processes: how many, for more than one core; each is what a pod is. They have consecutive ports, and
            end together.
        drain_at_eof: drain when the standard input ends, too.
        files: where the configuration stands.
    """
    configuration = files.load()
    logs.configure(configuration.settings.logging.level, configuration.settings.logging.format, sys.stderr)
    if processes > 1:
        return await _run_several(configuration, files, processes)
    # Imported here, since who runs several does not need it.
    from pooler import app  # noqa: PLC0415

    for warning in configuration.warnings:
        log.warning("configuration", warning=warning)
    garbage.look_seldom()
    if drain_at_eof:
        structlog.contextvars.bind_contextvars(worker=worker_name())
    await app.run(configuration, until=drained_at_eof if drain_at_eof else None)
    return 0


async def _run_several(configuration: Configuration, files: Files, count: int) -> int:
    settings = configuration.settings
    base = files.environment()
    words = command(configuration.config_file, configuration.connections_file)
    children = [(words, environment(settings, base, worker_name(), number, count)) for number in range(count)]
    return await together(children, grace_s=grace_s(settings))
