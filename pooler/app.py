"""START HERE: the nursery tree, how its parts are wired, and the phases of a drain.

From the outside in, each owns what is indented under it:

    operating: admin API, metrics, signals
      steered: what holds for all pods: the control topic (asyncio), and who obeys it
       bridge: consumer pump and producer pump (asyncio), nothing else
        publishing: the sink
          keeping: one keeper for each local root
            finishing: one finisher for each local root
              driving: one nursery for each remote, with its workers
                reading: source and intake

So the order of a shutdown can be read off the code. A drain closes the tree from the inside: reading is
cancelled; the remotes' workers finish the jobs they have in hand, or are cancelled at the deadline; with
them the finishers' channels end; the keepers give back their leases; then the sink's channel ends, and it
publishes its last batch; the bridge commits, leaves the group and closes; the API answers until the last.

What is not answered by then is not committed, and comes again to whoever reads the partition next.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio
import structlog
import trio
from hypercorn.typing import ASGIFramework

from pooler.bus.batches import Batches
from pooler.bus.bridge import open_bridge
from pooler.bus.letterbox import open_letterbox
from pooler.bus.sink import KafkaSink
from pooler.bus.source import Answer, KafkaSource
from pooler.bus.steered import steered
from pooler.bus.window import Window
from pooler.config import Configuration
from pooler.config.settings import ApiSettings, MetricsSettings
from pooler.config.worker import worker_name
from pooler.crew import Crew, assemble, make_steering
from pooler.errors import ConfigError, LocalFileError
from pooler.model.job import Delivery
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Guard, load_tokens
from pooler.ops.http.metrics_app import create_metrics_app
from pooler.ops.http.server import serve_http
from pooler.ops.metrics import Metrics
from pooler.reload import Reloader
from pooler.service import RunningService
from pooler.storage.root import LocalRoot
from pooler.storage.tenancy import try_out
from pooler.transfer.names import incarnation
from pooler.version import version

log = structlog.get_logger(__name__)

_GOODBYE_S = 8.0  # longer than serve_http takes
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


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service can be reached.

    Attributes:
        api: of the admin API, as a URL; None where it is off.
        metrics: of the metrics, as a URL; None where they are off.
    """

    api: str | None = None
    metrics: str | None = None


async def run(
    configuration: Configuration,
    *,
    until: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the service until SIGTERM or SIGINT, or until the API is told to drain.

    A second signal ends it at once; nothing is lost by that either, since nothing is committed that is not
    answered.

    Args:
        configuration: as loaded.
        until: when this returns the service drains as well.
        task_status: started once the service has joined its consumer group.

    Raises:
        ConfigError: a local root or the token file cannot be used.
        BusError: the brokers cannot be reached (in a group).
    """
    drain, connecting = trio.Event(), trio.CancelScope()

    def begin_drain() -> None:
        drain.set()
        if not service.attached:
            connecting.cancel()  # nothing is in hand yet, and the brokers may be away for long

    steering = make_steering(configuration)
    service = RunningService(
        {remote.name: remote.host for remote in configuration.connections.remotes}, begin_drain, steering
    )
    metrics = Metrics(version(), [remote.name for remote in configuration.connections.remotes])
    metrics.watch(service)
    service.configured(configuration)
    tokens_of = configuration.settings.api.token_file
    guard = Guard(() if tokens_of is None else load_tokens(tokens_of), ledger=service.ledger)
    reloader = service.reloader = Reloader(configuration, service, guard)
    async with _operating(configuration, service, metrics, guard, until) as addresses:
        kafka = configuration.settings.kafka
        # Before the group is joined: a pod that cannot work must not take partitions from those that can.
        await check_roots(configuration)
        with connecting:
            deadline_s = configuration.settings.retry.deadline_seconds
            # Before the group is joined: who does not know what operators want must not take jobs.
            async with (
                steered(kafka, steering),
                open_letterbox(kafka) as letterbox,
                open_bridge(kafka, deadline_s) as bridge,
            ):
                window = Window(bridge.ledger, kafka)
                batches = Batches(bridge.ledger.wants, partial(window.fill_of, kafka.batch_topic_name))
                source = KafkaSource(
                    bridge,
                    kafka.side_topics,
                    kafka.priority_topic,
                    batches=batches,
                    batch_topic=kafka.batch_topic_name,
                )
                sink = KafkaSink(
                    bridge,
                    worker=worker_name(),
                    interval_s=kafka.commit_interval_ms / 1000,
                    limit_bytes=kafka.max_record_bytes,
                    metrics=metrics,
                    batches=batches,
                    priority_topic=kafka.priority_topic,
                )
                channel = trio.open_memory_channel[Answer](ANSWERS_ROOM)
                crew = assemble(
                    configuration,
                    wants=source.wants,
                    membership=source,
                    answers=channel[0],
                    metrics=metrics,
                    window=window.room,
                    books=bridge.ledger,
                    in_hand=window,
                    steering=steering,
                    bulk=bool(kafka.batch_topic_name),
                )
                bridge.when_lost(crew.partitions_changed)
                service.attach(bridge, crew, batches)
                service.post_by(letterbox)
                reloader.attach(crew)
                log.info("service_started", version=version(), api=addresses.api, metrics=addresses.metrics)
                task_status.started(addresses)
                drain_s = configuration.settings.transfer.drain_seconds
                await conduct(crew, source, sink.run, channel, drain=drain, drain_s=drain_s)
                service.post_by(None)
    log.info("service_stopped")


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


@asynccontextmanager
async def _operating(
    configuration: Configuration,
    service: RunningService,
    metrics: Metrics,
    guard: Guard,
    until: Callable[[], Awaitable[None]] | None,
) -> AsyncIterator[Addresses]:
    """Serve the admin API and the metrics, and listen for signals, for as long as the block lasts."""
    api, exposed = configuration.settings.api, configuration.settings.metrics
    shutdown = trio.Event()
    async with trio.open_nursery() as operating:

        async def serve(app: ASGIFramework, at: ApiSettings | MetricsSettings, what: str) -> str | None:
            if not at.enabled:
                return None
            try:
                host, port = await operating.start(
                    partial(serve_http, app, at.host, at.port, shutdown=shutdown)
                )
            except OSError as error:
                raise ConfigError(
                    f"{what}: cannot listen on {at.host}:{at.port}: {error.strerror}"
                ) from error
            return f"http://{f'[{host}]' if ':' in host else host}:{port}"

        addresses = Addresses(
            api=await serve(create_app(service, closing=shutdown, guard=guard), api, "api"),
            metrics=await serve(create_metrics_app(service, metrics), exposed, "metrics"),
        )
        async with trio.open_nursery() as listening:
            hang_up = partial(service.reload, "SIGHUP")
            await listening.start(partial(obey_signals, hang_up=hang_up), service, operating.cancel_scope)
            if service.reloader is not None:
                listening.start_soon(service.reloader.watch)
            if until is not None:
                listening.start_soon(_drain_after, until, service)
            yield addresses
            listening.cancel_scope.cancel()
        shutdown.set()
        operating.cancel_scope.deadline = trio.current_time() + _GOODBYE_S


async def _drain_after(until: Callable[[], Awaitable[None]], service: RunningService) -> None:
    await until()
    if not service.draining:
        log.info("drain_begun", signal=None)
        service.drain()


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
