"""START HERE: the whole service, shown on made-up files, in phases that can be read aloud.

From the outside in, each lives as long as what is indented under it:

    temporary folder, log file
      embedded broker
        two FTP servers, one of them with TLS
          nursery: the service itself (`pooler.app.run`), a reader of its answers
            the plot: stop a server, submit more jobs, start it again, wait for all answers, drain
          the check of every byte

Nothing is told to the service but by what any operator has: its configuration files, the topic, and the
admin API. A first SIGINT or SIGTERM drains it, as it does in earnest, and the demo ends behind it.
"""

import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from pooler import app
from pooler.bus.submit import submit
from pooler.config import Configuration
from pooler.demo.admin import Admin
from pooler.demo.answers import Answers, collect
from pooler.demo.board import Board, Standing
from pooler.demo.broker import embedded_broker
from pooler.demo.errors import DemoFailed
from pooler.demo.files import FileMaker, MadeFile, differs, in_threads
from pooler.demo.jobs import LOCAL, DemoJob, in_words, plan_jobs
from pooler.demo.servers import HOST, FtpServer, serving, tail
from pooler.demo.setup import CA, CONFIG, CONNECTIONS, configure, issue_certificate
from pooler.model.outcome import Status
from pooler.ops import logs
from pooler.storage.control import FOLDER

_SEED = 959
_AWAY_S = 3.0
_NOTICED_S = 30.0  # at most, for the service to say that a server does not answer
_STOP_AFTER = 1 / 3  # of the stopped server's jobs that were submitted at first
_READY_S = 30.0
_READY_LOOK_S = 0.1
_LOOK_S = 0.5
_TOLD = 10
_LOG_LINES = 20
_MB = 1_000_000
_ROOM_BYTES = _MB  # for a file and its copy, of 390 KB each on average


@dataclass(slots=True)
class Figures:
    """What was done.

    Attributes:
        files: how many jobs there were.
        size_bytes: of all files together.
        seconds: from when the service took jobs to the last answer.
        away_s: how long a server was away meanwhile.
        retried: attempts that failed and were tried again.
        failed: jobs that failed.
        verified: files of which every byte was found right.
    """

    files: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    away_s: float = 0.0
    retried: int = 0
    failed: int = 0
    verified: int = 0

    def __str__(self) -> str:
        seconds = max(self.seconds, 1e-9)
        return (
            f"{self.files} files, {self.size_bytes / _MB:.0f} MB in {self.seconds:.1f} s, "
            f"one server away for {self.away_s:.1f} s of them: "
            f"{self.files / seconds:.0f} files/s, {self.size_bytes / seconds / _MB:.0f} MB/s; "
            f"{self.retried} retried, {self.failed} failed, {self.verified} verified"
        )


async def show(count: int, *, keep: bool, board: Board) -> list[str] | None:
    """Show the demo.

    Args:
        count: how many files.
        keep: leave everything up at the end, until SIGINT or SIGTERM.
        board: where it is shown.

    Returns:
        What was wrong, a line each; empty where all was right; None where it was interrupted.

    Raises:
        DemoFailed: something of the demo's own did not come up, or the service stood still (in a group).

    Cancellation: nothing is left, neither processes nor files.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="pooler-demo-")))
        free = shutil.disk_usage(folder).free
        if free < count * _ROOM_BYTES:
            needed = f"{count * _ROOM_BYTES / _MB:.0f} MB"
            raise DemoFailed(
                f"{count} files need {needed} below {folder.parent}: {free / _MB:.0f} MB are free"
            )
        log = folder / "service.log"
        logs.configure("INFO", "json", stack.enter_context(log.open("w", buffering=1, encoding="utf-8")))
        bootstrap = stack.enter_context(embedded_broker())
        board.say("kafka", f"an embedded broker at {bootstrap}")
        wrong: list[str] | None = ["it did not come to its end"]
        try:
            wrong = await _with_servers(folder, bootstrap, count, keep=keep, board=board)
        except trio.Cancelled:
            wrong = None
            raise
        finally:
            if wrong:
                board.print(f"the end of the service's log:\n{tail(log, _LOG_LINES)}")
    return wrong


async def _with_servers(
    folder: Path, bootstrap: str, count: int, *, keep: bool, board: Board
) -> list[str] | None:
    roots = {name: folder / name for name in (LOCAL, "site-a", "site-b")}
    for root in roots.values():
        root.mkdir()
    certificate = issue_certificate(folder)
    async with (
        serving("site-a", roots["site-a"], folder / "site-a.log") as plain,
        serving("site-b", roots["site-b"], folder / "site-b.log", certificate) as secure,
    ):
        board.say(plain.name, f"an FTP server on port {plain.port}")
        board.say(secure.name, f"an FTP server on port {secure.port}, with TLS on both connections")
        token = secrets.token_hex(16)
        configuration = configure(folder, bootstrap, roots[LOCAL], (plain, secure), token)
        jobs = plan_jobs(count, roots[LOCAL], {server.name: server.root for server in (plain, secure)})
        maker = FileMaker(_SEED)
        made = await in_threads(lambda at: maker.make(jobs[at].source, at), range(count))
        size = sum(file.size_bytes for file in made)
        board.say("files", f"{count} made up, {size / _MB:.0f} MB, each from 100 KB to 1 MB")
        stage = _Stage(folder, list(roots.values()), (plain, secure), configuration, token, jobs, made)
        return await _Story(stage, board).run(keep=keep)


@dataclass(frozen=True, slots=True)
class _Stage:
    """All that stands before the service begins.

    Attributes:
        folder: where everything is.
        roots: the local folder, and those that the servers serve.
        servers: running; the last one is to be stopped on the way.
        configuration: the service's.
        token: for its admin API.
        jobs: on the topic.
        made: their originals, in the same order.
    """

    folder: Path
    roots: Sequence[Path]
    servers: Sequence[FtpServer]
    configuration: Configuration
    token: str
    jobs: Sequence[DemoJob]
    made: Sequence[MadeFile]


class _Story:
    """The part in which the service runs."""

    def __init__(self, stage: _Stage, board: Board) -> None:
        self._stage = stage
        self._board = board
        self._totals = Counter(job.remote for job in stage.jobs)
        self._notes = dict.fromkeys(self._totals, "")
        self._missed = trio.Event()
        self._answers = Answers()
        # The second half comes while a server is away.
        half = -(-len(stage.jobs) // 2)
        self._first, self._then = stage.jobs[:half], stage.jobs[half:]
        self._figures = Figures(len(stage.jobs), sum(file.size_bytes for file in stage.made))

    async def run(self, *, keep: bool) -> list[str] | None:
        """Run the service through the plot; return what was wrong, None where it was interrupted."""
        wrong: list[str] | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(collect, self._stage.configuration.settings.kafka, self._answers)
            plot = trio.CancelScope()
            ended = trio.Event()
            await self._submit(self._first)
            addresses = await nursery.start(self._serve, plot, ended)
            admin = Admin(addresses, self._stage.token)
            with plot:
                self._board.say("service", f"up; admin API {admin.api}, metrics {admin.metrics}")
                self._board.say("page", f"{admin.api}/, token {admin.token}")
                began = await self._wait_ready(admin)
                async with self._board.following(self._standings):
                    await self._work(admin)
                self._figures.seconds = trio.current_time() - began
                self._figures.retried = await admin.retried()
                if keep:
                    wrong = await self._check()
                    self._tell_end(wrong)
                    self._tell_where(admin)
                else:
                    await admin.drain()
                await trio.sleep_forever()
            await ended.wait()
            nursery.cancel_scope.cancel()
        if self._figures.seconds == 0:
            return None
        self._board.say("service", "drained, and gone")
        if wrong is None:
            wrong = await self._check()
            self._tell_end(wrong)
        return wrong

    async def _serve(
        self, plot: trio.CancelScope, ended: trio.Event, *, task_status: trio.TaskStatus[app.Addresses]
    ) -> None:
        """Run the service; with it the plot ends, whoever drained it."""
        async with trio.open_nursery() as nursery:
            task_status.started(await nursery.start(app.run, self._stage.configuration))
        ended.set()
        plot.cancel()

    async def _submit(self, jobs: Sequence[DemoJob]) -> None:
        kafka = self._stage.configuration.settings.kafka
        # One remote's jobs to one partition, as `pooler job submit` does.
        await submit(kafka, [(job.remote.encode(), job.record) for job in jobs])
        self._board.say("jobs", f"{in_words(jobs)} submitted to {kafka.input_topic}, in both forms of record")

    async def _wait_ready(self, admin: Admin) -> float:
        """Wait until the service takes jobs; return when it did not yet, a moment before."""
        with trio.move_on_after(_READY_S):
            while True:
                before = trio.current_time()
                if await admin.is_ready():
                    return before
                await trio.sleep(_READY_LOOK_S)
        raise DemoFailed(f"the service was not ready in {_READY_S:g} s")

    async def _work(self, admin: Admin) -> None:
        """Wait for all answers; on the way stop a server, submit more jobs, and start it again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look, admin)
            server = self._stage.servers[-1]
            of_the_first = sum(job.remote == server.name for job in self._first)
            await self._answers.reach(round(of_the_first * _STOP_AFTER), remote=server.name)
            await server.stop()
            stopped_at = trio.current_time()
            self._board.say(server.name, f"stopped, for {_AWAY_S:g} s")
            await self._submit(self._then)
            await self._miss(server)
            await trio.sleep_until(stopped_at + _AWAY_S)
            await server.start()
            self._figures.away_s = trio.current_time() - stopped_at
            self._board.say(server.name, "started again")
            await self._answers.reach(len(self._stage.jobs))
            nursery.cancel_scope.cancel()

    async def _miss(self, server: FtpServer) -> None:
        """Wait until the service says that the server is away, where it has work for it."""
        if any(job.remote == server.name for job in self._then):
            with trio.move_on_after(_NOTICED_S):
                await self._missed.wait()
                self._board.say(server.name, self._notes[server.name])

    async def _look(self, admin: Admin) -> None:
        """Keep what the admin API says of the remotes."""
        away = self._stage.servers[-1].name
        while True:
            for remote in await admin.remotes():
                retry_s = remote["breaker_retry_s"]
                note = f"{remote['busy']} sessions busy, {remote['waiting']} jobs waiting"
                if retry_s is not None:
                    note = f"does not answer, next try in {retry_s:.1f} s, {remote['waiting']} jobs waiting"
                self._notes[remote["name"]] = note
                if remote["name"] == away and retry_s is not None:
                    self._missed.set()
            await trio.sleep(_LOOK_S)

    def _standings(self) -> list[Standing]:
        return [
            Standing(name, self._answers.done[name], total, self._notes[name])
            for name, total in self._totals.items()
        ]

    async def _check(self) -> list[str]:
        """Compare every answer with its job, and every copy with what was made."""
        stage = self._stage
        found = await in_threads(
            lambda at: differs(stage.made[at], stage.jobs[at].destination), range(len(stage.jobs))
        )
        self._figures.verified = found.count(None)
        wrong = self._wrong_answers()
        wrong += [
            f"{job.task_id}: {job.destination} {why}"
            for job, why in zip(self._stage.jobs, found, strict=True)
            if why is not None
        ]
        wrong += [f"{path}: left behind" for path in await trio.to_thread.run_sync(self._strays)]
        return wrong

    def _wrong_answers(self) -> list[str]:
        wrong = [f"{self._answers.dead_letters} dead letters"] if self._answers.dead_letters else []
        self._figures.failed = 0
        for job, file in zip(self._stage.jobs, self._stage.made, strict=True):
            answer = self._answers.by_job.get(job.task_id)
            if answer is None:
                wrong.append(f"{job.task_id}: no answer")
            elif answer["status"] == Status.FAILED:
                self._figures.failed += 1
                wrong.append(f"{job.task_id}: {answer['error_code']}: {answer['error_message']}")
            elif answer["status"] != Status.SUCCESS or answer["bytes_transferred"] != file.size_bytes:
                wrong.append(f"{job.task_id}: {answer['status']}, {answer['bytes_transferred']} bytes")
        strangers = self._answers.by_job.keys() - {job.task_id for job in self._stage.jobs}
        return wrong + [f"{task_id}: an answer that nobody asked for" for task_id in sorted(strangers)]

    def _strays(self) -> list[Path]:
        """Find what is neither an original nor a copy, such as a part of a file."""
        known = {path for job in self._stage.jobs for path in (job.source, job.destination)}
        found = (path for root in self._stage.roots for path in root.rglob("*"))
        # While the service runs it has a lease on each folder, in a folder of its own.
        return sorted(
            path for path in found if path not in known and not path.is_dir() and path.parent.name != FOLDER
        )

    def _tell_end(self, wrong: Sequence[str]) -> None:
        if self._answers.repeated:
            self._board.say("answers", f"{self._answers.repeated} more than once, as at least once allows")
        self._board.say(
            "check", f"{self._figures.verified} of {len(self._stage.jobs)} copies are right in every byte"
        )
        for line in wrong[:_TOLD]:
            self._board.say("wrong", line)
        if len(wrong) > _TOLD:
            self._board.say("wrong", f"and {len(wrong) - _TOLD} more")
        self._board.print(f"{self._figures}{'' if wrong else '; all right'}")

    def _tell_where(self, admin: Admin) -> None:
        """Print where everything can be reached while it is left up."""
        folder, kafka = self._stage.folder, self._stage.configuration.settings.kafka
        options = f"--config {folder / CONFIG} --connections {folder / CONNECTIONS}"
        self._board.print("")
        self._board.print("All of it stays up until Ctrl-C:")
        self._board.say("files", str(folder))
        self._board.say(
            "kafka",
            f"{','.join(kafka.bootstrap_servers)}, topics {kafka.input_topic}, "
            f"{kafka.result_topic}, {kafka.fail_topic}, {kafka.dlq_topic}",
        )
        for server in self._stage.servers:
            tls = "" if server.certificate is None else f", TLS; issuer {folder / CA}"
            self._board.say(
                server.name, f"{HOST}:{server.port}, user {server.user}, password {server.password}{tls}"
            )
        self._board.say("page", f"{admin.api}/")
        self._board.say("api", f"POOLER_API={admin.api} POOLER_API_TOKEN={admin.token} pooler remote list")
        self._board.say("metrics", f"{admin.metrics}/metrics")
        self._board.say("submit", f"pooler job submit - {options}")
