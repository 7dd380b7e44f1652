"""``pooler debug``: what others need who are to find a fault, in one archive without a secret."""

import datetime as dt
import sys
from functools import partial
from pathlib import Path

import trio
from cyclopts import App

from pooler.cli import exits
from pooler.cli.admin import view
from pooler.cli.admin.api import ANY_POD, Api, Where, asking
from pooler.cli.admin.bundle import Bundle, gather, pack
from pooler.cli.admin.masking import Mask, secrets_of
from pooler.cli.admin.view import Output
from pooler.cli.options import HERE, Files
from pooler.cli.text import plain
from pooler.config import Configuration
from pooler.config.described import described
from pooler.config.settings import MetricsSettings
from pooler.errors import ConfigError

app = App(name="debug")


@app.command
async def bundle(
    *,
    write: Path | None = None,
    log: Path | None = None,
    metrics: str | None = None,
    output: Output = "table",
    where: Where = ANY_POD,
    files: Files = HERE,
) -> int:
    """Write an archive with all that is known of a service: for a person who is to find a fault.

    It has the version, the configuration in force and the one that stands here, remotes, pods, partitions,
    counters, failures with the last lines of their dialogues, what was done over the API, metrics, where each
    task stands, and the end of the log. Secrets are masked: by the names of their fields, by what they look
    like, and wherever one of this configuration stands. Look through it before you send it all the same.

    Exits with 0, or with 1 where something of it could not be had: that is told, here and in the archive.

    Args:
        write: the archive; otherwise pooler-bundle-TIME.tar.gz, here.
        log: a file of the service's log, of which the last mebibyte goes along.
        metrics: where they are; otherwise at the API's host, on the configuration's port.
        output: ``json`` for one object.
        where: the admin API.
        files: where the configuration stands.
    """
    now = dt.datetime.now(dt.UTC)
    found = Bundle(f"pooler-bundle-{now:%Y%m%dT%H%M%SZ}")
    configuration = _here(files, found)
    secrets = set() if configuration is None else await trio.to_thread.run_sync(secrets_of, configuration)
    settings = MetricsSettings() if configuration is None else configuration.settings.metrics
    ask = partial(_gather, found, metrics, settings.port)
    # Only an address or a token file that is none ends it here: what is not answered is noted.
    await asking(where, ask)
    if log is not None:
        await trio.to_thread.run_sync(found.add_log, log)
    path = write if write is not None else Path(f"{found.name}.tar.gz")
    mask = Mask({*secrets, where.token()})
    try:
        names = await trio.to_thread.run_sync(pack, path, found, mask)
    except OSError as error:
        print(plain(f"{path}: {error.strerror}", sys.stderr.encoding), file=sys.stderr)
        return exits.USAGE
    missing = mask(found.missing)
    if output == "json":
        view.print_json({"bundle": str(path), "files": names, "missing": missing})
    else:
        print(plain(f"{path}: {len(names)} files", sys.stdout.encoding))
    for what, why in missing.items():
        print(plain(f"without {what}: {why}", sys.stderr.encoding), file=sys.stderr)
    return exits.OTHER if missing else exits.OK


def _here(files: Files, found: Bundle) -> Configuration | None:
    try:
        configuration = files.load()
    except ConfigError as error:
        found.missing["configuration-here"] = str(error)
        return None
    warnings = list(configuration.warnings)
    found.add("configuration-here", {**described(configuration), "warnings": warnings})
    return configuration


async def _gather(found: Bundle, metrics: str | None, port: int, api: Api) -> None:
    await gather(api, found, metrics=metrics, metrics_port=port)
