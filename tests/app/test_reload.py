"""A configuration that is read again while all runs: what can change does, what cannot is named."""

import io
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked

from pooler import reload
from pooler.config import load
from pooler.course import obey_signals
from pooler.crew import Crew, assemble
from pooler.flow.breaker import State
from pooler.model.control import Knob, Mode
from pooler.model.job import Delivery, Endpoint, Job, Origin, Record
from pooler.model.outcome import Ended, Parked, Spread
from pooler.ops.http.auth import Guard, Scope, load_tokens
from pooler.ops.metrics import Metrics
from pooler.reload import Reloader
from pooler.service import RunningService
from tests.support.api import logged

# Nobody listens there.
REMOTE = "type = ftp\nhost = 127.0.0.1\nport = 1\nuser = anna\npass = secret\n"
SETTINGS = "pool: {prewarm_enabled: false}\nkafka: {control_topic: ''}\n"


class Running:
    """A crew at work on a configuration that may be written anew."""

    def __init__(self, folder: Path, answers: trio.MemoryReceiveChannel[Ended | Parked | Spread]) -> None:
        self.folder = folder
        self.answers = answers
        self.crew: Crew
        self.reloader: Reloader
        self.service: RunningService
        self.guard: Guard
        self.metrics: Metrics

    def write(self, remotes: str, settings: str = SETTINGS) -> None:
        local = f"\n[local]\ntype = local\nbase_path = {self.folder}\n"
        for name, text in (("config.yaml", settings), ("connections.ini", remotes + local)):
            (self.folder / f"{name}.new").write_text(text)
            (self.folder / f"{name}.new").rename(self.folder / name)

    async def give(self, remote: str) -> None:
        job = Job("task", Endpoint(remote, "/a"), Endpoint("local", "/a"))
        await self.crew.fleet._take(Delivery(job, Record(Origin("t", 0, 0), None, b""), trio.current_time()))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; whatever it is, a line of the log is written about it."""
        told, lines = trio.open_memory_channel[None](math.inf)

        def tell(_logger: object, _method: str, event_dict: EventDict) -> EventDict:
            told.send_nowait(None)
            return event_dict

        processors = structlog.get_config()["processors"]
        structlog.configure(processors=[tell, *processors])
        try:
            with trio.fail_after(60):
                await wait_all_tasks_blocked()
                while not holds():
                    await lines.receive()
                    await wait_all_tasks_blocked()  # who wrote it goes on to what it was about
        finally:
            structlog.configure(processors=processors)


@asynccontextmanager
async def running(
    folder: Path, remotes: str, settings: str = SETTINGS, environ: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Running]:
    to_answers, answers = trio.open_memory_channel[Ended | Parked | Spread](10)
    it = Running(folder, answers)
    it.write(remotes, settings)
    configuration = load(folder / "config.yaml", folder / "connections.ini", environ)
    names = [remote.name for remote in configuration.connections.remotes]
    it.metrics = Metrics("1", names)
    it.crew = assemble(configuration, wants=lambda _: True, answers=to_answers, metrics=it.metrics, window=10)
    it.service = RunningService(dict.fromkeys(names, "h"), lambda: None)
    it.service.configured(configuration)
    it.service.attach(None, it.crew)  # type: ignore[arg-type]
    file = configuration.settings.api.token_file
    it.guard = Guard(() if file is None else load_tokens(file))
    it.reloader = it.service.reloader = Reloader(configuration, it.service, it.guard)
    it.reloader.attach(it.crew)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(it.crew.fleet.run)
            yield it
            nursery.cancel_scope.cancel()


async def test_an_unchanged_file_changes_nothing(tmp_path: Path) -> None:
    text = f"[a]\n{REMOTE}timezone = Asia/Seoul\nmaintenance = Sun 02:00-03:00 UTC\nbandwidth = 1M\n"
    async with running(tmp_path, text) as it:
        report = await it.reloader.reload("test")
        assert (report.done, report.changed, report.needs_restart) == (True, (), ())


async def test_a_remote_that_is_added_is_driven(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}") as it:
        it.write(f"[a]\n{REMOTE}[b]\n{REMOTE}")
        report = await it.reloader.reload("test")
        assert report.changed == ("remote b: added",)
        assert [remote.name for remote in it.service.remotes()] == ["a", "b"]
        await it.give("b")
        await it.until(lambda: it.crew.fleet.remotes["b"].last_error)
        assert (
            b'pooler_jobs_total{direction="upload",outcome="failed",remote="b"} 0.0'
            in it.metrics.exposition()[0]
        )
        await it.service.steer("b", Knob.WORK, Mode.PAUSE, by="anna", why="")
        assert it.crew.fleet.remotes["b"].paused


async def test_a_remote_that_is_removed_answers_what_waits_and_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}[b]\n{REMOTE}") as it:
        await it.service.steer("b", Knob.WORK, Mode.PAUSE, by="anna", why="")
        await it.give("b")
        it.write(f"[a]\n{REMOTE}")
        report = await it.reloader.reload("test")
        assert report.changed == ("remote b: removed, 1 jobs that wait for it fail",)
        assert [remote.name for remote in it.service.remotes()] == ["a"]
        ended = await it.answers.receive()
        assert isinstance(ended, Ended)
        assert ended.outcome.failure is not None
        assert ended.outcome.failure.code.value == "UNKNOWN_REMOTE"
        assert "taken out of connections.ini" in ended.outcome.failure.message
        await it.give("b")
        later = await it.answers.receive()
        assert isinstance(later, Ended)
        assert later.outcome.failure is not None
        assert later.outcome.failure.code.value == "UNKNOWN_REMOTE"
        it.write(f"[a]\n{REMOTE}[b]\n{REMOTE}")
        assert (await it.reloader.reload("test")).changed == ("remote b: added again",)
        assert [remote.name for remote in it.service.remotes()] == ["a", "b"]
        assert it.crew.fleet.remotes["b"].removed is None


async def test_bounds_change_in_place_and_the_rest_by_new_sessions(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}max_sessions = 3\n") as it:
        remote = it.crew.fleet.remotes["a"]
        made, opener = it.crew.connectors["a"], remote._opener._connector
        it.write(f"[a]\n{REMOTE}max_sessions = 9\nbandwidth = 1M\nconnects_per_minute = 7\n")
        report = await it.reloader.reload("test")
        assert report.changed == ("remote a: bandwidth_bytes_per_s, connects_per_minute, max_sessions",)
        assert it.crew.fleet.remotes["a"] is remote
        assert (remote.most, remote.group.limit.ceiling, remote.bandwidth.bytes_per_s) == (9, 9, 1 << 20)
        assert (it.crew.connectors["a"], remote._opener._connector) == (made, opener)
        it.write(f"[a]\n{REMOTE}max_sessions = 9\n".replace("anna", "berta"))
        report = await it.reloader.reload("test")
        assert report.changed == ("remote a: bandwidth_bytes_per_s, connects_per_minute, user",)
        assert it.crew.connectors["a"] is not made
        assert remote._opener._connector is not opener
        assert remote.bandwidth.bytes_per_s is None


async def test_a_new_password_is_tried_at_once_and_shown_nowhere(tmp_path: Path) -> None:
    async with running(
        tmp_path, f"[a]\n{REMOTE}", SETTINGS + "circuit_breaker: {failure_threshold: 1}\n"
    ) as it:
        remote = it.crew.fleet.remotes["a"]
        await it.give("a")
        await it.until(lambda: remote.breaker.state is State.OPEN)
        it.write(
            f"[a]\n{REMOTE}".replace("secret", "s3cret"),
            SETTINGS + "circuit_breaker: {failure_threshold: 9}\n",
        )
        report = await it.reloader.reload("test")
        assert "remote a: password" in report.changed
        assert "s3cret" not in str(report)
        assert remote.breaker.state is State.CLOSED


async def test_settings_that_can_change_do_and_the_others_are_named(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}") as it:
        with logged():
            it.write(
                f"[a]\n{REMOTE}[more]\ntype = local\nbase_path = /tmp\n",
                "pool: {prewarm_enabled: false, bandwidth: 2M, max_sessions_per_connection: 7}\n"
                "kafka: {control_topic: '', input_topic: other}\nretry: {attempts: 9}\n"
                "logging: {level: debug, format: console}\n",
            )
            report = await it.reloader.reload("test")
        assert set(report.changed) == {
            "logging.level: DEBUG", "logging.format: console", "pool.bandwidth: 2097152.0",
            "pool.max_sessions_per_connection: 7", "retry.attempts: 9",
        }  # fmt: skip
        assert set(report.needs_restart) == {"kafka.input_topic", "folder more"}
        assert it.crew.bandwidth.bytes_per_s == 2 << 20
        assert it.crew.fleet.remotes["a"].most == 7
        assert it.crew.fleet._attempts == 9
        shown = it.service.configuration()
        assert shown["settings"]["kafka"]["input_topic"]["value"] == "ftp-tasks"
        assert list(shown["folders"]) == ["local"]
        again = await it.reloader.reload("test")
        assert (again.changed, set(again.needs_restart)) == ((), set(report.needs_restart))


async def test_what_was_given_beside_the_files_still_holds(tmp_path: Path) -> None:
    over = {"POOLER__RETRY__ATTEMPTS": "7"}
    async with running(tmp_path, f"[a]\n{REMOTE}", environ=over) as it:
        report = await it.reloader.reload("test")
        assert (report.done, report.changed) == (True, ())


@pytest.mark.parametrize(
    ("remotes", "settings", "said"),
    [
        ("[a]\ntype = ftp\n", SETTINGS, "host"),
        (f"[b]\n{REMOTE}", "pool: {max_sesions: 3}\n", "max_sesions"),
        (f"[b]\n{REMOTE}", SETTINGS + "retry: {attempts: 0}\n", "attempts"),
    ],
)  # fmt: skip
async def test_a_wrong_file_changes_nothing(tmp_path: Path, remotes: str, settings: str, said: str) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}") as it:
        it.write(remotes, settings)
        report = await it.reloader.reload("test")
        assert (report.done, report.changed) == (False, ())
        assert any(said in line for line in report.mistakes)
        assert [remote.name for remote in it.service.remotes()] == ["a"]


async def test_tokens_are_read_anew_and_a_wrong_token_file_changes_nothing(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"read:{'0' * 64}:anna\n")
    async with running(tmp_path, f"[a]\n{REMOTE}", f"{SETTINGS}api: {{token_file: {tokens}}}\n") as it:
        tokens.write_text(f"admin:{'1' * 64}:berta\n")
        assert (await it.reloader.reload("test")).changed == ("tokens: read anew",)
        assert [(token.scope, token.name) for token in it.guard.tokens] == [(Scope.ADMIN, "berta")]
        tokens.write_text("nonsense\n")
        it.write(f"[b]\n{REMOTE}", f"{SETTINGS}api: {{token_file: {tokens}}}\n")
        assert (await it.reloader.reload("test")).done is False
        assert [token.name for token in it.guard.tokens] == ["berta"]
        assert "b" not in it.crew.fleet.remotes


async def test_a_folder_whose_link_is_swapped_is_read_again(tmp_path: Path) -> None:
    """As Kubernetes does with a ConfigMap or a Secret: the files are links through ``..data``."""
    for number, remotes in enumerate((f"[a]\n{REMOTE}", f"[a]\n{REMOTE}[b]\n{REMOTE}")):
        version = tmp_path / f"..{number}"
        version.mkdir()
        (version / "config.yaml").write_text(SETTINGS)
        (version / "connections.ini").write_text(
            f"{remotes}\n[local]\ntype = local\nbase_path = {tmp_path}\n"
        )
    folder = tmp_path / "etc"
    folder.mkdir()
    async with running(folder, f"[a]\n{REMOTE}") as it:
        for name in ("config.yaml", "connections.ini"):
            (folder / name).unlink()
            (folder / name).symlink_to(f"..data/{name}")
        (folder / "..data").symlink_to(tmp_path / "..0")
        await it.reloader.reload("test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.reloader.watch)
            (folder / "..new").symlink_to(tmp_path / "..1")
            (folder / "..new").rename(folder / "..data")
            await it.until(lambda: "b" in it.crew.fleet.remotes)
            nursery.cancel_scope.cancel()


async def test_sighup_reloads_and_a_drain_is_not_disturbed(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}") as it, trio.open_nursery() as nursery:

        async def hang_up() -> None:
            await it.service.reload("SIGHUP")

        async def obey(*, task_status: trio.TaskStatus[None]) -> None:
            await obey_signals(it.service, nursery.cancel_scope, hang_up=hang_up, task_status=task_status)

        await nursery.start(obey)
        it.write(f"[a]\n{REMOTE}[b]\n{REMOTE}")
        os.kill(os.getpid(), signal.SIGHUP)
        await it.until(lambda: "b" in it.crew.fleet.remotes)
        it.crew.fleet.close()
        report = await it.reloader.reload("test")
        assert report.mistakes == ("this pod is not at work: it starts, or drains",)
        nursery.cancel_scope.cancel()


async def test_what_came_of_it_is_logged(tmp_path: Path) -> None:
    async with running(tmp_path, f"[a]\n{REMOTE}") as it:
        stream = io.StringIO()
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()],
            logger_factory=structlog.WriteLoggerFactory(stream),
        )
        it.write(f"[a]\n{REMOTE}[b]\n{REMOTE}")
        await it.reloader.reload("anna")
        it.write("[a]\n")
        await it.reloader.reload("anna")
        structlog.reset_defaults()
        good, bad = [json.loads(line) for line in stream.getvalue().splitlines() if "configuration_" in line]
        assert (good["event"], good["by"], good["changed"]) == (
            "configuration_reloaded",
            "anna",
            ["remote b: added"],
        )
        assert bad["event"] == "configuration_refused"


async def test_a_watch_that_is_cancelled_ends_without_waiting_for_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "_LOOK_MS", 600_000)
    async with running(tmp_path, f"[a]\n{REMOTE}") as it:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(it.reloader.watch)
                await wait_all_tasks_blocked(0.1)  # it is in its thread by then
                nursery.cancel_scope.cancel()
