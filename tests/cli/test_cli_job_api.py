"""``pooler job running``, ``show`` and ``cancel``, asking the admin API over a real socket."""

import json
from dataclasses import replace

from pooler.cli import exits
from tests.support.command import Command
from tests.support.service_double import RUNNING, WAITING, ServiceDouble


async def test_what_runs_is_listed(command: Command) -> None:
    code, out, err = await command("job", "running")
    assert (code, err) == (exits.OK, "")
    assert [line.split() for line in out.splitlines()] == [
        ["JOB", "REMOTE", "WAY", "SINCE", "MOVED", "MB/S", "SOURCE"],
        ["task-1", "site-a", "download", "0.5", "4096", "0.01", "site-a:/out/1.bin"],
    ]
    code, out, _ = await command("job", "running", "-o", "json")
    assert code == exits.OK
    assert [job["task_id"] for job in json.loads(out)] == ["task-1"]


async def test_a_job_is_shown_with_what_became_of_it(command: Command) -> None:
    code, out, err = await command("job", "show", "task-b")
    assert (code, err) == (exits.OK, "")
    assert "ftp.example.org:21: no answer in 30 s" in out
    code, out, _ = await command("job", "show", WAITING.task_id, "-o", "json")
    assert code == exits.OK
    assert json.loads(out)["in_hand"][0]["running"] is False


async def test_words_of_others_are_not_obeyed(command: Command, service: ServiceDouble) -> None:
    service.in_hand = [replace(RUNNING, task_id="\x1b[2J")]
    for words in (("job", "running"), ("job", "show", "\x1b[2J"), ("job", "cancel", "\x1b[2J")):
        code, out, _ = await command(*words)
        assert code == exits.OK
        assert "\x1b" not in out
        assert "\\x1b[2J" in out


async def test_a_job_is_cancelled(command: Command, service: ServiceDouble) -> None:
    code, out, err = await command("job", "cancel", "task-1", "--why", "too big")
    assert (code, out, err) == (exits.OK, "task-1: cancelled, its transfer is broken off\n", "")
    assert service.calls == [("cancel", "task-1", "cancelled by operate-name: too big")]
    _, out, _ = await command("job", "cancel", WAITING.task_id)
    assert out == f"{WAITING.task_id}: cancelled, it waits, and is not begun\n"


async def test_a_job_that_nobody_knows(command: Command) -> None:
    for verb in ("show", "cancel"):
        code, out, err = await command("job", verb, "none")
        assert (code, out) == (exits.USAGE, "")
        assert "No job 'none' is in hand, nor among the last that ended." in err


async def test_one_that_has_ended_cannot_be_cancelled(command: Command, service: ServiceDouble) -> None:
    code, _, err = await command("job", "cancel", "task-b")
    assert code == exits.USAGE
    assert "it has ended" in err
    assert service.calls == []
