"""What all pods look like together, out of what each has told."""

from dataclasses import replace

import pytest
import trio

from pooler.bus.control_records import MOST_BYTES as MOST_BYTES_OF_A_RECORD
from pooler.ops.http.part import _ADAPTER, MOST_BYTES, Part, part
from pooler.ops.http.picture import LivePod, Pace, Picture, drawn, live_pod, pace
from pooler.ops.http.questions import answer
from tests.support.service_double import COPIED, FAILED, RUNNING, ServiceDouble


async def told(service: ServiceDouble) -> Part:
    """Have a pod tell of itself, as another one gets to know it."""
    return _ADAPTER.validate_json(await answer(service, "part", {}))


def together(*parts: tuple[str, Part]) -> Picture:
    pods = [
        live_pod(LivePod(pod, me=False, silent=False, heard_s=1.0), one, pace(None, one))
        for pod, one in parts
    ]
    hosts = {"site-a": "ftp.example.com", "site-b": "ftp.example.org"}
    return drawn("2026-01-01T00:00:00Z", 1.0, pods, dict(parts), hosts, known_of_each_other=True)


def other() -> ServiceDouble:
    service = ServiceDouble()
    service.pod = "pooler-1"
    return service


async def test_numbers_are_those_of_all_pods() -> None:
    one, two = ServiceDouble(), other()
    two.change_status(
        oldest_job_age_s=99.0, partitions=(replace(two.status().partitions[0], partition=7, lag=30),)
    )
    drawing = together((one.pod, await told(one)), (two.pod, await told(two)))
    assert drawing.service.lag == 35
    assert drawing.service.running == 2
    assert drawing.service.oldest_job_age_s == 99.0
    assert drawing.service.done == 204
    assert [(at.partition, at.pod) for at in drawing.partitions] == [
        (0, "pooler-0"),
        (1, "pooler-0"),
        (7, "pooler-1"),
    ]
    site_a = drawing.remotes[0]
    assert (site_a.name, site_a.busy, site_a.idle, site_a.limit, site_a.waiting) == ("site-a", 2, 2, 20, 14)
    assert {job.pod for job in drawing.running} == {"pooler-0", "pooler-1"}
    assert drawing.failures[0].jobs == 6


async def test_the_worst_breaker_and_where() -> None:
    one, two = ServiceDouble(), other()
    on_trial = replace(one.remotes()[1], state="half_open", breaker_retry_s=None)
    one.have_remotes(one.remotes()[0], on_trial)
    two.have_remotes(two.remotes()[0], replace(two.remotes()[1], state="open", breaker_retry_s=9.0))
    site_b = together((one.pod, await told(one)), (two.pod, await told(two))).remotes[1]
    assert (site_b.state, site_b.state_at, site_b.retry_s) == ("open", ("pooler-1",), 9.0)
    assert together((one.pod, await told(one))).remotes[1].state == "half_open"


async def test_how_jobs_ended_of_late_is_added_up() -> None:
    one, two = ServiceDouble(), other()
    now = trio.current_time()
    for service, took_s in ((one, 0.1), (two, 5.0)):
        for number in range(10):
            service.lately.ended("site-a", now, took_s, done=number > 0)
    two.lately.ended(None, now, None, done=False)
    drawing = together((one.pod, await told(one)), (two.pod, await told(two)))
    site_a = drawing.remotes[0]
    assert (site_a.done_5min, site_a.failed_5min, site_a.done_1h, site_a.failed_1h) == (18, 2, 18, 2)
    assert site_a.p95_s == pytest.approx(5.0, rel=0.05)
    assert sum(site_a.files) == 18
    assert (drawing.service.done_5min, drawing.service.failed_5min) == (18, 3)  # that one had no remote


async def test_a_partition_that_goes_from_pod_to_pod_is_told_once() -> None:
    one, two = ServiceDouble(), other()
    drawing = together((one.pod, await told(one)), (two.pod, await told(two)))
    assert [at.pod for at in drawing.partitions] == ["pooler-0", "pooler-0"]
    assert drawing.service.lag == 5


async def test_a_folder_that_one_pod_cannot_use() -> None:
    one = ServiceDouble()
    local, nfs = together((one.pod, await told(one))).folders
    assert (local.paused_at, local.free_bytes) == ((), 1000)
    assert (nfs.paused_at, nfs.reason, nfs.paused_s) == (("pooler-0",), "stalled", 12.5)


async def test_the_slowest_and_the_newest_of_all_in_order() -> None:
    one, two = ServiceDouble(), other()
    two.in_hand = [replace(RUNNING, task_id=f"slow-{number}", bytes_per_s=number) for number in range(60)]
    two.ended_jobs = [
        replace(COPIED, task_id=f"new-{number}", at=f"2026-12-01T00:00:{number:02}Z")
        for number in reversed(range(60))
    ]
    drawing = together((one.pod, await told(one)), (two.pod, await told(two)))
    assert [job.task_id for job in drawing.running] == [f"slow-{number}" for number in range(50)]
    assert [job.task_id for job in drawing.ended] == [f"new-{number}" for number in reversed(range(10, 60))]
    assert drawing.service.running == 61


def test_a_pace_is_what_was_done_since() -> None:
    base = part_of(ServiceDouble())
    later = replace(
        base, status=replace(base.status, uptime_s=62.0, succeeded=300), bytes_moved=base.bytes_moved + 1000
    )
    assert pace(base, later) == Pace(100.0, 500)
    assert pace(later, base) == Pace(0.0, 0.0)  # it was started anew
    assert pace(None, base) == Pace(0.0, 0.0)


def part_of(service: ServiceDouble) -> Part:
    service.recent = dict  # type: ignore[method-assign] # there is no clock here
    return part(service)


async def test_a_part_fits_into_a_record_however_much_there_is_to_tell() -> None:
    service = ServiceDouble()
    well, away = service.remotes()
    long = "\N{PILE OF POO}" * 1000
    service.have_remotes(
        away, *(replace(well, name=f"site-{number}", busy=1, last_error=long) for number in range(1000))
    )
    service.in_hand = [replace(RUNNING, source=long, destination=long, task_id=long)] * 500
    service.ended_jobs = [replace(FAILED, error=long, reply=long, dialogue=(long,) * 20)] * 500
    body = await answer(service, "part", {})
    assert len(body) <= MOST_BYTES < MOST_BYTES_OF_A_RECORD - 8 * 1024
    short = _ADAPTER.validate_json(body)
    assert short.running_in_all == 500
    assert short.remotes[0].name == away.name  # those in trouble are told of first
    assert len(short.remotes) > 100


async def test_of_another_pod_remotes_are_told_where_something_goes_on() -> None:
    service = ServiceDouble()
    well, away = service.remotes()
    idle = replace(well, name="idle", busy=0, idle=0, waiting=0)
    service.have_remotes(idle, replace(idle, name="full", full_s=3.0), replace(idle, name="of late"), away)
    service.lately.ended("of late", trio.current_time(), 1.0, done=True)
    assert [remote.name for remote in (await told(service)).remotes] == ["full", "of late", "site-b"]
