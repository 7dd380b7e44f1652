"""One command's hand on a server: its remote, its path, its session, and the exit code it ends with."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from pooler.cli import exits
from pooler.cli.ftp import view
from pooler.cli.options import Files
from pooler.cli.signals import end_at_signal
from pooler.cli.text import plain
from pooler.config import Configuration
from pooler.config.problems import did_you_mean
from pooler.config.remotes import Connections, FtpRemote
from pooler.errors import ErrorCode, JobError, PoolerError
from pooler.ftp.session import FtpSession
from pooler.model.job import Endpoint
from pooler.ops import logs
from pooler.remotes import connector
from pooler.transfer.plan import on_server

FOR_GOOD = frozenset({ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_DENIED, ErrorCode.LOGIN_REFUSED})
"""What trying again will not help."""
_SWEEP_S: Final = 10.0


class UsageError(PoolerError):
    """What was typed cannot be meant."""


class Hand:
    """What one command has to do with: a remote, a path on it, and a session once it asks for one.

    Args:
        configuration: as loaded.
        word: REMOTE:PATH.
        folder: whether the path may be a folder.

    Raises:
        UsageError: there is no such remote, or no such path can be.
    """

    def __init__(self, configuration: Configuration, word: str, *, folder: bool) -> None:
        name, colon, path = word.partition(":")
        if not colon:
            raise UsageError(f"{word}: expected REMOTE:PATH")
        self.remote = _remote(configuration.connections, name)
        self.path = self.resolve(path, folder=folder)
        self.meter = view.Meter(self.path.rpartition("/")[2])
        self._connector = connector(self.remote, configuration.settings)

    def resolve(self, path: str, *, folder: bool) -> str:
        """Give the absolute path of one below the base path."""
        try:
            return on_server(self.remote, Endpoint(self.remote.name, path), folder=folder)
        except JobError as error:
            raise UsageError(str(error)) from error

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[FtpSession]:
        """Log in, and out again at the end of the block."""
        session = await self._connector.connect()
        try:
            yield session
        finally:
            await session.aclose()

    async def sweep(self, paths: list[str]) -> None:
        """Remove what was left on the server, on a session of its own, as far as that can be done."""
        if not paths:
            return
        with trio.move_on_after(_SWEEP_S, shield=True), suppress(PoolerError):
            async with self.connected() as session:
                for path in paths:
                    await session.remove(path)


def _remote(connections: Connections, name: str) -> FtpRemote:
    remote = connections.get(name)
    if isinstance(remote, FtpRemote):
        return remote
    if remote is not None:
        raise UsageError(f"{name}: a local folder, not a server")
    known = [remote.name for remote in connections.remotes]
    raise UsageError(f"{name}: no such remote{did_you_mean(name, known)}")


async def by_hand(
    files: Files, word: str, work: Callable[[Hand], Awaitable[None]], *, folder: bool = False
) -> int:
    """Do the work of one command, until SIGINT or SIGTERM; give the exit code."""
    configuration = files.load()
    logs.configure("ERROR", "console", sys.stderr)
    code = exits.INTERRUPTED
    async with trio.open_nursery() as nursery:
        await nursery.start(end_at_signal, nursery.cancel_scope)
        code = await _coded(configuration, word, work, folder=folder)
        nursery.cancel_scope.cancel()
    return code


async def _coded(
    configuration: Configuration, word: str, work: Callable[[Hand], Awaitable[None]], *, folder: bool
) -> int:
    try:
        hand = Hand(configuration, word, folder=folder)
        with hand.meter:
            await work(hand)
    except BrokenPipeError:  # nobody reads on, as in `pooler ftp ls … | head`
        return exits.OTHER
    except PoolerError as error:
        for line in str(error).splitlines():
            print(plain(line, sys.stderr.encoding), file=sys.stderr)
        if isinstance(error, UsageError):
            return exits.USAGE
        if error.code in FOR_GOOD:
            return exits.JOBS_FAILED
        return exits.TEMPORARY if error.retriable else exits.OTHER
    return exits.OK
