"""``pooler run``: the service."""

import sys

import structlog

from pooler import app
from pooler.cli.options import HERE, Files
from pooler.ops import garbage, logs

log = structlog.get_logger(__name__)


async def run(*, files: Files = HERE) -> None:
    """Run the service until SIGTERM or SIGINT; it drains, and exits with 0.

    Exits with 7 where the configuration or the brokers cannot be used.
    """
    configuration = files.load()
    logs.configure(configuration.settings.logging.level, configuration.settings.logging.format, sys.stderr)
    for warning in configuration.warnings:
        log.warning("configuration", warning=warning)
    garbage.look_seldom()
    await app.run(configuration)
