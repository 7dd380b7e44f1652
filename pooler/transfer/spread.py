"""Looks for the next files of a bulk job: lists its folder, and keeps no more names than one visit takes.

Servers list in any order, and another one each time. So a visit takes the first names behind the cursor in
the order of names, out of a listing that streams by, and tells how far it has come. The next visit lists the
folder anew: what a crash or another pod does in between makes no file come twice, and none be left out that
was there all the time.

Whoever wants a marker, or files that do not change, has the folder listed once more for each of these.

`pooler job submit` finds the files of a bulk job in the same way, without an attempt at it.
"""

import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

import trio

from pooler.model.batch import Filters, Found, matcher
from pooler.model.job import Direction
from pooler.storage.failures import translated
from pooler.storage.held import Held
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt, Transferred
from pooler.transfer.names import is_on_its_way
from pooler.transfer.plan import SpreadPlan
from pooler.transfer.session import Entry, EntryKind, Session

_T = TypeVar("_T")

_PIECE = 1_000
"""Local names that are looked at in one call of a thread."""
_KEEP_ALIVE_S = 20.0


class Folder(Protocol):
    """A folder that is spread, on either side."""

    def listing(self) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """List it, as often as is wanted, one listing at a time."""
        ...

    async def keep_alive(self) -> None:
        """Keep alive what lists it."""
        ...


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """A folder on a server.

    Attributes:
        session: lists it.
        path: of any file in it.
    """

    session: Session
    path: str

    @asynccontextmanager
    async def listing(self) -> AsyncIterator[AsyncIterator[Entry]]:
        """List it."""
        async with self.session.listing(self.path.rpartition("/")[0] or "/") as entries:
            yield entries

    async def keep_alive(self) -> None:
        """Keep the session alive."""
        await self.session.keep_alive()


@dataclass(frozen=True, slots=True)
class OwnFolder:
    """A folder of our own.

    Attributes:
        root: which it is below of.
        parts: the way from there to any file in it.
        session: what is kept alive meanwhile; None for nothing.
    """

    root: LocalRoot
    parts: tuple[str, ...]
    session: Session | None = None

    @asynccontextmanager
    async def listing(self) -> AsyncIterator[AsyncIterator[Entry]]:
        """List it."""
        names = await self.root.run(_Names, self.root, self.parts[:-1])
        try:
            yield names.entries()
        finally:
            names.close()

    async def keep_alive(self) -> None:
        """Keep the session alive, if there is one."""
        if self.session is not None:
            await self.session.keep_alive()


async def spread(attempt: Attempt) -> Transferred:
    """Find the next files of a bulk job.

    Args:
        attempt: with a plan that has ``spread``.

    Returns:
        The files, in ``found``.

    Raises:
        PoolerError: the folder cannot be listed.

    Cancellation: nothing has changed; the session may be dead.
    """
    plan = attempt.plan
    assert plan.spread is not None  # noqa: S101 - asked for such a plan
    folder: Folder
    if plan.direction is Direction.DOWNLOAD:
        folder = ServerFolder(attempt.session, plan.remote_path)
    else:
        folder = OwnFolder(attempt.root, plan.local_parts, attempt.session)
    return Transferred(found=await find(folder, plan.spread, plan.options.filters or Filters()))


async def find(folder: Folder, wanted: SpreadPlan, filters: Filters) -> Found:
    """Find the next files of a folder that are meant.

    Args:
        folder: where they are.
        wanted: what they are called, and behind which name they begin.
        filters: which of them are meant.

    Raises:
        PoolerError: the folder cannot be listed.
    """
    matches = matcher(wanted.pattern)
    now = datetime.now(UTC)
    marked = None if filters.marker is None else _Marked(filters.marker)

    def may_be(entry: Entry) -> bool:
        return (
            entry.kind is EntryKind.FILE
            and matches(entry.name)
            and _sayable(entry.name)
            and not is_on_its_way(entry.name)
            and not (marked is not None and marked.file(entry.name) is not None)
            and filters.named(entry.name)
            and filters.sized(entry.size_bytes)
            and filters.aged(entry.modified, entry.precision_s, now)
        )

    if marked is None:
        first: Smallest[Entry] = Smallest(wanted.room, wanted.cursor)
        async with folder.listing() as entries:
            async for entry in entries:
                if may_be(entry):
                    first.add(entry.name, entry)
        names, files = first.names(), first.items()
        more = first.more
    else:
        markers: Smallest[None] = Smallest(wanted.room, wanted.cursor)
        async with folder.listing() as entries:
            async for entry in entries:
                name = marked.file(entry.name)
                if name is not None and matches(name) and _sayable(name):
                    markers.add(name, None)
        names, more = markers.names(), markers.more
        files = await _look_again(folder, dict.fromkeys(names), may_be)
    if filters.stable_for_s is not None and files:
        await _wait(folder, filters.stable_for_s)
        later = await _look_again(folder, files, lambda _: True)
        files = {name: entry for name, entry in files.items() if _same(entry, later.get(name))}
    found = tuple((name, files[name].size_bytes) for name in names if name in files)
    return Found(found, names[-1] if names else wanted.cursor, more)


class Smallest(Generic[_T]):
    """The first so many names behind another one, out of any number that come in any order.

    Args:
        room: how many; never are more than twice as many kept.
        cursor: the name before the first.

    Attributes:
        more: whether there were others behind them.
    """

    def __init__(self, room: int, cursor: str) -> None:
        self._room = max(1, room)
        self._cursor = cursor
        self._bound: str | None = None
        self._kept: dict[str, _T] = {}
        self.more = False

    def add(self, name: str, item: _T) -> None:
        """Take in a name."""
        if name <= self._cursor:
            return
        if self._bound is not None and name > self._bound:
            self.more = True
            return
        self._kept[name] = item
        if len(self._kept) >= 2 * self._room:
            self._cut()

    def names(self) -> list[str]:
        """Give the names, in order."""
        self._cut()
        return sorted(self._kept)

    def items(self) -> dict[str, _T]:
        """Give what came with them, in order."""
        return {name: self._kept[name] for name in self.names()}

    def _cut(self) -> None:
        if len(self._kept) > self._room:
            kept = sorted(self._kept)[: self._room]
            self._kept = {name: self._kept[name] for name in kept}
            self._bound = kept[-1]
            self.more = True


class _Marked:
    """Knows a file by its marker."""

    def __init__(self, template: str) -> None:
        self._before, _, self._after = template.partition("{name}")

    def file(self, name: str) -> str | None:
        """Tell which file a name is the marker of; None where it is none."""
        whole = name.startswith(self._before) and name.endswith(self._after)
        inner = name[len(self._before) : len(name) - len(self._after)]
        return inner if whole and inner else None


def _sayable(name: str) -> bool:
    """Tell whether a name is text: only such a one can stand in a record."""
    return not any("\ud800" <= letter <= "\udfff" or letter in "\r\n\0" for letter in name)


def _same(before: Entry, after: Entry | None) -> bool:
    return after is not None and (before.size_bytes, before.modified) == (after.size_bytes, after.modified)


async def _look_again(
    folder: Folder, names: Mapping[str, object], may_be: Callable[[Entry], bool]
) -> dict[str, Entry]:
    """List the folder once more, for files whose names are known."""
    if not names:
        return {}
    async with folder.listing() as entries:
        return {entry.name: entry async for entry in entries if entry.name in names and may_be(entry)}


async def _wait(folder: Folder, seconds: float) -> None:
    """Wait, and keep the session alive meanwhile."""
    end = trio.current_time() + seconds
    while (left_s := end - trio.current_time()) > 0:
        await trio.sleep(min(left_s, _KEEP_ALIVE_S))
        await folder.keep_alive()


class _Names(Held):
    """The names in a folder of our own, looked at piece by piece. Blocks.

    Raises:
        LocalFileError: it cannot be opened.
    """

    def __init__(self, root: LocalRoot, parts: tuple[str, ...]) -> None:
        super().__init__()
        self._root = root
        self._shown = f"{root.name}:/{'/'.join(parts)}"
        self._descriptor = self._root.open_folder(parts, create=False)
        with translated(self._shown):
            try:
                self._names = os.scandir(self._descriptor)
            except BaseException:
                os.close(self._descriptor)
                raise

    async def entries(self) -> AsyncIterator[Entry]:
        """Give what stands in it."""
        while piece := await self._root.run(self._piece):
            for entry in piece:
                yield entry

    def _piece(self) -> list[Entry]:
        found: list[Entry] = []
        with translated(self._shown):
            for name in self._names:
                try:
                    at = name.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it went while we looked
                kind = EntryKind.FILE if stat.S_ISREG(at.st_mode) else EntryKind.OTHER
                found.append(Entry(name.name, kind, at.st_size, datetime.fromtimestamp(at.st_mtime, UTC)))
                if len(found) >= _PIECE:
                    break
        return found

    def close(self) -> None:
        """Let go of it, once no call uses it. Does not block the loop."""
        self._root.later(self.let_go)

    def let_go(self) -> None:
        """Let go of it, once no call uses it. Blocks."""
        self.end(self._close)

    def _close(self) -> None:
        self._names.close()
        os.close(self._descriptor)
