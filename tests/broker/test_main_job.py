"""The main job, on real parts: jobs on a real topic, copied through a real vsftpd, each answered once."""

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kafka import Message, RunningBroker, produce, running_broker
from tests.support.servers import RunningServer, running_server
from tests.support.service import RunningPooler, Site, wait_until

pytestmark = pytest.mark.broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server("vsftpd", tmp_path / "vsftpd") as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker, server: RunningServer) -> Site:
    made = Site(tmp_path / "site", broker.bootstrap, {"far": server})
    made.create_topics()
    return made


def flat(task_id: str, source: tuple[str, str], destination: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "src_id": source[0],
        "src_path": source[1],
        "dst_id": destination[0],
        "dst_path": destination[1],
        **more,
    }


def nested(
    task_id: str, source: tuple[str, str], destination: tuple[str, str], **more: Any
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "source": {"connection_id": source[0], "path": source[1]},
        "destination": {"connection_id": destination[0], "path": destination[1]},
        **more,
    }


def message(job: dict[str, Any], **more: Any) -> Message:
    return Message(json.dumps(job, ensure_ascii=False).encode(), key=b"far", **more)


class Files:
    """Made-up files on both sides, and where each is to be in the end."""

    def __init__(self, site: Site, server: RunningServer, count: int) -> None:
        self.jobs: list[dict[str, Any]] = []
        self._expected: list[tuple[Path, bytes]] = []
        dice = random.Random(7)
        (site.local / "out").mkdir()
        server.make_folder("/in")
        for number in range(count):
            content = dice.randbytes(dice.randrange(0, 200_000))
            form = flat if number % 2 else nested
            name = f"보고서 {number}.bin" if number % 10 == 0 else f"{number}.bin"
            if number % 4 < 2:
                server.put(f"/out/{name}", content)
                self.jobs.append(
                    form(f"down-{number}", ("far", f"/out/{name}"), ("local", f"/in/{number % 7}/{name}"))
                )
                self._expected.append((site.local / f"in/{number % 7}" / name, content))
            else:
                (site.local / "out" / name).write_bytes(content)
                self.jobs.append(
                    form(f"up-{number}", ("local", f"/out/{name}"), ("far", f"/in/{number % 5}/{name}"))
                )
                self._expected.append((server.root / f"in/{number % 5}" / name, content))

    def wrong(self) -> list[str]:
        return [
            str(path)
            for path, content in self._expected
            if not path.exists()
            or hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(content).digest()
        ]

    def half_written(self) -> list[str]:
        """What stands under its own name and is not whole."""
        return [
            str(path) for path, content in self._expected if path.exists() and path.read_bytes() != content
        ]


def parts_below(*folders: Path) -> list[str]:
    return [str(path) for folder in folders for path in folder.rglob("*.part")]


def end_of(running: RunningPooler) -> int:
    running.signal(signal.SIGTERM)
    return running.wait()


def test_400_jobs_in_both_forms_give_400_files_and_one_answer_each(
    site: Site, server: RunningServer, broker: RunningBroker
) -> None:
    files = Files(site, server, 400)
    headers = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    produce(broker.bootstrap, "ftp-tasks", [message(job, headers=headers) for job in files.jobs])
    with site.running() as running:
        answers = site.wait_for_answers(400)
        assert end_of(running) == 0
    answers = site.answers()
    assert files.wrong() == []
    assert parts_below(site.local, server.root) == []
    assert set(answers) == {job["task_id"] for job in files.jobs}
    assert [found for found in answers.values() if len(found) != 1] == []
    assert {found[0]["status"] for found in answers.values()} == {"success"}
    assert {found[0]["verified"] for found in answers.values()} == {"size"}
    assert all(list(message.headers) == headers for message in site.messages("ftp-results"))
    total = sum(offset for offset, _ in site.committed().values())
    assert total == 400
    # A second run finds nothing to do.
    with site.running() as running:
        assert end_of(running) == 0
    assert sum(map(len, site.answers().values())) == 400


def test_sigterm_in_the_middle_leaves_nothing_half_written_and_a_restart_does_the_rest(
    tmp_path: Path, broker: RunningBroker
) -> None:
    # 8 MB/s for each session make the middle long enough to be met.
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=400_000) as server:
        site = Site(tmp_path / "site", broker.bootstrap, {"far": server}, {"transfer": {"drain_seconds": 1}})
        site.create_topics()
        files = Files(site, server, 200)
        produce(broker.bootstrap, "ftp-tasks", [message(job) for job in files.jobs])
        with site.running() as running:
            wait_until(lambda: running.get("/v1/status")["succeeded"] >= 20, "the middle")
            running.signal(signal.SIGHUP)
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            events = [event["event"] for event in running.events()]
        assert "service_stopped" in events
        done = site.answers()
        assert 20 <= len(done) < 200
        assert files.half_written() == []
        assert parts_below(site.local, server.root) == []
        with site.running() as running:
            site.wait_for_answers(200)
            assert end_of(running) == 0
        assert files.wrong() == []
        assert parts_below(site.local, server.root) == []
        assert [found for found in site.answers().values() if len(found) != 1] == []


def test_a_second_signal_ends_a_drain_at_once_and_loses_nothing(
    tmp_path: Path, broker: RunningBroker
) -> None:
    # What runs would take a thousand seconds, and the drain would wait for a third of that.
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=20_000) as server:
        site = Site(
            tmp_path / "site", broker.bootstrap, {"far": server}, {"transfer": {"drain_seconds": 300}}
        )
        site.create_topics()
        server.put("/large", bytes(20_000_000))
        server.put("/small", b"small")
        jobs = [
            flat(f"{size}-{number}", ("far", f"/{size}"), ("local", f"/{size}-{number}"))
            for size, count in (("small", 3), ("large", 2))
            for number in range(count)
        ]
        produce(broker.bootstrap, "ftp-tasks", [message(job) for job in jobs])
        with site.running() as running:
            wait_until(lambda: running.get("/v1/status")["succeeded"] == 3, "the small ones")
            running.signal(signal.SIGTERM)
            wait_until(lambda: "drain_begun" in events_of(running), "the drain")
            running.signal(signal.SIGTERM)
            assert running.wait() == 0
            assert "stopped_at_once" in events_of(running)
        assert parts_below(site.local, server.root) == []
        assert len(site.answers()) <= 3
        server.put("/large", b"large")
        with site.running() as running:
            site.wait_for_answers(5)
            assert end_of(running) == 0
        assert [found for found in site.answers().values() if len(found) != 1] == []
        assert parts_below(site.local, server.root) == []


def events_of(running: RunningPooler) -> list[str]:
    return [event["event"] for event in running.events()]


def test_killed_in_the_middle_loses_nothing(tmp_path: Path, broker: RunningBroker) -> None:
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=400_000) as server:
        site = Site(tmp_path / "site", broker.bootstrap, {"far": server})
        site.create_topics()
        files = Files(site, server, 120)
        produce(broker.bootstrap, "ftp-tasks", [message(job) for job in files.jobs])
        with site.running() as running:
            wait_until(lambda: running.get("/v1/status")["succeeded"] >= 20, "the middle")
            running.signal(signal.SIGKILL)
            running.wait()
        assert files.half_written() == []
        with site.running() as running:
            site.wait_for_answers(120)
            assert end_of(running) == 0
        assert files.wrong() == []


NEVER = {"overwrite": False}
BAD = [
    (flat("unknown-remote", ("nowhere", "/a"), ("local", "/a")), "UNKNOWN_REMOTE"),
    (flat("both-remote", ("far", "/a"), ("far", "/b")), "INVALID_JOB"),
    (flat("both-local", ("local", "/a"), ("local", "/b")), "INVALID_JOB"),
    (flat("out-far", ("far", "/../../etc/passwd"), ("local", "/a")), "PATH_OUTSIDE_ROOT"),
    (flat("out-near", ("far", "/there"), ("local", "/../a")), "PATH_OUTSIDE_ROOT"),
    (flat("out-link", ("far", "/there"), ("local", "/leaves/a")), "PATH_OUTSIDE_ROOT"),
    (flat("cr", ("far", "/a\rb"), ("local", "/a")), "INVALID_JOB"),
    (flat("lf", ("far", "/a\nDELE b"), ("local", "/a")), "INVALID_JOB"),
    (flat("nul", ("far", "/a\0b"), ("local", "/a")), "INVALID_JOB"),
    (flat("missing-far", ("far", "/none"), ("local", "/a")), "FILE_NOT_FOUND"),
    (flat("missing-near", ("local", "/none"), ("far", "/a")), "FILE_NOT_FOUND"),
    (flat("exists-near", ("far", "/there"), ("local", "/here"), options=NEVER), "DESTINATION_EXISTS"),
    (flat("exists-far", ("local", "/here"), ("far", "/there"), options=NEVER), "DESTINATION_EXISTS"),
    (flat("wrong-type", ("far", "/there"), ("local", "/x"), options={"retry_count": "3"}), "INVALID_JOB"),
    (flat("folder", ("far", "/there/"), ("local", "/x")), "INVALID_JOB"),
    ({"task_id": "empty-job"}, "INVALID_JOB"),
]  # fmt: skip


def test_bad_input_gets_its_code_or_its_dead_letter_and_the_service_goes_on(
    site: Site, server: RunningServer, broker: RunningBroker
) -> None:
    server.put("/there", b"twelve bytes")
    (site.local / "here").write_bytes(b"other")
    (site.local / "same").write_bytes(b"twelve bytes")
    (site.local / "leaves").symlink_to("/tmp")
    junk = os.urandom(1_000_000)
    nearly_1_mib = flat("large", ("far", "/there"), ("local", "/large"), metadata="m" * 1_047_000)
    large_failure = flat("large-failure", ("far", "/none"), ("local", "/large"), metadata="m" * 1_047_000)
    dead = [b"", b"not json", b"[1, 2]", junk]
    produce(
        broker.bootstrap,
        "ftp-tasks",
        [
            *(message(job, partition=0) for job, _ in BAD),
            *(Message(value, key=b"\xff", partition=1) for value in dead),
            Message(None, key=b"tombstone", partition=1),
            message(nearly_1_mib, partition=2),
            message(large_failure, partition=2),
            message(flat("good", ("far", "/there"), ("local", "/good")), partition=3),
            message(
                flat("same", ("local", "/same"), ("far", "/there"), options={"overwrite": "never"}),
                partition=3,
            ),
        ],
    )
    with site.running() as running:
        answers = site.wait_for_answers(len(BAD) + 4)
        wait_until(lambda: len(site.messages("ftp-tasks-dlq")) == len(dead) + 1, "the dead letters")
        # It goes on: what comes after all that is done as ever.
        produce(
            broker.bootstrap, "ftp-tasks", [message(flat("after", ("far", "/there"), ("local", "/after")))]
        )
        answers = site.wait_for_answers(len(BAD) + 5)
        assert end_of(running) == 0
    assert [found for found in answers.values() if len(found) != 1] == []
    codes = {task_id: found[0].get("error_code") for task_id, found in answers.items()}
    assert {job["task_id"]: code for job, code in BAD}.items() <= codes.items()
    assert (site.local / "good").read_bytes() == b"twelve bytes"
    assert (site.local / "large").read_bytes() == b"twelve bytes"
    assert (site.local / "after").read_bytes() == b"twelve bytes"
    assert answers["same"][0]["status"] == "skipped"
    assert codes["large"] is None
    assert codes["large-failure"] == "FILE_NOT_FOUND"
    assert answers["large-failure"][0]["job"]["offset"] == 1
    letters = site.messages("ftp-tasks-dlq")
    assert sorted(letter.value or b"" for letter in letters if letter.key == b"\xff") == sorted(dead)
    assert [letter.value for letter in letters if letter.key == b"tombstone"] == [None]
    assert all(dict(letter.headers)["__connect.errors.topic"] == b"ftp-tasks" for letter in letters)
    assert not (site.local.parent / "a").exists()
    assert sum(offset for offset, _ in site.committed().values()) == len(BAD) + len(dead) + 6


def test_jobs_are_submitted_from_a_file_with_the_remote_as_key(site: Site, server: RunningServer) -> None:
    server.put("/there", b"x")
    (site.local / "here").write_bytes(b"y")
    jobs = site.folder / "jobs.jsonl"
    lines = [
        json.dumps(flat("a", ("far", "/there"), ("local", "/a"))),
        "not a job",
        json.dumps(nested("b", ("local", "/here"), ("far", "/b"))),
    ]
    jobs.write_text("\n".join(lines))
    done = subprocess.run(
        site.command("job", "submit", str(jobs)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "submitted 2 jobs to ftp-tasks\n"
    assert "job 2:" in done.stderr
    assert {message.key for message in site.messages("ftp-tasks")} == {b"far"}
    with site.running() as running:
        answers = site.wait_for_answers(2)
        assert end_of(running) == 0
    assert {found[0]["status"] for found in answers.values()} == {"success"}
    assert (server.root / "b").read_bytes() == b"y"


def test_no_broker_is_told_and_is_fatal(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", "127.0.0.1:9", {}, {"kafka": {"max_retries": 1, "base_backoff_ms": 10}})
    with site.running(ready=False) as running:
        assert running.wait() == 7
        assert "127.0.0.1:9" in running.log.read_text()


def test_a_pause_holds_a_remote_and_a_drain_by_the_api_ends_the_service(
    site: Site, server: RunningServer, broker: RunningBroker
) -> None:
    server.put("/there", b"x")
    with site.running() as running:
        assert running.post("/v1/remotes/far/pause") == 200
        produce(broker.bootstrap, "ftp-tasks", [message(flat("held", ("far", "/there"), ("local", "/held")))])
        wait_until(lambda: running.get("/v1/remotes/far")["waiting"] == 1, "the job to wait in its lane")
        assert not (site.local / "held").exists()
        assert running.post("/v1/remotes/far/resume") == 200
        site.wait_for_answers(1)
        assert (site.local / "held").read_bytes() == b"x"
        assert running.post("/v1/drain") == 202
        assert running.wait() == 0
