"""SIGKILL at each await of the publish path, one life each.

A process first works undisturbed, and tells at which moments it could have died (what they are is said in
`tests.support.suspensions`). Then for each of them: a process that kills itself there, with jobs in hand;
another one that finishes what it left; and every job must be answered once. Moments that only a recovery has
are taken up in turn, until there are none left.
"""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from tests.chaos.run import everything
from tests.chaos.services import Service
from tests.chaos.topics import Overseer, Reader, Submitter, Topics
from tests.chaos.verdict import Told, Verdict, judge_answers, judge_files, tell
from tests.chaos.workload import Order, Truth, Workload
from tests.support import install
from tests.support.kafka import running_broker
from tests.support.servers import running_server
from tests.support.service import Site, wait_until

_JOBS = 3
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "kafka": {
        "session_timeout_ms": 2000,
        "heartbeat_interval_ms": 500,
        "rebalance_timeout_ms": 4000,
        "commit_interval_ms": 100,
        "base_backoff_ms": 50,
        "retry_delays_seconds": [],
    },
    "api": {"enabled": False},
    "metrics": {"enabled": False},
    "transfer": {"drain_seconds": 5},
}
# One topic of two partitions, so that each publication has a neighbour.
_TOPICS = Topics("awaits", partitions=2)


@dataclass(frozen=True, slots=True)
class Life:
    """One life that ended at a moment, and what came of its jobs.

    Attributes:
        moment: at which it was to die; empty for the first one.
        died: whether it came to that.
        verdict: what was found afterwards.
    """

    moment: str
    died: bool
    verdict: Verdict


@contextmanager
def standing_lives(folder: Path, seed: int, *, exactly_once: bool = True) -> Iterator["Lives"]:
    """Run a broker and a server for as many lives as are wanted."""
    options = {"group.min.session.timeout.ms": "1000"}
    with (
        running_broker(folder / "kafka", options=options) as broker,
        running_server("vsftpd", folder / "vsftpd") as server,
        closing(Overseer(broker.bootstrap)) as overseer,
    ):
        overseer.create(_TOPICS)
        delivery = "exactly_once" if exactly_once else "at_least_once"
        settings = {**_SETTINGS, "kafka": {**_SETTINGS["kafka"], **_TOPICS.settings, "delivery": delivery}}
        site = Site(folder / "site", broker.bootstrap, {"far": server}, settings)
        workload = Workload(
            seed, site.local, {"far": server}, contents=_JOBS, largest_bytes=4096, prefix="awaits"
        )
        yield Lives(site, overseer, workload, exactly_once=exactly_once)


class Lives:
    """Lives, one after the other.

    Args:
        site: the configuration.
        overseer: who looks at the topics.
        workload: gives each life some jobs.
        exactly_once: whether two answers to a job are a break.
    """

    def __init__(self, site: Site, overseer: Overseer, workload: Workload, *, exactly_once: bool) -> None:
        self._site = site
        self._overseer = overseer
        self._workload = workload
        self._orders = workload.orders(sys.maxsize)
        self._exactly_once = exactly_once
        self._seen = site.folder / "moments.txt"
        self._seen.touch()

    def moments(self) -> list[str]:
        """All moments that any life has met so far, in the order of their first time."""
        return self._seen.read_text().splitlines()

    def each(self) -> Iterator[Life]:
        """Live a first life, then die at each moment, those that later lives add included."""
        yield self.live("")
        for number in count():
            met = self.moments()
            if number == len(met):
                return
            yield self.live(met[number])

    def live(self, moment: str) -> Life:
        """Have jobs done by a process that dies at a moment, and by another one after it.

        Raises:
            AssertionError: what it left is not done within a minute.
        """
        doomed, heir = self._service(moment), self._service("")
        orders = list(islice(self._orders, _JOBS))
        submitter = Submitter(self._site.bootstrap, _TOPICS.tasks)
        submitter.submit(orders)
        submitter.finish()
        try:
            doomed.start()
            wait_until(lambda: doomed.look() or self._is_committed(), "a life to end or its work to be done")
            doomed.leave()
            heir.start()
            wait_until(self._is_committed, f"what was left {moment} to be done")
            heir.leave()
        finally:
            doomed.kill()
            heir.kill()
        return Life(moment, -signal.SIGKILL in doomed.falls, self._judge(orders))

    def judge(self) -> Verdict:
        """Tell what came of all jobs of all lives together."""
        verdict, answers = Verdict(), self._answers()
        judge_answers(verdict, self._workload.truth, answers, exactly_once=self._exactly_once)
        judge_files(verdict, self._workload.truth, answers)
        return verdict

    def _service(self, moment: str) -> Service:
        launcher = [sys.executable, "-m", "tests.support.suspensions", str(self._seen), moment]
        return Service(
            number=0,
            log=self._site.folder / "pooler.log",
            command=[*launcher, *self._site.command("run")[3:]],
            environment={"PYTHONPATH": str(install.ROOT)},
            folder=self._site.folder,
        )

    def _is_committed(self) -> bool:
        return not self._overseer.uncommitted(self._site.group, _TOPICS.tasks)

    def _answers(self) -> list[Told]:
        with closing(Reader(self._site.bootstrap, _TOPICS.answers)) as reader:
            return [tell(answer, _TOPICS.dead_letters) for answer in everything(reader)]

    def _judge(self, orders: Sequence[Order]) -> Verdict:
        """Tell what came of the jobs of one life."""
        verdict, truth = Verdict(), Truth({order.name: order.fate for order in orders})
        answers = [answer for answer in self._answers() if answer.name in truth.fates]
        judge_answers(verdict, truth, answers, exactly_once=self._exactly_once)
        return verdict
