"""Spans of jobs: by OpenTelemetry's own exporter in memory, and to a collector that is one."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from trio.testing import MockClock

from pooler.bus.records import traced
from pooler.errors import ConfigError
from pooler.model.job import Origin, Record
from pooler.ops.tracing import EndedJob, SpanTracer, Stage, make_provider, tracing
from tests.support.flow_double import FakeServer, Flow, Shape, download, upload

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> SpanTracer:
    provider = make_provider(sample=1.0, service="pooler", instance="pooler-0", version="1.2.3")
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return SpanTracer(provider, "1.2.3")


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    context, parent = span.get_span_context(), span.parent
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", parent and f"{parent.span_id:016x}"


def test_a_span_is_part_of_the_trace_of_its_job(spans: InMemorySpanExporter, tracer: SpanTracer) -> None:
    stages = (Stage("wait", 10.0, 11.0), Stage("attempt", 11.0, 12.5))
    made = tracer.job(
        EndedJob(
            (("traceparent", HEADER), ("tracestate", b"a=1")), 10.0, 13.0, stages,
            {"pooler.remote": "site-a", "error.type": None}, "550 no",
        )
    )  # fmt: skip
    assert spans.get_finished_spans() == ()
    made.tell()
    wait, attempt, job = spans.get_finished_spans()
    trace, span, parent = ids(job)
    assert (trace, parent) == (TRACE, PARENT)
    assert made.traceparent == f"00-{TRACE}-{span}-01".encode()
    assert made.trace_id == TRACE
    assert (job.name, job.start_time, job.end_time) == ("pooler.job", 10**10, 13 * 10**9)
    assert (job.status.status_code, job.status.description) == (StatusCode.ERROR, "550 no")
    assert job.attributes == {"pooler.remote": "site-a"}
    assert job.resource.attributes["service.instance.id"] == "pooler-0"
    for child, name, start in ((wait, "pooler.job.wait", 10.0), (attempt, "pooler.job.attempt", 11.0)):
        assert (child.name, child.start_time) == (name, start * 1e9)
        assert ids(child)[::2] == (TRACE, span)


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        ((), None),
        ((("traceparent", b"nonsense \xff"),), None),
        ((("ce_traceparent", HEADER),), TRACE),
        ((("ce_traceparent", HEADER.replace(b"4bf9", b"ffff")), ("traceparent", HEADER)), TRACE),
        ((("traceparent", HEADER), ("ce_traceparent", HEADER.replace(b"4bf9", b"ffff"))), TRACE),
    ],
)
def test_whose_trace_it_is(
    spans: InMemorySpanExporter,
    tracer: SpanTracer,
    headers: tuple[tuple[str, bytes], ...],
    trace: str | None,
) -> None:
    tracer.job(EndedJob(headers, 1.0, 2.0)).tell()
    (job,) = spans.get_finished_spans()
    found, _, parent = ids(job)
    assert (found, parent) == (trace, PARENT) if trace else parent is None


async def test_each_job_of_the_flow_has_a_span_and_its_answer_tells_of_it(
    autojump_clock: MockClock,  # noqa: ARG001 - pytest-trio takes the clock from the arguments
    spans: InMemorySpanExporter,
    tracer: SpanTracer,
    tmp_path: Path,
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    flow = Flow(tmp_path, Shape(), far=FakeServer())
    flow.endings._tracer = tracer
    with trio.fail_after(30):
        async with flow.running():
            for job in (download("down"), upload("up")):
                await flow.give(job)
                await flow.endings.wait_empty()
    jobs = {
        str((span.attributes or {})["pooler.task_id"]): span
        for span in spans.get_finished_spans()
        if span.name == "pooler.job"
    }
    for ended in flow.ended:
        trace, span, _ = ids(jobs[ended.delivery.job.task_id])
        # Its last part are flags, of which there is one more where the trace begins here.
        assert (ended.traceparent or b"").rpartition(b"-")[0] == f"00-{trace}-{span}".encode()
    below = {
        name: [span.name for span in spans.get_finished_spans() if ids(span)[2] == ids(job)[1]]
        for name, job in jobs.items()
    }
    assert below == {
        "down": ["pooler.job.wait", "pooler.job.attempt", "pooler.job.land"],
        "up": ["pooler.job.wait", "pooler.job.attempt"],
    }
    for one in spans.get_finished_spans():
        assert one.start_time is not None
        assert one.end_time is not None
        assert one.start_time <= one.end_time


def test_an_answer_has_the_span_in_place_of_its_parent() -> None:
    record = Record(Origin("t", 0, 0), None, b"{}", (("a", b"1"), ("traceparent", HEADER)))
    assert traced(record, None) is record
    assert traced(record, b"00-x-y-01").headers == (("a", b"1"), ("traceparent", b"00-x-y-01"))


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    found: list[tuple[str, ExportTraceServiceRequest]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", found
        server.shutdown()
        thread.join()


async def test_spans_reach_a_collector_before_the_end(
    collector: tuple[str, list[tuple[str, ExportTraceServiceRequest]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pooler.ops.tracing._FLUSH_S", 60.0)  # however slow this machine is
    endpoint, found = collector
    async with tracing(
        enabled=True, endpoint=endpoint, sample=1.0, service="pooler", instance="pooler-0", version="1"
    ) as tracer:
        assert tracer is not None
        tracer.job(EndedJob((), 1.0, 2.0)).tell()
    ((path, request),) = found
    assert path == "/v1/traces"
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.end_time_unix_nano) == ("pooler.job", 2 * 10**9)


async def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"tracing\.enabled: expected the extra `tracing`"):
        async with tracing(enabled=True, endpoint="", sample=1.0, service="p", instance="i", version="1"):
            raise AssertionError("it is not there")


def test_where_it_is_off_nothing_of_it_is_imported() -> None:
    code = (
        "import sys, trio, pooler.app\n"
        "from pooler.ops.tracing import tracing\n"
        "async def main():\n"
        "    off = dict(enabled=False, endpoint='', sample=1, service='', instance='', version='')\n"
        "    async with tracing(**off) as it:\n"
        "        assert it is None\n"
        "trio.run(main)\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
