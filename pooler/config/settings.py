"""What config.yaml may say, section by section, with the defaults.

Values are checked here, each for itself and against its neighbours in the section. Where a value came from,
and how a mistake is told, is the business of `pooler.config.load`. docs/configuration.md tells
the same story for people.
"""

import re
import zlib
from collections.abc import Mapping
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, field_validator

from pooler.config.kafka_security import KafkaSecurity
from pooler.config.section import Section
from pooler.config.values import size

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1024)]
# What is handed to Kafka travels there as a signed number of 32 bits.
Milliseconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
Host = Annotated[str, Field(min_length=1)]

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_PLACEHOLDER = re.compile(r"\{(input_topic|delay)\}")
_TOPICS = ("input_topic", "priority_topic", "result_topic", "fail_topic", "dlq_topic")
_LONGEST_NAME = 240  # of 249 that Kafka takes, with what member_name adds
_UNITS = ((3600, "h"), (60, "m"))
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})")


def _bandwidth(value: object) -> float | None:
    if value is None or value is False:  # `off`, as older YAML reads it
        return None
    bytes_per_s = size(str(value))
    return None if bytes_per_s == inf else bytes_per_s


def _short(seconds: float) -> str:
    """Write a delay as the names of topics have it: ``90s``, ``10m``, ``1h``."""
    for unit_s, unit in _UNITS:
        if seconds % unit_s == 0:
            return f"{seconds / unit_s:g}{unit}"
    return f"{seconds:g}s"


class Backoff(Section):
    """A pause that grows from its base to its maximum, for sections that try again."""

    base_backoff_ms: Milliseconds = 1000
    """The pause before the second try, in milliseconds; later ones are longer."""
    max_backoff_ms: Milliseconds = 30000
    """The longest pause, in milliseconds."""

    @field_validator("max_backoff_ms")
    @classmethod
    def _grows(cls, value: int, info: ValidationInfo) -> int:
        base = info.data.get("base_backoff_ms", 0)
        if value < base:
            raise ValueError(f"expected at least base_backoff_ms ({base}), got {value}")
        return value


class KafkaSettings(KafkaSecurity, Backoff):
    """The brokers, the topics, and how much is in hand."""

    bootstrap_servers: tuple[str, ...] = ("localhost:9092",)
    """Brokers to ask first, each ``host:port``; a list, or one text with commas."""
    consumer_group: Annotated[str, Field(min_length=1)] = "ftp-pooler"
    """The group whose members share the jobs."""
    input_topic: str = "ftp-tasks"
    """Where jobs are read."""
    priority_topic: str = ""
    """Where urgent jobs are read, which overtake those of the input topic; empty where there are none."""
    result_topic: str = "ftp-results"
    """Where successes and skipped jobs are answered."""
    fail_topic: str = "ftp-failures"
    """Where failures are answered."""
    dlq_topic: str = "ftp-tasks-dlq"
    """Where records go that are no JSON object."""
    retry_delays_seconds: Annotated[tuple[Seconds, ...], Field(max_length=8)] = (10, 60, 600, 3600)
    """How long jobs stay on each of the retry topics, from the shortest on; with an empty list no job is
    parked, and all wait in memory."""
    retry_topic: str = "{input_topic}-retry-{delay}"
    """The names of the retry topics; ``{delay}`` is such as ``10s``, ``1m`` or ``1h``."""
    retry_partitions: Count = 4
    """The most partitions that a retry topic gets which we make; never more than the input topic has."""
    control_topic: str = "{input_topic}-control"
    """Where pods agree on what holds for all of them; empty to let each be for itself."""
    batch_topic: str = "{input_topic}-batches"
    """Where bulk jobs stand while they are spread, and what has become of their jobs is summed up; empty to
    refuse bulk jobs. Without retry topics there is none either."""
    cloud_events: Literal["off", "binary", "structured"] = "off"
    """Whether results and failures are written as CloudEvents 1.0, and in which of the two modes of Kafka's
    binding; jobs that are events are read in any case."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Whether answers and offsets go out in one transaction, or one behind the other, which may answer a job
    twice after a crash."""
    missing_offset: Literal["first", "stop"] = "first"
    """Where to begin in a partition for which the group has no offset on record: at its first record, or not
    at all."""
    out_of_range: Literal["stop", "first"] = "stop"
    """What to do about a partition that no longer has the offset on record, or whose topic was made anew:
    stop it, or go on at its first record."""
    max_retries: Annotated[int, Field(ge=0)] = 5
    """Further tries to reach the brokers at the start, before giving up; this has nothing to do with jobs."""
    client_id: Annotated[str, Field(min_length=1)] = "ftp-pooler"
    """The name under which the brokers know us, in their logs and quotas."""
    commit_interval_ms: Milliseconds = 500
    """How long outcomes are gathered before they are published and committed together, in milliseconds."""
    max_poll_records: Count = 500
    """The most records taken from the brokers at once."""
    window_records: Count = 10000
    """The most jobs in hand in this process, read and not yet settled; above it the partitions pause."""
    window_bytes: Bytes = 16 * 1024 * 1024
    """The most bytes that the records of the jobs in hand may have together."""
    session_timeout_ms: Milliseconds = 45000
    """How long a silent member stays in the group, in milliseconds."""
    heartbeat_interval_ms: Milliseconds = 3000
    """How often a member says that it lives, in milliseconds."""
    rebalance_timeout_ms: Milliseconds = 60000
    """How long members have to let go of their partitions, in milliseconds."""
    watchdog_seconds: Seconds = 300.0
    """How long publishing, polling or a rebalance may stand still before the process ends itself."""
    max_record_bytes: Bytes = 1_000_000
    """The largest record that is written; what would be larger is cut down before it is sent."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """How what we write is compressed; whatever is read may be compressed in any of these ways."""
    group_instance_id: str | None = None
    """The name under which this process stays a member while it restarts; no other may have it."""
    metadata_max_age_ms: Milliseconds = 30000
    """How soon partitions that are added to the input topic are noticed, in milliseconds."""
    topic_checks: Literal["stop", "warn", "off"] = "stop"
    """What we do about topics that are set up so that jobs or answers would be lost: not start, say so, or
    not look."""

    @property
    def transaction_timeout_ms(self) -> int:
        """After how long the brokers abort what a silent owner has open: before the group thinks it dead."""
        return min(30_000, self.session_timeout_ms * 2 // 3)

    @property
    def job_topics(self) -> tuple[str, ...]:
        """Where jobs are sent: the input topic, and the priority topic where there is one."""
        return (self.input_topic, self.priority_topic) if self.priority_topic else (self.input_topic,)

    @property
    def retry_topics(self) -> Mapping[str, float]:
        """Where jobs are parked: topics, each with its delay in seconds, the shortest first."""
        return {
            self.retry_topic.format(input_topic=self.input_topic, delay=_short(delay_s)): delay_s
            for delay_s in self.retry_delays_seconds
        }

    @property
    def batch_topic_name(self) -> str:
        """The name of the batch topic; empty where there is none."""
        if not self.retry_delays_seconds:
            return ""
        return self.batch_topic.format(input_topic=self.input_topic)

    @property
    def side_topics(self) -> Mapping[str, float]:
        """Topics that are read beside the jobs and made where missing, each with its delay in seconds."""
        return {**self.retry_topics, **({self.batch_topic_name: 0.0} if self.batch_topic_name else {})}

    @property
    def member_name(self) -> str | None:
        """Our name as a static member.

        A broker hands the partitions of a name on, whatever topics are asked for. So who reads other topics
        than its predecessor, being of another release perhaps, has another name.
        """
        if self.group_instance_id is None:
            return None
        topics = " ".join(sorted([*self.job_topics, *self.side_topics]))
        return f"{self.group_instance_id[:_LONGEST_NAME]}.{zlib.crc32(topics.encode()):08x}"

    @property
    def control_topic_name(self) -> str:
        """The name of the control topic; empty where there is none."""
        return self.control_topic.format(input_topic=self.input_topic)

    @field_validator(
        "bootstrap_servers",
        "retry_delays_seconds",
        mode="before",
        json_schema_input_type=str | list[str] | list[float],
    )
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",")) if value.strip() else ()

    @field_validator("bootstrap_servers")
    @classmethod
    def _reachable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one host:port")
        for server in value:
            match = _SERVER.fullmatch(server)
            if match is None or not 1 <= int(match[2]) <= 65535:  # noqa: PLR2004 - the range of a TCP port
                raise ValueError(f"expected host:port, got {server!r}")
        return value

    @field_validator("input_topic", "result_topic", "fail_topic", "dlq_topic")
    @classmethod
    def _topic(cls, value: str, info: ValidationInfo) -> str:
        if not _TOPIC.fullmatch(value) or value in {".", ".."}:
            raise ValueError(f"expected a topic's name (letters, digits, '.', '_', '-'), got {value!r}")
        for read in ("input_topic", "priority_topic"):
            if value == info.data.get(read):
                raise ValueError(f"{value!r} is {read}: answers would be read as jobs")
        return value

    @field_validator("priority_topic")
    @classmethod
    def _priority_topic(cls, value: str, info: ValidationInfo) -> str:
        if value and (not _TOPIC.fullmatch(value) or value in {".", "..", info.data.get("input_topic")}):
            raise ValueError(f"expected the name of another topic, or nothing, got {value!r}")
        return value

    @field_validator("retry_delays_seconds")
    @classmethod
    def _rises(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(longer <= shorter for shorter, longer in pairwise(value)):
            raise ValueError(f"expected each longer than the one before, got {', '.join(map(_short, value))}")
        return value

    @field_validator("retry_topic")
    @classmethod
    def _retry_topic(cls, value: str, info: ValidationInfo) -> str:
        if "{delay}" not in value or not _TOPIC.fullmatch(_PLACEHOLDER.sub("x", value)):
            raise ValueError(f"expected a topic's name with {{delay}} in it, got {value!r}")
        taken = {info.data.get(key) for key in _TOPICS}
        for delay_s in info.data.get("retry_delays_seconds", ()):
            name = value.format(input_topic=info.data.get("input_topic", ""), delay=_short(delay_s))
            if name in taken or not _TOPIC.fullmatch(name):
                raise ValueError(
                    f"expected the name of another topic, of 249 characters at most, got {name!r}"
                )
        return value

    @field_validator("control_topic", "batch_topic")
    @classmethod
    def _named_after_input(cls, value: str, info: ValidationInfo) -> str:
        name = value.replace("{input_topic}", info.data.get("input_topic", ""))
        others = {info.data.get(key) for key in _TOPICS}
        if info.field_name == "batch_topic":
            others.add(
                info.data.get("control_topic", "").replace("{input_topic}", info.data.get("input_topic", ""))
            )
        if name and (not _TOPIC.fullmatch(name) or name in {".", "..", *others}):
            raise ValueError(f"expected the name of another topic, or nothing, got {value!r}")
        return value

    @field_validator("group_instance_id")
    @classmethod
    def _instance(cls, value: str | None) -> str | None:
        if value is not None and (not _TOPIC.fullmatch(value) or value in {".", ".."}):
            raise ValueError(f"expected letters, digits, '.', '_' and '-', 249 at most, got {value!r}")
        return value

    @field_validator("heartbeat_interval_ms")
    @classmethod
    def _beats_thrice(cls, value: int, info: ValidationInfo) -> int:
        session_ms = info.data.get("session_timeout_ms")
        if session_ms is not None and value * 3 > session_ms:
            raise ValueError(f"expected at most a third of session_timeout_ms ({session_ms}), got {value}")
        return value

    @field_validator("max_record_bytes")
    @classmethod
    def _fits_window(cls, value: int, info: ValidationInfo) -> int:
        window = info.data.get("window_bytes")
        if window is not None and value > window:
            raise ValueError(f"expected at most window_bytes ({window}), got {value}")
        return value


class PoolSettings(Section):
    """Sessions: how many, how long they live idle, and how many are opened before there is work."""

    max_sessions_per_pod: Count = 100
    """The most sessions of this process, all remotes together."""
    max_sessions_per_connection: Count = 10
    """The most sessions on one remote that sets neither ``max_sessions`` nor ``concurrency``."""
    adaptive_sessions: bool = True
    """Whether the number of sessions on a remote is found by trying which serves best; else all are used that
    are allowed."""
    connects_per_minute: Annotated[int, Field(ge=1)] = 240
    """The most logins a minute on a remote that does not set its own."""
    data_connections_per_second: Seconds = 500
    """The most data connections a second on a remote that does not set its own."""
    session_timeout_seconds: Seconds = 300
    """How long a session may be idle before it is closed."""
    keepalive_seconds: Seconds = 30
    """How often an idle session is kept alive with a NOOP."""
    prewarm_enabled: bool = True
    """Whether sessions are opened at the start, before there is work."""
    prewarm_sessions_per_connection: Annotated[int, Field(ge=0)] = 2
    """How many of them on each remote, as far as its limit allows."""
    prewarm_timeout_seconds: Seconds = 30
    """How long after the start they may be opened; nothing waits for them."""
    bandwidth: Annotated[
        float | None,
        BeforeValidator(_bandwidth, json_schema_input_type=str | Literal[False] | None),
        PlainSerializer(lambda bytes_per_s: None if bytes_per_s is None else f"{bytes_per_s:.0f}B"),
    ] = None
    """How many bytes a second this process moves at most, such as ``10M``, all remotes and both directions
    together; ``off`` for any number."""


class TransferSettings(Section):
    """One attempt at a job: how long each step may take, and what is done for durability."""

    transfer_timeout_seconds: Seconds = 300
    """How long one attempt may take in all."""
    connect_timeout_seconds: Seconds = 30
    """How long a connect, with greeting, TLS and login, may take."""
    reply_timeout_seconds: Seconds = 60
    """How long one reply of a server may take."""
    stall_timeout_seconds: Seconds = 60
    """How long a data connection may stand still."""
    flush: Literal["batch", "always", "never"] = "batch"
    """How downloads reach the disk before they are answered: together, each for itself, or never."""
    local_root: Path | None = None
    """The folder of every ``local`` section that has no ``base_path``."""
    resume_above_bytes: Annotated[int, Field(ge=0)] = 8 * 1024 * 1024
    """From which size on a file is resumed after a lost session, where its job asks for it."""
    disk_timeout_seconds: Annotated[Seconds, Field(ge=1)] = 30
    """How long a call into a local folder may take before the folder counts as stalled."""
    disk_calls: Literal["auto", "threads"] = "auto"
    """Whether short calls into folders on this machine's own disks are made at once, while these are quick,
    or in threads as all others are."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    """With less room than this in a local folder no download into it is begun."""
    sweep_after_seconds: Annotated[Seconds, Field(ge=120)] = 900
    """How long a process has to be silent before what it left unfinished is removed."""
    drain_seconds: Seconds = 20
    """How long running transfers may go on after the word to stop."""

    @field_validator("local_root")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError(f"expected an absolute path, got {str(value)!r}")
        return value


class RetrySettings(Backoff):
    """Attempts at a job that says nothing about them."""

    attempts: Count = 5
    """Attempts in all, the first one included, at a job without ``retry_count``."""
    deadline_seconds: Seconds = 86400
    """How long after its first reading a job without ``deadline_seconds`` may still be tried."""


class CircuitBreakerSettings(Section):
    """When a remote that does not answer is left alone, and when it is asked again."""

    failure_threshold: Count = 5
    """Failures in a row that open the breaker."""
    success_threshold: Count = 3
    """Successes in a row, while half open, that close it."""
    timeout_seconds: Seconds = 60
    """How long it stays open before it lets a call through."""
    half_open_max_calls: Count = 3
    """Calls let through at once while half open."""


class ApiSettings(Section):
    """The admin API and the page."""

    enabled: bool = True
    """Whether they are served."""
    host: Host = "0.0.0.0"  # noqa: S104 - a pod is reached from outside; without a token only loopback may operate
    """The address they listen on."""
    port: Port = 8080
    """The port they listen on; 0 takes any that is free."""
    token_file: Path | None = None
    """The file of bearer tokens, hashed; without it only callers on loopback may read and operate."""


class MetricsSettings(Section):
    """The metrics, on a port of their own."""

    enabled: bool = True
    """Whether they are served."""
    host: Host = "0.0.0.0"  # noqa: S104 - Prometheus comes from outside, and only reads
    """The address they listen on."""
    port: Port = 9090
    """The port they listen on; 0 takes any that is free."""


class LoggingSettings(Section):
    """The log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe events that are written."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class TracingSettings(Section):
    """Spans of OpenTelemetry; it takes the extra ``tracing``."""

    enabled: bool = False
    """Whether a span is made of each job."""
    endpoint: str = ""
    """The collector, which takes OTLP over HTTP, such as ``http://collector:4318``; empty to leave it to
    OpenTelemetry's own variables of the environment."""
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Which part of the traces is kept that begin here; a job that is part of one is kept as that is."""
    service_name: Annotated[str, Field(min_length=1)] = "pooler"
    """Who we are, in each span."""

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/]+.*", value):
            raise ValueError(f"expected a URL such as http://collector:4318, got {value!r}")
        return value


class ConnectionsSettings(Section):
    """How connections.ini is read."""

    format: Literal["plain", "rclone"] | None = None
    """``plain``, or ``rclone`` for obscured passwords and its ``encoding``; None to go by the file's name."""


class Settings(Section):
    """The whole of config.yaml."""

    kafka: KafkaSettings = KafkaSettings()
    pool: PoolSettings = PoolSettings()
    transfer: TransferSettings = TransferSettings()
    retry: RetrySettings = RetrySettings()
    circuit_breaker: CircuitBreakerSettings = CircuitBreakerSettings()
    api: ApiSettings = ApiSettings()
    metrics: MetricsSettings = MetricsSettings()
    logging: LoggingSettings = LoggingSettings()
    tracing: TracingSettings = TracingSettings()
    connections: ConnectionsSettings = ConnectionsSettings()

    @field_validator("*", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """Read a section with nothing below its name as one that leaves everything at its default."""
        return {} if value is None else value

    @field_validator("metrics")
    @classmethod
    def _own_port(cls, value: MetricsSettings, info: ValidationInfo) -> MetricsSettings:
        api: ApiSettings | None = info.data.get("api")
        if api is not None and api.enabled and value.enabled and value.port == api.port != 0:
            raise ValueError(f"port {value.port} is the port of api too: expected one of its own")
        return value
