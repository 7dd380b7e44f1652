import pytest

from pooler.errors import (
    ConnectError,
    ErrorCode,
    LoginRefused,
    PeerProtocolError,
    RemoteError,
    TlsError,
    TooManySessions,
)
from pooler.model.job import Direction
from pooler.model.outcome import Outcome, Status
from pooler.ops.metrics import Metrics
from tests.support.service_double import ServiceDouble


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3", ["site-a"])


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_job_that_ended_is_counted_and_timed(metrics: Metrics) -> None:
    metrics.job_ended("site-a", Direction.DOWNLOAD, Outcome(Status.SUCCESS, attempts=2, duration_ms=300))
    labels = {"remote": "site-a", "direction": "download"}
    assert value(metrics, "pooler_jobs_total", **labels, outcome="success") == 1
    assert value(metrics, "pooler_jobs_total", **labels, outcome="failed") == 0
    assert value(metrics, "pooler_job_duration_seconds_sum", **labels) == 0.3
    assert value(metrics, "pooler_job_duration_seconds_bucket", **labels, le="0.25") == 0
    assert value(metrics, "pooler_job_duration_seconds_bucket", **labels, le="0.5") == 1


def test_a_job_refused_before_any_attempt_has_no_duration(metrics: Metrics) -> None:
    metrics.job_ended(None, None, Outcome.failed(ErrorCode.INVALID_JOB, "no"))
    labels = {"remote": "unknown", "direction": "unknown"}
    assert value(metrics, "pooler_jobs_total", **labels, outcome="failed") == 1
    assert value(metrics, "pooler_job_duration_seconds_count", **labels) is None


def test_records_cannot_make_series(metrics: Metrics) -> None:
    metrics.watch(ServiceDouble())
    metrics.job_ended("x", Direction.UPLOAD, Outcome.failed(ErrorCode.UNKNOWN_REMOTE, "no"))
    before = len(metrics.exposition()[0].splitlines())
    for number in range(100):
        metrics.job_ended(
            f"made-up-{number}", Direction.UPLOAD, Outcome.failed(ErrorCode.UNKNOWN_REMOTE, "no")
        )
    assert len(metrics.exposition()[0].splitlines()) == before
    assert value(metrics, "pooler_jobs_total", remote="unknown", direction="upload", outcome="failed") == 101


def test_bytes_retries_and_dead_letters(metrics: Metrics) -> None:
    metrics.bytes_moved("site-a", Direction.UPLOAD, 100)
    metrics.bytes_moved("site-a", Direction.UPLOAD, 20)
    metrics.retried("site-a", ErrorCode.CONNECTION_ERROR)
    metrics.dead_lettered()
    assert value(metrics, "pooler_transfer_bytes_total", remote="site-a", direction="upload") == 120
    assert value(metrics, "pooler_retries_total", remote="site-a", reason="connection_error") == 1
    assert value(metrics, "pooler_dead_letters_total") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LoginRefused("no"), "refused"),
        (TooManySessions("no"), "too_many_sessions"),
        (TlsError("no"), "tls"),
        (ConnectError("no"), "unreachable"),
        (PeerProtocolError("no"), "other"),
    ],
)
def test_why_a_session_could_not_be_opened(metrics: Metrics, error: RemoteError, reason: str) -> None:
    metrics.login_failed("site-a", error)
    assert value(metrics, "pooler_login_failures_total", remote="site-a", reason=reason) == 1


def test_gauges_are_read_at_each_scrape(metrics: Metrics) -> None:
    service = ServiceDouble()
    metrics.watch(service)
    assert value(metrics, "pooler_sessions", remote="site-a", state="busy") == 1
    assert value(metrics, "pooler_sessions", remote="site-a", state="idle") == 1
    assert value(metrics, "pooler_session_limit", remote="site-a") == 10
    assert value(metrics, "pooler_lane_jobs", remote="site-a") == 7
    assert value(metrics, "pooler_breaker_state", remote="site-a") == 0
    assert value(metrics, "pooler_breaker_state", remote="site-b") == 2
    assert value(metrics, "pooler_remote_info", remote="site-a", owner="team-a") == 1
    assert value(metrics, "pooler_remote_quiet", remote="site-a") == 0
    assert value(metrics, "pooler_consumer_lag_records", topic="ftp-tasks", partition="0") == 5
    assert value(metrics, "pooler_consumer_lag_records", topic="ftp-tasks", partition="1") is None
    assert value(metrics, "pooler_partition_stopped", topic="ftp-tasks", partition="0") == 0
    assert value(metrics, "pooler_partition_stopped", topic="ftp-tasks", partition="1") == 1
    assert value(metrics, "pooler_window_records") == 9
    assert value(metrics, "pooler_window_bytes") == 900
    assert value(metrics, "pooler_oldest_job_age_seconds") == 12.5
    assert value(metrics, "pooler_commit_age_seconds") == 1.5
    service.change_status(window_records=0, oldest_job_age_s=None, commit_age_s=None)
    assert value(metrics, "pooler_window_records") == 0
    assert value(metrics, "pooler_oldest_job_age_seconds") == 0
    assert value(metrics, "pooler_commit_age_seconds") is None


def test_one_service_is_watched_once(metrics: Metrics) -> None:
    metrics.watch(ServiceDouble())
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.watch(ServiceDouble())


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics("1", []), Metrics("1", [])
    one.dead_lettered()
    assert value(other, "pooler_dead_letters_total") == 0


def test_the_exposition_is_text_or_openmetrics_as_asked(metrics: Metrics) -> None:
    text, text_type = metrics.exposition()
    assert text_type.startswith("text/plain")
    assert b'pooler_build_info{version="1.2.3"} 1.0' in text
    assert b"_created" not in text
    body, body_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert body_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
