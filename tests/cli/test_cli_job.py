"""`pooler job submit` as a process of its own, on the embedded broker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from pooler.cli import exits
from pooler.demo.broker import embedded_broker
from tests.support.process import free_port
from tests.support.servers import running_server

ROOT = Path(__file__).parents[2]
LIMIT_S = 60

DOWN = b'{"src_id": "site", "src_path": "/a", "dst_id": "local", "dst_path": "/a"}'
UP = b'{"task_id":"u","src_id":"local","src_path":"/a","dst_id":"site","dst_path":"/a"}'


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with embedded_broker() as bootstrap:
        yield bootstrap


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "c.ini").write_text(
        f"[local]\ntype = local\nbase_path = {tmp_path / 'local'}\n"
        "[site]\ntype = ftp\nhost = 127.0.0.1\nuser = u\npass = p\n"
    )
    (tmp_path / "c.ini").chmod(0o600)
    configure(tmp_path, "127.0.0.1:9")
    return tmp_path


def configure(folder: Path, bootstrap: str, **kafka: object) -> None:
    settings = {"bootstrap_servers": bootstrap, "max_retries": 0, "input_topic": folder.name, **kafka}
    (folder / "c.yaml").write_text(json.dumps({"kafka": settings}))


def submit(folder: Path, *words: str, jobs: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    files = ["--config", "c.yaml", "--connections", "c.ini"]
    return subprocess.run(
        [sys.executable, "-m", "pooler", "job", "submit", *words, *files],
        input=jobs,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )


def written(broker: str, topic: str, count: int) -> set[tuple[bytes | None, bytes | None]]:
    """Read so many records of a topic: their keys and values."""
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    try:
        consumer.subscribe([topic])
        found: set[tuple[bytes | None, bytes | None]] = set()
        while len(found) < count:
            message = consumer.poll(LIMIT_S)
            assert message is not None, f"{len(found)} of {count}"
            if message.error() is None:
                found.add((message.key(), message.value()))
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_every_line_is_submitted_as_it_stands(folder: Path, broker: str, how: str) -> None:
    configure(folder, broker)
    jobs = DOWN + b"\r\n\n" + UP
    (folder / "jobs.jsonl").write_bytes(jobs)
    done = submit(folder, "jobs.jsonl") if how == "file" else submit(folder, "-", jobs=jobs)
    assert (done.returncode, done.stderr) == (exits.OK, b"")
    assert done.stdout.decode() == f"submitted 2 jobs to {folder.name}\n"
    # Both go by the remote, so that its jobs stay in one partition.
    assert written(broker, folder.name, 2) == {(b"site", DOWN), (b"site", UP)}


def test_urgent_ones_go_to_their_own_topic(folder: Path, broker: str) -> None:
    urgent = f"{folder.name}-urgent"
    configure(folder, broker, priority_topic=urgent)
    done = submit(folder, "-", "--urgent", jobs=DOWN)
    assert (done.returncode, done.stdout.decode()) == (exits.OK, f"submitted 1 jobs to {urgent}\n")
    assert written(broker, urgent, 1) == {(b"site", DOWN)}


def test_a_line_that_is_no_job_is_named_and_left_out(folder: Path, broker: str) -> None:
    configure(folder, broker)
    done = submit(folder, "-", jobs=b"junk\n" + DOWN + b'\n{"src_id": 1}\n')
    assert done.returncode == exits.OTHER
    assert done.stdout.decode() == f"submitted 1 jobs to {folder.name}\n"
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("-: job 1: JSON is malformed")
    assert second.startswith("-: job 3: ")
    assert written(broker, folder.name, 1) == {(b"site", DOWN)}


def test_nothing_to_submit(folder: Path, broker: str) -> None:
    configure(folder, broker)
    done = submit(folder, "-")
    assert (done.returncode, done.stdout.decode()) == (exits.OK, f"submitted 0 jobs to {folder.name}\n")


def test_brokers_that_do_not_answer(folder: Path) -> None:
    configure(folder, f"127.0.0.1:{free_port()}", max_retries=1, base_backoff_ms=1)
    done = submit(folder, "-", jobs=DOWN)
    assert (done.returncode, done.stdout) == (exits.FATAL, b"")
    assert b"cannot reach Kafka at 127.0.0.1:" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["missing.jsonl"], "missing.jsonl: No such file or directory\n"),
        (["local"], "local: Is a directory\n"),
        (["--no-such"], ""),
        (["-", "--urgent"], "expected one as kafka.priority_topic"),
        (["a", "b"], ""),
        ([], ""),
    ],
)
def test_a_command_line_that_cannot_be_used(folder: Path, words: list[str], complaint: str) -> None:
    done = submit(folder, *words)
    assert (done.returncode, done.stdout) == (exits.USAGE, b"")
    assert b"Traceback" not in done.stderr
    assert complaint in done.stderr.decode()


def test_a_configuration_that_cannot_be_used(folder: Path) -> None:
    (folder / "c.yaml").write_text("kafka: {bootstrap_servers: nonsense}")
    done = submit(folder, "-", jobs=DOWN)
    assert (done.returncode, done.stdout) == (exits.FATAL, b"")
    assert done.stderr.startswith(b"c.yaml:1:")


NIGHT = b'{"task_id":"night","src_id":"local","src_path":"/out/*.csv","dst_id":"site","dst_path":"/in/"}'


def test_a_single_job_from_the_command_line(folder: Path, broker: str) -> None:
    configure(folder, broker)
    done = submit(folder, "site:/out/*.csv", "local:/in/", "--options", '{"after": "delete"}')
    assert (done.returncode, done.stderr) == (exits.OK, b"")
    ((key, value),) = written(broker, folder.name, 1)
    job = json.loads(value or b"")
    assert key == b"site"
    assert job.pop("task_id").startswith("submit-")
    assert job == {
        "src_id": "site", "src_path": "/out/*.csv", "dst_id": "local", "dst_path": "/in/",
        "options": {"after": "delete"},
    }  # fmt: skip


def out(folder: Path, **files: int) -> None:
    (folder / "local" / "out").mkdir()
    for name, size in files.items():
        (folder / "local" / "out" / name.replace("_", ".")).write_bytes(b"x" * size)


def test_many_files_are_spread_here(folder: Path, broker: str) -> None:
    configure(folder, broker)
    out(folder, a_csv=3, b_csv=4, c_txt=5)
    done = submit(folder, "-", "--spread", "-o", "json", jobs=NIGHT + b"\n" + UP)
    assert (done.returncode, done.stderr) == (exits.OK, b"")
    assert json.loads(done.stdout) == {
        "jobs": 3, "refused": 0, "submitted_to": folder.name, "bytes": 7, "of_unknown_size": 1,
    }  # fmt: skip
    found = written(broker, folder.name, 3)
    assert (b"site", UP) in found
    jobs = [json.loads(value or b"") for _, value in found if value != UP]
    assert sorted(job["src_path"] for job in jobs) == ["/out/a.csv", "/out/b.csv"]
    assert {job["task_id"] for job in jobs} == {"night/a.csv", "night/b.csv"}
    assert {job["dst_path"] for job in jobs} == {"/in/a.csv", "/in/b.csv"}
    assert all(job["options"] == {"literal": True} and "batch_id" not in job for job in jobs)


def test_a_dry_run_counts_files_and_bytes_and_asks_no_broker(folder: Path) -> None:
    out(folder, a_csv=3, b_csv=4)
    (folder / "local" / "a").write_bytes(b"12345")
    done = submit(folder, "-", "--dry-run", jobs=NIGHT + b"\n" + UP)
    assert (done.returncode, done.stderr) == (exits.OK, b"")
    assert done.stdout.decode().splitlines() == [
        "           3  local:/out/a.csv → site:/in/a.csv",
        "           4  local:/out/b.csv → site:/in/b.csv",
        "           -  local:/a → site:/a",
        "3 jobs, 12 bytes; nothing was submitted",
    ]
    done = submit(folder, "local:/out/", "site:/in/", "--dry-run", "-o", "json")
    *files, total = map(json.loads, done.stdout.splitlines())
    assert [one["bytes"] for one in files] == [3, 4]
    assert total == {"jobs": 2, "refused": 0, "submitted_to": None, "bytes": 7, "of_unknown_size": 0}


def test_a_folder_that_is_not_there_is_named_and_the_others_are_spread(folder: Path) -> None:
    done = submit(folder, "-", "--dry-run", jobs=NIGHT + b"\njunk\n" + UP)
    assert done.returncode == exits.JOBS_FAILED
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("-: job 1: local:/out: ")
    assert second.startswith("-: job 2: JSON is malformed")
    assert done.stdout.decode().splitlines()[-1] == (
        "1 jobs, 0 bytes, 1 of them of unknown size; nothing was submitted"
    )


def test_a_server_that_is_away_may_come_back(folder: Path) -> None:
    (folder / "c.ini").write_text((folder / "c.ini").read_text() + f"port = {free_port()}\n")
    done = submit(folder, "site:/out/", "local:/in/", "--dry-run")
    assert done.returncode == exits.TEMPORARY
    assert b"site:/out/: job 1: " in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["site", "local:/in/"], "site: expected REMOTE:PATH\n"),
        (["site:/a", "local:"], "local:: expected REMOTE:PATH\n"),
        (["site:/a", "local:/a", "--options", "{"], "--options: expected a JSON object"),
        (["c.yaml", "--options", "{}"], "--options: expected SOURCE DESTINATION"),
    ],
)
def test_two_words_that_are_no_job(folder: Path, words: list[str], complaint: str) -> None:
    done = submit(folder, *words)
    assert (done.returncode, done.stdout) == (exits.USAGE, b"")
    assert complaint in done.stderr.decode()


def test_a_folder_on_a_server_is_listed_with_its_filters(folder: Path) -> None:
    with running_server("pyftpdlib", folder / "server") as server:
        (folder / "c.ini").write_text(
            f"[local]\ntype = local\nbase_path = {folder / 'local'}\n"
            f"[site]\ntype = ftp\nhost = {server.host}\n"
            f"port = {server.port}\nuser = {server.user}\npass = {server.password}\n"
        )
        for name in ("a.csv", "b.csv", "b.csv.done", "c.csv.done", "d.txt"):
            server.put(f"/out/{name}", b"x" * 7)
        options = '{"filter": {"marker": "{name}.done"}}'
        done = submit(folder, "site:/out/*.csv", "local:/in/", "--options", options, "--dry-run")
    assert (done.returncode, done.stderr) == (exits.OK, b"")
    assert done.stdout.decode().splitlines() == [
        "           7  site:/out/b.csv → local:/in/b.csv",
        "1 jobs, 7 bytes; nothing was submitted",
    ]
