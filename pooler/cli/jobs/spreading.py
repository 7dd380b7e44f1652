"""The files that a bulk job means, found here and not by the service: by the same code, visit by visit."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from pooler.bus.batches import values
from pooler.config import Configuration
from pooler.config.remotes import FtpRemote, LocalFolder
from pooler.model.batch import Filters, beneath, split
from pooler.model.job import Direction, Job
from pooler.remotes import connector
from pooler.storage.root import LocalRoot
from pooler.transfer.plan import Plan, plan
from pooler.transfer.spread import Folder, OwnFolder, ServerFolder, find

VISIT = 10_000
"""Files that are found by one listing of the folder, and kept in memory. The service takes fewer at a time,
as they all go out in one transaction."""


class Made(NamedTuple):
    """A job of one file.

    Attributes:
        source: where the file is, for people.
        destination: where it is to be, likewise.
        size_bytes: as its listing tells; None where it does not.
        value: its record.
    """

    source: str
    destination: str
    size_bytes: int | None
    value: bytes


async def spread(
    configuration: Configuration, job: Job, value: bytes, take: Callable[[list[Made]], Awaitable[None]]
) -> None:
    """Make the jobs of all files of a bulk job.

    Args:
        configuration: as loaded.
        job: the bulk job.
        value: its record.
        take: gets those of each visit.

    Raises:
        JobError: it cannot be begun.
        PoolerError: the folder cannot be listed, or not to its end.
    """
    planned = plan(job, configuration.connections)
    assert planned.spread is not None  # noqa: S101 - of a bulk job
    filters = planned.options.filters or Filters()
    in_folder, _ = split(job.source.path)
    async with _folder(configuration, planned) as folder:
        wanted, more = planned.spread._replace(room=VISIT), True
        while more:
            found = await find(folder, wanted, filters)
            names = [name for name, _ in found.files]
            made = zip(found.files, values(job, value, names, None), strict=True)
            await take(
                [
                    Made(
                        f"{job.source.remote}:{in_folder}/{name}",
                        f"{job.destination.remote}:{beneath(job.destination.path, name)}",
                        size_bytes,
                        record,
                    )
                    for (name, size_bytes), (_, record) in made
                ]
            )
            wanted, more = wanted._replace(cursor=found.cursor), found.more


@asynccontextmanager
async def _folder(configuration: Configuration, planned: Plan) -> AsyncIterator[Folder]:
    settings, connections = configuration.settings, configuration.connections
    if planned.direction is Direction.UPLOAD:
        own = connections[planned.folder]
        assert isinstance(own, LocalFolder)  # noqa: S101 - as it was planned
        root = LocalRoot(own.name, own.path, stall_s=settings.transfer.disk_timeout_seconds)
        yield OwnFolder(root, planned.local_parts)
        return
    remote = connections[planned.remote]
    assert isinstance(remote, FtpRemote)  # noqa: S101 - as it was planned
    session = await connector(remote, settings).connect()
    try:
        yield ServerFolder(session, planned.remote_path)
    finally:
        await session.aclose()
