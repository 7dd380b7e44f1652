import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from rich.console import Console

from pooler.config import Configuration
from pooler.config.remotes import Connections
from pooler.config.settings import Settings
from pooler.demo import story
from pooler.demo.board import Board
from pooler.demo.errors import DemoFailed
from pooler.demo.files import FileMaker
from pooler.demo.jobs import DemoJob, plan_jobs


class Copied(NamedTuple):
    told: story._Story
    jobs: list[DemoJob]
    out: io.StringIO


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    """Four jobs, all done and answered as they should be."""
    roots = [tmp_path / "local", tmp_path / "site-a"]
    jobs = plan_jobs(4, roots[0], {"site-a": roots[1]})
    made = [FileMaker(1).make(job.source, number) for number, job in enumerate(jobs)]
    for job in jobs:
        job.destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.source, job.destination)
    out = io.StringIO()
    stage = story._Stage(tmp_path, roots, [], Configuration(Settings(), Connections()), "token", jobs, made)
    told = story._Story(stage, Board(Console(file=out, width=100)))
    for job, file in zip(jobs, made, strict=True):
        answer(told, job, bytes_transferred=file.size_bytes)
    return Copied(told, jobs, out)


def answer(told: story._Story, job: DemoJob, **fields: object) -> None:
    record = {"task_id": job.task_id, "status": "success", "src_id": "local", "dst_id": job.remote}
    told._answers.by_job.pop(job.task_id, None)
    told._answers.take(json.dumps({**record, "bytes_transferred": 0, **fields}).encode())


async def test_when_all_is_right_nothing_is_wrong(copied: Copied) -> None:
    assert await copied.told._check() == []
    copied.told._tell_end([])
    assert copied.out.getvalue().endswith("0 failed, 4 verified; all right\n")


def lose_answer(copied: Copied) -> None:
    del copied.told._answers.by_job["demo-00001"]


def fail(copied: Copied) -> None:
    why = {"status": "failed", "error_code": "DISK_FULL", "error_message": "full"}
    answer(copied.told, copied.jobs[1], **why)


def skip(copied: Copied) -> None:
    answer(copied.told, copied.jobs[1], status="skipped")


def tell_other_size(copied: Copied) -> None:
    answer(copied.told, copied.jobs[1], bytes_transferred=1)


def answer_a_stranger(copied: Copied) -> None:
    copied.told._answers.by_job["who"] = {}


def bury(copied: Copied) -> None:
    copied.told._answers.dead_letters = 2


def change_a_byte(copied: Copied) -> None:
    content = bytearray(copied.jobs[1].destination.read_bytes())
    content[50_000] ^= 255
    copied.jobs[1].destination.write_bytes(content)


def lose_copy(copied: Copied) -> None:
    copied.jobs[1].destination.unlink()


def leave_part(copied: Copied) -> None:
    copied.jobs[1].destination.with_name(".pooler-1-2-3.part").touch()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lose_answer, "demo-00001: no answer"),
        (fail, "demo-00001: DISK_FULL: full"),
        (skip, "demo-00001: skipped, 0 bytes"),
        (tell_other_size, "demo-00001: success, 1 bytes"),
        (answer_a_stranger, "who: an answer that nobody asked for"),
        (bury, "2 dead letters"),
        (change_a_byte, "has other bytes"),
        (lose_copy, "is missing"),
        (leave_part, ".part: left behind"),
    ],
)
async def test_whatever_is_wrong_is_told(copied: Copied, spoil: Callable[[Copied], None], why: str) -> None:
    spoil(copied)
    wrong = await copied.told._check()
    assert len(wrong) == 1
    assert wrong[0].endswith(why)
    copied.told._tell_end(wrong)
    assert why in copied.out.getvalue()
    assert "all right" not in copied.out.getvalue()


async def test_of_many_mistakes_some_are_told(copied: Copied) -> None:
    copied.told._tell_end([f"mistake {number}" for number in range(12)])
    assert "mistake 9\n" in copied.out.getvalue()
    assert "mistake 10" not in copied.out.getvalue()
    assert "and 2 more" in copied.out.getvalue()


def test_without_room_it_does_not_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    board = Board(Console(file=io.StringIO()))
    with pytest.raises(DemoFailed, match=r"files need \d+ MB below"):
        trio.run(partial(story.show, 10**9, keep=False, board=board))
    assert list(tmp_path.iterdir()) == []
