"""A service with two hundred remotes that are made up, and three pods, of which one is silent."""

from collections import deque
from dataclasses import replace
from itertools import cycle

import trio

from pooler.ops.http.deployment import DeploymentStatus, PodStatus
from pooler.ops.http.jobs import EndedJob
from pooler.ops.http.service import ServiceStatus
from tests.support.service_double import COPIED, FAILED, RUNNING, ServiceDouble

XSS = '<img src=x onerror="document.title=1">'
SICK = "plant-7"
SILENT = "pooler-2"
_SHOWN = 50


class Counting(ServiceDouble):
    """Counts how often it was asked how it is: once for each event.

    Attributes:
        told: how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    def status(self) -> ServiceStatus:
        self.told += 1
        return super().status()


def many(remotes: int = 200) -> Counting:
    """Make a service with many remotes, of which one is away, and one has a name that is no name."""
    service = Counting()
    well, away = service.remotes()
    service.have_remotes(
        *(
            replace(well, name=f"site-{number:03}", host=f"ftp{number}.example.com")
            for number in range(remotes - 2)
        ),
        replace(away, name=SICK, last_error="530 Login incorrect."),
        replace(well, name=XSS, last_error=XSS),
    )
    service.in_hand = [RUNNING, replace(RUNNING, task_id=XSS, origin="ftp-tasks-0-8")]
    return service


def three_pods() -> ServiceDouble:
    """Make one of three pods; another one drains, and the third is silent."""
    service, other = many(), many()
    other.pod = "pooler-1"
    other.change_status(ready=False, reasons=("draining",), draining=True, partitions=())
    other.in_hand = [replace(RUNNING, task_id="theirs", source="site-001:/out/2.bin", bytes_per_s=1)]
    service.others, service.silent = {other.pod: other}, (SILENT,)
    service.pods = DeploymentStatus(
        together=True,
        pods=tuple(
            PodStatus(pod, f"{pod}-x", pod == service.pod, pod == SILENT, 1.0, "1.2.3", (), ())
            for pod in (service.pod, other.pod, SILENT)
        ),
        remotes=(),
    )
    return service


def with_a_past(service: ServiceDouble) -> None:
    """Have jobs ended in the last five minutes, some of them badly: in the thread that serves it."""
    now = trio.current_time()
    for pod in (service, *service.others.values()):
        for number, remote in enumerate(pod.remotes()):
            for ago_s in range(295, 0, -1):
                done = remote.name != SICK and (number % 50 != 3 or ago_s % 9 != 0)
                for _ in range(number % 4 + ago_s % (2 + number % 5)):
                    pod.lately.ended(remote.name, now - ago_s, 0.05 + number / 100, done=done)


async def alive(service: ServiceDouble) -> None:
    """Have jobs ended before, and end as long as it goes on."""
    with_a_past(service)
    pods = (service, *service.others.values())
    while True:
        await trio.sleep(0.5)
        for pod in pods:
            status = pod.status()
            pod.change_status(uptime_s=status.uptime_s + 0.5, succeeded=status.succeeded + 100)
            pod.moved_bytes += 9_000_000
            for number, remote in enumerate(pod.remotes()):
                if remote.name != SICK and number % 2:
                    pod.lately.ended(remote.name, trio.current_time(), 0.1, done=True)


async def storm(service: ServiceDouble, jobs: int) -> None:
    """Have a thousand jobs end every second; every hundredth fails."""
    names = cycle(remote.name for remote in service.remotes())
    newest: deque[EndedJob] = deque(maxlen=1000)
    service.ended_jobs = newest
    service.failed_jobs = 0
    for number, name in zip(range(jobs), names, strict=False):
        failed = number % 100 == 99
        about = FAILED if failed else COPIED
        newest.appendleft(replace(about, task_id=f"job-{number}", remote=name, origin=f"t-0-{number}"))
        service.failed_jobs += failed
        service.lately.ended(name, trio.current_time(), 0.1, done=not failed)
        service.change_status(succeeded=number)
        running = replace(RUNNING, task_id=f"run-{number}", origin=f"t-2-{number}", bytes_per_s=number)
        service.in_hand = [*service.in_hand[-2 * _SHOWN :], running]
        if number % 10 == 9:
            await trio.sleep(0.01)
