"""How large the sources of jobs are, as far as anybody tells: counted before something is done."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import trio

from pooler.config import Configuration
from pooler.config.remotes import FtpRemote, LocalFolder
from pooler.errors import PoolerError
from pooler.model.job import Endpoint, Job
from pooler.remotes import connector
from pooler.storage.root import LocalRoot
from pooler.transfer.plan import on_server, plan

MOST = 10_000
"""Of so many files sizes are asked for."""
_WITHIN_S = 60.0


async def sizes(configuration: Configuration, jobs: Sequence[Job]) -> tuple[int, int]:
    """Ask how large the sources of jobs are.

    Args:
        configuration: as loaded.
        jobs: each of a single file; where they are more than ``MOST``, servers are not asked.

    Returns:
        All of them together, in bytes, and of how many that is not known.
    """
    found: Counter[str] = Counter()
    by_end: dict[str, list[Job]] = {}
    for job in jobs:
        by_end.setdefault(job.source.remote, []).append(job)
    with trio.move_on_after(_WITHIN_S):
        async with trio.open_nursery() as nursery:
            for name, theirs in by_end.items():
                end = configuration.connections.get(name)
                if isinstance(end, LocalFolder):
                    nursery.start_soon(_look, configuration, end, theirs, found)
                elif isinstance(end, FtpRemote) and len(jobs) <= MOST:
                    paths = [job.source.path for job in theirs]
                    nursery.start_soon(_ask, configuration, end, paths, found)
    return found["bytes"], len(jobs) - found["files"]


async def _look(
    configuration: Configuration, folder: LocalFolder, jobs: Sequence[Job], found: Counter[str]
) -> None:
    stall_s = configuration.settings.transfer.disk_timeout_seconds
    root = LocalRoot(folder.name, folder.path, stall_s=stall_s)
    for job in jobs:
        try:
            parts = plan(job, configuration.connections).local_parts
            size_bytes = await root.run(_size, root, parts)
        except PoolerError:
            continue  # of unknown size
        found["bytes"] += size_bytes
        found["files"] += 1


def _size(root: LocalRoot, parts: Sequence[str]) -> int:
    source = root.open_source(parts)
    try:
        return source.state().size_bytes
    finally:
        source.let_go()


async def _ask(
    configuration: Configuration, remote: FtpRemote, paths: Sequence[str], found: Counter[str]
) -> None:
    try:
        session = await connector(remote, configuration.settings).connect()
    except PoolerError:
        return  # its jobs are of unknown size
    try:
        for path in paths:
            await _ask_one(session, remote, path, found)
            if not session.usable:
                return
    finally:
        await session.aclose()


async def _ask_one(session: Any, remote: FtpRemote, path: str, found: Counter[str]) -> None:
    try:
        size_bytes = await session.size(on_server(remote, Endpoint(remote.name, path)))
    except PoolerError:
        return
    if size_bytes is not None:
        found["bytes"] += size_bytes
        found["files"] += 1
