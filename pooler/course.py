"""The way of jobs through a crew, from a source to a sink, whether that is Kafka or a list, and how it ends.

`app` and ``pooler copy`` both run it; this knows neither Kafka nor HTTP.
"""

import signal
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Protocol

import anyio
import structlog
import trio

from pooler.bus.source import Answer
from pooler.config import Configuration
from pooler.crew import Crew
from pooler.errors import ConfigError, LocalFileError
from pooler.model.job import Delivery
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import try_out
from pooler.transfer.names import incarnation

log = structlog.get_logger(__name__)

_LEAVE_S = 2.0  # a mount that stalls must not hold the end: what is left then lapses, and others tidy up
_LAST_ANSWERS_S = 10.0  # to land and to publish what had ended; brokers that are away must not hold a drain
ANSWERS_ROOM = 1_000
"""What may end while one publication is on its way."""


class Source(Protocol):
    """Where deliveries come from."""

    async def run(
        self, deliveries: trio.MemorySendChannel[Delivery], answers: trio.MemorySendChannel[Answer]
    ) -> None:
        """Hand deliveries on until there are no more; close both channels."""
        ...

    def stop(self) -> None:
        """Take nothing new."""
        ...


class Sink(Protocol):
    """Where answers go."""

    async def __call__(self, answers: trio.MemoryReceiveChannel[Answer]) -> None:
        """Take answers until the channel ends."""
        ...


async def conduct(
    crew: Crew,
    source: Source,
    sink: Sink,
    channel: tuple[trio.MemorySendChannel[Answer], trio.MemoryReceiveChannel[Answer]],
    *,
    drain: trio.Event,
    drain_s: float,
) -> None:
    """Run the flow, until the source has no more and all of it is answered, or until it is drained.

    Args:
        crew: who does it.
        source: where deliveries come from.
        sink: where answers go.
        channel: the way to the sink; closed by this.
        drain: once it is set nothing new is begun.
        drain_s: how long running transfers may go on then, in seconds; what has ended by then has ten more
            to be answered.

    Cancellation: every session is closed; what was not answered comes again.
    """
    to_sink, answers = channel
    async with trio.open_nursery() as publishing:
        publishing.start_soon(sink, answers)
        with to_sink:
            try:
                async with trio.open_nursery() as keeping:
                    for keeper in crew.keepers.values():
                        await keeping.start(keeper.run)
                    async with trio.open_nursery() as finishing:
                        for name, finisher in crew.finishers.items():
                            finishing.start_soon(finisher.run, crew.landed[name])
                        with ExitStack() as landing:
                            for way in crew.landing.values():
                                landing.enter_context(way)
                            await _drive(crew, source, to_sink.clone(), drain=drain, drain_s=drain_s)
                            if drain.is_set():
                                publishing.cancel_scope.deadline = trio.current_time() + _LAST_ANSWERS_S
                    for keeper in crew.keepers.values():
                        keeper.close()
            finally:
                with trio.move_on_after(_LEAVE_S, shield=True):
                    await _leave(crew)
    with trio.move_on_after(_LEAVE_S):
        await _close_logbooks(crew)
    if publishing.cancel_scope.cancelled_caught:
        log.warning("drain_cut_short", unanswered=len(crew.endings.in_flow))


async def _leave(crew: Crew) -> None:
    async with trio.open_nursery() as leaving:
        for keeper in crew.keepers.values():
            leaving.start_soon(keeper.leave)


async def _close_logbooks(crew: Crew) -> None:
    async with trio.open_nursery() as closing:
        for logbook in crew.logbooks.values():
            closing.start_soon(logbook.close)


async def _drive(
    crew: Crew, source: Source, to_sink: trio.MemorySendChannel[Answer], *, drain: trio.Event, drain_s: float
) -> None:
    async with trio.open_nursery() as driving:
        driving.start_soon(crew.fleet.run)
        async with trio.open_nursery() as reading:
            reading.start_soon(_read, crew, source, to_sink, reading.cancel_scope)
            await drain.wait()
            source.stop()
            reading.cancel_scope.cancel()
        for keeper in crew.keepers.values():
            keeper.let_nothing_wait()
        crew.fleet.close()
        driving.cancel_scope.deadline = trio.current_time() + drain_s


async def _read(
    crew: Crew, source: Source, to_sink: trio.MemorySendChannel[Answer], done: trio.CancelScope
) -> None:
    """Read to the end of the source, and wait until all of it is answered."""
    to_intake, deliveries = trio.open_memory_channel[Delivery](0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(source.run, to_intake, to_sink)
        nursery.start_soon(crew.fleet.intake, deliveries)
    await crew.endings.wait_empty()
    done.cancel()


async def check_roots(configuration: Configuration) -> None:
    """Try out every local root.

    Raises:
        ConfigError: with all that cannot be used.
    """
    problems = []
    for folder in configuration.connections.folders:
        stall_s = configuration.settings.transfer.disk_timeout_seconds
        root = LocalRoot(folder.name, folder.path, stall_s=stall_s)
        try:
            await root.run(try_out, root, incarnation)
        except LocalFileError as error:
            problems.append(f"{folder.name}: local folder cannot be used: {error}")
    if problems:
        raise ConfigError(*problems)


class Drainable(Protocol):
    """What a signal can drain."""

    @property
    def draining(self) -> bool:
        """Whether it has begun."""
        ...

    def drain(self) -> None:
        """Begin."""
        ...


async def obey_signals(
    target: Drainable,
    everything: trio.CancelScope,
    *,
    hang_up: Callable[[], Awaitable[object]] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Drain at the first SIGTERM or SIGINT, end at once at the second.

    Args:
        target: what is drained.
        everything: cancelled at the second signal.
        hang_up: called at SIGHUP; None where that changes nothing.
        task_status: started once signals are heard.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            name = number.name
            if number == signal.SIGHUP and hang_up is not None:
                await hang_up()
            elif number == signal.SIGHUP:
                log.warning("signal_ignored", signal=name)
            elif target.draining:
                log.warning("stopped_at_once", signal=name)
                everything.cancel()
            else:
                log.info("drain_begun", signal=name)
                target.drain()
