"""Four processes with one bound on the sessions of all of them, on a real broker and a real server."""

import contextlib
import dataclasses
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Message, RunningBroker, produce, running_broker
from tests.support.process import free_port
from tests.support.servers import RunningServer, running_server
from tests.support.service import RunningPooler, Site, wait_until
from tests.support.sockets import established

pytestmark = pytest.mark.broker

TOTAL = 10
SESSION_S = 6
FILES = 20


class Counter:
    """Counts the sessions at a server that no client has closed, as the kernel has them, time and again.

    How long a server takes to notice that a client has gone is a matter of who gets a processor. Those that
    are seen twice in a row were there at the same time, in between; others need not have been.

    Attributes:
        now: how many there are.
        open: the clients' ports of those.
        seen: how many there were, each time.
    """

    def __init__(self, port: int) -> None:
        self.open: frozenset[int] = frozenset()
        self.seen = [0]
        self._port = port
        self._over = threading.Event()

    def _run(self) -> None:
        last = established(self._port)
        while not self._over.wait(0.01):
            found = established(self._port)
            self.open, last = found & last, found
            self.seen.append(len(self.open))

    @property
    def now(self) -> int:
        return self.seen[-1]

    def most(self, since: int = 0) -> int:
        """Tell the most that there were at once, from one look on."""
        return max(self.seen[since:])

    def average(self, looks: int) -> float:
        """Tell how many there are over the next looks."""
        begun = len(self.seen)
        wait_until(lambda: len(self.seen) >= begun + looks, "the sessions to be counted")
        return sum(self.seen[begun:]) / len(self.seen[begun:])

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    with running_broker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    # Each file takes a second: all sessions are busy as long as there are jobs.
    with running_server("vsftpd", tmp_path / "vsftpd", rate_bytes_s=100_000) as running:
        for number in range(FILES):
            running.put(f"/{number}", bytes(100_000))
        yield running


@pytest.fixture
def site(tmp_path: Path, broker: RunningBroker, server: RunningServer) -> Site:
    made = Site(
        tmp_path / "site",
        broker.bootstrap,
        {"far": server},
        {"kafka": {"session_timeout_ms": SESSION_S * 1000}, "pool": {"adaptive_sessions": False}},
    )
    connections = made.folder / "connections.ini"
    connections.write_text(f"{connections.read_text()}max_sessions_total = {TOTAL}\n")
    made.create_topics()
    return made


@contextlib.contextmanager
def pod(site: Site, number: int) -> Iterator[RunningPooler]:
    port = free_port()
    environment = {
        "POD_NAME": f"pooler-{number}",
        "POOLER__API__PORT": str(port),
        "POOLER__METRICS__ENABLED": "false",
    }
    with site.running(ready=False, **environment) as running:
        yield dataclasses.replace(running, api=f"http://127.0.0.1:{port}")


def jobs(count: int) -> list[Message]:
    ends = {"src_id": "far", "dst_id": "local"}
    return [
        Message(
            json.dumps(
                {"task_id": str(n), "src_path": f"/{n % FILES}", "dst_path": f"/in/{n}", **ends}
            ).encode(),
            partition=n % 4,
        )
        for n in range(count)
    ]


def holding(running: RunningPooler) -> int:
    with contextlib.suppress(OSError):
        return int(running.get("/v1/remotes/far")["limits"]["share"] or 0)
    return 0


def test_four_pods_never_have_more_than_all_may_and_use_it_all_even_after_one_is_killed(
    broker: RunningBroker, server: RunningServer, site: Site
) -> None:
    counter = Counter(server.port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(counter.counting())
        produce(broker.bootstrap, "ftp-tasks", jobs(4000))
        pods = [stack.enter_context(pod(site, number)) for number in range(4)]
        wait_until(lambda: all(2 <= holding(running) <= 3 for running in pods), "each to have its share")
        wait_until(lambda: counter.now >= TOTAL - 1, "all sessions to be in use")
        assert counter.average(500) >= TOTAL - 1

        pods[0].signal(signal.SIGKILL)
        wait_until(lambda: counter.now < TOTAL - 1, "its sessions to end")
        wait_until(lambda: counter.now >= TOTAL - 1, "the others to have them")
        assert counter.average(500) >= TOTAL - 1

        stack.enter_context(pod(site, 0))
        pods[1].signal(signal.SIGTERM)
        assert pods[1].wait() == 0
        wait_until(lambda: counter.now >= TOTAL - 1, "what it had to be taken over")
        assert TOTAL - 1 <= counter.most() <= TOTAL


def test_a_pod_that_was_frozen_for_longer_than_its_session_begins_nothing_with_its_old_share(
    broker: RunningBroker, server: RunningServer, site: Site
) -> None:
    counter = Counter(server.port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(counter.counting())
        produce(broker.bootstrap, "ftp-tasks", jobs(4000))
        frozen, other = (stack.enter_context(pod(site, number)) for number in range(2))
        wait_until(lambda: holding(frozen) == holding(other) == TOTAL // 2, "each to have its half")
        wait_until(lambda: counter.now >= TOTAL - 1, "all sessions to be in use")
        assert counter.most() <= TOTAL
        frozen.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: holding(other) == TOTAL, "the other to have it all")
            wait_until(lambda: counter.now > TOTAL, "what nobody can close to be beside it")
            asleep = counter.open
        finally:
            frozen.signal(signal.SIGCONT)
        wait_until(lambda: "shares_lost" in frozen.log.read_text(), "it to give up its share")
        # What is left of what was open then are the other's own, of which there are no more at any time.
        wait_until(lambda: len(counter.open & asleep) <= TOTAL >= counter.now, "it to close what it had")
        assert counter.most() <= TOTAL + TOTAL // 2
        awake = len(counter.seen)
        wait_until(lambda: holding(frozen) == holding(other) == TOTAL // 2, "each to have its half again")
        wait_until(lambda: counter.now >= TOTAL - 1, "all sessions to be in use again")
        assert counter.most(awake) <= TOTAL
