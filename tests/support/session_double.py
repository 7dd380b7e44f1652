"""A session on a server that is a dictionary, and that fails where it is told to.

It behaves as `pooler.transfer.session.Session` demands, its dying included: a cancellation or an error in the
middle of an exchange kills it, and what had been stored by then stays behind on the server.
"""

import datetime as dt
import hashlib
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

import trio

from pooler.errors import ErrorCode, PoolerError, ReplyError, SessionLost, StoredTooSoon
from pooler.model.outcome import Peer
from pooler.transfer.session import Entry, EntryKind, Stat


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at one call.

    Attributes:
        error: what is raised.
        done: the server has done what it was asked for; only its answer is lost.
    """

    error: PoolerError
    done: bool = False


@dataclass(slots=True)
class ServerDouble:
    """What all sessions of a test share.

    Attributes:
        files: what the server holds, by path.
        faults: what goes wrong: at the n-th call of a kind, such as ``("send", 2)``. Kinds are
            ``retrieve``, ``receive``, ``retrieved`` (the final reply), ``store``, ``send``, ``stored``,
            ``size``, ``stat``, ``set_modified``, ``checksum``, ``list``, ``rename``, ``remove`` and
            ``keep_alive``.
        sizes: what it says of sizes, where that is not the truth; None: it cannot tell.
        chunk_bytes: how much one ``receive_into`` gives at most.
        loses_bytes: bytes that vanish from the end of each file that is stored.
        times: when files changed; what is not in it has ``tells_time`` as its time.
        tells_time: the time of every other file; None: it cannot tell times.
        precision_s: how exact times are.
        sets_times: whether it can set one.
        sums: the checksums that it can compute.
        restarts: whether a transfer may begin at an offset.
        folders: those that are there without a file in them.
        happens: what somebody else does to it, right before the n-th call of a kind.
        calls: what was asked, in order.
        asked_along: of each retrieve, whether size and time were to be asked with it.
        tells_again: whether size and time are told behind such a retrieve, too.
        sent_ahead: of each store, whether its data was not to wait for the server to agree.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: Mapping[tuple[str, int], Fault] = field(default_factory=dict)
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    chunk_bytes: int = 1 << 20
    loses_bytes: int = 0
    times: dict[str, dt.datetime] = field(default_factory=dict)
    tells_time: dt.datetime | None = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    precision_s: float = 1.0
    sets_times: bool = True
    sums: Sequence[str] = ()
    restarts: bool = True
    folders: Sequence[str] = ()
    happens: Mapping[tuple[str, int], Callable[[], object]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    asked_along: list[bool] = field(default_factory=list)
    tells_again: bool = False
    sent_ahead: list[bool] = field(default_factory=list)


class SessionDouble:
    """One session on a ``ServerDouble``."""

    def __init__(self, server: ServerDouble) -> None:
        self._server = server
        self._counts: Counter[str] = Counter()
        self._usable = True
        self.last_reply: str | None = None
        self.transcript: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return self._usable

    @property
    def lifetime_s(self) -> float:
        return inf

    @property
    def peer(self) -> Peer:
        return Peer("192.0.2.1:21")

    @asynccontextmanager
    async def retrieving(
        self, path: str, *, offset: int = 0, asking: bool = False
    ) -> AsyncIterator["_Retrieved"]:
        self._server.asked_along.append(asking)
        told = await self.stat(path) if asking else None
        fault = await self._begin("retrieve", f"{path} {offset or ''}")
        self._fail(fault)
        self._restart(offset)
        try:
            stream = _Retrieved(self, self._found(path)[offset:], self._server.chunk_bytes, told)
            yield stream
            self._fail(await self._begin("retrieved"))
        except BaseException:
            self._usable = False
            raise
        # What is refused is asked again apart.
        is_refused = ("stat", self._counts["stat"] + 1) in self._server.faults
        if asking and self._server.tells_again and path in self._server.files and not is_refused:
            stream.told_again = await self.stat(path)

    @asynccontextmanager
    async def storing(self, path: str, *, offset: int = 0, ahead: bool = False) -> AsyncIterator["_Stored"]:
        self._server.sent_ahead.append(ahead)
        fault = await self._begin("store", f"{path} {offset or ''}")
        self._restart(offset)
        if fault is None or fault.done:
            self._server.files[path] = self._server.files[path][:offset] if offset else b""
        self._fail(fault)
        try:
            yield _Stored(self, path)
            fault = await self._begin("stored")
            if self._server.loses_bytes:
                self._server.files[path] = self._server.files[path][: -self._server.loses_bytes]
            self._fail(fault)
        except StoredTooSoon:
            del self._server.files[path]
            raise
        except BaseException:
            self._usable = False
            raise

    def fit(self, stem: str, *, before: str, after: str) -> str:
        return before + stem[: max(0, 64 - len(before) - len(after))] + after

    async def size(self, path: str) -> int | None:
        self._fail(await self._begin("size", path))
        return self._size(path)

    async def stat(self, path: str) -> Stat:
        self._fail(await self._begin("stat", path))
        size = self._size(path)
        moment = self._server.times.get(path, self._server.tells_time)
        return Stat(size, moment, 0.0 if moment is None else self._server.precision_s)

    async def set_modified(self, path: str, moment: dt.datetime) -> bool:
        self._fail(await self._begin("set_modified", path))
        if self._server.sets_times:
            self._server.times[path] = moment.replace(microsecond=0)
        return self._server.sets_times

    async def checksum(self, path: str, algorithms: Sequence[str]) -> tuple[str, str] | None:
        self._fail(await self._begin("checksum", path))
        for algorithm in algorithms:
            if algorithm in self._server.sums:
                data = self._found(path)
                if algorithm == "crc32":
                    return algorithm, f"{zlib.crc32(data):08x}"
                return algorithm, hashlib.new(algorithm, data).hexdigest()
        return None

    @asynccontextmanager
    async def listing(self, path: str) -> AsyncIterator[AsyncIterator[Entry]]:
        self._fail(await self._begin("list", path))
        folder = f"{path.rstrip('/')}/"
        below = {found: data for found, data in self._server.files.items() if found.startswith(folder)}
        if not below and path not in self._server.folders:
            raise ReplyError(550, "No such folder", "…", code=ErrorCode.FILE_NOT_FOUND)

        async def entries() -> AsyncIterator[Entry]:
            for found, data in below.items():
                await trio.lowlevel.checkpoint()
                name, deeper, _ = found.removeprefix(folder).partition("/")
                kind = EntryKind.FOLDER if deeper else EntryKind.FILE
                yield Entry(name, kind, None if deeper else len(data))

        yield entries()

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        fault = await self._begin("rename", f"{old} {new}")
        data = self._found(old)
        if not replace and new in self._server.files:
            raise ReplyError(550, "Exists", "…", code=ErrorCode.DESTINATION_EXISTS)
        if fault is None or fault.done:
            del self._server.files[old]
            self._server.files[new] = data
            if old in self._server.times:
                self._server.times[new] = self._server.times.pop(old)
        self._fail(fault)

    async def remove(self, path: str) -> None:
        fault = await self._begin("remove", path)
        if fault is None or fault.done:
            self._server.files.pop(path, None)
        self._fail(fault)

    def turn_page(self) -> None:
        self.transcript = ()

    def foresee(self) -> None:
        pass

    async def keep_alive(self) -> None:
        self._fail(await self._begin("keep_alive"))

    async def aclose(self) -> None:
        self._usable = False
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _begin(self, kind: str, words: str = "") -> Fault | None:
        if not self._usable:
            raise SessionLost("the session is dead")
        self._counts[kind] += 1
        self._server.calls.append(f"{kind} {words}".rstrip())
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self._usable = False
            raise
        self._server.happens.get((kind, self._counts[kind]), _nothing)()
        return self._server.faults.get((kind, self._counts[kind]))

    def _fail(self, fault: Fault | None) -> None:
        if fault is not None:
            self._usable = self._usable and fault.error.session_survives
            raise fault.error

    def _restart(self, offset: int) -> None:
        if offset and not self._server.restarts:
            raise ReplyError(502, "No REST", "REST")

    def _size(self, path: str) -> int | None:
        if "*" in self._server.sizes:
            return self._server.sizes["*"]
        return self._server.sizes[path] if path in self._server.sizes else len(self._found(path))

    def _found(self, path: str) -> bytes:
        if path not in self._server.files:
            raise ReplyError(550, "No such file", "…", code=ErrorCode.FILE_NOT_FOUND)
        return self._server.files[path]


def _nothing() -> None:
    pass


class _Retrieved:
    def __init__(self, session: SessionDouble, data: bytes, chunk_bytes: int, told: Stat | None) -> None:
        self.told = told
        self.told_again: Stat | None = None
        self._session = session
        self._data = data
        self._chunk_bytes = chunk_bytes

    async def receive_into(self, buffer: memoryview) -> int:
        assert len(buffer) > 0
        self._session._fail(await self._session._begin("receive"))
        some = self._data[: min(self._chunk_bytes, len(buffer))]
        self._data = self._data[len(some) :]
        buffer[: len(some)] = some
        return len(some)

    async def send_all(self, data: memoryview) -> None:  # noqa: ARG002 - as the protocol has it
        raise AssertionError("nobody sends on a connection that is received from")


class _Stored:
    def __init__(self, session: SessionDouble, path: str) -> None:
        self._session = session
        self._path = path

    async def receive_into(self, buffer: memoryview) -> int:  # noqa: ARG002 - as the protocol has it
        raise AssertionError("nobody receives on a connection that is sent on")

    async def send_all(self, data: memoryview) -> None:
        fault = await self._session._begin("send")
        self._session._server.files[self._path] += bytes(data[: len(data) // 2] if fault else data)
        self._session._fail(fault)
