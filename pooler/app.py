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

What is not answered by then is not committed, and comes again to whoever reads the partition next. All from
"publishing" on inwards is `course`, which ``pooler copy`` runs as well.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio
from hypercorn.typing import ASGIFramework

from pooler.bus.batches import Batches
from pooler.bus.bridge import open_bridge
from pooler.bus.events import Events
from pooler.bus.letterbox import open_letterbox
from pooler.bus.sink import KafkaSink
from pooler.bus.source import Answer, KafkaSource
from pooler.bus.steered import steered
from pooler.bus.window import Window
from pooler.config import Configuration
from pooler.config.settings import ApiSettings, MetricsSettings
from pooler.config.worker import worker_name
from pooler.course import ANSWERS_ROOM, check_roots, conduct, obey_signals
from pooler.crew import assemble, make_steering
from pooler.errors import ConfigError
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Guard, load_tokens
from pooler.ops.http.metrics_app import create_metrics_app
from pooler.ops.http.server import serve_http
from pooler.ops.metrics import Metrics
from pooler.ops.tracing import tracing
from pooler.reload import Reloader
from pooler.service import RunningService
from pooler.version import version

log = structlog.get_logger(__name__)

_GOODBYE_S = 8.0  # longer than serve_http takes


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
    spans = configuration.settings.tracing
    async with (
        tracing(
            enabled=spans.enabled,
            endpoint=spans.endpoint,
            sample=spans.sample,
            service=spans.service_name,
            instance=worker_name(),
            version=version(),
        ) as tracer,
        _operating(configuration, service, metrics, guard, until) as addresses,
    ):
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
                    events=Events(kafka.cloud_events, kafka.consumer_group),
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
                    tracer=tracer,
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
