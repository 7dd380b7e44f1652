"""Pods are kept by the rules of a kubelet, and a StatefulSet by those of its controller."""

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from tests.rehearsal import pods
from tests.rehearsal.manifest import Container, Probe, StatefulSpec, Volume
from tests.rehearsal.pods import Place, Pod
from tests.rehearsal.releases import Release
from tests.rehearsal.stateful import StatefulSet
from tests.support.process import free_port

PROGRAM = """
import http.server, os, pathlib, signal, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        there = (pathlib.Path(os.environ["DATA"]) / self.path.lstrip("/")).exists()
        self.send_response(200 if there else 503)
        self.end_headers()

    def log_message(self, *_):
        pass

if "bloated" in sys.argv:
    ballast = bytearray(64 * 2**20)
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
MAIN = Container(
    name="pooler",
    command=["program"],
    environment={"HOST": "0.0.0.0", "DATA": "/data", "POD_NAME": None},
    mounts={"/data": "data", "/tmp": "tmp"},
    probes={},
    pre_stop_s=0.0,
    memory_bytes=None,
)
SPEC = StatefulSpec(
    replicas=2,
    first=(),
    main=MAIN,
    volumes={"data": Volume("data", shared=True), "tmp": Volume("tmp", shared=False)},
    grace_s=30.0,
)


@dataclass(frozen=True, slots=True)
class Fake(Release):
    """A release whose program is a small server: a path is answered well if there is a file of its name."""

    def command(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", PROGRAM, *words]

    def environment(self) -> dict[str, str]:
        return {}


class World:
    """Pods, and the files that decide what they say of themselves."""

    def __init__(self, folder: Path, nursery: trio.Nursery) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.say("alive", "ready")
        self.port = free_port()
        self.set = StatefulSet(Place(folder / "pods", self.data, "", ""), nursery=nursery)
        self.folder = folder

    def release(self, spec: StatefulSpec = SPEC, *words: str, name: str = "this", patience: int = 2) -> Fake:
        """Give a release that may be found not to be alive so often, less once."""
        probes = {
            "startup": self._probe("alive", failures=1000),
            "liveness": self._probe("alive", failures=patience),
            "readiness": self._probe("ready", failures=1),
        }
        main = replace(
            spec.main,
            command=[*spec.main.command, *words],
            environment={**spec.main.environment, "PORT": str(self.port)},
            probes=probes,
        )
        return Fake(name, self.folder, replace(spec, main=main))

    def say(self, *names: str) -> None:
        for name in names:
            (self.data / name).touch()

    def unsay(self, name: str) -> None:
        (self.data / name).unlink()

    def _probe(self, path: str, *, failures: int) -> Probe:
        return Probe(f"/{path}", self.port, 0.0, 0.05, 10.0, failures, 1)


Opened = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(pods, "_BACK_OFF_S", 0.01)

    @asynccontextmanager
    async def world() -> AsyncIterator[World]:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                yield World(tmp_path, nursery)
                nursery.cancel_scope.cancel()

    return world


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.01)


async def one(world: World, release: Release) -> Pod:
    await world.set.scale(1, release)
    return world.set.pods[0]


async def test_a_pod_is_asked_only_while_its_probe_says_so(opened: Opened) -> None:
    async with opened() as world:
        pod = await one(world, world.release())
        assert world.set.endpoints == [pod]
        world.unsay("ready")
        await until(lambda: world.set.endpoints == [])
        world.say("ready")
        await until(lambda: world.set.endpoints == [pod])
        assert pod.falls == []


async def test_before_it_is_told_to_stop_it_is_let_alone(opened: Opened) -> None:
    async with opened() as world:
        pod = await one(world, world.release(replace(SPEC, main=replace(MAIN, pre_stop_s=0.4))))
        pod.delete()
        assert not pod.ready
        await pod.gone.wait()
        assert not pod.lives
        assert pod.stopped_s >= 0.4  # at the word to stop it ends at once
        assert pod.falls == []


async def test_who_does_not_go_is_killed_after_the_grace_period(opened: Opened) -> None:
    async with opened() as world:
        spec = replace(SPEC, main=replace(MAIN, pre_stop_s=0.3), grace_s=0.6)
        pod = await one(world, world.release(spec, "stubborn"))
        pod.delete()
        await pod.gone.wait()
        # What is spent before the signal is spent of the same period.
        assert pod.stopped_s >= 0.6
        assert pod.falls == ["pooler-0: had to be killed after 0.6 s"]


async def test_who_ends_by_itself_is_begun_again(opened: Opened) -> None:
    async with opened() as world:
        # So that nobody but the look at it has to do with its end.
        pod = await one(world, world.release(patience=1000))
        first = pod.service
        assert first is not None
        assert first._process is not None
        first._process.kill()
        await until(lambda: pod.service is not first and pod.ready)
        assert pod.falls == ["pooler-0: ended with -9"]


async def test_who_is_not_alive_is_begun_again(opened: Opened) -> None:
    async with opened() as world:
        pod = await one(world, world.release())
        first = pod.service
        world.unsay("alive")
        await until(lambda: pod.service is not first)
        world.say("alive")
        await until(lambda: pod.ready)
        assert pod.falls[0] == "pooler-0: not alive"


async def test_what_comes_first_has_to_end_well(opened: Opened, tmp_path: Path) -> None:
    async with opened() as world:
        bad = replace(MAIN, name="doctor", environment={}, command=["program"])  # it finds no HOST, and fails
        await trio.lowlevel.checkpoint()
        release = world.release(replace(SPEC, first=[bad]))
        pod = Pod("pooler-0", release, "127.0.0.1", Place(tmp_path / "other", world.data, "", ""))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pod.live)
            await until(lambda: len(pod.falls) > 1)
            assert pod.service is None
            nursery.cancel_scope.cancel()
        assert pod.falls[0] == "pooler-0: doctor ended with [1]"


async def test_who_takes_too_much_memory_is_killed(opened: Opened) -> None:
    async with opened() as world:
        release = world.release(replace(SPEC, main=replace(MAIN, memory_bytes=40 * 2**20)), "bloated")
        pod = Pod("pooler-0", release, "127.0.0.1", Place(world.folder / "other", world.data, "", ""))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pod.live)
            await until(lambda: pod.falls)
            nursery.cancel_scope.cancel()
        assert "pooler-0: pooler had " in pod.falls[0]


async def test_a_frozen_machine_is_not_looked_at(opened: Opened) -> None:
    async with opened() as world:
        pod = await one(world, world.release())
        pod.freeze()
        assert world.set.endpoints == []
        successor = world.set.replace(0)
        await world.set.until_ready(successor)
        assert (pod.name, pod.lives, pod.falls) == (successor.name, True, [])
        assert pod.address != successor.address
        pod.thaw()
        pod.delete()
        await pod.gone.wait()
        assert pod.falls == []


async def test_pods_are_replaced_from_the_last_one_on_each_when_the_other_is_ready(opened: Opened) -> None:
    async with opened() as world:
        await world.set.scale(3, world.release(name="old"))
        before = dict(world.set.pods)
        await world.set.roll(world.release(name="new"), down_to=1)
        assert [pod.release.name for _, pod in sorted(world.set.pods.items())] == ["old", "new", "new"]
        assert world.set.pods[0] is before[0]
        assert [pod.name for pod in world.set.every[3:]] == ["pooler-2", "pooler-1"]
        assert all(pod.ready for pod in world.set.pods.values())
        await world.set.scale(1, world.set.pods[0].release)
        assert set(world.set.pods) == {0}
        assert [pod.gone.is_set() for pod in world.set.every] == [False, True, True, True, True]
