"""Deeds on a stage of cardboard, in virtual time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from tests.chaos.deeds import Deeds
from tests.chaos.schedule import Act, Cast, schedule
from tests.chaos.services import Service
from tests.chaos.stage import Stage

KINDS = ("broker-1", "broker-2", "vsftpd")
FAR_S = 10_000.0


class Actor:
    """Anything that is killed or frozen, and comes back."""

    def __init__(self, others_down: list[int]) -> None:
        self.down = others_down
        self.busy = False
        self.suffered: Counter[str] = Counter()
        self.was_seen = 0

    def _fall(self, how: str) -> None:
        self.down[0] += 1
        self.down[1] = max(self.down)
        self.suffered[how] += 1

    def _rise(self) -> None:
        self.down[0] -= 1
        assert self.down[0] >= 0

    def kill(self) -> None:
        self._fall("kill")

    stop = kill

    def leave(self) -> None:
        self._fall("leave")

    def freeze(self) -> None:
        self._fall("freeze")

    def start(self) -> None:
        self._rise()

    thaw = start

    def look(self) -> bool:
        self.was_seen += 1
        return False


@dataclass
class Cardboard:
    """A stage: `down` counts who is down now, and how many were at most."""

    services_down: list[int] = field(default_factory=lambda: [0, 0])
    brokers_down: list[int] = field(default_factory=lambda: [0, 0])
    servers_down: list[int] = field(default_factory=lambda: [0, 0])
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.services = [Actor(self.services_down) for _ in range(4)]
        self.brokers = [Actor(self.brokers_down) for _ in range(3)]
        self.servers = {str(number): Actor(self.servers_down) for number in range(3)}
        self.cluster = self.overseer = self.cutter = self

    def wait_in_sync(self) -> None:
        self.calls["wait_in_sync"] += 1
        # Whoever else wants to kill a broker has to wait for this.
        assert self.brokers_down[0] == 0

    def cut(self, *_: Any) -> int:
        self.calls["cut"] += 1
        return 3

    def _note(self, name: str) -> Callable[..., None]:
        return lambda *_: self.calls.update([name])

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in {"stall", "slow", "calm"}:
            raise AttributeError(name)
        return self._note(name)


def deeds_on(board: Cardboard, diary: Path) -> Deeds:
    return Deeds(cast(Stage, board), cast(list[Service], board.services), diary)


@pytest.mark.parametrize("seed", range(5))
async def test_at_most_one_broker_is_down_and_everybody_is_back_in_the_end(
    seed: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    board, diary = Cardboard(), tmp_path / "diary"
    acts = schedule(seed, 600, Cast(4, 3, 3, KINDS))
    deeds = deeds_on(board, diary)
    await deeds.run(acts)
    assert board.brokers_down == [0, 1]
    assert board.services_down[0] == board.servers_down[0] == 0
    assert board.calls["calm"] == 1
    assert board.calls["wait_in_sync"] == deeds.done["kill broker"] > 0
    assert deeds.done["connections cut"] == 3 * deeds.done["cut"] > 0
    carried_out = sum(deeds.done.values()) - deeds.done["connections cut"]
    assert carried_out == len(acts) == len(diary.read_text().splitlines())
    assert deeds.done["left out"] == diary.read_text().count(" left out\n") > 0
    assert autojump_clock.current_time() < FAR_S


async def test_who_is_frozen_is_not_killed_and_is_woken_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    board = Cardboard()
    deeds = deeds_on(board, tmp_path / "diary")
    await deeds.run(
        [
            Act(1, "freeze", 2, lasts_s=FAR_S),
            Act(2, "kill", 2),
            Act(3, "leave", 2),
            Act(FAR_S + 2, "kill", 2, lasts_s=1),
        ]
    )
    assert board.services[2].suffered == {"freeze": 1, "kill": 1}
    assert deeds.done == {"freeze": 1, "kill": 1, "left out": 2}
    assert autojump_clock.current_time() > FAR_S


async def test_who_falls_by_itself_is_started_again_unless_it_is_dead_on_purpose(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    board = Cardboard()
    fallen, dead = board.services[:2]
    dead.busy = True
    rises = trio.Event()
    fallen.look = lambda: not rises.is_set()  # type: ignore[method-assign]  # it has ended by itself
    fallen.start = rises.set  # type: ignore[method-assign]  # and is not counted
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deeds_on(board, tmp_path / "diary").tend)
        await rises.wait()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert not dead.was_seen
    assert board.services[2].was_seen >= 5
    assert autojump_clock.current_time() >= 5
