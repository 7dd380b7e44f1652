"""``pooler ftp``: look at a server by hand, on the client and the configuration that the service uses.

Each command is one session. Data goes to the standard output and words for people to the standard error,
where a server's names and words never reach the terminal as commands. The exit codes are those of
`pooler.cli.exits`: 2 for a remote or path that cannot be meant, 6 for a missing file or right and a refused
login, 5 for what may pass, 1 for the rest.
"""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import trio
from cyclopts import App, Parameter

from pooler.cli import exits, view
from pooler.cli.options import HERE, Files
from pooler.cli.signals import end_at_signal
from pooler.config import Configuration
from pooler.config.problems import did_you_mean
from pooler.config.remotes import Connections, FtpRemote
from pooler.crew import connector
from pooler.errors import (
    ErrorCode,
    JobError,
    LocalFileError,
    PeerProtocolError,
    PoolerError,
    Remedy,
    TransferMismatch,
)
from pooler.ftp.passive import parse_epsv, parse_pasv
from pooler.ftp.session import FtpSession
from pooler.model.job import Direction, Endpoint, Options, Origin
from pooler.ops import logs
from pooler.storage.failures import meaning, translated
from pooler.storage.landing import land
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.download import download
from pooler.transfer.names import incarnation, temporary_name
from pooler.transfer.plan import Plan, on_server
from pooler.transfer.session import Entry
from pooler.transfer.upload import upload

app = App(name="ftp")

Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]
Local = Annotated[str, Parameter(allow_leading_hyphen=True)]

_FOR_GOOD = frozenset({ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_DENIED, ErrorCode.LOGIN_REFUSED})
_BUFFER_BYTES: Final = 256 * 1024  # progress is shown once for each of them
_STDIN, _STDOUT = 0, 1
_ROOT: Final = "local"
_WRITE_BYTES: Final = 8192
_WRITE_S: Final = 0.1
_SWEEP_S: Final = 10.0
_PROBE: Final = b"pooler ftp probe\n"


@app.command
async def ls(
    folder: str,
    /,
    *,
    long: Annotated[bool, Parameter(name=["--long", "-l"], negative="")] = False,
    output: Output = "table",
    files: Files = HERE,
) -> int:
    """List a folder: a name a line, as they come.

    Args:
        folder: REMOTE:PATH; ``site:`` is the base path itself.
        long: kind, size in bytes and time of change before each name.
        output: ``json`` gives one object a line, names as they are.
        files: where the configuration stands.
    """
    show = view.entry_json if output == "json" else view.entry_long if long else view.entry_short
    return await _by_hand(files, folder, partial(_ls, show), folder=True)


@app.command
async def stat(file: str, /, *, output: Output = "table", files: Files = HERE) -> int:
    """Show the size and the time of change of a file.

    Args:
        file: REMOTE:PATH.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    return await _by_hand(files, file, partial(_stat, output))


@app.command
async def get(source: str, local: Local = ".", /, *, files: Files = HERE) -> int:
    """Fetch a file: under a temporary name, its size is checked, and it gets its own name.

    What is there under that name is replaced. Missing folders are made.

    Args:
        source: REMOTE:PATH.
        local: a file, or a folder, which gets a file of the same name; ``-`` for the standard output.
        files: where the configuration stands.
    """
    return await _by_hand(files, source, _get_stdout if local == "-" else partial(_get, local))


@app.command
async def put(local: Local, destination: str, /, *, files: Files = HERE) -> int:
    """Send a file: under a temporary name, its size is checked, and it gets its own name.

    What is there under that name is replaced. Missing folders are made.

    Args:
        local: a file, or ``-`` for the standard input.
        destination: REMOTE:PATH; one that ends in ``/`` is a folder, which gets a file of the same name.
        files: where the configuration stands.
    """
    if local == "-":
        return await _by_hand(files, destination, _put_stdin)
    if destination.endswith((":", "/")):
        destination += Path(local).name
    return await _by_hand(files, destination, partial(_put, local))


@app.command
async def rm(file: str, /, *, files: Files = HERE) -> int:
    """Remove a file.

    Args:
        file: REMOTE:PATH.
        files: where the configuration stands.
    """
    return await _by_hand(files, file, _rm)


@app.command
async def probe(
    remote: str, /, *, write: str | None = None, output: Output = "table", files: Files = HERE
) -> int:
    """Log in, list a folder, and show what the server is and can do.

    Args:
        remote: REMOTE, or REMOTE:PATH for another folder than the base path.
        write: a folder, below the base path, in which a small file is written, renamed and removed too.
        output: ``json`` for one object.
        files: where the configuration stands.
    """
    word = remote if ":" in remote else f"{remote}:"
    return await _by_hand(files, word, partial(_probe, write, output), folder=True)


class _UsageError(PoolerError):
    """What was typed cannot be meant."""


class _Hand:
    """What one command has to do with: a remote, a path on it, and a session once it asks for one.

    Args:
        configuration: as loaded.
        word: REMOTE:PATH.
        folder: whether the path may be a folder.

    Raises:
        _UsageError: there is no such remote, or no such path can be.
    """

    def __init__(self, configuration: Configuration, word: str, *, folder: bool) -> None:
        name, colon, path = word.partition(":")
        if not colon:
            raise _UsageError(f"{word}: expected REMOTE:PATH")
        self.remote = _remote(configuration.connections, name)
        self.path = self.resolve(path, folder=folder)
        self.meter = view.Meter(self.path.rpartition("/")[2])
        self._connector = connector(self.remote, configuration.settings)

    def resolve(self, path: str, *, folder: bool) -> str:
        """Give the absolute path of one below the base path."""
        try:
            return on_server(self.remote, Endpoint(self.remote.name, path), folder=folder)
        except JobError as error:
            raise _UsageError(str(error)) from error

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
        raise _UsageError(f"{name}: a local folder, not a server")
    known = [remote.name for remote in connections.remotes]
    raise _UsageError(f"{name}: no such remote{did_you_mean(name, known)}")


async def _by_hand(
    files: Files, word: str, work: Callable[[_Hand], Awaitable[None]], *, folder: bool = False
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
    configuration: Configuration, word: str, work: Callable[[_Hand], Awaitable[None]], *, folder: bool
) -> int:
    try:
        hand = _Hand(configuration, word, folder=folder)
        with hand.meter:
            await work(hand)
    except BrokenPipeError:  # nobody reads on, as in `pooler ftp ls … | head`
        return exits.OTHER
    except PoolerError as error:
        for line in str(error).splitlines():
            print(view.plain(line, sys.stderr.encoding), file=sys.stderr)
        if isinstance(error, _UsageError):
            return exits.USAGE
        if error.code in _FOR_GOOD:
            return exits.JOBS_FAILED
        return exits.TEMPORARY if error.retriable else exits.OTHER
    return exits.OK


# ---- the commands -----------------------------------------------------------------------------------------


async def _ls(show: Callable[[Entry], str], hand: _Hand) -> None:
    pending = bytearray()
    written = trio.current_time()
    async with hand.connected() as session, session.listing(hand.path) as entries:
        async for entry in entries:
            pending += f"{show(entry)}\n".encode(sys.stdout.encoding)
            # A thread for each line would be slow, and to wait for the last one no stream.
            if len(pending) >= _WRITE_BYTES or trio.current_time() - written >= _WRITE_S:
                await _write(pending)
                pending = bytearray()
                written = trio.current_time()
        await _write(pending)


async def _stat(output: str, hand: _Hand) -> None:
    async with hand.connected() as session:
        found = await session.stat(hand.path)
    await _show({"path": hand.path, **found._asdict()}, output)


async def _get(local: str, hand: _Hand) -> None:
    with translated(local):
        parts = _local_parts(local, hand.path.rpartition("/")[2])
    async with hand.connected() as session:
        # A download leaves nothing on the server.
        attempt = _attempt(hand, session, Direction.DOWNLOAD, parts, [])
        part = (await download(attempt)).part
        if part is None:
            return
        try:
            (failure,) = await attempt.root.run(land, [part], "always")
        except BaseException:
            part.discard()
            raise
        if failure is not None:
            raise failure


async def _get_stdout(hand: _Hand) -> None:
    size = 0
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    async with hand.connected() as session:
        before = await session.stat(hand.path)
        async with session.retrieving(hand.path) as stream:
            while count := await stream.receive_into(buffer):
                await _write(buffer[:count])
                size += count
                hand.meter.moved(count)
        _same_size(before.size_bytes, size, "arrived")


async def _put(local: str, hand: _Hand) -> None:
    parts = _real_parts(Path(local))
    left: list[str] = []
    try:
        async with hand.connected() as session:
            attempt = _attempt(hand, session, Direction.UPLOAD, parts, left)
            try:
                await upload(attempt)
            finally:
                attempt.memory.release()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline


async def _put_stdin(hand: _Hand) -> None:
    size = 0
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    path = _beside(hand.path)
    left: list[str] = []
    try:
        async with hand.connected() as session:
            left.append(path)
            async with session.storing(path) as stream:
                while count := await _read(buffer):
                    await stream.send_all(buffer[:count])
                    size += count
                    hand.meter.moved(count)
            _same_size(await session.size(path), size, "were sent")
            await session.rename(path, hand.path)
            left.clear()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline


async def _rm(hand: _Hand) -> None:
    async with hand.connected() as session:
        await session.stat(
            hand.path
        )  # to remove what is not there is no error of a session's, but one of ours
        await session.remove(hand.path)


async def _probe(write: str | None, output: str, hand: _Hand) -> None:
    folder = None if write is None else hand.resolve(write, folder=True)
    failures: list[PoolerError] = []
    began = trio.current_time()
    async with hand.connected() as session:
        report: dict[str, Any] = {
            "remote": hand.remote.name,
            "address": session.peer.address,
            "login_s": round(trio.current_time() - began, 3),
            "tls_version": session.peer.tls_version,
        }
        certificate = session.certificate
        if certificate is not None:
            expires = certificate.not_after
            report["certificate_sha256"] = certificate.sha256
            report["certificate_not_after"] = expires
            report["certificate_days_left"] = (expires - datetime.now(UTC)).days if expires else None
        report["listing"] = await _tried(_list_all(session, hand.path, report), failures)
        if folder is not None and session.usable:
            report["write"] = await _tried(_write_and_remove(hand, session, folder), failures)
        report |= session.learnt
    await _show(report, output)
    if failures:
        raise failures[0]


async def _tried(step: Awaitable[None], failures: list[PoolerError]) -> str:
    try:
        await step
    except PoolerError as error:
        failures.append(error)
        return str(error)
    return "ok"


async def _list_all(session: FtpSession, path: str, report: dict[str, Any]) -> None:
    try:
        async with session.listing(path) as entries:
            report["entries"] = 0
            async for _ in entries:
                report["entries"] += 1
    finally:
        report["passive_port"] = _passive_port(session.transcript)


async def _write_and_remove(hand: _Hand, session: FtpSession, folder: str) -> None:
    first = _beside(f"{folder.rstrip('/')}/")
    second = f"{first}.renamed"
    left = [first, second]
    try:
        async with session.storing(first) as stream:
            await stream.send_all(memoryview(_PROBE))
        _same_size(await session.size(first), len(_PROBE), "were sent")
        await session.rename(first, second)
        await session.remove(second)
        left.clear()
    finally:
        await hand.sweep(left)  # noqa: ASYNC102 - shielded there, with a deadline


def _passive_port(transcript: tuple[str, ...]) -> int | None:
    """Find the port that the server opened last, in the dialogue."""
    for line in reversed(transcript):
        with suppress(PeerProtocolError):
            if " 229 " in line:
                return parse_epsv(line.partition(" 229 ")[2]).port
            if " 227 " in line:
                return parse_pasv(line.partition(" 227 ")[2]).port
    return None


# ---- files ------------------------------------------------------------------------------------------------


def _attempt(
    hand: _Hand, session: FtpSession, direction: Direction, parts: tuple[str, ...], left: list[str]
) -> Attempt:
    """Make the attempt that a job would have, with the whole machine as its local root."""
    plan = Plan(direction, hand.remote.name, hand.path, _ROOT, parts, Options())
    return Attempt(
        plan,
        session,
        LocalRoot(_ROOT, Path("/")),
        _temporary(),
        memoryview(bytearray(_BUFFER_BYTES)),
        hand.meter.moved,
        left.append,
    )


def _temporary() -> str:
    return temporary_name(Origin("ftp", 0, 0), 1, incarnation())


def _beside(path: str) -> str:
    return f"{path.rpartition('/')[0]}/{_temporary()}"


def _local_parts(local: str, name: str) -> tuple[str, ...]:
    """Tell where a file goes that is fetched.

    Raises:
        LocalFileError: what is there can be no file's copy.
    """
    path = Path(local)
    if local.endswith("/") or path.is_dir():
        path /= name
    if path.exists() and not path.is_file():
        raise LocalFileError(ErrorCode.DESTINATION_EXISTS, f"{path}: not a regular file", Remedy.NEVER)
    return _real_parts(path)


def _real_parts(path: Path) -> tuple[str, ...]:
    """Give the way from the machine's root, with links on the way resolved, but not the file itself."""
    return (*Path(os.path.realpath(path.parent)).parts[1:], path.name)


def _same_size(told: int | None, size: int, what: str) -> None:
    if told not in {None, size}:
        raise TransferMismatch(ErrorCode.SIZE_MISMATCH, f"{size} bytes {what}, the server has {told}")


# The thread may wait for ever, for whoever is at the other end of the pipe. It is left behind then: nobody
# else uses the buffer, and the process ends.
async def _read(buffer: memoryview) -> int:
    try:
        return await trio.to_thread.run_sync(os.readv, _STDIN, [buffer], abandon_on_cancel=True)
    except OSError as error:
        raise meaning(error, "standard input") from error


async def _write(data: bytearray | memoryview) -> None:
    try:
        await trio.to_thread.run_sync(_write_all, memoryview(data), abandon_on_cancel=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise meaning(error, "standard output") from error


def _write_all(data: memoryview) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]


# ---- what a person sees -----------------------------------------------------------------------------------


async def _show(facts: dict[str, Any], output: str) -> None:
    await _write(bytearray(f"{view.in_words(facts, output)}\n".encode(sys.stdout.encoding)))
