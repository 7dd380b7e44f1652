"""The play: what is done to a StatefulSet while jobs go through it, and what must be true of it then.

1. Two pods of the last release. A remote is paused, and jobs for it wait in each partition, so that what is
   done behind them stands in the gaps of the commits.
2. One of the pods gets this release: both are there. It obeys the pause, and goes on behind the gaps. It
   resumes the remote and pauses it again, with new jobs that wait, and is rolled back: the last release has
   to obey, and go on behind gaps of the other's.
3. All get this release. Two pods become four. One is lost with its machine; the machine of another one falls
   silent, that pod is replaced, and then it wakes. Four pods become one.
"""

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from pooler.bus.ledger import decode_gaps
from tests.chaos.topics import Overseer
from tests.chaos.verdict import Verdict, judge_answers, judge_files, judge_logs, leftovers, tell
from tests.rehearsal.pauses import see
from tests.rehearsal.pods import Place, Pod
from tests.rehearsal.releases import Release
from tests.rehearsal.stateful import StatefulSet
from tests.rehearsal.traffic import DEAD_LETTERS, HELD, SERVER, TASKS, TOPICS, Traffic, make_workload
from tests.support.kafka import committed, create_topics
from tests.support.servers import RunningServer

SESSIONS = 4
"""Of each pod on each remote."""
_GROUP = "ftp-pooler"
_POLL_S = 0.25
_WITHIN_S = 30.0
_REPLACED_AFTER_S = 5.0
_SILENT_S = 10.0
_WAKES_S = 10.0
_STEADY_S = 3.0
_DOUBLES = 0.01

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What it is to be.

    Attributes:
        jobs: how many, at least.
        per_s: how many a second come in, at most, until the play is over.
        settle_s: in which the rest must be answered.
        seed: of the jobs.
    """

    jobs: int = 20_000
    per_s: float = 110.0
    settle_s: float = 180.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of the play.

    Attributes:
        name: what happens.
        began_s: when it began, in seconds since 1970.
        ended_s: when it ended.
    """

    name: str
    began_s: float
    ended_s: float


@dataclass(slots=True)
class Stage:
    """What the play takes place on.

    Attributes:
        folder: everything is there.
        bootstrap: the broker.
        server: the FTP server, which is two remotes.
        shared: the folder that all pods see.
        say: tells somebody what goes on.
    """

    folder: Path
    bootstrap: str
    server: RunningServer
    say: Callable[[str], None]
    shared: Path = field(init=False)

    def __post_init__(self) -> None:
        self.shared = self.folder / "shared"
        self.shared.mkdir(parents=True)

    def place(self) -> Place:
        """Tell pods where they are."""
        server = self.server
        remotes = "".join(
            f"[{name}]\ntype = ftp\nhost = {server.host}\nport = {server.port}\nuser = {server.user}\n"
            f"pass = {server.password}\nmax_sessions = {SESSIONS}\n\n"
            for name in (SERVER, HELD)
        )
        local = f"[local]\ntype = local\nbase_path = {self.shared}\n"
        return Place(self.folder / "pods", self.shared, self.bootstrap, remotes + local)


async def play(stage: Stage, last: Release, this: Release, plan: Plan) -> Verdict:
    """Play it.

    Args:
        stage: where.
        last: the release to come from.
        this: the release to go to.
        plan: what.

    Returns:
        What was found.

    Cancellation: all processes are killed.
    """
    await _in_thread(partial(create_topics, stage.bootstrap, TOPICS))
    workload = await _in_thread(partial(make_workload, plan.seed, stage.shared, stage.server))
    traffic = Traffic(stage.bootstrap, stage.server, stage.shared, workload, jobs=plan.jobs, per_s=plan.per_s)
    async with trio.open_nursery() as pods:
        actors = StatefulSet(stage.place(), nursery=pods)
        company = _Company(stage, actors, traffic)
        pods.start_soon(traffic.listen)
        await actors.scale(last.spec.replicas, last)
        async with trio.open_nursery() as playing:
            playing.start_soon(traffic.submit)
            await company.perform(last, this)
            traffic.last_act.set()
            stage.say("waiting for the rest ...")
        with trio.move_on_after(plan.settle_s):
            await traffic.until_answered()
        await actors.scale(0, this)
        pods.cancel_scope.cancel()
    await _in_thread(company.judge)
    return company.verdict


class _Company:
    """The play, act by act, and what is seen of it."""

    def __init__(self, stage: Stage, actors: StatefulSet, traffic: Traffic) -> None:
        self.verdict = Verdict()
        self._stage = stage
        self._actors = actors
        self._traffic = traffic
        self._scenes: list[Scene] = []
        self._woke: Pod | None = None

    async def perform(self, last: Release, this: Release) -> None:
        """Do all that is done to the pods."""
        actors, one = self._actors, last.spec.replicas - 1
        async with self._scene("two pods of the last release"):
            await self._pause()
            await self._traffic.hold("first")
            await self._pass(_STEADY_S)
        async with self._scene("one of them gets this release"):
            await self._see_gaps("of the last release")
            await actors.roll(this, down_to=one)
        async with self._scene("both releases side by side"):
            await self._until_told(actors.pods[one], paused=True)
            await self._until_told(actors.pods[0], paused=True)
            await self._until_seen()
            await self._resume("first", at=actors.pods[one])
            await self._until_told(actors.pods[0], paused=False)
            await self._pass(_STEADY_S)
            await self._pause(at=actors.pods[one])
            await self._traffic.hold("second")
            await self._pass(_STEADY_S)
        async with self._scene("it is rolled back"):
            await self._see_gaps("of both releases")
            await actors.roll(last, down_to=one)
            await self._until_told(actors.pods[one], paused=True)
            await self._resume("second", at=actors.pods[one])
        async with self._scene("all get this release"):
            await actors.roll(this)
        async with self._scene("two pods become four"):
            await actors.scale(4, this)
            await self._pass(_STEADY_S)
        async with self._scene("a machine is lost with its pod"):
            actors.pods[3].lose()
            await self._pass(_REPLACED_AFTER_S)
            await actors.until_ready(actors.replace(3))
        async with self._scene("a machine falls silent, and wakes when its pod is replaced"):
            self._woke = woke = actors.pods[2]
            woke.freeze()
            await self._pass(_SILENT_S)
            await actors.until_ready(actors.replace(2))
            woke.thaw()
            with trio.move_on_after(_WAKES_S):
                while woke.lives:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(_POLL_S)
            self.verdict.find("woke, and went on", [woke.name] if woke.lives else [])
            woke.delete()
            await woke.gone.wait()
        async with self._scene("four pods become one"):
            await actors.scale(1, this)

    def judge(self) -> None:
        """Compare what there is with what should be."""
        stage, verdict, traffic = self._stage, self.verdict, self._traffic
        truth = traffic.workload.truth
        told = [tell(one, DEAD_LETTERS) for one in traffic.answers]
        judge_answers(verdict, truth, told, exactly_once=True)
        judge_files(verdict, truth, told)
        # What two lost machines had begun is swept after transfer.sweep_after_seconds: not within the play.
        left = leftovers([stage.shared, stage.server.root])
        verdict.find("temporary files left", left, allowed=2 * SESSIONS)
        with closing(Overseer(stage.bootstrap)) as overseer:
            verdict.find("offsets not committed", range(overseer.uncommitted(_GROUP, TASKS)))
        verdict.find("done though paused", traffic.too_early())
        pods = self._actors.every
        events = (event for pod in pods for service in pod.services for event in service.events())
        judge_logs(verdict, events, truth.fates, doubles=_DOUBLES)
        # Who wakes and finds its name taken has to end.
        falls = [fall for pod in pods for fall in pod.falls if pod is not self._woke]
        verdict.find("containers that fell", falls)
        stops = [pod.stopped_s for pod in pods if not math.isnan(pod.stopped_s)]
        verdict.figures["longest stop of a pod, preStop included, in s"] = round(max(stops), 1)
        most = max(service.most_bytes for pod in pods for service in pod.services)
        verdict.figures["most memory of a process, in MB"] = round(most / 1e6)
        self._tell_pauses()

    def _tell_pauses(self) -> None:
        say, cases = self._stage.say, self._traffic.cases()
        say(
            f"{'seen by users, in seconds':<62}{'lasted':>8}{'silence':>9}{'of one':>9}{'half':>9}{'last':>9}"
        )
        say(f"{'':<62}{'':>8}{'of all':>9}{'partition':>9}{'waited':>9}{'waited':>9}")
        for scene in self._scenes:
            seen = see(cases, scene.began_s, scene.ended_s)
            say(
                f"  {scene.name:<60}{scene.ended_s - scene.began_s:>8.1f}{seen.silence_s:>9.1f}"
                f"{seen.partition_silence_s:>9.1f}{seen.wait_s:>9.1f}{seen.longest_wait_s:>9.1f}"
            )
        whole = see(cases, self._scenes[0].began_s, max(case.answered_s for case in cases))
        self.verdict.figures |= {
            "longest time without any answer, in s": round(whole.silence_s, 1),
            "longest time without one of a partition, in s": round(whole.partition_silence_s, 1),
            "longest wait for an answer, in s": round(whole.longest_wait_s, 1),
        }

    @asynccontextmanager
    async def _scene(self, name: str) -> AsyncIterator[None]:
        self._stage.say(f"{name} ...")
        began = time.time()
        yield
        # It is over when everybody is served again.
        await self._traffic.until_served()
        self._scenes.append(Scene(name, began, time.time()))

    async def _pass(self, seconds: float) -> None:
        """Let jobs go through for a while."""
        await trio.sleep(seconds)

    async def _see_gaps(self, whose: str) -> None:
        """See that commits name what is done above their offsets."""
        found = await _in_thread(partial(committed, self._stage.bootstrap, _GROUP))
        gaps = [
            len(decode_gaps(offset, metadata))
            for (topic, _), (offset, metadata) in found.items()
            if topic == TASKS
        ]
        self.verdict.figures[f"done above the offsets, {whose}"] = sum(gaps)
        if len(gaps) < TOPICS[TASKS] or not all(gaps):
            self.verdict.breaks.append(f"no gaps to be read, {whose}: {gaps}")

    async def _pause(self, at: Pod | None = None) -> None:
        await _in_thread(partial(_act, at or self._actors.endpoints[0], "pause"))

    async def _resume(self, name: str, *, at: Pod) -> None:
        """Let the held jobs run; up to now none may have been answered."""
        self._traffic.release(name)
        await _in_thread(partial(_act, at, "resume"))

    async def _until_told(self, pod: Pod, *, paused: bool) -> None:
        """Wait until a pod obeys what another one was told."""

        def obeys() -> bool:
            return bool(_get(pod, f"/v1/remotes/{HELD}")["paused"]) is paused

        await _until(obeys, f"{pod.name} of {pod.release.name} to have it paused: {paused}")

    async def _until_seen(self) -> None:
        """Wait until each pod sees all others."""
        names = {pod.name for pod in self._actors.pods.values()}
        for pod in self._actors.pods.values():

            def sees(pod: Pod = pod) -> bool:
                return names <= {one["pod"] for one in _get(pod, "/v1/pods")["pods"] if not one["silent"]}

            await _until(sees, f"{pod.name} of {pod.release.name} to see {names}")


async def _until(holds: Callable[[], bool], what: str) -> None:
    with trio.move_on_after(_WITHIN_S) as limit:
        while not await _in_thread(holds):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(_POLL_S)
    if limit.cancelled_caught:
        raise AssertionError(f"waited {_WITHIN_S:g} s in vain for {what}")


def _get(pod: Pod, path: str) -> Any:
    with urllib.request.urlopen(pod.api + path, timeout=5) as response:
        return json.load(response)


def _act(pod: Pod, what: str) -> None:
    why = urllib.parse.urlencode({"why": f"rehearsal, at {pod.name}"})
    request = urllib.request.Request(f"{pod.api}/v1/remotes/{HELD}/{what}?{why}", method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        response.read()


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await trio.to_thread.run_sync(work)
