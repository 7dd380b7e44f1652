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
