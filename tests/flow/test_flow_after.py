"""A session is lost over what is to become of a source: the copy is there, and another session goes on."""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

from pathlib import Path

import pytest
from trio.testing import MockClock

from pooler.errors import ErrorCode, PoolerError, ReplyError, SessionLost
from pooler.model.job import After
from pooler.model.outcome import Outcome, Status
from tests.support.flow_double import CONTENT, FakeServer, Flow, Shape, download


class Unsteady(FakeServer):
    """Fails at the first removals."""

    def fails(self, *errors: PoolerError, done: bool = False) -> None:
        """Fail so often, having removed the file or not."""
        left = list(errors)

        async def on_remove(path: str) -> None:
            if left:
                if done:
                    self.stored.pop(path)
                    self.gone.add(path)
                raise left.pop(0)

        self.stored["/one"] = CONTENT
        self.on_remove = on_remove


async def run(server: FakeServer, folder: Path, attempts: int = 4) -> Outcome:
    flow = Flow(folder, Shape(attempts=attempts), far=server)
    async with flow.running():
        await flow.give(download("one", after=After.DELETE))
        await flow.endings.wait_empty()
    assert (folder / "one").read_bytes() == CONTENT
    assert server.transfers == ["/one"]  # nothing is copied again
    return flow.outcomes()["one"]


@pytest.mark.parametrize("done", [False, True], ids=["before", "behind"])
async def test_the_source_is_removed_on_another_session(
    autojump_clock: MockClock, tmp_path: Path, *, done: bool
) -> None:
    server = Unsteady()
    server.fails(SessionLost("reset"), done=done)
    outcome = await run(server, tmp_path)
    assert (outcome.status, outcome.after, outcome.after_error) == (Status.SUCCESS, "deleted", None)
    assert "/one" not in server.stored
    assert server.opened == 2


async def test_a_job_whose_copy_is_there_does_not_fail(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = Unsteady()
    server.fails(*[SessionLost("reset")] * 20)
    outcome = await run(server, tmp_path, attempts=2)
    assert (outcome.status, outcome.after, outcome.after_error) == (Status.SUCCESS, "left", "reset")
    assert outcome.verified == "size"
    assert "/one" in server.stored


async def test_a_server_that_says_no_is_not_asked_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    server = Unsteady()
    server.fails(ReplyError(550, "no", "DELE", code=ErrorCode.PERMISSION_DENIED))
    outcome = await run(server, tmp_path)
    assert outcome.after == "left"
    assert outcome.after_error is not None
    assert "550" in outcome.after_error
    assert server.opened == 1
