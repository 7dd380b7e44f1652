"""A fake server with its sessions, and a flow around it that runs in virtual time.

The server does by itself what a good one does, and by the hooks what a test says instead. Disk calls are
made in the loop and not in threads, so that the clock of a test may jump.
"""

import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple
from uuid import uuid4

import trio
from msgspec.structs import replace

from pooler.bus.group_session import GroupSession
from pooler.config.maintenance import NO_WINDOWS, Windows
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.errors import ErrorCode, ReplyError, SessionLost, TooManySessions
from pooler.flow.bandwidth import Bandwidth
from pooler.flow.breaker import Breaker, Thresholds
from pooler.flow.budget import Budget
from pooler.flow.climb import Climb
from pooler.flow.endings import Endings
from pooler.flow.finisher import Finisher
from pooler.flow.fleet import Fleet
from pooler.flow.group import LimitGroup
from pooler.flow.ladder import Ladder
from pooler.flow.limit import SessionLimit
from pooler.flow.logbook import Books, Done, Logbook, remember_nothing
from pooler.flow.order import Order
from pooler.flow.pace import DataPace, TokenBucket
from pooler.flow.parking import Parking
from pooler.flow.policy import RemotePolicy
from pooler.flow.remote import Remote
from pooler.flow.retry import Backoff
from pooler.flow.tools import Tools
from pooler.flow.work import Landed, Work
from pooler.model.job import Delivery, Endpoint, Job, Options, Origin, Past, Record
from pooler.model.outcome import Ended, Outcome, Parked, Peer, Spread
from pooler.ops.metrics import Metrics
from pooler.storage.root import LocalRoot
from pooler.transfer.session import Entry, Stat

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

CONTENT = b"what stands in every file"


class InlineRoot(LocalRoot):
    """A root whose disk calls happen in the loop."""

    async def run(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        await trio.lowlevel.checkpoint()
        return function(*args)

    complete = attend = run


async def nothing(*_args: Any) -> None:
    await trio.lowlevel.checkpoint()


async def _is_not(_work: Work) -> bool:
    await trio.lowlevel.checkpoint()
    return False


@dataclass(eq=False)
class FakeServer:
    """A server, and the connector to it.

    Attributes:
        room: sessions that it lets in.
        connect_s: how long a connect takes.
        transfer_s: how long a transfer takes.
        refuse_s: how long it takes to say that there is no room.
        on_connect: called at each connect, with its number from 1; may raise.
        on_transfer: called in each transfer, with the path; may raise or wait.
        on_remove: called for each removal, with the path; may raise or wait.
        stored: what was uploaded, by path.
        removed: paths that were removed.
        gone: those, and what paths were before they were renamed.
        connects: times at which connects began.
        open: sessions that are open.
        most: the most sessions that were open or opening at once.
        opened: sessions that were ever open.
        transfers: paths, in the order in which their transfers began.
        asked_along: of each download, whether size and time were to be asked with it.
        kept_alive: times at which a session was kept alive.
        killed_busy: sessions closed in the middle of a transfer.
        learnt: what was found out about it.
        lifetime_s: how long it says that a session is good for.
    """

    room: int = 1000
    connect_s: float = 0.1
    transfer_s: float = 1.0
    refuse_s: float = 0.01
    on_connect: Callable[[int], Awaitable[None]] = nothing
    on_transfer: Callable[[str], Awaitable[None]] = nothing
    on_remove: Callable[[str], Awaitable[None]] = nothing
    stored: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    connects: list[float] = field(default_factory=list)
    open: set["FakeSession"] = field(default_factory=set)
    opening: int = 0
    most: int = 0
    opened: int = 0
    transfers: list[str] = field(default_factory=list)
    asked_along: list[bool] = field(default_factory=list)
    kept_alive: list[float] = field(default_factory=list)
    killed_busy: int = 0
    learnt: dict[str, object] = field(default_factory=dict)
    lifetime_s: float = math.inf

    async def connect(self) -> "FakeSession":
        self.connects.append(trio.current_time())
        if len(self.open) + self.opening >= self.room:
            await trio.sleep(self.refuse_s)
            raise TooManySessions("421 too many")
        self.opening += 1
        self.most = max(self.most, len(self.open) + self.opening)
        try:
            await self.on_connect(len(self.connects))
            await trio.sleep(self.connect_s)
        finally:
            self.opening -= 1
        self.opened += 1
        return FakeSession(self)


class FakeSession:
    """A session on a fake server."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._busy = False
        self.peer = Peer("192.0.2.1:21")
        self.last_reply: str | None = "230 hello"
        self.transcript: tuple[str, ...] = ("> PASS ****", "< 230 hello")
        self.lifetime_s = server.lifetime_s
        server.open.add(self)

    @property
    def usable(self) -> bool:
        return self in self._server.open

    def kill(self) -> None:
        """End it, as the server's end would."""
        self._server.open.discard(self)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        if not self.usable:
            raise SessionLost("closed")
        assert not self._busy, "two tasks use one session"
        self._busy = True
        try:
            yield
        except Exception as error:
            if not getattr(error, "session_survives", False):
                self.kill()
            raise
        except BaseException:
            self.kill()
            raise
        finally:
            self._busy = False

    @asynccontextmanager
    async def retrieving(
        self, path: str, *, offset: int = 0, asking: bool = False
    ) -> AsyncIterator["FakeStream"]:
        assert offset == 0, "nothing is resumed here"
        self._server.asked_along.append(asking)
        told = await self.stat(path) if asking else None
        with self._exchange():
            await self._transfer(path)
            yield FakeStream(bytearray(CONTENT), told)
            self.last_reply = "226 done"

    @asynccontextmanager
    async def storing(
        self,
        path: str,
        *,
        offset: int = 0,
        ahead: bool = False,  # noqa: ARG002 - as the protocol has it
    ) -> AsyncIterator["FakeStream"]:
        assert offset == 0, "nothing is resumed here"
        with self._exchange():
            stream = FakeStream(bytearray())
            yield stream
            # A part is there even where the end is bad.
            self._server.stored[path] = b"part"
            await self._transfer(path)
            self._server.stored[path] = bytes(stream.content)
            self.last_reply = "226 done"

    async def _transfer(self, path: str) -> None:
        self._server.transfers.append(path)
        self.transcript += (f"> MOVE {path}",)
        try:
            await self._server.on_transfer(path)
            await trio.sleep(self._server.transfer_s)
        except trio.Cancelled:
            self._server.killed_busy += 1
            raise

    def fit(self, stem: str, *, before: str, after: str) -> str:
        return before + stem + after

    async def size(self, path: str) -> int | None:
        with self._exchange():
            await trio.lowlevel.checkpoint()
            stored = self._server.stored
            if path not in stored and (path.endswith("missing") or path in self._server.gone):
                raise ReplyError(550, "no such file", "SIZE", code=ErrorCode.FILE_NOT_FOUND)
            return len(stored.get(path, CONTENT))

    async def stat(self, path: str) -> Stat:
        return Stat(await self.size(path), None, 0.0)

    async def set_modified(self, path: str, moment: datetime) -> bool:  # noqa: ARG002 - as the flow calls it
        with self._exchange():
            await trio.lowlevel.checkpoint()
            return False

    async def checksum(self, path: str, algorithms: Sequence[str]) -> tuple[str, str] | None:  # noqa: ARG002 - as the protocol has it
        with self._exchange():
            await trio.lowlevel.checkpoint()
            return None

    def listing(self, path: str) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        raise AssertionError(f"nobody lists {path} here")

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        with self._exchange():
            assert replace or new not in self._server.stored
            await trio.lowlevel.checkpoint()
            self._server.stored[new] = self._server.stored.pop(old)
            self._server.gone.add(old)

    async def remove(self, path: str) -> None:
        with self._exchange():
            await self._server.on_remove(path)
            self._server.stored.pop(path, None)
            self._server.removed.append(path)
            self._server.gone.add(path)

    def turn_page(self) -> None:
        self.transcript = ()

    def foresee(self) -> None:
        pass

    async def keep_alive(self) -> None:
        with self._exchange():
            await trio.lowlevel.checkpoint()
            self._server.kept_alive.append(trio.current_time())

    async def aclose(self) -> None:
        if self._busy:
            self._server.killed_busy += 1
        self.kill()
        await trio.lowlevel.checkpoint()


@dataclass
class FakeStream:
    """The bytes of one file."""

    content: bytearray
    told: Stat | None = None
    told_again: Stat | None = None

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        count = min(len(buffer), len(self.content))
        buffer[:count] = self.content[:count]
        del self.content[:count]
        return count

    async def send_all(self, data: memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.content += data


@dataclass(frozen=True)
class Shape:
    """How a flow is set up; every field has a value that stays out of the way.

    Without `start` the limit is fixed; with `grouped` all remotes share one.
    """

    limit: int = 4
    start: int | None = None
    grouped: bool = False
    connects_per_minute: int = 1_000_000
    data_per_s: float = 1e6
    total: int = 100
    idle_s: float = 300.0
    max_age_s: float = math.inf
    bytes_per_s: float | None = None
    pod_bytes_per_s: float | None = None
    windows: Windows = NO_WINDOWS
    noon: datetime = datetime(2024, 1, 8, 12, tzinfo=UTC)
    keepalive_s: float = 1e6
    attempt_s: float = 1e6
    attempts: int = 3
    deadline_s: float = 1e5
    backoff: Backoff = Backoff(1.0, 30.0)  # noqa: RUF009 - frozen
    thresholds: Thresholds = Thresholds(failures=3, successes=2, timeout_s=60.0, probes=1)  # noqa: RUF009 - frozen
    prewarm: int = 0
    prewarm_s: float = math.inf
    give_up: bool = False
    lane_room: int = 1000
    books: Books | None = None
    delays_s: Sequence[float] = ()
    window: int = 1_000_000
    session_s: float = math.inf
    resume_above_bytes: int = 8 * 1024 * 1024


@dataclass
class FakeWindow:
    """How much is in hand, of jobs of one size; it has one part.

    Attributes:
        size: how many there may be.
        in_hand: tells how many there are.
        stuck: what the partitions are held up by.
    """

    size: int
    in_hand: Callable[[], int]
    stuck: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def parts(self) -> "Sequence[FakeWindow]":
        return [self]

    def holds(self, topic: str) -> bool:  # noqa: ARG002 - of any topic
        return True

    def fill(self) -> float:
        return self.in_hand() / self.size

    def heads(self) -> Mapping[tuple[str, int], int]:
        return self.stuck


class Flow:
    """A fleet on fake servers, with one local root.

    Args:
        folder: the local root.
        shape: how it is set up.
        servers: by the name of their remote.

    Attributes:
        ended: what was answered, in order.
        ended_at: when, by task_id.
        parked: what was parked, in order.
        window: how much is in hand.
        bandwidth: of all remotes together.
        too_large: task_ids that no retry topic takes.
        lost: task_ids that are no longer ours.
        dropped: task_ids that were dropped.
    """

    def __init__(self, folder: Path, shape: Shape = Shape(), **servers: FakeServer) -> None:
        self.servers = servers
        self.ended: list[Ended] = []
        self.ended_at: dict[str, float] = {}
        self.parked: list[Parked] = []
        self.too_large: set[str] = set()
        self.lost: set[str] = set()
        self.dropped: list[str] = []
        self.metrics = Metrics("0", list(servers))
        self.order = Order()
        self.to_answers, self._answers = trio.open_memory_channel[Ended | Parked | Spread](0)
        self.endings = Endings(self.to_answers, self.order, self.metrics)
        self.root = InlineRoot("local", folder)
        self.to_landed, self.landed = trio.open_memory_channel[Landed](64)
        self.budget = Budget(shape.total)
        logbook = None if shape.books is None else Logbook(self.root, uuid4().hex, "group", shape.books)
        self.logbook = logbook

        async def note(done: Done) -> None:
            if logbook is not None:
                await logbook.note([done])

        self.session = GroupSession(shape.session_s)
        self.session.renew(trio.current_time())
        self.remotes: dict[str, Remote] = {}
        self.window = FakeWindow(shape.window, lambda: len(self.endings.in_flow))
        self.parking = Parking(
            Ladder(shape.delays_s),
            self.endings,
            self.order,
            self.remotes,
            window=self.window,
            is_done=_is_not if logbook is None else logbook.knows,
            fits=lambda delivery: delivery.job.task_id not in self.too_large,
        )
        tools = Tools(
            roots={"local": self.root},
            incarnation="cafe",
            serials=itertools.count(1),
            attempt_s=shape.attempt_s,
            resume_above_bytes=shape.resume_above_bytes,
            keepalive_s=shape.keepalive_s,
            wants=lambda delivery: delivery.job.task_id not in self.lost,
            membership=self.session,
            land=self.to_landed.send,
            end=self.endings.end,
            drop=self._drop,
            note=note,
            recall=remember_nothing if logbook is None else logbook.recall,
            park=self.parking.retry,
            bandwidth=Bandwidth(shape.pod_bytes_per_s),
        )
        self.bandwidth = tools.bandwidth
        self._begun = trio.current_time()
        self.group = self._group(shape)
        for name, server in servers.items():
            self.remotes[name] = Remote(
                name,
                server,
                policy=RemotePolicy(
                    shape.limit,
                    shape.backoff,
                    shape.idle_s,
                    shape.prewarm,
                    shape.prewarm_s,
                    shape.give_up,
                    shape.max_age_s,
                    shape.bytes_per_s,
                    shape.windows,
                    lambda: shape.noon + timedelta(seconds=trio.current_time() - self._begun),
                ),
                group=self.group if shape.grouped else self._group(shape),
                breaker=Breaker(shape.thresholds),
                budget=self.budget,
                others=lambda: list(self.remotes.values()),
                lane_room=shape.lane_room,
                tools=tools,
                metrics=self.metrics,
            )
        self.fleet = Fleet(
            Connections(
                *(FtpRemote(name, "ftp.example.com", "user", lambda: "password") for name in servers),
                LocalFolder("local", folder),
            ),
            self.remotes,
            self.endings,
            self.order,
            attempts=shape.attempts,
            deadline_s=shape.deadline_s,
            parking=self.parking,
        )
        self._count = 0

    @staticmethod
    def _group(shape: Shape) -> LimitGroup:
        climb = None if shape.start is None else Climb(shape.start)
        return LimitGroup(
            SessionLimit(shape.limit, climb=climb),
            TokenBucket.per_minute(shape.connects_per_minute),
            DataPace(shape.data_per_s),
        )

    def _drop(self, work: Work) -> None:
        self.dropped.append(work.delivery.job.task_id)
        self.endings.dropped(work)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[trio.Nursery]:
        """Run it; ended by the end of the block, as a drain would, or by cancelling the nursery given."""
        async with trio.open_nursery() as collecting:
            collecting.start_soon(self._collect)
            with self.to_answers:
                async with trio.open_nursery() as finishing:
                    note = remember_nothing if self.logbook is None else self.logbook.note
                    finisher = Finisher(self.root, "never", self.endings, self.fleet.failed, note)
                    finishing.start_soon(finisher.run, self.landed)
                    with self.to_landed:
                        async with trio.open_nursery() as driving:
                            await driving.start(self.fleet.run)
                            yield driving
                            self.fleet.close()

    async def _collect(self) -> None:
        async for ended in self._answers:
            if isinstance(ended, Parked):
                self.parked.append(ended)
            else:
                assert isinstance(ended, Ended)  # no test here has a job that is spread
                self.ended.append(ended)
                self.ended_at[ended.delivery.job.task_id] = trio.current_time()

    def delivery(self, job: Job) -> Delivery:
        """Make a delivery of a job, with an origin of its own."""
        self._count += 1
        return Delivery(job, Record(Origin("ftp-tasks", 0, self._count), None, b"{}"), trio.current_time())

    async def give(self, *jobs: Job) -> None:
        """Hand jobs to the fleet, as its intake would get them."""
        await self.deliver([self.delivery(job) for job in jobs])

    async def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to the fleet, as its intake would get them."""
        send, receive = trio.open_memory_channel[Delivery](len(deliveries))
        with send:
            for delivery in deliveries:
                send.send_nowait(delivery)
        await self.fleet.intake(receive)

    def read_again(self, parked: Parked) -> Delivery:
        """Make the delivery of a job that comes back from a retry topic."""
        before, self._count = parked.delivery, self._count + 1
        past = Past(
            before.original.origin,
            0,
            parked.attempts,
            parked.forgiven,
            1 if before.past is None else before.past.times + 1,
            parked.error,
        )
        origin = Origin(f"retry-{parked.delay_s:g}", 0, self._count)
        record = replace(before.record, origin=origin)
        return Delivery(before.job, record, before.received, past, parked.not_before, before.urgent)

    def outcomes(self) -> dict[str, Outcome]:
        """Tell how jobs ended, by task_id; each once."""
        found = {ended.delivery.job.task_id: ended.outcome for ended in self.ended}
        assert len(found) == len(self.ended), "a job was answered twice"
        return found

    def codes(self) -> dict[str, str]:
        """Tell the codes of failures, ``ok`` for the others, by task_id."""
        return {
            task_id: "ok" if outcome.failure is None else outcome.failure.code.value
            for task_id, outcome in self.outcomes().items()
        }

    def assert_closed(self) -> None:
        """Assert that nothing is left of it: no session, nobody in the budget."""
        for server in self.servers.values():
            assert not server.open
            assert not server.opening
        assert self.budget.used == 0
        for remote in self.remotes.values():
            assert remote.sessions == 0


def download(name: str, remote: str = "far", **options: Any) -> Job:
    """Make a job that fetches ``/name``."""
    return Job(name, Endpoint(remote, f"/{name}"), Endpoint("local", f"/{name}"), Options(**options))


def upload(name: str, remote: str = "far", *, to: str | None = None, **options: Any) -> Job:
    """Make a job that sends ``/source``."""
    return Job(name, Endpoint("local", "/source"), Endpoint(remote, f"/{to or name}"), Options(**options))


def downloads(count: int, remote: str = "far", **options: Any) -> list[Job]:
    """Make jobs that fetch files of their own."""
    return [download(f"{remote}-{number}", remote, **options) for number in range(count)]


def failing(errors: Mapping[int, Exception]) -> Callable[..., Awaitable[None]]:
    """Make a hook that raises at the calls named, counted from 1."""
    count = 0

    async def hook(*_args: Any) -> None:
        nonlocal count
        count += 1
        await trio.lowlevel.checkpoint()
        if count in errors:
            raise errors[count]

    return hook


def always(error: Callable[[], Exception]) -> Callable[..., Awaitable[None]]:
    """Make a hook that raises each time."""

    async def hook(*_args: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise error()

    return hook
