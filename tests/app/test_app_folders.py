"""Local folders that cannot be used for a while: their jobs wait, and nobody else's; in virtual time."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import pytest
import trio
from pydantic import SecretStr
from trio.testing import MockClock

from pooler import course, crew
from pooler.bus.source import Answer
from pooler.config import Configuration
from pooler.config.passwords import FixedPassword
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.config.settings import Settings
from pooler.crew import assemble
from pooler.errors import DataConnectionError, ErrorCode, LocalFileError, SessionLost
from pooler.flow.keeper import RootKeeper
from pooler.model.job import After, Delivery, Endpoint, Job, Options, Origin, Record
from pooler.model.outcome import Ended, Outcome
from pooler.ops.metrics import Metrics
from pooler.service import RunningService
from pooler.storage.failures import meaning
from pooler.storage.lease import LeaseLost
from pooler.storage.nearness import Nearness
from pooler.storage.root import SourceState
from pooler.storage.threads import Stalled
from pooler.transfer.memory import Unfinished
from tests.support.flow_double import CONTENT, FakeServer, InlineRoot, failing

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Disk(InlineRoot):
    """A root on a disk that fails, or stalls, when it is told to.

    Attributes:
        error: what every call says from now on; None while it is well.
        writes_only: only what writes fails.
        gone_slow: every call waits for this, as on a mount that stalls.
        looks: at which times its keeper has looked at it.
    """

    def __init__(self, name: str, path: Path, *, stall_s: float, nearness: Nearness | None = None) -> None:
        assert nearness is None or not nearness.near  # before anybody looks: all its calls are ours
        super().__init__(name, path)
        self.error: int | None = None
        self.writes_only = False
        self.gone_slow: trio.Event | None = None
        self.looks: list[float] = []
        self.stall_s = stall_s

    async def run(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        with trio.move_on_after(self.stall_s):
            return await self._call(function, *args)
        raise Stalled(self.name, self.stall_s)

    async def complete(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        return await self._call(function, *args)

    async def attend(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        self.looks.append(trio.current_time())
        return await self._call(function, *args)

    async def _call(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        await trio.lowlevel.checkpoint()
        if self.gone_slow is not None:
            await self.gone_slow.wait()
        if self.error is None or function.__name__ in {"_leave", "_end_what_is_to_end"}:
            return function(*args)  # these two never raise
        if not self.writes_only:
            raise self._failure()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", self._fail)
            return function(*args)

    def _failure(self) -> LocalFileError:
        error = OSError(self.error, os.strerror(self.error or 0))
        failure = meaning(error, self.name)
        failure.__cause__ = error
        return failure

    def _fail(self, *_: Any) -> int:
        raise OSError(self.error, os.strerror(self.error or 0))


class Stage:
    """Two folders and a server, from the intake to the answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.server = FakeServer()
        monkeypatch.setattr(crew, "connector", lambda _remote, _settings: self.server)
        monkeypatch.setattr(crew, "LocalRoot", Disk)
        self.answers: list[Ended] = []
        self.drain = trio.Event()
        self.lost: set[str] = set()
        self._to_sink, self._from_flow = trio.open_memory_channel[Answer](100)
        self._give, self._jobs = trio.open_memory_channel[Job](100)
        transfer = {"flush": "never", "min_free_bytes": options.pop("min_free_bytes", 0)}
        pool = {"prewarm_enabled": False, "max_sessions_per_connection": 2}
        folders = [LocalFolder(name, folder / name) for name in ("one", "two")]
        for local in folders:
            local.path.mkdir()
            (local.path / "source").write_bytes(CONTENT)
        self.metrics = Metrics("0", ["far"])
        self.crew = assemble(
            Configuration(
                Settings.model_validate({"pool": pool, "transfer": transfer}),
                Connections(
                    FtpRemote("far", "ftp.example.com", "user", FixedPassword(SecretStr("password"))),
                    *folders,
                ),
            ),
            wants=lambda delivery: delivery.job.task_id not in self.lost,
            answers=self._to_sink,
            metrics=self.metrics,
            window=1000,
            **options,
        )
        self.one, self.two = (self.crew.roots[name] for name in ("one", "two"))

    @property
    def keeper(self) -> RootKeeper:
        return self.crew.keepers["one"]

    @property
    def disk(self) -> Disk:
        assert isinstance(self.one, Disk)
        return self.one

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        count = 0
        with deliveries, answers:
            async for job in self._jobs:
                count += 1
                await deliveries.send(
                    Delivery(job, Record(Origin("t", 0, count), None, b"{}"), trio.current_time())
                )

    def stop(self) -> None:
        pass

    async def _sink(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        with answers:
            async for answer in answers:
                assert isinstance(answer, Ended)
                self.answers.append(answer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            channel = self._to_sink, self._from_flow

            async def conduct() -> None:
                await course.conduct(self.crew, self, self._sink, channel, drain=self.drain, drain_s=20)

            nursery.start_soon(conduct)
            yield
            self.drain.set()

    def give(self, *jobs: Job) -> None:
        for job in jobs:
            self._give.send_nowait(job)

    async def answered(self, *task_ids: str, within_s: float = 60) -> None:
        with trio.fail_after(within_s):
            while not set(task_ids) <= set(self.outcomes()):  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.05)

    def outcomes(self) -> dict[str, Outcome]:
        found = {ended.delivery.job.task_id: ended.outcome for ended in self.answers}
        assert len(found) == len(self.answers), "a job was answered twice"
        return found

    def codes(self) -> dict[str, str]:
        return {
            name: "ok" if outcome.failure is None else outcome.failure.code.value
            for name, outcome in self.outcomes().items()
        }

    def pauses(self) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "pooler_folder_pauses_total"
        }


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def down(name: str, folder: str = "one", **options: Any) -> Job:
    return Job(name, Endpoint("far", f"/{name}"), Endpoint(folder, f"/{name}"), Options(**options))


def up(name: str, folder: str = "one", source: str = "source", **options: Any) -> Job:
    return Job(name, Endpoint(folder, f"/{source}"), Endpoint("far", f"/{name}"), Options(**options))


async def test_a_full_disk_costs_its_jobs_no_attempt_and_the_others_nothing(
    autojump_clock: MockClock, stage: Stage, tmp_path: Path
) -> None:
    async with stage.running():
        stage.disk.error, stage.disk.writes_only = errno.ENOSPC, True
        stage.give(*(down(f"d{n}", retry_count=0) for n in range(20)))
        await trio.sleep(300)
        assert stage.outcomes() == {}
        assert stage.keeper.trouble is not None
        assert (stage.keeper.trouble.reason, stage.keeper.trouble.uploads_go_on) == ("full", True)
        assert stage.keeper.waiting == 20
        assert stage.pauses() == {"full": 1}
        # Those that had waited for a session were not even tried.
        assert len(stage.server.transfers) <= 4
        # No session is held by those that wait, and uploads may make room.
        stage.give(down("other", "two"), up("up"), up("away", after=After.DELETE))
        await stage.answered("other", "up", "away")
        stage.disk.error = None
        await stage.answered(*(f"d{n}" for n in range(20)))
    assert set(stage.codes().values()) == {"ok"}
    assert stage.pauses() == {"full": 1}
    assert (tmp_path / "one" / "d7").read_bytes() == CONTENT
    assert not (tmp_path / "one" / "source").exists()
    assert [found.name for found in tmp_path.rglob("*.part")] == []
    assert not (tmp_path / "one" / ".pooler").exists()


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "read_only"),
        (errno.EACCES, "no_permission"),
        (errno.ENOENT, "vanished"),
        (errno.ESTALE, "vanished"),
        (errno.ENOTCONN, "vanished"),
        (errno.EIO, "failing"),
    ],
)
async def test_what_is_wrong_with_the_disk_is_no_fault_of_a_job(
    autojump_clock: MockClock, stage: Stage, number: int, reason: str
) -> None:
    """A mount that is gone says "no such file" of every source: that must not become an answer."""
    async with stage.running():
        await trio.sleep(1)
        stage.disk.error = number
        stage.give(*(up(f"u{n}", retry_count=0) for n in range(5)), down("d", retry_count=0))
        stage.give(*(up(f"o{n}", "two") for n in range(5)))
        await stage.answered(*(f"o{n}" for n in range(5)))
        await trio.sleep(100)
        assert stage.keeper.trouble is not None
        assert stage.keeper.trouble.reason == reason
        assert not stage.keeper.trouble.uploads_go_on
        assert len(stage.answers) == 5
        stage.disk.error = None
        await stage.answered(*(f"u{n}" for n in range(5)), "d")
    assert set(stage.codes().values()) == {"ok"}


async def test_for_jobs_that_wait_no_session_is_opened(autojump_clock: MockClock, stage: Stage) -> None:
    stage.disk.error = errno.EROFS
    async with stage.running():
        await trio.sleep(10)
        stage.give(*(down(f"d{n}") for n in range(5)))
        await trio.sleep(100)
        assert stage.keeper.waiting == 5
    assert stage.server.connects == []


async def test_what_a_job_left_on_a_server_is_removed_though_its_folder_is_in_trouble(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async def lose(_path: str) -> None:
        await trio.lowlevel.checkpoint()
        stage.disk.error = errno.EROFS
        raise SessionLost("gone")

    async with stage.running():
        await trio.sleep(1)
        stage.server.on_transfer = lose
        stage.give(up("u"))
        await trio.sleep(60)
        assert stage.keeper.waiting == 1
        assert len(stage.server.stored) == 1
    assert stage.server.stored == {}
    assert stage.answers == []


async def test_a_job_whose_lease_was_lost_forgets_what_bears_the_old_name(
    autojump_clock: MockClock, stage: Stage
) -> None:
    left: list[str] = []
    blamed: list[str] = []

    async def blame() -> None:
        await trio.lowlevel.checkpoint()
        blamed.append("the job")

    async with stage.running():
        remote = stage.crew.fleet.remotes["far"]
        remote.pause()
        stage.give(up("u"))
        await trio.sleep(1)
        (work,) = remote.lane.take_all()
        work.memory.unfinished = Unfinished("/part", SourceState(0, 0), left.append)
        stage.keeper.doubt(work, LeaseLost(ErrorCode.IO_ERROR, "stopped"), blame)
        await trio.sleep(1)
        assert left == ["/part"]
        assert blamed == []
        remote.resume()
        await stage.answered("u")
    assert stage.codes() == {"u": "ok"}


async def test_an_attempt_that_the_disk_spoiled_is_not_counted(
    autojump_clock: MockClock, stage: Stage
) -> None:
    stage.server.on_transfer = failing({2: DataConnectionError("stalled")})
    async with stage.running():
        await trio.sleep(1)
        stage.disk.error, stage.disk.writes_only = errno.EROFS, True
        stage.give(down("d", retry_count=1))
        await trio.sleep(30)
        stage.disk.error = None
        await stage.answered("d")
    assert stage.codes() == {"d": "ok"}
    assert stage.outcomes()["d"].attempts == 3


async def test_a_job_s_own_fault_is_answered(autojump_clock: MockClock, stage: Stage) -> None:
    async with stage.running():
        stage.give(up("u", source="missing"), down("ok"))
        await stage.answered("u", "ok", within_s=5)
    assert stage.codes() == {"u": "FILE_NOT_FOUND", "ok": "ok"}
    assert stage.outcomes()["u"].attempts == 1
    assert stage.outcomes()["u"].peer is not None
    assert stage.pauses() == {}


async def test_a_root_is_looked_at_again_after_pauses_that_grow(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with stage.running():
        stage.disk.error = errno.EROFS
        stage.give(down("d"))
        await trio.sleep(2)
        while stage.keeper.trouble is None:  # noqa: ASYNC110 - in virtual time
            await trio.sleep(0.1)
        del stage.disk.looks[:]
        await trio.sleep(60)
        pauses = [
            round(later - at) for at, later in zip(stage.disk.looks, stage.disk.looks[1:], strict=False)
        ]
        assert pauses == sorted(pauses)
        assert pauses[-1] == 5


async def test_the_deadline_of_a_job_that_waits_holds(autojump_clock: MockClock, stage: Stage) -> None:
    async with stage.running():
        stage.disk.error = errno.EROFS
        stage.give(down("short", deadline_seconds=60.0), down("long"))
        await stage.answered("short", within_s=90)
        await trio.sleep(100)
        assert stage.codes() == {"short": "DEADLINE_EXCEEDED"}
        stage.disk.error = None
        await stage.answered("long")


async def test_a_mount_that_stalls_holds_no_session_and_goes_on(
    autojump_clock: MockClock, stage: Stage
) -> None:
    async with stage.running():
        stage.disk.gone_slow = slow = trio.Event()
        stage.give(*(up(f"u{n}", retry_count=0) for n in range(10)), *(down(f"d{n}") for n in range(10)))
        await trio.sleep(200)
        assert stage.keeper.trouble is not None
        assert stage.keeper.trouble.reason == "stalled"
        # One look hangs in it, and no more are begun.
        looks = len(stage.disk.looks)
        stage.give(*(up(f"o{n}", "two") for n in range(10)))
        await stage.answered(*(f"o{n}" for n in range(10)))
        await trio.sleep(1000)
        assert len(stage.disk.looks) == looks
        assert len(stage.answers) == 10
        stage.disk.gone_slow = None
        slow.set()
        await stage.answered(*(f"u{n}" for n in range(10)), *(f"d{n}" for n in range(10)))
    assert set(stage.codes().values()) == {"ok"}


async def test_a_drain_does_not_wait_for_what_waits(autojump_clock: MockClock, stage: Stage) -> None:
    async with stage.running():
        stage.disk.gone_slow = trio.Event()
        stage.give(*(down(f"d{n}") for n in range(10)))
        await trio.sleep(100)
        assert stage.keeper.waiting == 10
        began = trio.current_time()
    assert trio.current_time() - began < 10
    assert stage.answers == []


async def test_what_is_no_longer_ours_leaves_the_room(autojump_clock: MockClock, stage: Stage) -> None:
    async with stage.running():
        stage.disk.error = errno.EROFS
        stage.give(down("a"), down("b"))
        await trio.sleep(50)
        stage.lost = {"a"}
        await trio.sleep(10)
        assert stage.keeper.waiting == 1
        stage.disk.error = None
        await stage.answered("b")
    assert set(stage.outcomes()) == {"b"}


async def test_a_person_at_a_terminal_does_not_wait(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, monkeypatch, give_up=True)
    async with stage.running():
        stage.disk.error = errno.EROFS
        stage.give(down("d"), down("o", "two"))
        await stage.answered("d", "o", within_s=30)
    assert stage.codes() == {"d": "PERMISSION_DENIED", "o": "ok"}


async def test_too_little_room_is_foreseen(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, monkeypatch, min_free_bytes=1 << 60)
    async with stage.running():
        stage.give(down("d"), up("u"))
        await stage.answered("u")
        await trio.sleep(100)
        assert set(stage.outcomes()) == {"u"}
        assert stage.server.transfers != []
        assert "/d" not in stage.server.transfers


async def test_a_process_that_was_stopped_goes_on_under_another_name(
    autojump_clock: MockClock, stage: Stage, tmp_path: Path
) -> None:
    async with stage.running():
        await trio.sleep(1)
        lease = stage.one.lease
        assert lease is not None
        stage.server.transfer_s = 3
        stage.give(down("d", retry_count=0), up("u", retry_count=0))
        await trio.sleep(1)
        lease.give_up()
        await stage.answered("d", "u")
        assert stage.one.lease is not None
        assert stage.one.lease.incarnation != lease.incarnation
    assert stage.codes() == {"d": "ok", "u": "ok"}
    assert {outcome.attempts for outcome in stage.outcomes().values()} == {2}
    assert [found.name for found in tmp_path.rglob("*.part")] == []
    assert sorted(stage.server.stored) == ["/u"]


async def test_what_the_dead_left_on_a_server_is_removed_without_any_job(
    autojump_clock: MockClock, stage: Stage, tmp_path: Path
) -> None:
    control = tmp_path / "one" / ".pooler"
    control.mkdir()
    left = "/in/.pooler-dead-0123456789abcdef-7.part"
    here = tmp_path / "one" / ".pooler-dead-0123456789abcdef-8.part"
    here.write_bytes(b"part")
    stage.server.stored[left] = b"part"
    (control / "dead.lease").write_bytes(b"")
    os.utime(control / "dead.lease", ns=(0, 0))
    (control / "dead.journal").write_text(f'["site-b", "/x"]\n["far", "{left}"]\n["", ""]\n')

    async with stage.running():
        tenancy = stage.keeper._tenancy
        tenancy.living._clock = trio.current_time  # what is watched is watched in virtual time
        with trio.fail_after(300):
            while left in stage.server.stored:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(1)
    assert stage.server.removed == [left]
    assert not here.exists()
    assert not control.exists()


async def test_the_api_shows_it(autojump_clock: MockClock, stage: Stage) -> None:
    service = RunningService({"far": "ftp.example.com"}, lambda: None)
    assert service.folders() == ()
    service._crew = stage.crew
    async with stage.running():
        stage.disk.error = errno.EROFS
        stage.give(down("d"))
        await trio.sleep(30)
        one, two = service.folders()
        assert (one.name, one.paused, one.reason, one.uploads_go_on, one.waiting) == (
            "one", True, "read_only", False, 1,
        )  # fmt: skip
        assert one.error == "one: Read-only file system"
        assert one.paused_s is not None
        assert one.paused_s > 10
        assert (two.name, two.paused, two.reason, two.error, two.paused_s) == ("two", False, None, None, None)
        assert two.free_bytes is not None
