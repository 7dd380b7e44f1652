"""``pooler run --processes N``: as many processes of the service as there are cores, begun and ended as one.

They share nothing but what pods share, the consumer group and the control topic, and so each is a pod of its
own: with its own name, its own ports, its own bounds. This process does no work. It starts them, hands on
what it is told, and ends when all have ended.

They live together: as soon as one ends, whyever, the others are drained, and whoever started this starts all
anew, as it would have to start one. To start a single one anew here would be a second, lesser Kubernetes.

To be drained is a standard input that ends, not a signal: whoever signals a whole group of processes, as a
terminal and systemd do, would otherwise signal each of them twice, and the second one means "at once". And
if this process is killed they drain as well.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import structlog
import trio

from pooler.cli import exits
from pooler.config.settings import ApiSettings, MetricsSettings, Settings
from pooler.errors import ConfigError

log = structlog.get_logger(__name__)

_LAST_PORT = 65_535
_BESIDES_DRAIN_S = 40.0  # last answers 10, leaving Kafka 10, the API 8, and a margin
_KILLED_WITHIN_S = 5.0
_ENDS = frozenset({-signal.SIGTERM, -signal.SIGINT})


def grace_s(settings: Settings) -> float:
    """Tell how long a drain of one may take at most."""
    return settings.transfer.drain_seconds + _BESIDES_DRAIN_S


def environment(
    settings: Settings, environ: Mapping[str, str], name: str, number: int, count: int
) -> dict[str, str]:
    """Make the environment of one of the processes, which tells it apart from the others.

    Args:
        settings: what all of them have in common.
        environ: the environment of this process.
        name: what a single process would be called.
        number: which of them, from 0 on.
        count: how many there are.

    Raises:
        ConfigError: there are not enough ports beside each other.
    """
    own = {"POD_NAME": f"{name}.{number}"}
    if settings.kafka.group_instance_id is not None:
        own["POOLER__KAFKA__GROUP_INSTANCE_ID"] = f"{settings.kafka.group_instance_id}.{number}"
    ports: dict[str, ApiSettings | MetricsSettings] = {"api": settings.api, "metrics": settings.metrics}
    first = {what: at.port for what, at in ports.items() if at.enabled and at.port}
    for what, port in first.items():
        if port + count - 1 > _LAST_PORT:
            raise ConfigError(f"{what}.port: {count} processes from {port} on need ports above {_LAST_PORT}")
        own[f"POOLER__{what.upper()}__PORT"] = str(port + number)
    if len(first) == len(ports) and abs(first["api"] - first["metrics"]) < count:
        raise ConfigError(
            f"metrics.port: {first['metrics']} is too near to api.port ({first['api']}): {count} processes "
            f"need {count} ports from each on"
        )
    return {key: value for key, value in environ.items() if key.upper() not in own} | own


def command(config: Path | None, connections: Path | None) -> list[str]:
    """Make the command line of one of the processes."""
    words = [sys.executable, "-m", "pooler", "run", "--drain-at-eof"]
    words += [] if config is None else ["--config", str(config)]
    return words + ([] if connections is None else ["--connections", str(connections)])


@dataclass(slots=True)
class _Family:
    """The processes, and how they are told to end.

    Attributes:
        grace_s: how long they may take for that.
        waiting: the wait for them.
        children: those that were started.
        ending: whether they were told.
        kept: the standard inputs of those that have not been told.
    """

    grace_s: float
    waiting: trio.CancelScope
    children: list[trio.Process] = field(default_factory=list)
    ending: bool = False
    kept: list[int] = field(default_factory=list)

    def end(self) -> None:
        """Have all of them drain."""
        if not self.ending:
            self.ending = True
            self.waiting.deadline = trio.current_time() + self.grace_s
        while self.kept:
            os.close(self.kept.pop())

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for child in self.children:
            child.send_signal(number)

    async def add(self, words: Sequence[str], environ: Mapping[str, str]) -> trio.Process:
        """Start one more."""
        reading, writing = os.pipe()
        self.kept.append(writing)
        try:
            # A session of its own, so that it does not hear of Ctrl-C by itself. It inherits no other pipe.
            child = await trio.lowlevel.open_process(
                words, stdin=reading, env=dict(environ), start_new_session=True
            )
        finally:
            os.close(reading)
        self.children.append(child)
        return child

    async def kill(self) -> None:
        """Kill those that are left, and wait for their end."""
        for child in self.children:
            child.kill()
        for child in self.children:
            await child.wait()

    def code(self) -> int:
        """Tell how it went, once all have ended."""
        # Who does not listen yet when all are to end dies of a signal, and has nothing in hand.
        codes = [
            0 if self.ending and child.returncode in _ENDS else child.returncode or 0
            for child in self.children
        ]
        return next((code if code > 0 else exits.OTHER for code in codes if code), exits.OK)


async def together(
    children: Sequence[tuple[Sequence[str], Mapping[str, str]]],
    *,
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Run processes until all have ended; when one has, or at SIGTERM or SIGINT, all are to end.

    Args:
        children: the command line and the environment of each.
        grace_s: how long they may take to end; what is left then is killed.
        task_status: started once all are started, and signals are heard.

    Returns:
        0 where each of them ended with 0, else the code of one that did not.

    Cancellation: all of them are killed.
    """
    with trio.CancelScope() as waiting:
        family = _Family(grace_s, waiting)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(_obey, family)
                async with trio.open_nursery() as watching:
                    for number, (words, environ) in enumerate(children):
                        if family.ending:
                            break
                        watching.start_soon(_watch, family, await family.add(words, environ), number)
                    task_status.started()
                nursery.cancel_scope.cancel()
        finally:
            family.end()
            with trio.move_on_after(_KILLED_WITHIN_S, shield=True):
                await family.kill()
    if waiting.cancelled_caught:
        log.error("processes_killed", after_s=grace_s)
    return family.code()


async def _watch(family: _Family, child: trio.Process, number: int) -> None:
    code = await child.wait()
    if not family.ending:
        log.error("process_ended", process=number, code=code)
        family.end()


async def _obey(family: _Family, *, task_status: trio.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            if number == signal.SIGHUP:
                family.tell(number)
            elif family.ending:
                family.tell(signal.SIGTERM)
            else:
                log.info("drain_begun", signal=number.name)
                family.end()


async def drained_at_eof(descriptor: int = 0) -> None:
    """Wait until nobody can write to a pipe any more, which the standard input is by default.

    Cancellation: it stays open.
    """
    async with trio.lowlevel.FdStream(os.dup(descriptor)) as stream:
        while await stream.receive_some():
            pass  # nobody has anything to say there
