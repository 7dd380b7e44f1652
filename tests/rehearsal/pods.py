"""One pod, as a kubelet keeps it: begun, looked at, begun again, told to stop, and ended by force in the end.

A pod has an address of its own on the loopback network, a folder of its own for what is mounted, and the one
folder that all share for the claim. What is a path or an address of the pod in its configuration becomes that
of this machine; all else is as the manifests have it.
"""

import json
import math
import random
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import trio
from ruamel.yaml import YAML

from tests.chaos.services import Service
from tests.rehearsal.manifest import Container, Probe
from tests.rehearsal.releases import Release

_LOOK_S = 0.1
_BACK_OFF_S = 10.0
_EVERYWHERE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Place:
    """Where pods are run.

    Attributes:
        folder: a folder for each of them is made there.
        shared: what a claim stands for.
        bootstrap: the brokers, in place of those of the example.
        connections: the remotes, in place of those of the example.
    """

    folder: Path
    shared: Path
    bootstrap: str
    connections: str


class Pod:
    """One pod, from its making to its end; the next one of its name is another.

    Args:
        name: its name.
        release: what it runs.
        address: its own.
        place: where.

    Attributes:
        ready: whether the last looks at it say that it may be asked.
        service: the process of the service, once there was one.
        falls: why its container was begun again, each time.
        stopped_s: how long it took to leave, once it has left.
        gone: set when nothing is left of it.
    """

    def __init__(self, name: str, release: Release, address: str, place: Place) -> None:
        self.name = name
        self.release = release
        self.address = address
        self.ready = False
        self.service: Service | None = None
        self.services: list[Service] = []
        self.falls: list[str] = []
        self.stopped_s = math.nan
        self.gone = trio.Event()
        self._place = place
        self._folder = place.folder / f"{name}-{address}"
        self._unwanted = trio.Event()
        self._lost = trio.Event()
        self._frozen = False

    @property
    def api(self) -> str:
        """The URL of its admin API."""
        return f"http://{self.address}:{self.release.spec.main.probes['readiness'].port}"

    @property
    def lives(self) -> bool:
        """Whether its service runs, or stands still."""
        return self.service is not None and self.service.lives

    async def live(self) -> None:
        """Run until it is deleted or lost.

        Cancellation: its processes are killed.
        """
        try:
            await trio.to_thread.run_sync(self._mount)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_unwanted, nursery.cancel_scope)
                for container in self.release.spec.first:
                    await self._complete(container)
                await self._serve()
        finally:
            self.ready = False
            for service in self.services:
                service.kill()
            self.gone.set()

    def delete(self) -> None:
        """Let it go: it is not asked any more, and has its grace period to end."""
        self.ready = False
        self._unwanted.set()

    def lose(self) -> None:
        """Lose the machine that it is on."""
        self.ready = False
        for service in self.services:
            service.kill()
        self._lost.set()
        self._unwanted.set()

    def freeze(self) -> None:
        """Let its machine fall silent: nobody can look at it there, nor delete it."""
        self.ready = False
        self._frozen = True
        for service in self.services:
            service.freeze()

    def thaw(self) -> None:
        """Let its machine come back, unaware; whether its pod is still wanted there it learns later."""
        for service in self.services:
            service.thaw()
        self._frozen = False

    async def _until_unwanted(self, living: trio.CancelScope) -> None:
        await self._unwanted.wait()
        if not self._lost.is_set() and self.service is not None and self.lives:
            spec, began = self.release.spec, trio.current_time()
            with trio.move_on_after(spec.main.pre_stop_s):
                await trio.sleep_forever()
            left_s = spec.grace_s - (trio.current_time() - began)
            await trio.to_thread.run_sync(self.service.leave, left_s)
            self.stopped_s = trio.current_time() - began
            self.falls += [f"{self.name}: left with {status}" for status in self.service.falls]
            if self.service.late:
                self.falls.append(f"{self.name}: had to be killed after {spec.grace_s:g} s")
        living.cancel()

    async def _complete(self, container: Container) -> None:
        """Run a container to its end, again and again until it ends well."""
        while True:
            service = self._make(container)
            service.start()
            while not service.look():
                self._weigh(service, container)
                await trio.sleep(_LOOK_S)
            if service.falls == [0]:
                return
            self.falls.append(f"{self.name}: {container.name} ended with {service.falls}")
            await trio.sleep(_BACK_OFF_S)

    async def _serve(self) -> None:
        """Run the service, and begin it again when it ends or is not alive."""
        container = self.release.spec.main
        while True:
            self.service = self._make(container)
            self.service.start()
            why = await self._watched(self.service, container)
            self.ready = False
            if self._unwanted.is_set():
                await trio.sleep_forever()
            self.falls.append(f"{self.name}: {why}")
            await trio.to_thread.run_sync(self.service.leave, self.release.spec.grace_s)
            await trio.sleep(_BACK_OFF_S)

    async def _watched(self, service: Service, container: Container) -> str:
        """Look at the service until it has to be begun again; return why."""
        why = ""
        async with trio.open_nursery() as looking:

            def end(reason: str) -> None:
                nonlocal why
                why = reason
                looking.cancel_scope.cancel()

            looking.start_soon(self._look, service, container, end)
            if startup := container.probes.get("startup"):
                await _probe_until(
                    startup, partial(self._asks, startup), good=True, bad=partial(end, "startup")
                )
            if liveness := container.probes.get("liveness"):
                looking.start_soon(self._keep_alive, liveness, end)
            if readiness := container.probes.get("readiness"):
                looking.start_soon(self._keep_ready, readiness)
        return why

    async def _look(self, service: Service, container: Container, end: Callable[[str], None]) -> None:
        """Wait for the end of the process."""
        while True:
            if not self._unwanted.is_set() and service.look():
                end(f"ended with {service.falls[-1]}")
                return
            self._weigh(service, container)
            await trio.sleep(_LOOK_S)

    async def _keep_alive(self, probe: Probe, end: Callable[[str], None]) -> None:
        await _probe_until(probe, partial(self._asks, probe), good=False, bad=partial(end, "not alive"))

    async def _keep_ready(self, probe: Probe) -> None:
        while True:
            await _probe_until(probe, partial(self._asks, probe), good=True, bad=self._is_not_ready)
            self.ready = not self._unwanted.is_set() and not self._frozen
            await _probe_until(probe, partial(self._asks, probe), good=False, bad=self._is_not_ready)

    def _is_not_ready(self) -> None:
        self.ready = False

    async def _asks(self, probe: Probe) -> bool:
        """Look once."""
        if self._frozen or self._unwanted.is_set():
            # Who could look is frozen with it; and one that is to go is not looked at any more.
            await trio.lowlevel.checkpoint()
            return True
        url = f"http://{self.address}:{probe.port}{probe.path}"
        return await trio.to_thread.run_sync(_answers_well, url, probe.timeout_s)

    def _weigh(self, service: Service, container: Container) -> None:
        """Kill who takes more memory than it may, as the kernel would."""
        limit = container.memory_bytes
        if limit is not None and service.most_bytes > limit:
            self.falls.append(f"{self.name}: {container.name} had {service.most_bytes} bytes of {limit}")
            service.most_bytes = 0
            service.kill()

    def _make(self, container: Container) -> Service:
        environment = {
            name: self.name if value is None else str(self._here(value))
            for name, value in container.environment.items()
        }
        service = Service(
            number=int(self.name.rpartition("-")[2]),
            log=self._folder / f"{container.name}-{len(self.services)}.log",
            command=self.release.command([str(self._here(word)) for word in container.command]),
            environment={
                **self.release.environment(),
                **environment,
                "TMPDIR": str(self._here("/tmp")),
                "HOME": str(self._folder),
            },
            folder=self._folder,
            alone=True,
        )
        self.services.append(service)
        return service

    def _mount(self) -> None:
        """Make its folder, and what is in the volumes from the beginning."""
        self._folder.mkdir(parents=True)
        for volume in self.release.spec.volumes.values():
            if volume.shared:
                continue
            root = self._folder / volume.name
            root.mkdir()
            for file in volume.files:
                target = root / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self._fill(file.path, file.text))
                target.chmod(file.mode)

    def _fill(self, name: str, text: str) -> str:
        """Put into a file what the manifests leave to those who use them."""
        if name == "connections.ini":
            return self._place.connections
        if name != "config.yaml":
            return text
        settings: dict[str, Any] = YAML(typ="safe").load(text)
        settings["kafka"]["bootstrap_servers"] = [self._place.bootstrap]
        return json.dumps(self._here(settings))  # YAML takes JSON as it is

    def _here(self, value: Any) -> Any:
        """Turn the pod's paths and addresses into those of this machine, in whatever depth."""
        if isinstance(value, Mapping):
            return {key: self._here(one) for key, one in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self._here(one) for one in value]
        if value == _EVERYWHERE:
            return self.address
        if isinstance(value, str) and value.startswith("/"):
            return self._path(value)
        return value

    def _path(self, path: str) -> str:
        for mounted, name in self.release.spec.main.mounts.items():
            if path == mounted or path.startswith(f"{mounted}/"):
                shared = self.release.spec.volumes[name].shared
                root = self._place.shared if shared else self._folder / name
                return str(root) + path.removeprefix(mounted)
        return path


def addresses() -> Iterator[str]:
    """Return addresses on the loopback network, of a block that nobody else is likely to have."""
    dice = random.SystemRandom()
    block = f"127.{dice.randrange(64, 192)}.{dice.randrange(256)}"
    for number in range(1, 255):
        yield f"{block}.{number}"


async def _probe_until(probe: Probe, look: Callable[[], Any], *, good: bool, bad: Callable[[], None]) -> None:
    """Look again and again, until so many looks in a row have said so.

    Args:
        probe: how.
        look: looks once.
        good: whether to wait for successes, or for failures.
        bad: called whenever so many looks in a row have failed.
    """
    await trio.sleep(probe.delay_s)
    successes = failures = 0
    while True:
        if await look():
            successes, failures = successes + 1, 0
        else:
            successes, failures = 0, failures + 1
        if failures >= probe.failures:
            bad()
            if not good:
                return
        if good and successes >= probe.successes:
            return
        await trio.sleep(probe.period_s)


def _answers_well(url: str, within_s: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=within_s) as response:
            return bool(response.status < 400)
    except (OSError, HTTPException):  # one that says so is an OSError, too
        return False
