"""What Prometheus may ask of the service.

`Metrics` holds a registry of its own: nothing is global, so two services in one process, or two tests, do
not count into each other. Events are told to it in the words of the flow (`job_ended`, `retried`); what
merely mirrors the state of the moment is read from the service at each scrape (`watch`), so that nobody has
to keep a gauge up to date.

Labels are the remote, the direction, and reasons out of fixed lists, never a path or a job. A remote that is
not configured, as a record may name any, counts as ``unknown``: records cannot make series.

`pooler.ops.http.metrics_app` serves what `Metrics.exposition` returns.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pooler.errors import ErrorCode, Remedy, RemoteError
from pooler.model.job import Direction
from pooler.model.outcome import Outcome, Status
from pooler.ops.gauges import LiveGauges
from pooler.ops.readings import Readable

UNKNOWN: Final = "unknown"
"""The label of a remote that is not configured, and the direction of a job that was refused unread."""

BATCH_OUTCOMES: Final = ("success", "failed", "forgotten")
"""How a bulk job may be closed; ``forgotten`` where its own record is not known any more."""

DURATION_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""From a small file on the same network to a large one over a slow link."""

_LOGIN_REASONS: Final[dict[Remedy, str]] = {
    Remedy.OTHER_LOGIN: "refused",
    Remedy.FEWER_SESSIONS: "too_many_sessions",
    Remedy.REMOTE_AWAY: "unreachable",
}


class Metrics:
    """The counters of one service, and the way to read its gauges.

    All methods are plain and quick, and belong to the thread of the Trio loop.

    Args:
        version: of the program, for ``pooler_build_info``.
        remotes: the configured remotes; their series exist from the start, at 0, so that the first event
            is seen as an increase.
    """

    def __init__(self, version: str, remotes: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self._remotes = frozenset(remotes)
        ProcessCollector(registry=self.registry)
        Gauge(
            "pooler_build_info", "The running version; always 1.", ["version"], registry=self.registry
        ).labels(version).set(1)
        self._jobs = self._counter("pooler_jobs_total", "Jobs that ended.", "remote", "direction", "outcome")
        self._durations = Histogram(
            "pooler_job_duration_seconds",
            "The last attempt of a job, from its start to its file being durable under its name.",
            ["remote", "direction"],
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._bytes = self._counter(
            "pooler_transfer_bytes_total",
            "Bytes of files moved, those of failed attempts included.",
            "remote",
            "direction",
        )
        self._retries = self._counter(
            "pooler_retries_total", "Attempts that failed and are tried again.", "remote", "reason"
        )
        self._parked = self._counter(
            "pooler_jobs_parked_total", "Jobs that were parked on a retry topic.", "remote", "delay", "reason"
        )
        self._dead_letters = self._counter(
            "pooler_dead_letters_total", "Records written to the dead-letter topic."
        )
        self._batches = self._counter("pooler_batches_total", "Bulk jobs that were closed.", "outcome")
        for outcome in BATCH_OUTCOMES:
            self._batches.labels(outcome)
        self._login_failures = self._counter(
            "pooler_login_failures_total", "Sessions that could not be opened.", "remote", "reason"
        )
        self._root_pauses = self._counter(
            "pooler_folder_pauses_total", "How often a local folder could not be used.", "folder", "reason"
        )
        self._jobs_of = cache(self._find_jobs_of)
        self._durations_of = cache(self._find_durations_of)
        self._bytes_of = cache(self._find_bytes_of)
        for remote in self._remotes:
            self._begin_at_zero(remote)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _begin_at_zero(self, remote: str) -> None:
        for direction in Direction:
            self._bytes.labels(remote, direction)
            self._durations.labels(remote, direction)
            for status in Status:
                self._jobs.labels(remote, direction, status.value)
        self._login_failures.labels(remote, _LOGIN_REASONS[Remedy.OTHER_LOGIN])

    def add_remote(self, remote: str) -> None:
        """Know one more remote from now on; its series begin at 0."""
        if remote not in self._remotes:
            self._remotes |= {remote}
            self._begin_at_zero(remote)

    # There are few of them, and to look one up in its family takes longer than to count.

    def _find_jobs_of(self, remote: str, direction: str, status: Status) -> Counter:
        return self._jobs.labels(remote, direction, status.value)

    def _find_durations_of(self, remote: str, direction: str) -> Histogram:
        return self._durations.labels(remote, direction)

    def _find_bytes_of(self, remote: str, direction: str) -> Counter:
        return self._bytes.labels(remote, direction)

    def _known(self, remote: str | None) -> str:
        return remote if remote is not None and remote in self._remotes else UNKNOWN

    def job_ended(self, remote: str | None, direction: Direction | None, outcome: Outcome) -> None:
        """Count a job that has its outcome.

        Its duration is observed only if an attempt was begun.

        Args:
            remote: the end that is not local; None where the record names none.
            direction: None where it could not be told.
            outcome: how it ended.
        """
        known, way = self._known(remote), direction or UNKNOWN
        self._jobs_of(known, way, outcome.status).inc()
        if outcome.attempts:
            self._durations_of(known, way).observe(outcome.duration_ms / 1000)

    def bytes_moved(self, remote: str, direction: Direction, size_bytes: int) -> None:
        """Count bytes of a file that went over a data connection, as they go or attempt by attempt."""
        self._bytes_of(self._known(remote), direction).inc(size_bytes)

    def retried(self, remote: str, code: ErrorCode) -> None:
        """Count an attempt that failed by ``code`` and is to be tried again."""
        self._retries.labels(self._known(remote), code.value.lower()).inc()

    def parked(self, remote: str, delay_s: float, reason: str) -> None:
        """Count a job that is parked on the retry topic of a delay; `pooler.flow.parking` has the reasons."""
        self._parked.labels(self._known(remote), f"{delay_s:g}", reason).inc()

    def dead_lettered(self) -> None:
        """Count a record written to the dead-letter topic."""
        self._dead_letters.inc()

    def batch_closed(self, outcome: str) -> None:
        """Count a bulk job that has its closing answer, or will have none; one of ``BATCH_OUTCOMES``."""
        self._batches.labels(outcome).inc()

    def root_paused(self, folder: str, reason: str) -> None:
        """Count that a local folder cannot be used; `pooler.flow.keeper` has the list of reasons."""
        self._root_pauses.labels(folder, reason).inc()

    def login_failed(self, remote: str, error: RemoteError) -> None:
        """Count a session that could not be opened.

        The reason is ``refused``, ``too_many_sessions``, ``tls``, ``unreachable``, or ``other`` where the
        server broke off on the way.
        """
        reason = "tls" if error.code is ErrorCode.TLS_ERROR else _LOGIN_REASONS.get(error.remedy, "other")
        self._login_failures.labels(self._known(remote), reason).inc()

    def watch(self, service: Readable) -> None:
        """Read the gauges from ``service`` at every scrape from now on.

        Raises:
            ValueError: a service is watched already.
        """
        self.registry.register(LiveGauges(service))

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Write everything down for Prometheus.

        Args:
            accept: the scraper's Accept header; OpenMetrics if it asks for that.

        Returns:
            The body and its content type.
        """
        encode, content_type = choose_encoder(accept)
        return encode(_WithoutCreated(self.registry)), content_type


class _WithoutCreated(Collector):
    """A registry without the ``_created`` series, which double the counters and which nobody queries.

    prometheus-client can leave them out only for the whole process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
