"""What the flow does about markers, checks, and parts of processes that are gone."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments
# ruff: noqa: ASYNC240 - a look at a folder of the test's own

from collections.abc import Sequence
from pathlib import Path

import pytest
from trio.testing import MockClock

from pooler.errors import ErrorCode, LocalFileError, PoolerError, Remedy
from pooler.flow import finisher
from pooler.model.job import After
from pooler.model.outcome import Status
from pooler.storage.landing import FlushPolicy, PartFile
from tests.support.flow_double import CONTENT, FakeServer, Flow, Shape, download, upload


async def test_a_download_is_marked_once_it_has_its_name(autojump_clock: MockClock, tmp_path: Path) -> None:
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(download("one", write_marker=True), download("two"))
        await flow.endings.wait_empty()
    assert {path.name for path in tmp_path.iterdir()} == {"one", "one.ok", "two"}
    assert (tmp_path / "one.ok").read_bytes() == b""
    outcomes = flow.outcomes()
    assert (outcomes["one"].marked, outcomes["two"].marked) == (True, False)


async def test_a_marker_comes_before_what_becomes_of_the_source(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    server = FakeServer()
    seen: list[bool] = []

    async def on_remove(_path: str) -> None:
        seen.append((tmp_path / "one.ok").exists())

    server.on_remove = on_remove
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one", write_marker=True, after=After.DELETE))
        await flow.endings.wait_empty()
    assert seen == [True]
    outcome = flow.outcomes()["one"]
    assert (outcome.marked, outcome.after) == (True, "deleted")


@pytest.mark.parametrize("after", [After.NONE, After.DELETE])
async def test_a_download_without_its_marker_has_failed(
    autojump_clock: MockClock, tmp_path: Path, after: After
) -> None:
    (tmp_path / "one.ok").mkdir()
    server = FakeServer()
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(download("one", write_marker=True, after=after), download("two", write_marker=True))
        await flow.endings.wait_empty()
    assert flow.codes() == {"one": "DESTINATION_EXISTS", "two": "ok"}
    assert (tmp_path / "one").read_bytes() == CONTENT
    assert server.removed == []


async def test_a_download_that_did_not_land_is_not_marked(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def land(files: Sequence[PartFile], _policy: FlushPolicy) -> list[PoolerError | None]:
        for file in files:
            file.discard()
        return [LocalFileError(ErrorCode.DESTINATION_EXISTS, "x", Remedy.NEVER) for _ in files]

    monkeypatch.setattr(finisher, "land", land)
    flow = Flow(tmp_path, far=FakeServer())
    async with flow.running():
        await flow.give(download("one", write_marker=True))
        await flow.endings.wait_empty()
    assert flow.codes() == {"one": "DESTINATION_EXISTS"}
    assert list(tmp_path.glob("*.ok")) == []


async def test_an_upload_is_marked(autojump_clock: MockClock, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    server = FakeServer()
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(upload("one", write_marker=True))
        await flow.endings.wait_empty()
    assert flow.outcomes()["one"].marked
    assert server.stored == {"/one": CONTENT, "/one.ok": b""}


async def test_a_check_does_nothing_to_either_side(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = FakeServer()
    flow = Flow(tmp_path, far=server)
    async with flow.running():
        await flow.give(
            download("one", check=True, after=After.DELETE, write_marker=True),
            download("missing", check=True),
        )
        await flow.endings.wait_empty()
    assert flow.codes() == {"one": "ok", "missing": "FILE_NOT_FOUND"}
    outcome = flow.outcomes()["one"]
    assert (outcome.status, outcome.bytes_transferred, outcome.verified) == (Status.SUCCESS, 0, "none")
    assert (outcome.after, outcome.marked) == (None, False)
    new = {"destination": "new", "folder": "there", "differs": "missing"}
    assert outcome.check == {"source_bytes": len(CONTENT)} | new
    assert (server.removed, server.transfers, list(tmp_path.iterdir())) == ([], [], [])


@pytest.mark.parametrize(
    ("resume_above_bytes", "asked_along"),
    [(len(CONTENT) + 1, [False, True, True]), (len(CONTENT), [False, False, False])],
)
async def test_who_has_fetched_a_small_file_asks_about_the_next_one_as_it_fetches_it(
    autojump_clock: MockClock, tmp_path: Path, resume_above_bytes: int, asked_along: list[bool]
) -> None:
    """A large one may have a part to go on with, which size and time tell: they come first."""
    server = FakeServer()
    flow = Flow(tmp_path, Shape(limit=1, resume_above_bytes=resume_above_bytes), far=server)
    async with flow.running():
        await flow.give(*map(download, ("one", "two", "three")))
        await flow.endings.wait_empty()
    assert flow.codes() == dict.fromkeys(("one", "two", "three"), "ok")
    assert server.asked_along == asked_along
