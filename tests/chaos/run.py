"""One run: jobs come in while acts are performed, then all is calm, and what there is must be the truth."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import trio

from tests.chaos.deeds import Deeds
from tests.chaos.schedule import schedule
from tests.chaos.services import LEAVING_S
from tests.chaos.stage import Stage, Troupe, gather
from tests.chaos.topics import Read, Reader, Submitter
from tests.chaos.verdict import (
    MEMORY_LIMIT_BYTES,
    Verdict,
    judge_answers,
    judge_files,
    judge_logs,
    leftovers,
    tell,
)
from tests.chaos.workload import Order, Truth, Workload

_TICK_S = 0.1
_POLL_S = 0.5
_CONTENTS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to be.

    Attributes:
        name: which no other run on the stage has.
        seed: of its jobs and of its acts.
        jobs: how many.
        services: how many processes.
        seconds: over which jobs come in, and acts are performed.
        acts: whether there are any.
        settle_s: in which everything must be answered once all is calm.
        largest_bytes: the largest file.
        exactly_once: whether ``kafka.delivery`` is that.
        leftovers: how many temporary files may be left, on all sides together.
        doubles: how many copies may be made again of what was right already, for each job.
        sweep_s: for how long to wait until no more are left than that.
    """

    name: str
    seed: int
    jobs: int
    services: int = 4
    seconds: float = 300.0
    acts: bool = True
    settle_s: float = 300.0
    largest_bytes: int = 300 * 1024
    exactly_once: bool = True
    leftovers: int = 0
    doubles: float = 0.01
    sweep_s: float = 180.0


async def run(stage: Stage, plan: Plan) -> Verdict:
    """Run it.

    Args:
        stage: where; it is as before afterwards.
        plan: what.

    Returns:
        What was found.

    Cancellation: processes are killed.
    """
    delivery = "exactly_once" if plan.exactly_once else "at_least_once"
    troupe = await _in_thread(
        partial(
            gather,
            stage,
            plan.name,
            services=plan.services,
            settings={"kafka": {"delivery": delivery}},
        )
    )
    workload = await _in_thread(
        partial(
            Workload,
            plan.seed,
            troupe.site.local,
            stage.servers,
            contents=min(plan.jobs, _CONTENTS),
            largest_bytes=plan.largest_bytes,
            prefix=plan.name,
        )
    )
    acts = schedule(plan.seed, plan.seconds, stage.cast(plan.services)) if plan.acts else []
    deeds = Deeds(stage, troupe.services, troupe.site.folder / "acts.txt")
    verdict = Verdict()
    try:
        began = trio.current_time()
        for service in troupe.services:
            service.start()
        async with trio.open_nursery() as tending:
            tending.start_soon(deeds.tend)
            async with trio.open_nursery() as playing:
                playing.start_soon(_submit, stage, troupe, workload.orders(plan.jobs), plan)
                playing.start_soon(deeds.run, acts)
            calm_at = trio.current_time()
            given = await _in_thread(partial(stage.overseer.records, troupe.topics.tasks))
            if given != plan.jobs:  # who loses them is not the one that is tried
                raise RuntimeError(f"{given} of {plan.jobs} jobs are on the topic")
            with trio.move_on_after(plan.settle_s):
                await _in_thread(stage.overseer.wait_in_sync)
                await _wait_for_answers(stage, troupe)
            settled_at = trio.current_time()
            with trio.move_on_after(plan.sweep_s):
                await _wait_for_sweep(stage, troupe, plan)
            swept_at = trio.current_time()
            tending.cancel_scope.cancel()
        async with trio.open_nursery() as leaving:
            for service in troupe.services:
                leaving.start_soon(_in_thread, service.leave)
    finally:
        for service in troupe.services:
            service.kill()
    verdict.figures |= {
        "seconds in all": round(swept_at - began),
        "seconds until calm was all answered": round(settled_at - calm_at),
        "seconds until the dead were swept": round(swept_at - settled_at),
    }
    await _in_thread(partial(_judge, verdict, stage, troupe, workload.truth, plan))
    verdict.figures |= {f"acts: {what}": count for what, count in sorted(deeds.done.items())}
    return verdict


async def _submit(stage: Stage, troupe: Troupe, orders: Iterator[Order], plan: Plan) -> None:
    """Hand jobs over, evenly over the time that there is."""
    submitter = Submitter(stage.bootstrap, troupe.topics.tasks)
    began, given = trio.current_time(), 0
    while given < plan.jobs:
        elapsed_s = trio.current_time() - began
        due = plan.jobs if elapsed_s >= plan.seconds else int(plan.jobs * elapsed_s / plan.seconds)
        chunk = list(islice(orders, due - given))
        given = due
        await _in_thread(partial(submitter.submit, chunk))
        await trio.sleep(_TICK_S)
    await _in_thread(submitter.finish)


async def _wait_for_answers(stage: Stage, troupe: Troupe) -> None:
    """Wait until the group has committed all that was submitted, which comes behind the answers."""
    while await _in_thread(  # noqa: ASYNC110 - nobody tells
        partial(stage.overseer.uncommitted, troupe.site.group, troupe.topics.tasks)
    ):
        await trio.sleep(_POLL_S)


async def _wait_for_sweep(stage: Stage, troupe: Troupe, plan: Plan) -> None:
    """Wait until the living have found out who is dead, and have removed what those left."""
    folders = _folders(stage, troupe, plan)
    while len(await _in_thread(partial(leftovers, folders))) > plan.leftovers:  # noqa: ASYNC110 - nobody tells
        await trio.sleep(_POLL_S)


def _folders(stage: Stage, troupe: Troupe, plan: Plan) -> list[Path]:
    """Tell where the files of a run are."""
    return [troupe.site.local, *(server.root / plan.name for server in stage.servers.values())]


def _judge(verdict: Verdict, stage: Stage, troupe: Troupe, truth: Truth, plan: Plan) -> None:
    with closing(Reader(stage.bootstrap, troupe.topics.answers)) as reader:
        answers = [tell(answer, troupe.topics.dead_letters) for answer in everything(reader)]
    judge_answers(verdict, truth, answers, exactly_once=plan.exactly_once)
    judge_files(verdict, truth, answers)
    left = leftovers(_folders(stage, troupe, plan))
    verdict.find("temporary files left", left, allowed=plan.leftovers)
    events: Iterator[Mapping[str, Any]] = (event for service in troupe.services for event in service.events())
    judge_logs(verdict, events, truth.fates, doubles=plan.doubles)
    owed = stage.overseer.uncommitted(troupe.site.group, troupe.topics.tasks)
    verdict.find("offsets not committed", range(owed))
    falls = [f"pooler-{service.number}: {status}" for service in troupe.services for status in service.falls]
    verdict.find("processes that ended by themselves", falls)
    late = [f"pooler-{service.number}" for service in troupe.services for _ in range(service.late)]
    verdict.find(f"did not leave within {LEAVING_S:g} s", late)
    most = max(service.most_bytes for service in troupe.services)
    verdict.figures["most memory of a process, in MB"] = round(most / 1e6)
    if most > MEMORY_LIMIT_BYTES:
        verdict.breaks.append(f"memory: a process had {most / 1e6:.0f} MB")


def everything(reader: Reader) -> Iterator[Read]:
    """Read to the end of what is committed."""
    while True:
        found = reader.read(1.0)
        yield from found
        if not found and reader.at_end():
            return


async def _in_thread(work: Any) -> Any:
    return await trio.to_thread.run_sync(work)
