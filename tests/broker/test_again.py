"""`pooler job retry`, `job tail` and `dlq` on Apache Kafka, as processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pooler.cli import exits
from tests.support.kafka import Message, RunningBroker, create_topics, produce, read_topic, running_broker
from tests.support.service import TOPICS

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        create_topics(running.bootstrap, TOPICS)
        yield running


@pytest.fixture
def folder(tmp_path: Path, broker: RunningBroker) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "a").write_bytes(b"12345")
    (tmp_path / "c.yaml").write_text(json.dumps({"kafka": {"bootstrap_servers": broker.bootstrap}}))
    (tmp_path / "c.ini").write_text(
        f"[local]\ntype = local\nbase_path = {tmp_path / 'local'}\n"
        "[far]\ntype = ftp\nhost = 127.0.0.1\nport = 9\nuser = u\npass = p\n"
        "[other]\ntype = ftp\nhost = 127.0.0.1\nport = 9\nuser = u\npass = p\n"
    )
    (tmp_path / "c.ini").chmod(0o600)
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pooler", *words, "--config", "c.yaml", "--connections", "c.ini"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def answer(task_id: str, status: str, *, remote: str = "far", **more: object) -> Message:
    ends = {"src_id": "local", "src_path": "/a", "dst_id": remote, "dst_path": f"/{task_id}"}
    job = {"task_id": task_id, **ends, "mine": 1}
    about: Mapping[str, object] = {"job": job} if status == "failed" else {}
    value = {"task_id": task_id, "status": status, **ends, **about, **more}
    headers = [("trace", b"t"), ("pooler.batch", b"b")]
    return Message(json.dumps(value).encode(), key=task_id.encode(), headers=headers)


def failure(task_id: str, code: str = "CONNECTION_ERROR", *, retriable: bool = True, **more: Any) -> Message:
    return answer(task_id, "failed", error_code=code, error_message="no", retriable=retriable, **more)


def counted(folder: Path, *words: str) -> tuple[int, Any]:
    code, out, err = run(folder, "job", "retry", "--dry-run", "-o", "json", *words)
    return code, json.loads(out) if out else err


def test_what_failed_is_submitted_once_more_and_not_again(folder: Path, broker: RunningBroker) -> None:
    produce(
        broker.bootstrap,
        "ftp-failures",
        [
            failure("1"),
            failure("1"),
            failure("since-done"),
            failure("other", remote="other"),
            failure("for-good", "FILE_NOT_FOUND", retriable=False),
            failure("closing", "BATCH_INCOMPLETE", batch={"files": 2, "failed": 1}),
        ],
    )
    produce(broker.bootstrap, "ftp-results", [answer("since-done", "success"), answer("9", "success")])
    code, found = counted(folder)
    assert (code, found["jobs"], found["bytes"], found["of_unknown_size"]) == (exits.OK, 2, 10, 0)
    assert found["left_out"] == {
        "they close a bulk job, whose own jobs count by themselves": 1,
        "they have completed since": 1,
    }
    assert counted(folder, "--remote", "other")[1]["jobs"] == 1
    assert counted(folder, "--code", "file_not_found")[1]["jobs"] == 1
    assert counted(folder, "--code", "FILE_NOT_FUOND") == (
        exits.USAGE,
        "FILE_NOT_FUOND: no such error code (did you mean FILE_NOT_FOUND?)\n",
    )
    assert read_topic(broker.bootstrap, "ftp-tasks") == []

    code, out, err = run(folder, "job", "retry", "--remote", "far", "--rate", "50")
    assert (code, err) == (exits.OK, "submitted 1 jobs to ftp-tasks\n")
    assert "1 jobs, 5 bytes" in out
    (again,) = read_topic(broker.bootstrap, "ftp-tasks")
    assert again.key == b"far"
    assert json.loads(again.value or b"")["mine"] == 1
    assert [name for name, _ in again.headers] == ["trace", "pooler.retry_of"]
    found = counted(folder)[1]
    assert (found["jobs"], found["left_out"]["they were submitted anew already"]) == (1, 1)

    code, out, err = run(
        folder, "job", "tail", "--since", "1h", "--no-follow", "--failed", "--remote", "other"
    )
    assert (code, err) == (exits.OK, "")
    assert "failed   local:/a → other:/other  CONNECTION_ERROR: no  [other]" in out
    code, out, err = run(folder, "job", "tail", "--since", "1h", "--count", "1", "-o", "json")
    assert (code, len(out.splitlines())) == (exits.OK, 1)
    assert json.loads(out)["task_id"]


def test_dead_letters_are_listed_and_replayed_once(folder: Path, broker: RunningBroker) -> None:
    def letter(value: bytes) -> Message:
        headers = [
            ("own", b"1"),
            ("__connect.errors.topic", b"ftp-tasks"),
            ("__connect.errors.exception.class.name", b"DecodeError"),
            ("__connect.errors.exception.message", b"malformed"),
        ]
        return Message(value, key=b"k", headers=headers)

    produce(broker.bootstrap, "ftp-tasks-dlq", [letter(b"junk"), letter(b'{"src_id": "far"}')])
    code, out, err = run(folder, "dlq", "ls", "-o", "json")
    assert (code, err) == (exits.OK, "")
    assert [(one["error"], one["value"]) for one in json.loads(out)] == [
        ("DecodeError: malformed", "junk"),
        ("DecodeError: malformed", '{"src_id": "far"}'),
    ]
    code, out, _ = run(folder, "dlq", "ls", "--error", "nothing has it")
    assert (code, out.splitlines()[1:]) == (exits.OK, [])
    code, out, err = run(folder, "dlq", "replay", "--dry-run", "-o", "json")
    expected = {"letters": 1, "bytes": 17, "left_out": {"they would be no JSON object again": 1}}
    assert (code, json.loads(out), err) == (exits.OK, expected, "")
    assert read_topic(broker.bootstrap, "ftp-tasks") == []
    assert run(folder, "dlq", "replay")[2] == "submitted 1 records to ftp-tasks\n"
    (again,) = read_topic(broker.bootstrap, "ftp-tasks")
    assert (again.key, again.value) == (b"k", b'{"src_id": "far"}')
    assert [name for name, _ in again.headers] == ["own", "pooler.retry_of"]
    code, out, _ = run(folder, "dlq", "replay")
    assert "1 left out: they were submitted anew already" in out
    assert len(read_topic(broker.bootstrap, "ftp-tasks")) == 1
    assert run(folder, "dlq", "ls", "--since", "yesterday")[0] == exits.USAGE
    assert run(folder, "dlq", "ls", "--limit", "1")[0] == exits.USAGE
