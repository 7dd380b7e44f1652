"""The nursery tree with a fake server: ends, drains and cancellations."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from pydantic import SecretStr
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler import course, crew
from pooler.bus.source import Answer
from pooler.config import Configuration
from pooler.config.passwords import FixedPassword
from pooler.config.remotes import Connections, FtpRemote, LocalFolder
from pooler.config.settings import Settings
from pooler.crew import Crew, assemble
from pooler.errors import ConfigError, ConnectError
from pooler.model.control import Knob, Mode
from pooler.model.job import Delivery, Job, Origin, Record
from pooler.model.outcome import Ended
from pooler.ops.metrics import Metrics
from pooler.service import RunningService
from tests.support.flow_double import CONTENT, FakeServer, InlineRoot, always, download, downloads, upload


class ListSource:
    """Hands on jobs, and then ends or waits to be stopped."""

    def __init__(self, jobs: Sequence[Job], *, ends: bool) -> None:
        self._jobs = jobs
        self._ends = ends
        self.stopped = False
        self.handed_on = 0

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        with deliveries, answers:
            for offset, job in enumerate(self._jobs):
                record = Record(Origin("jobs", 0, offset), None, b"{}")
                await deliveries.send(Delivery(job, record, trio.current_time()))
                self.handed_on += 1
            if not self._ends:
                await trio.sleep_forever()

    def stop(self) -> None:
        self.stopped = True


class Stage:
    """A crew on one fake server, and what came of it."""

    def __init__(self, folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crew, "connector", lambda _remote, _settings: server)
        monkeypatch.setattr(crew, "LocalRoot", InlineRoot)
        self.answers: list[Ended] = []
        self.drain = trio.Event()
        self.channel = trio.open_memory_channel[Answer](100)
        pool = {"prewarm_enabled": False, "max_sessions_per_connection": 4}
        self.configuration = Configuration(
            Settings.model_validate({"pool": pool, "transfer": {"flush": "never"}}),
            Connections(
                FtpRemote("far", "ftp.example.com", "user", FixedPassword(SecretStr("password"))),
                LocalFolder("local", folder),
            ),
        )
        self.server = server
        self.crew: Crew = assemble(
            self.configuration,
            wants=lambda _delivery: True,
            answers=self.channel[0],
            metrics=Metrics("0", ["far"]),
            window=1000,
        )

    async def sink(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        with answers:
            async for answer in answers:
                assert isinstance(answer, Ended)
                self.answers.append(answer)

    async def conduct(self, source: ListSource, drain_s: float = 20.0) -> None:
        await course.conduct(self.crew, source, self.sink, self.channel, drain=self.drain, drain_s=drain_s)
        self.assert_over()

    def assert_over(self) -> None:
        assert not self.server.open
        assert not self.server.opening
        ways: list[Any] = [*self.channel, *self.crew.landing.values(), *self.crew.landed.values()]
        for way in ways:
            with pytest.raises(trio.ClosedResourceError):
                way.clone()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def stage(tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, server, monkeypatch)


async def test_it_ends_with_its_source_once_all_is_answered(
    autojump_clock: MockClock, stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    jobs = [*downloads(10), *(upload(f"up-{n}") for n in range(10)), download("missing")]
    with trio.fail_after(60):
        await stage.conduct(ListSource(jobs, ends=True))
    assert len(stage.answers) == 21
    assert sum(ended.outcome.failure is not None for ended in stage.answers) == 1


async def test_it_ends_with_an_empty_source_at_once(autojump_clock: MockClock, stage: Stage) -> None:
    with trio.fail_after(0.1):
        await stage.conduct(ListSource([], ends=True))


async def drained(stage: Stage, source: ListSource, after_s: float, drain_s: float = 20.0) -> float:
    """Drain after a while; tell how long that took."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.conduct, source, drain_s)
        await trio.sleep(after_s)
        stage.drain.set()
        began = trio.current_time()
    return trio.current_time() - began


async def test_a_drain_while_idle_is_quick(autojump_clock: MockClock, stage: Stage) -> None:
    source = ListSource(downloads(3), ends=False)
    with trio.fail_after(60):
        assert await drained(stage, source, 30) <= 1
    assert source.stopped
    assert len(stage.answers) == 3


@pytest.mark.parametrize("state", ["connecting", "away", "nothing"])
async def test_a_drain_with_nothing_running_is_quick(
    autojump_clock: MockClock, stage: Stage, server: FakeServer, state: str
) -> None:
    if state == "connecting":
        server.connect_s = 1000
    if state == "away":
        server.on_connect = always(lambda: ConnectError("away"))
    with trio.fail_after(60):
        assert (
            await drained(stage, ListSource([] if state == "nothing" else downloads(3), ends=False), 5) <= 1
        )
    assert stage.answers == []


async def test_a_drain_before_it_began_is_quick(autojump_clock: MockClock, stage: Stage) -> None:
    stage.drain.set()
    with trio.fail_after(1):
        await stage.conduct(ListSource(downloads(3), ends=False))
    assert stage.answers == []


async def test_a_drain_lets_running_jobs_end_and_begins_none(
    autojump_clock: MockClock, stage: Stage, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 10
    with trio.fail_after(60):
        took_s = await drained(stage, ListSource(downloads(50), ends=False), 5)
    assert 4 < took_s < 10
    assert len(stage.answers) == 4
    assert len(list(tmp_path.iterdir())) == 4


async def test_what_runs_longer_than_a_drain_is_cancelled_and_not_answered(
    autojump_clock: MockClock, stage: Stage, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 1000
    with trio.fail_after(60):
        took_s = await drained(stage, ListSource(downloads(50), ends=False), 5, drain_s=20)
    assert 20 <= took_s < 21
    assert stage.answers == []
    assert list(tmp_path.iterdir()) == []


async def test_brokers_that_are_away_do_not_hold_a_drain(autojump_clock: MockClock, stage: Stage) -> None:
    async def wait(answers: trio.MemoryReceiveChannel[Answer]) -> None:
        with answers:
            await answers.receive()
            await trio.sleep_forever()

    stage.sink = wait  # type: ignore[method-assign]
    with trio.fail_after(60), capture_logs() as logs:
        took_s = await drained(stage, ListSource(downloads(3), ends=False), 30)
    assert 10 <= took_s < 11
    assert "drain_cut_short" in [entry["event"] for entry in logs]


async def test_cancelled_it_leaves_nothing(
    autojump_clock: MockClock, stage: Stage, server: FakeServer, tmp_path: Path
) -> None:
    server.transfer_s = 10
    with trio.move_on_after(15):
        await stage.conduct(ListSource(downloads(50), ends=False))
    stage.assert_over()
    assert len(stage.answers) == 4
    assert [path for path in tmp_path.iterdir() if path.suffix == ".part"] == []


async def test_a_sink_that_fails_ends_all_of_it(autojump_clock: MockClock, stage: Stage) -> None:
    async def fail(answers: trio.MemoryReceiveChannel[Answer]) -> None:
        with answers:
            await answers.receive()
            raise RuntimeError("the sink")

    stage.sink = fail  # type: ignore[method-assign]
    with trio.fail_after(60), pytest.raises(BaseExceptionGroup) as caught:
        await stage.conduct(ListSource(downloads(50), ends=False))
    assert caught.group_contains(RuntimeError)
    stage.assert_over()


# ---- roots --------------------------------------------------------------------------------------------


async def test_roots_that_cannot_be_used_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folders = [
        LocalFolder("gone", tmp_path / "gone"),
        LocalFolder("file", tmp_path / "file"),
        LocalFolder("good", tmp_path),
    ]
    with pytest.raises(ConfigError) as caught:
        await course.check_roots(Configuration(Settings(), Connections(*folders)))
    assert [line.partition(":")[0] for line in caught.value.problems] == ["gone", "file"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---- signals ------------------------------------------------------------------------------------------


class Target:
    def __init__(self) -> None:
        self.drains = 0

    @property
    def draining(self) -> bool:
        return self.drains > 0

    def drain(self) -> None:
        self.drains += 1


async def test_one_signal_drains_the_second_ends_and_sighup_does_neither() -> None:
    target = Target()
    with trio.fail_after(5), trio.CancelScope() as everything:
        async with trio.open_nursery() as nursery:
            await nursery.start(course.obey_signals, target, everything)
            os.kill(os.getpid(), signal.SIGHUP)
            await wait_all_tasks_blocked(0.05)
            assert not target.draining
            os.kill(os.getpid(), signal.SIGTERM)
            while not target.drains:
                await wait_all_tasks_blocked()
            assert not everything.cancel_called
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()
    assert everything.cancelled_caught
    assert target.drains == 1


# ---- the service as it is seen ------------------------------------------------------------------------


async def test_before_kafka_answers_it_lives_and_is_not_ready() -> None:
    drains: list[int] = []
    service = RunningService({"far": "ftp.example.com"}, lambda: drains.append(1))
    status = service.status()
    assert not status.ready
    assert status.reasons == ("connecting to Kafka",)
    assert service.remotes() == ()
    with pytest.raises(KeyError):
        await service.steer("far", Knob.WORK, Mode.PAUSE, by="anna", why="")
    service.drain()
    service.drain()
    assert service.status().reasons == ("draining", "connecting to Kafka")
    assert service.status().draining


class NoKafka:
    """What the service asks of a bridge."""

    assigned = True
    last_commit: float | None = None

    class ledger:  # noqa: N801 - an attribute
        class load:  # noqa: N801 - an attribute
            records, size_bytes = 7, 700

    def positions(self) -> list[object]:
        return []


async def test_it_shows_remotes_sessions_and_what_waits(
    autojump_clock: MockClock, stage: Stage, server: FakeServer
) -> None:
    server.transfer_s = 10
    server.learnt = {"epsv": True}
    service = RunningService({"far": "ftp.example.com"}, stage.drain.set)
    service.attach(NoKafka(), stage.crew)  # type: ignore[arg-type]
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.conduct, ListSource([*downloads(9), download("missing")], ends=False))
            await trio.sleep(5)
            (remote,) = service.remotes()
            assert (remote.state, remote.busy, remote.idle, remote.limit) == ("closed", 4, 0, 4)
            assert (remote.waiting, remote.oldest_wait_s) == (6, 5.0)
            assert {session.job for session in remote.sessions} == {f"far-{n}" for n in range(4)}
            assert {session.peer for session in remote.sessions} == {"192.0.2.1:21"}
            assert remote.learnt == {"epsv": True}
            assert service.status().oldest_job_age_s == 5.0
            assert service.status().ready
            assert (service.status().window_records, service.status().window_bytes) == (7, 700)
            await trio.sleep(40)
            (remote,) = service.remotes()
            assert (remote.succeeded, remote.failed, remote.waiting, remote.idle) == (9, 1, 0, 4)
            assert remote.last_error is not None
            assert remote.oldest_wait_s is None
            assert service.status().oldest_job_age_s is None
            assert (service.status().succeeded, service.status().failed) == (9, 1)
            await service.steer("far", Knob.WORK, Mode.PAUSE, by="anna", why="")
            await trio.sleep(1)
            (remote,) = service.remotes()
            assert (remote.paused, remote.sessions) == (True, ())
            await service.steer("far", Knob.WORK, Mode.RUN, by="anna", why="")
            assert not service.remotes()[0].paused
            await service.steer("far", Knob.MAX_SESSIONS, 2, by="anna", why="")
            assert service.remotes()[0].limits.most == 2
            await service.steer("far", Knob.MAX_SESSIONS_TOTAL, 1, by="anna", why="")
            assert (service.remotes()[0].limit, service.remotes()[0].limits.share) == (1, 1)
            await service.steer("far", Knob.BANDWIDTH, 1000, by="anna", why="")
            assert service.remotes()[0].bandwidth_bytes_per_s == 1000
            for knob in (Knob.MAX_SESSIONS, Knob.MAX_SESSIONS_TOTAL, Knob.BANDWIDTH):
                await service.steer("far", knob, None, by="anna", why="")
            (remote,) = service.remotes()
            assert (remote.limit, remote.limits.share, remote.bandwidth_bytes_per_s) == (4, None, None)
            assert not service.deployment().together
            with pytest.raises(KeyError):
                await service.steer("nowhere", Knob.WORK, Mode.PAUSE, by="anna", why="")
            service.drain()
            assert service.status().reasons == ("draining",)


async def test_an_open_breaker_is_shown_with_its_countdown(
    autojump_clock: MockClock, stage: Stage, server: FakeServer
) -> None:
    server.on_connect = always(lambda: ConnectError("away"))
    service = RunningService({"far": "ftp.example.com"}, stage.drain.set)
    service.attach(NoKafka(), stage.crew)  # type: ignore[arg-type]
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.conduct, ListSource(downloads(2), ends=False))
            await trio.sleep(20)
            (remote,) = service.remotes()
            assert (remote.state, remote.last_error, remote.waiting) == ("open", "away", 2)
            assert remote.breaker_retry_s is not None
            assert 50 < remote.breaker_retry_s < 60
            tried = len(server.connects)
            await service.steer("far", Knob.BREAKER, None, by="anna", why="it is back")
            assert service.remotes()[0].state == "closed"
            await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            assert len(server.connects) == tried + 1
            service.drain()
