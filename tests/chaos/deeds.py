"""Performs acts on a stage, at their times, and puts everything right again at the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.chaos.schedule import Act
from tests.chaos.services import Service
from tests.chaos.stage import Stage

_LOOK_S = 0.5


class Deeds:
    """Does what is scheduled.

    Args:
        stage: on what.
        services: its processes.
        diary: a file that gets a line for every act, with what came of it.

    Attributes:
        done: how many acts of each sort were carried out; those that could not be are ``left out``.
    """

    def __init__(self, stage: Stage, services: Sequence[Service], diary: Path) -> None:
        self.done: Counter[str] = Counter()
        self._stage = stage
        self._services = services
        self._diary = diary
        self._servers = list(stage.servers.values())
        self._busy: set[str] = set()

    async def run(self, acts: Sequence[Act]) -> None:
        """Perform acts until the last one is over, everybody is back, and all is calm.

        Cancellation: what is dead or frozen stays so.
        """
        began = trio.current_time()
        async with trio.open_nursery() as performing:
            for act in acts:
                await trio.sleep_until(began + act.at_s)
                performing.start_soon(self._perform, act)
        await trio.to_thread.run_sync(self._stage.cutter.calm)

    async def tend(self) -> None:
        """Start again, as an orchestrator would, what ends by itself; until cancelled."""
        while True:
            for service in self._services:
                if not service.busy and service.look():
                    service.start()
            await trio.sleep(_LOOK_S)

    async def _perform(self, act: Act) -> None:
        with self._holding(act) as free:
            if free:
                self.done[act.what] += 1
                await self._DEEDS[act.what](self, act)
            else:
                self.done["left out"] += 1
            with self._diary.open("a") as diary:
                diary.write(f"{act}{'' if free else ' left out'}\n")

    @contextmanager
    def _holding(self, act: Act) -> Iterator[bool]:
        """Keep others from what an act is about; tell whether nobody else has it."""
        match act.what:
            case "kill" | "freeze" | "leave":
                service = self._services[act.target]
                free, service.busy = not service.busy, True
                yield free
                service.busy = not free
            case "kill broker" | "kill server":
                # One broker is down at most.
                what = "broker" if act.what == "kill broker" else f"server {act.target}"
                free = what not in self._busy
                self._busy.add(what)
                yield free
                if free:
                    self._busy.discard(what)
            case _:
                yield True

    async def _kill(self, act: Act) -> None:
        service = self._services[act.target]
        await _in_thread(service.kill)
        await trio.sleep(act.lasts_s)
        service.start()

    async def _freeze(self, act: Act) -> None:
        service = self._services[act.target]
        service.freeze()
        await trio.sleep(act.lasts_s)
        service.thaw()

    async def _leave(self, act: Act) -> None:
        service = self._services[act.target]
        await _in_thread(service.leave)
        await trio.sleep(act.lasts_s)
        service.start()

    async def _kill_broker(self, act: Act) -> None:
        broker = self._stage.cluster.brokers[act.target]
        await _in_thread(broker.kill)
        await trio.sleep(act.lasts_s)
        await _in_thread(broker.start)
        await _in_thread(self._stage.overseer.wait_in_sync)

    async def _kill_server(self, act: Act) -> None:
        server = self._servers[act.target]
        await _in_thread(server.stop)
        await trio.sleep(act.lasts_s)
        await _in_thread(server.start)

    async def _cut(self, act: Act) -> None:
        cut = await _in_thread(partial(self._stage.cutter.cut, act.kinds, act.how))
        self.done["connections cut"] += cut

    async def _stall(self, act: Act) -> None:
        await _in_thread(partial(self._stage.cutter.stall, act.kinds, act.lasts_s))

    async def _slow(self, act: Act) -> None:
        await _in_thread(partial(self._stage.cutter.slow, act.kinds, act.delay_s, act.lasts_s))

    _DEEDS: dict[str, Callable[["Deeds", Act], Any]] = {  # noqa: RUF012 - a table of methods
        "kill": _kill,
        "freeze": _freeze,
        "leave": _leave,
        "kill broker": _kill_broker,
        "kill server": _kill_server,
        "cut": _cut,
        "stall": _stall,
        "slow": _slow,
    }


async def _in_thread(work: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(work)
