"""Spans of OpenTelemetry: one for each job that is answered, with its stages as children.

A span is made when its job has ended, of times that are known anyhow: so a job costs nothing while it runs,
and nothing at all where tracing is off, as OpenTelemetry is not even imported then. It is the extra
``tracing``.

The span's parent is what the job's header ``traceparent`` says (W3C Trace Context). The answer has the span
itself in that header, so that whoever reads it goes on with the trace.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from pooler.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"
_OF_EVENTS: Final = "ce_"
"""Before either name, where a CloudEvent brings it."""
_FLUSH_S: Final = 3.0
_SPAN_NAME: Final = "pooler.job"

Headers = Sequence[tuple[str, bytes]]


class Stage(NamedTuple):
    """A part of what was done for a job.

    Attributes:
        name: ``wait``, ``attempt`` or ``land``.
        begins_s: in seconds since 1970.
        ends_s: likewise.
    """

    name: str
    begins_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class EndedJob:
    """What a span tells of a job.

    Attributes:
        headers: of its record.
        begins_s: when it was read first, in seconds since 1970.
        ends_s: when it had ended, likewise.
        stages: what was done meanwhile, as far as is known.
        attributes: what is told of it; those that are None are not.
        error: why it failed; None unless it did.
    """

    headers: Headers
    begins_s: float
    ends_s: float
    stages: tuple[Stage, ...] = ()
    attributes: Mapping[str, str | int | float | None] = field(default_factory=dict)
    error: str | None = None


class Traced(NamedTuple):
    """A span that is not told of yet.

    Attributes:
        traceparent: of it, for the answer.
        tell: tells of it; called once the answer is on its way.
    """

    traceparent: bytes
    tell: Callable[[], None]

    @property
    def trace_id(self) -> str:
        """The trace, in hexadecimal."""
        return self.traceparent.split(b"-")[1].decode()


class Tracer(Protocol):
    """Makes spans."""

    def job(self, ended: EndedJob) -> Traced:
        """Make the span of a job that has ended."""
        ...


class SpanTracer:
    """Makes spans of OpenTelemetry.

    Args:
        provider: where they go.
        version: of the program.
    """

    def __init__(self, provider: "TracerProvider", version: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - not before somebody wants it
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - likewise
            TraceContextTextMapPropagator,
        )

        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer("pooler", version)

    def job(self, ended: EndedJob) -> Traced:
        """Make the span of a job that has ended, and of its stages."""
        trace = self._trace
        told = {name: value for name, value in ended.attributes.items() if value is not None}
        span = self._tracer.start_span(
            _SPAN_NAME,
            self._propagator.extract(_carried(ended.headers)),
            trace.SpanKind.CONSUMER,
            told,
            start_time=_ns(ended.begins_s),
        )
        if ended.error is not None:
            span.set_status(trace.StatusCode.ERROR, ended.error)
        inside = trace.set_span_in_context(span)
        carried: dict[str, str] = {}
        self._propagator.inject(carried, inside)

        def tell() -> None:
            for stage in ended.stages:
                self._tracer.start_span(
                    f"{_SPAN_NAME}.{stage.name}", inside, start_time=_ns(stage.begins_s)
                ).end(_ns(stage.ends_s))
            span.end(_ns(ended.ends_s))

        return Traced(carried[TRACEPARENT].encode(), tell)


def _carried(headers: Headers) -> dict[str, str]:
    """Give what of the headers says which trace a job is part of; its own go before those of its event."""
    found: dict[str, str] = {}
    for name, value in headers:
        bare = name.removeprefix(_OF_EVENTS)
        if bare in {TRACEPARENT, _TRACESTATE} and (name == bare or bare not in found):
            found[bare] = value.decode("ascii", "replace")
    return found


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


@asynccontextmanager
async def tracing(
    *, enabled: bool, endpoint: str, sample: float, service: str, instance: str, version: str
) -> AsyncIterator[Tracer | None]:
    """Send spans by OTLP over HTTP for as long as the block lasts.

    They are gathered in a queue with a bound, and sent by a thread of OpenTelemetry's own: a collector that
    is away costs spans and nothing else.

    Args:
        enabled: whether to do so; nothing is imported otherwise, and None given.
        endpoint: the collector, as a URL without ``/v1/traces``; empty to leave it to the environment.
        sample: which part of the traces is kept that begin here, from 0 to 1.
        service: who we are.
        instance: which of us.
        version: of the program.

    Raises:
        ConfigError: the extra is not there.

    Cancellation: what was gathered may be lost.
    """
    if not enabled:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - none, else
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigError(f"tracing.enabled: expected the extra `tracing` of ftp-pooler: {error}") from error
    provider = make_provider(sample=sample, service=service, instance=instance, version=version)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield SpanTracer(provider, version)
    finally:
        with trio.move_on_after(_FLUSH_S, shield=True):
            # Abandoned: it waits for a collector that may be away.
            await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def make_provider(*, sample: float, service: str, instance: str, version: str) -> "TracerProvider":
    """Make what spans go to; it sends them nowhere yet. Arguments as of ``tracing``."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - not before somebody wants it
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - likewise
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415 - likewise

    who = {"service.name": service, "service.version": version, "service.instance.id": instance}
    return TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample)),
        resource=Resource.create(who),
        shutdown_on_exit=False,
    )
