"""The gauges: each mirrors the state of the moment, and is read from the service at the scrape."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pooler.ops.readings import BreakerState, FolderReading, Readable, RemoteReading, ServiceReading

_BREAKER_VALUES: Final[dict[BreakerState, int]] = {"closed": 0, "half_open": 1, "open": 2}


class LiveGauges(Collector):
    """Gauges that are read from the service when asked for.

    Args:
        service: whose state they show.
    """

    def __init__(self, service: Readable) -> None:
        self._service = service

    def describe(self) -> Iterator[Metric]:
        """Tell which metrics there are."""
        # For the registry to see a second service's names clash, without asking this one for its state.
        yield from _RemoteGauges().families()
        yield from _FolderGauges().families()
        yield from _ServiceGauges().families()

    def collect(self) -> Iterator[Metric]:
        """Tell what they are now."""
        remotes = _RemoteGauges()
        for reading in self._service.remotes():
            remotes.read(reading)
        yield from remotes.families()
        folders = _FolderGauges()
        for folder in self._service.folders():
            folders.read(folder)
        yield from folders.families()
        service = _ServiceGauges()
        service.read(self._service.status())
        yield from service.families()


class _RemoteGauges:
    def __init__(self) -> None:
        self._sessions = GaugeMetricFamily(
            "pooler_sessions", "Sessions that are open.", labels=["remote", "state"]
        )
        self._limit = GaugeMetricFamily(
            "pooler_session_limit", "Sessions that are allowed now.", labels=["remote"]
        )
        self._target = GaugeMetricFamily(
            "pooler_session_target", "Sessions that would serve best, as far as is known.", labels=["remote"]
        )
        self._lane = GaugeMetricFamily("pooler_lane_jobs", "Jobs that wait for a session.", labels=["remote"])
        self._breaker = GaugeMetricFamily(
            "pooler_breaker_state", "0 closed, 1 half-open, 2 open.", labels=["remote"]
        )
        self._full = GaugeMetricFamily(
            "pooler_remote_full", "1 while a server has no room for uploads.", labels=["remote"]
        )
        self._info = GaugeMetricFamily(
            "pooler_remote_info",
            "Who is told of trouble with a remote; always 1.",
            labels=["remote", "owner"],
        )
        self._quiet = GaugeMetricFamily(
            "pooler_remote_quiet", "1 while a remote is paused, or in maintenance.", labels=["remote"]
        )

    def read(self, remote: RemoteReading) -> None:
        self._info.add_metric([remote.name, remote.owner], 1)
        self._quiet.add_metric([remote.name], remote.paused or remote.maintenance_until is not None)
        self._sessions.add_metric([remote.name, "busy"], remote.busy)
        self._sessions.add_metric([remote.name, "idle"], remote.idle)
        self._limit.add_metric([remote.name], remote.limit)
        self._target.add_metric([remote.name], remote.target)
        self._lane.add_metric([remote.name], remote.waiting)
        self._breaker.add_metric([remote.name], _BREAKER_VALUES[remote.state])
        self._full.add_metric([remote.name], remote.full_s is not None)

    def families(self) -> tuple[Metric, ...]:
        sessions = (self._sessions, self._limit, self._target)
        return (*sessions, self._lane, self._breaker, self._full, self._info, self._quiet)


class _FolderGauges:
    def __init__(self) -> None:
        self._paused = GaugeMetricFamily(
            "pooler_folder_paused", "1 while a local folder cannot be used.", labels=["folder"]
        )
        self._waiting = GaugeMetricFamily(
            "pooler_folder_jobs", "Jobs that wait for a local folder.", labels=["folder"]
        )
        self._free = GaugeMetricFamily(
            "pooler_folder_free_bytes",
            "Room in a local folder; absent while that is not known.",
            labels=["folder"],
        )

    def read(self, folder: FolderReading) -> None:
        self._paused.add_metric([folder.name], folder.paused)
        self._waiting.add_metric([folder.name], folder.waiting)
        if folder.free_bytes is not None:
            self._free.add_metric([folder.name], folder.free_bytes)

    def families(self) -> tuple[Metric, ...]:
        return (self._paused, self._waiting, self._free)


class _ServiceGauges:
    def __init__(self) -> None:
        self._records = GaugeMetricFamily("pooler_window_records", "Records read and not settled.")
        self._bytes = GaugeMetricFamily("pooler_window_bytes", "Bytes of the records read and not settled.")
        self._oldest = GaugeMetricFamily(
            "pooler_oldest_job_age_seconds", "Since the oldest job not settled was read; 0 without any."
        )
        self._commit = GaugeMetricFamily(
            "pooler_commit_age_seconds", "Since the last commit; absent before the first."
        )
        self._lag = GaugeMetricFamily(
            "pooler_consumer_lag_records",
            "Records of a partition that are not settled; absent while its end is not known.",
            labels=["topic", "partition"],
        )
        self._stopped = GaugeMetricFamily(
            "pooler_partition_stopped",
            "1 while a partition is not read, and will not be by itself.",
            labels=["topic", "partition"],
        )

    def read(self, status: ServiceReading) -> None:
        self._records.add_metric([], status.window_records)
        self._bytes.add_metric([], status.window_bytes)
        self._oldest.add_metric([], status.oldest_job_age_s or 0)
        if status.commit_age_s is not None:
            self._commit.add_metric([], status.commit_age_s)
        for partition in status.partitions:
            place = [partition.topic, str(partition.partition)]
            self._stopped.add_metric(place, partition.state == "stopped")
            if partition.lag is not None:
                self._lag.add_metric(place, partition.lag)

    def families(self) -> tuple[Metric, ...]:
        return (self._records, self._bytes, self._oldest, self._commit, self._lag, self._stopped)
