"""A double of the running service, as the admin API and the metrics see it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import trio

from pooler.flow.lately import Lately, Recent
from pooler.model.batch import Tally
from pooler.model.control import Knob, Mode
from pooler.ops.http.deployment import ALONE, DeploymentStatus
from pooler.ops.http.everywhere import Query, Told
from pooler.ops.http.jobs import EndedJob, FailureCause, JobInHand, OpenBatch, open_batch
from pooler.ops.http.ledger import AuditLedger, Deed
from pooler.ops.http.questions import answer
from pooler.ops.http.receipt import Receipt
from pooler.ops.http.reloading import ReloadReport
from pooler.ops.http.service import (
    CannotProbe,
    FolderStatus,
    JobsRefused,
    LimitDecision,
    LimitStatus,
    MovedStatus,
    PartitionStatus,
    ProbeStatus,
    RemoteStatus,
    ServiceStatus,
    SessionStatus,
    Submission,
    Submitted,
)
from pooler.ops.http.submitting import Receipts

RUNNING = JobInHand(
    task_id="task-1",
    remote="site-a",
    direction="download",
    source="site-a:/out/1.bin",
    destination="local:/in/1.bin",
    origin="ftp-tasks-0-7",
    running=True,
    age_s=2.5,
    attempts=1,
    running_s=0.5,
    bytes=4096,
    bytes_per_s=8192,
    peer="192.0.2.1:21",
    cancelled=None,
    last_error=None,
)
WAITING = replace(
    RUNNING,
    task_id="task/2 & more",
    running=False,
    attempts=0,
    running_s=None,
    bytes=0,
    bytes_per_s=None,
    peer=None,
)
COPIED = EndedJob(
    task_id="task-0",
    remote="site-a",
    direction="download",
    source="site-a:/out/0.bin",
    destination="local:/in/0.bin",
    origin="ftp-tasks-0-6",
    at="2026-11-24T01:02:03.456+00:00",
    status="success",
    error_code=None,
    error=None,
    reply="226 Transfer complete.",
    attempts=1,
    bytes=400_000,
    duration_ms=120,
    verified="size",
)
FAILED = replace(
    COPIED,
    task_id="task-b",
    origin="ftp-tasks-1-2",
    remote="site-b",
    status="failed",
    error_code="CONNECTION_ERROR",
    error="ftp.example.org:21: no answer in 30 s",
    reply=None,
    bytes=0,
    verified="none",
)


class ServiceDouble:
    """Two remotes, one of them away, and a memory of what it was asked for.

    Attributes:
        calls: pauses, resumes and drains, in order.
        deaf: raised instead of being steered, if set.
        pods: what ``deployment`` answers.
        broken: raised by ``status`` instead of an answer, if set.
        pod: its name.
        others: the other pods, by name.
        silent: the names of pods that say nothing.
        submitted: what was submitted.
        refuses: why jobs are refused, if they are.
        busy_with: why no remote can be probed, if none can.
        report: what ``reload`` answers.
        ended_jobs: those that ended last, the newest first.
        failed_jobs: how many have failed.
        probed: what comes of trying a remote out.
        lately: how jobs have ended of late.
        moved_bytes: that have gone over.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.broken: Exception | None = None
        self.deaf: Exception | None = None
        self.pods = ALONE
        self.pod = "pooler-0"
        self.ledger = AuditLedger()
        self.others: dict[str, ServiceDouble] = {}
        self.silent: tuple[str, ...] = ()
        self.receipts = Receipts()
        self.submitted: list[Submission] = []
        self.refuses = ""
        self.busy_with = ""
        self.report = ReloadReport(done=True, changed=("remote site-c: added",))
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
                PartitionStatus(
                    "ftp-tasks",
                    0,
                    state="running",
                    reason=None,
                    way_on=None,
                    position=12,
                    watermark=5,
                    committed=4,
                    lag=5,
                    settled_above=2,
                    in_hand=5,
                    oldest_age_s=12.5,
                ),
                PartitionStatus(
                    "ftp-tasks",
                    1,
                    state="stopped",
                    reason="no offset is on record",
                    way_on="commit an offset",
                    position=3,
                    watermark=3,
                    committed=None,
                    lag=None,
                    settled_above=0,
                    in_hand=0,
                    oldest_age_s=None,
                ),
            ),
            succeeded=100,
            failed=3,
            skipped=2,
            bytes_transferred=40_000_000,
            commit_age_s=1.5,
        )
        site_a = RemoteStatus(
            name="site-a",
            host="ftp.example.com",
            state="closed",
            breaker_retry_s=None,
            owner="team-a",
            paused=False,
            busy=1,
            idle=1,
            limit=10,
            target=8,
            waiting=7,
            parked=40,
            oldest_wait_s=3.5,
            succeeded=100,
            failed=0,
            last_error=None,
            maintenance_until=None,
            bandwidth_bytes_per_s=None,
            full_s=None,
            limits=LimitStatus(
                state="steady",
                most=10,
                shared_with=("site-b",),
                shared_most=10,
                share=4,
                let_in=10,
                cools_s=None,
                next_login_s=0.0,
                data_connections_per_s=500.0,
                decisions=(
                    LimitDecision(
                        ago_s=4.5,
                        before=10,
                        after=8,
                        reason="more sessions do not help",
                        state="steady",
                        seen=MovedStatus(10, 4.0, 80.0, 8_000_000, 0.125),
                        against=MovedStatus(8, 4.0, 80.0, 8_000_000, 0.1),
                        gain=1.0,
                        error=None,
                    ),
                ),
            ),
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
        self.probed = ProbeStatus(
            ok=True,
            seconds=0.25,
            peer="192.0.2.1:21",
            tls_version=None,
            certificate_sha256=None,
            error_code=None,
            error=None,
            dialogue=("< 220 hello",),
        )
        self.lately = Lately()
        self.moved_bytes = 40_000_000
        self.in_hand = [RUNNING, WAITING]
        self.ended_jobs: Sequence[EndedJob] = [FAILED, COPIED]
        self.failed_jobs = 3

    def have_remotes(self, *remotes: RemoteStatus) -> None:
        """Have these remotes in place of the two."""
        self._remotes = {remote.name: remote for remote in remotes}

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

    def running(self) -> tuple[JobInHand, ...]:
        return tuple(job for job in self.in_hand if job.running)

    def batches(self) -> tuple[OpenBatch, ...]:
        return (open_batch(Tally("b-0-1-a", task_id="many", source="site-a:/out/", files=9, failed=1)),)

    def ended(self) -> Iterator[EndedJob]:
        return iter(self.ended_jobs)

    def find_jobs(self, task_id: str) -> tuple[tuple[JobInHand, ...], tuple[EndedJob, ...]]:
        return (
            tuple(job for job in self.in_hand if job.task_id == task_id),
            tuple(job for job in self.ended_jobs if job.task_id == task_id),
        )

    def failures(self) -> tuple[FailureCause, ...]:
        return (FailureCause("site-b", "CONNECTION_ERROR", self.failed_jobs, FAILED),)

    def recent(self) -> dict[str | None, Recent]:
        return self.lately.recent(trio.current_time())

    def bytes_moved(self) -> int:
        return self.moved_bytes

    def cancel(self, task_id: str, why: str) -> None:
        self.calls.append(("cancel", task_id, why))
        self.in_hand = [
            replace(job, cancelled=why) if job.task_id == task_id else job for job in self.in_hand
        ]

    async def steer(self, name: str, knob: Knob, value: Mode | int | None, *, by: str, why: str) -> None:
        if self.deaf is not None:
            raise self.deaf
        if knob is Knob.WORK:
            self._remotes[name] = replace(self._remotes[name], paused=value is not Mode.RUN)
        self.calls.append((knob.value, name, str(value), by, why))

    def deployment(self) -> DeploymentStatus:
        return self.pods

    async def ask_others(self, what: str, query: Query, within_s: float) -> Told:
        assert within_s > 0
        if self.deaf is not None:
            raise self.deaf
        query = json.loads(json.dumps(query))
        bodies, errors = {}, {}
        for name, other in self.others.items():
            try:
                bodies[name] = await answer(other, what, query)
            except LookupError as error:
                errors[name] = str(error)
        return Told(bodies, errors, self.silent)

    def configuration(self) -> dict[str, Any]:
        settings = {"logging": {"level": {"value": "INFO", "from": "default"}}}
        return {"settings": settings, "remotes": {"site-a": {"host": "ftp.example.com"}}, "folders": {}}

    async def submit(self, submission: Submission) -> Submitted:
        if self.refuses:
            raise JobsRefused(self.refuses)
        if self.deaf is not None:
            raise self.deaf
        self.submitted.append(submission)
        named = ((str(job.get("task_id", number)), "site-a") for number, job in enumerate(submission.jobs))
        return Submitted("ftp-tasks", tuple(named))

    def receipt(self, key: str) -> Receipt | None:
        return self.receipts.get(key)

    def keep_receipt(self, key: str, receipt: Receipt) -> None:
        self.receipts.keep(key, receipt)

    def deeds(self) -> Iterator[Deed]:
        return iter(self.ledger)

    async def reload(self, by: str) -> ReloadReport:
        self.calls.append(("reload", by))
        return self.report

    async def probe(self, name: str) -> ProbeStatus:
        if name not in self._remotes:
            raise KeyError(name)
        if self.busy_with:
            raise CannotProbe(self.busy_with)
        self.calls.append(("probe", name))
        return self.probed

    def drain(self) -> None:
        self.calls.append(("drain",))
        self.change_status(draining=True, ready=False, reasons=("draining",))
