"""`pooler copy` as a person gives it: a process of its own, beside a real FTP server."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pooler.cli import exits
from tests.support.servers import RunningServer, running_server
from tests.support.service import wait_until

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
SETTINGS = {"retry": {"base_backoff_ms": 10, "max_backoff_ms": 20, "attempts": 2}}


@dataclass(slots=True)
class Place:
    """A folder with a configuration and a local root."""

    folder: Path

    @property
    def local(self) -> Path:
        return self.folder / "local"

    def configure(
        self, *sections: str, settings: dict[str, dict[str, Any]] | None = None, root: bool = True
    ) -> None:
        if root:
            self.local.mkdir(exist_ok=True)
        (self.folder / "c.yaml").write_text(json.dumps(SETTINGS | (settings or {})))
        local = f"[local]\ntype = local\nbase_path = {self.local}\n"
        (self.folder / "c.ini").write_text("\n".join((local, *sections)))
        (self.folder / "c.ini").chmod(0o600)

    def command(self, *words: str) -> list[str]:
        files = ["--config", str(self.folder / "c.yaml"), "--connections", str(self.folder / "c.ini")]
        return [sys.executable, "-m", "pooler", "copy", *words, *files]

    def copy(self, jobs: Sequence[object], *words: str) -> "Result":
        """Copy a list that comes by the standard input."""
        done = subprocess.run(
            self.command("-", *words),
            input=text(jobs),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    @contextlib.contextmanager
    def copying(self, jobs: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
        """Copy a list that comes from a file, until the block ends."""
        (self.folder / "jobs.jsonl").write_text(text(jobs))
        process = subprocess.Popen(
            self.command(str(self.folder / "jobs.jsonl")),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def files(self) -> dict[str, bytes]:
        return {
            str(found.relative_to(self.local)): found.read_bytes()
            for found in self.local.rglob("*")
            if found.is_file()
        }

    def parts(self) -> list[str]:
        return [name for name in self.files() if name.endswith(".part")]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run answered."""

    code: int
    lines: list[dict[str, Any]]
    err: str

    @property
    def statuses(self) -> dict[str, str]:
        return {line["task_id"]: line.get("error_code", line["status"]) for line in self.lines}

    @property
    def figures(self) -> dict[str, Any]:
        """The last line of progress."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return found


def text(jobs: Sequence[object]) -> str:
    return "".join(f"{job if isinstance(job, str) else json.dumps(job)}\n" for job in jobs)


def job(task_id: object, source: str, destination: str, **options: object) -> dict[str, object]:
    (src_id, src_path), (dst_id, dst_path) = source.split(":", 1), destination.split(":", 1)
    ends = {"src_id": src_id, "src_path": src_path, "dst_id": dst_id, "dst_path": dst_path}
    return {"task_id": str(task_id), **ends, **({"options": options} if options else {})}


def section(server: RunningServer, *, password: str | None = None, **more: object) -> str:
    keys = {
        "type": "ftp",
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "pass": password or server.password,
        **more,
    }
    return "[site]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def commands(server: RunningServer, verb: str) -> int:
    """Count how often the server was given a command."""
    return len(re.findall(rf"<- {verb}\b", server.log.read_text()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("server")) as running:
        running.put("/out/a", b"aaaa")
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- how it ends --------------------------------------------------------------------------------------


def test_all_is_copied_both_ways(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    (place.local / "up").write_bytes(b"up" * 100_000)
    server.put("/out/empty", b"")
    result = place.copy(
        [
            job(1, "site:/out/a", "local:/in/a"),
            job(2, "site:/out/empty", "local:/in/empty"),
            job(3, "local:/up", "site:/in/deep/up"),
            "",
            job(4, "site:/out/a", "local:/up2", overwrite="never"),
        ]
    )
    assert result.statuses == dict.fromkeys("1234", "success"), result
    assert (result.code, len(result.lines)) == (exits.OK, 4)
    assert place.files() == {
        "in/a": b"aaaa", "in/empty": b"", "up": b"up" * 100_000, "up2": b"aaaa",
    }  # fmt: skip
    assert [found.name for found in (server.root / "in" / "deep").iterdir()] == ["up"]
    assert (server.root / "in" / "deep" / "up").read_bytes() == b"up" * 100_000
    assert result.figures["succeeded"] == 4
    assert result.figures["bytes"] == 200_008
    assert {line["verified"] for line in result.lines} == {"size"}


def test_nothing_to_do(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    result = place.copy(["", "  "])
    assert (result.code, result.lines, result.figures["read"]) == (exits.OK, [], 0)


def test_a_job_that_fails_for_good(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    result = place.copy(
        [
            job(1, "site:/out/a", "local:/a"),
            job(2, "site:/out/none", "local:/b"),
            "junk",
            job(4, "local:/none", "site:/c"),
            job(5, "site:/out/a", "local:../../a"),
            job(6, "nowhere:/out/a", "local:/a"),
        ]
    )
    assert result.code == exits.JOBS_FAILED
    assert result.statuses == {
        "1": "success",
        "2": "FILE_NOT_FOUND",
        "stdin-0-3": "INVALID_JOB",
        "4": "FILE_NOT_FOUND",
        "5": "PATH_OUTSIDE_ROOT",
        "6": "UNKNOWN_REMOTE",
    }
    assert place.files() == {"a": b"aaaa"}
    assert result.figures["failed"] == 5


def test_never_overwriting(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    (place.local / "same").write_bytes(b"bbbb")
    (place.local / "other").write_bytes(b"other")
    server.put("/in/same", b"cccc")
    server.put("/in/other", b"c")
    never: dict[str, object] = {"overwrite": False}
    result = place.copy(
        [
            job(1, "site:/out/a", "local:/same", **never),
            job(2, "local:/same", "site:/in/same", **never),
        ]
    )
    assert (result.code, result.statuses) == (exits.OK, {"1": "skipped", "2": "skipped"})
    assert result.figures["skipped"] == 2
    result = place.copy(
        [
            job(3, "site:/out/a", "local:/other", **never),
            job(4, "local:/same", "site:/in/other", **never),
        ]
    )
    assert (result.code, set(result.statuses.values())) == (exits.JOBS_FAILED, {"DESTINATION_EXISTS"})
    assert place.files() == {"same": b"bbbb", "other": b"other"}
    assert (server.root / "in" / "same").read_bytes() == b"cccc"
    assert (server.root / "in" / "other").read_bytes() == b"c"


def test_a_link_out_of_the_root(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    (place.folder / "secret").write_bytes(b"secret")
    (place.local / "link").symlink_to(place.folder)
    result = place.copy(
        [job(1, "local:/link/secret", "site:/stolen"), job(2, "site:/out/a", "local:/link/secret")]
    )
    assert (result.code, set(result.statuses.values())) == (exits.JOBS_FAILED, {"PATH_OUTSIDE_ROOT"})
    assert (place.folder / "secret").read_bytes() == b"secret"
    assert not (server.root / "stolen").exists()


def test_a_configuration_that_cannot_be_used(place: Place, server: RunningServer) -> None:
    place.configure("[site]\ntype = sftp\n")
    result = place.copy([])
    assert (result.code, result.lines) == (exits.FATAL, [])
    assert "'sftp' is not supported" in result.err
    place.configure(section(server))
    place.local.rmdir()
    place.local.write_bytes(b"a file in place of the folder")
    result = place.copy([job(1, "site:/out/a", "local:/a")])
    assert (result.code, result.lines) == (exits.FATAL, [])
    assert result.err == f"local: local folder cannot be used: {place.local}: Not a directory\n"


@pytest.mark.parametrize("words", [["missing.jsonl"], ["."], ["--no-such"], ["a", "b"], []])
def test_a_command_line_that_cannot_be_used(place: Place, words: list[str]) -> None:
    place.configure()
    done = subprocess.run(
        place.command(*words), cwd=place.folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (exits.USAGE, b"")
    assert b"Traceback" not in done.stderr


# ---- a server that cannot be used -----------------------------------------------------------------


@contextlib.contextmanager
def hanging_up() -> Iterator[tuple[int, list[int]]]:
    """Run a server that ends each connection without a word; its port, and a list that grows with each."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    seen.append(1)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_server_that_does_not_answer_is_given_up(place: Place) -> None:
    with hanging_up() as (port, seen):
        site = f"[site]\ntype = ftp\nhost = 127.0.0.1\nport = {port}\nuser = u\npass = p\nconcurrency = 1\n"
        place.configure(site, settings={"circuit_breaker": {"failure_threshold": 3}})
        result = place.copy([job(number, "site:/a", f"local:/{number}") for number in range(20)])
    assert result.code == exits.TEMPORARY
    assert result.statuses == {str(number): "CONNECTION_ERROR" for number in range(20)}
    assert all(line["retriable"] for line in result.lines)
    assert len(seen) == 3


def test_a_wrong_password_is_tried_once(place: Place, tmp_path: Path) -> None:
    with running_server("pyftpdlib", tmp_path / "server") as server:
        place.configure(section(server, password="wrong"))
        result = place.copy([job(number, "site:/a", f"local:/{number}") for number in range(20)])
        assert result.statuses == {str(number): "LOGIN_REFUSED" for number in range(20)}
        assert result.code == exits.TEMPORARY
        assert "wrong" not in str(result)
        assert commands(server, "PASS") == 1


# ---- from the keyboard ---------------------------------------------------------------------------------


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path / "slow", rate_bytes_s=500_000) as running:
        yield running


def test_an_interrupt_lets_what_runs_finish(place: Place, slow: RunningServer) -> None:
    place.configure(section(slow, concurrency=2))
    data = b"x" * 1_500_000
    for number in range(10):
        slow.put(f"/out/{number}", data)
    jobs = [job(number, f"site:/out/{number}", f"local:/{number}") for number in range(10)]
    with place.copying(jobs) as it:
        wait_until(lambda: len(place.parts()) == 2, "two transfers to run")
        it.send_signal(signal.SIGINT)
        out, err = it.communicate(timeout=LIMIT_S)
    assert it.returncode == exits.INTERRUPTED
    assert "Traceback" not in err
    answers = [json.loads(line) for line in out.splitlines()]
    assert 2 <= len(answers) <= 4
    assert {answer["status"] for answer in answers} == {"success"}
    assert place.files() == {answer["task_id"]: data for answer in answers}


def test_a_second_interrupt_ends_at_once_and_leaves_nothing(place: Place, slow: RunningServer) -> None:
    place.configure(section(slow, concurrency=2))
    big = b"x" * 50_000_000
    slow.put("/out/big", big)
    (place.local / "big").write_bytes(big)
    jobs = [job("down", "site:/out/big", "local:/down"), job("up", "local:/big", "site:/in/up")]
    with place.copying(jobs) as it:
        wait_until(lambda: bool(place.parts() and list(slow.root.glob("in/*.part"))), "both to run")
        it.send_signal(signal.SIGINT)
        # Two signals in one breath are one signal to a process: the second waits for the answer to the first.
        assert it.stderr is not None
        told = next(line for line in it.stderr if "{" not in line)
        assert told == "finishing what runs; interrupt again to end at once\n"
        it.send_signal(signal.SIGINT)
        out, err = it.communicate(timeout=LIMIT_S)
    assert (it.returncode, out) == (exits.INTERRUPTED, "")
    assert "Traceback" not in err
    assert set(place.files()) == {"big"}
    assert list(slow.root.glob("in/*")) == []


@pytest.mark.parametrize("how", ["pipe", "fifo"])
def test_an_interrupt_while_the_list_is_still_open(place: Place, how: str, server: RunningServer) -> None:
    place.configure(section(server))
    os.mkfifo(place.folder / "fifo")
    words = ["-"] if how == "pipe" else [str(place.folder / "fifo")]
    process = subprocess.Popen(
        place.command(*words), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        opened = process.stdin if how == "pipe" else (place.folder / "fifo").open("wb")
        opened.write(text([job(1, "site:/out/a", "local:/a")]).encode())
        opened.flush()
        assert json.loads(process.stdout.readline())["status"] == "success"
        process.send_signal(signal.SIGINT)
        # Its standard input is still open, and so is the pipe.
        assert process.wait(LIMIT_S) == exits.INTERRUPTED
        assert process.stderr is not None
        assert b"Fatal" not in process.stderr.read()
        if opened is not process.stdin:
            opened.close()


def test_a_reader_that_is_gone(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    jobs = [job(number, "site:/out/a", f"local:/{number}") for number in range(50)]
    with place.copying(jobs) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(LIMIT_S) == exits.OTHER
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert place.parts() == []


# ---- what a person sees --------------------------------------------------------------------------------


def test_on_a_terminal_a_table_is_drawn(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    # A server's or a sender's words are neither markup nor commands to the terminal.
    jobs = [job(1, "site:/out/a", "local:/a"), job(2, "local:/[/red]\x1b[2J", "site:/b")]
    (place.folder / "jobs.jsonl").write_text(text(jobs))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        place.command(str(place.folder / "jobs.jsonl")),
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while some := os.read(ours, 4096):
                shown += some
        os.close(ours)
        assert process.stdout is not None
        out = process.stdout.read().splitlines()
    assert process.returncode == exits.JOBS_FAILED
    assert len(out) == 2
    screen = shown.decode()
    assert "\x1b[2J" not in screen
    assert "local:/[/red]?[2J: No such file" in screen
    titles = [line for line in screen.splitlines() if "remote" in line]
    assert re.search(r"remote\W.*sessions\W.*waiting\W.*done\W.*failed", titles[-1])
    assert re.search(r"site .*\b1\b.*\b1\b", screen)
    assert "1 copied, 0 skipped, 1 failed" in screen
    assert not screen.lstrip().startswith("{")


def test_in_a_pipe_progress_is_json(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    result = place.copy([job(1, "site:/out/a", "local:/a")])
    lines = [json.loads(line) for line in result.err.splitlines()]
    assert set(lines[-1]) == {
        "elapsed_s", "read", "succeeded", "skipped", "failed", "in_hand", "bytes", "files_per_s", "mb_per_s",
    }  # fmt: skip
    assert lines[-1]["in_hand"] == 0


def test_verbose_logs_in_place_of_progress(place: Place, server: RunningServer) -> None:
    place.configure(section(server))
    result = place.copy([job(1, "site:/out/a", "local:/a")], "--verbose")
    events = [json.loads(line)["event"] for line in result.err.splitlines()]
    assert "transfer_completed" in events
    assert len(result.lines) == 1
