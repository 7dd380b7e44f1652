import io
import re

import pytest
import trio
from rich.console import Console

from pooler.demo.board import Board, Standing


def make_board(*, terminal: bool, kind: str = "xterm") -> tuple[Board, io.StringIO]:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=terminal, width=100, color_system=None, _environ={"TERM": kind}
    )
    return Board(console), out


def test_lines_are_told_as_they_are() -> None:
    board, out = make_board(terminal=False)
    board.say("site-a", "[bold]" + "x" * 200)
    assert out.getvalue() == f"site-a    [bold]{'x' * 200}\n"


@pytest.mark.parametrize(("terminal", "kind"), [(False, "xterm"), (True, "dumb")])
async def test_elsewhere_a_line_is_told_now_and_then(
    autojump_clock: trio.testing.MockClock,
    terminal: bool,  # noqa: FBT001 - a parameter of the table
    kind: str,
) -> None:
    board, out = make_board(terminal=terminal, kind=kind)
    done = iter(range(100))
    async with board.following(lambda: [Standing("site-a", next(done), 9, "well")]):
        await trio.sleep(5)
    assert autojump_clock.current_time() == 5
    assert out.getvalue().split() == ["site-a", "0/9", "(well)", "site-a", "1/9", "(well)"]


async def test_on_a_terminal_the_last_state_of_the_bars_stays(autojump_clock: trio.testing.MockClock) -> None:
    board, out = make_board(terminal=True)
    standing = Standing("site-a", 3, 9, "[well]")
    async with board.following(lambda: [standing]):
        await trio.sleep(1)
        standing = Standing("site-a", 9, 9, "[done]")
    assert autojump_clock.current_time() == 1
    drawn = re.findall(r"\d/9 \[\w+\]", out.getvalue())
    assert (drawn[0], drawn[-1]) == ("3/9 [well]", "9/9 [done]")
