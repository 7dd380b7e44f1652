"""A double of the running service, as the admin API and the metrics see it."""

from dataclasses import replace
from typing import Any

from pooler.ops.http.service import FolderStatus, PartitionStatus, RemoteStatus, ServiceStatus, SessionStatus


class ServiceDouble:
    """Two remotes, one of them away, and a memory of what it was asked for.

    Attributes:
        calls: pauses, resumes and drains, in order.
        broken: raised by ``status`` instead of an answer, if set.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.broken: Exception | None = None
        self._status = ServiceStatus(
            version="1.2.3",
            ready=True,
            reasons=(),
            draining=False,
            uptime_s=60.0,
            window_records=9,
            window_bytes=900,
            oldest_job_age_s=12.5,
            partitions=(
                PartitionStatus("ftp-tasks", 0, position=12, watermark=5, lag=5, settled_above=2),
                PartitionStatus("ftp-tasks", 1, position=3, watermark=3, lag=None, settled_above=0),
            ),
            succeeded=100,
            failed=3,
            skipped=2,
            commit_age_s=1.5,
        )
        site_a = RemoteStatus(
            name="site-a",
            host="ftp.example.com",
            state="closed",
            breaker_retry_s=None,
            paused=False,
            busy=1,
            idle=1,
            limit=10,
            waiting=7,
            oldest_wait_s=3.5,
            succeeded=100,
            failed=0,
            last_error=None,
            sessions=(
                SessionStatus(busy=True, job="task-1", since_s=0.5, bytes=4096, peer="192.0.2.1:21"),
                SessionStatus(busy=False, job=None, since_s=9.0, bytes=0, peer="192.0.2.1:21"),
            ),
            learnt={"server": "proftpd 1.3.8", "features": ["MLST", "SIZE"], "mlst": True, "hash": None},
        )
        site_b = replace(
            site_a,
            name="site-b",
            state="open",
            breaker_retry_s=30.0,
            busy=0,
            idle=0,
            waiting=0,
            oldest_wait_s=None,
            succeeded=0,
            failed=3,
            last_error="no answer",
            sessions=(),
            learnt={"server": "unknown", "features": None},
        )
        self._remotes = {remote.name: remote for remote in (site_a, site_b)}

    def change_status(self, **changes: Any) -> None:
        """Change fields of what ``status`` answers."""
        self._status = replace(self._status, **changes)

    def status(self) -> ServiceStatus:
        if self.broken is not None:
            raise self.broken
        return self._status

    def remotes(self) -> tuple[RemoteStatus, ...]:
        return tuple(self._remotes.values())

    def folders(self) -> tuple[FolderStatus, ...]:
        return (
            FolderStatus(
                "local",
                paused=False,
                reason=None,
                error=None,
                paused_s=None,
                uploads_go_on=True,
                waiting=0,
                free_bytes=1000,
            ),
            FolderStatus(
                "nfs",
                paused=True,
                reason="stalled",
                error="nfs:/: no answer for 30 s",
                paused_s=12.5,
                uploads_go_on=False,
                waiting=4,
                free_bytes=None,
            ),
        )

    def pause(self, name: str) -> None:
        self._remotes[name] = replace(self._remotes[name], paused=True)
        self.calls.append(("pause", name))

    def resume(self, name: str) -> None:
        self._remotes[name] = replace(self._remotes[name], paused=False)
        self.calls.append(("resume", name))

    def drain(self) -> None:
        self.calls.append(("drain",))
        self.change_status(draining=True, ready=False, reasons=("draining",))
