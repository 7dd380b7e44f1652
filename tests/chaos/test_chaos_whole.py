"""Chaos, brief lives, and death at an await, each in short; ``python -m tests.chaos`` has the long forms."""

from itertools import islice
from pathlib import Path

import pytest
import trio

from tests.chaos.awaits import standing_lives
from tests.chaos.run import Plan, run
from tests.chaos.stage import standing_stage

pytestmark = pytest.mark.chaos

_SEED = 20


async def test_half_a_minute_of_chaos_loses_nothing(tmp_path: Path) -> None:
    with standing_stage(tmp_path, _SEED) as stage:
        verdict = await run(stage, Plan(name="short", seed=_SEED, jobs=200, seconds=30, doubles=1))
    assert verdict.breaks == []
    assert verdict.figures["jobs"] == 200


async def test_connections_of_a_second_are_enough(tmp_path: Path) -> None:
    with standing_stage(tmp_path, _SEED, lives_s=(0.5, 1.5)) as stage:
        plan = Plan(name="brief", seed=_SEED, jobs=20, seconds=5, acts=False, doubles=1)
        verdict = await run(stage, plan)
        cut = {kind: counts.get("cut", 0) for kind, counts in stage.cutter.counts().items()}
    assert verdict.breaks == []
    assert all(cut[kind] for kind in cut if kind.startswith("broker"))


async def test_who_dies_while_publishing_is_made_up_for(tmp_path: Path) -> None:
    def lives() -> None:
        with standing_lives(tmp_path, _SEED) as standing:
            first, *others = islice(standing.each(), 4)
            assert not first.died
            assert all(life.died for life in others)
            assert [life.verdict.breaks for life in (first, *others)] == [[], [], [], []]

    await trio.to_thread.run_sync(lives)
