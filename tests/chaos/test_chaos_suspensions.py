"""The eye on the event loop, on a loop of asyncio's own and an await of `pooler.bus`."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from pooler.bus.clients import bounded
from tests.support.suspensions import Watch


def moments(folder: Path, *, in_hand: int, moment: str = "") -> list[str]:
    file = folder / "moments.txt"
    file.touch()
    watch = Watch(file, moment)
    watch.in_hand = in_hand

    async def work() -> int:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(watch.make_task)
        answer: int = await loop.create_task(bounded(asyncio.sleep(0, 42), 60))
        return answer

    assert asyncio.run(work()) == 42
    return file.read_text().splitlines()


def test_an_await_is_two_moments_and_has_a_place(tmp_path: Path) -> None:
    at, behind = moments(tmp_path, in_hand=1)
    assert at.startswith("at bounded:")
    assert behind == at.replace("at ", "behind ")


def test_what_was_met_before_is_not_told_again(tmp_path: Path) -> None:
    assert moments(tmp_path, in_hand=1) == moments(tmp_path, in_hand=1)


def test_without_a_publication_in_hand_there_are_none(tmp_path: Path) -> None:
    assert moments(tmp_path, in_hand=0) == []


@pytest.mark.parametrize("number", [0, 1])
def test_it_kills_its_own_process_at_the_moment_given(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = moments(tmp_path, in_hand=1)[number]
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    moments(tmp_path, in_hand=1, moment=moment)
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_errors_pass_through(tmp_path: Path) -> None:
    (tmp_path / "moments.txt").touch()
    watch = Watch(tmp_path / "moments.txt", "")

    async def fail() -> None:
        raise ValueError("through")

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(watch.make_task)
        await loop.create_task(bounded(fail(), 60))

    with pytest.raises(ValueError, match="through"):
        asyncio.run(work())
