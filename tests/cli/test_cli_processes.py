"""`pooler run --processes`: real processes, first small ones in place of the service, then the service."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from pooler.cli import exits
from pooler.cli.processes import drained_at_eof, environment, together
from pooler.config.settings import Settings
from pooler.errors import ConfigError
from tests.support.process import free_ports
from tests.support.service import RunningPooler, Site, wait_until

NO_BROKER = "127.0.0.1:9"
_LONG_S = 600.0

_BEGUN = """
import os, signal, socket, sys
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def say(word):
    link.sendall(word)
def hear(number, frame):
    say(signal.Signals(number).name.encode() + b"\\n")
    if number == signal.SIGTERM:
        os._exit(0)
signal.signal(signal.SIGTERM, hear)
signal.signal(signal.SIGHUP, hear)
say(b"begun\\n")
"""
_AT_EOF = """
sys.stdin.read()
say(b"eof\\n")
"""
DRAINS = _BEGUN + _AT_EOF
STUBBORN = _BEGUN + _AT_EOF + "while True: signal.pause()\n"
FALLS = _BEGUN + "link.recv(1); sys.exit(3)\n"
KILLED = _BEGUN + "link.recv(1); os.kill(os.getpid(), signal.SIGKILL)\n"
EARLY = _BEGUN + "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n" + _AT_EOF + "while True: signal.pause()\n"


@dataclass(slots=True)
class Family:
    """Processes under `together`, each with a link to the test; its end is their code."""

    links: list[trio.SocketStream]
    ended: trio.Event
    code: int | None = None
    cancel: Callable[[], None] = lambda: None

    async def wait(self) -> int | None:
        await self.ended.wait()
        return self.code


async def heard(link: trio.SocketStream, words: bytes) -> bool:
    """Read as much as is expected; the end of the link comes sooner where it is something else."""
    found = b""
    while len(found) < len(words) and (more := await link.receive_some(len(words) - len(found))):
        found += more
    return found == words


@asynccontextmanager
async def family(*children: str, grace_s: float = _LONG_S) -> AsyncIterator[Family]:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    found = Family([], trio.Event())

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        words = [([sys.executable, "-c", code, str(port)], os.environ) for code in children]
        found.code = await together(words, grace_s=grace_s, task_status=task_status)
        found.ended.set()

    async with listener, AsyncExitStack() as links, trio.open_nursery() as nursery:
        found.cancel = nursery.cancel_scope.cancel
        await nursery.start(run)
        for _ in children:
            link = await links.enter_async_context(await listener.accept())
            assert await heard(link, b"begun\n")
            found.links.append(link)
        yield found
        nursery.cancel_scope.cancel()


def begin_end(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_all(number: signal.Signals) -> None:
    async with family(DRAINS, DRAINS) as running:
        begin_end(number)
        for link in running.links:
            assert await heard(link, b"eof\n")
            assert await link.receive_some() == b""
        assert await running.wait() == 0


async def test_a_second_signal_is_handed_on() -> None:
    async with family(STUBBORN, STUBBORN) as running:
        begin_end()
        for link in running.links:
            assert await heard(link, b"eof\n")
        begin_end()
        for link in running.links:
            assert await heard(link, b"SIGTERM\n")
        assert await running.wait() == 0


async def test_a_hangup_is_handed_on_and_ends_nothing() -> None:
    async with family(DRAINS, DRAINS) as running:
        begin_end(signal.SIGHUP)
        for link in running.links:
            assert await heard(link, b"SIGHUP\n")
        begin_end()
        for link in running.links:
            assert await heard(link, b"eof\n")


@pytest.mark.parametrize(("way", "code", "own"), [(FALLS, 3, 3), (KILLED, exits.OTHER, -signal.SIGKILL)])
async def test_when_one_ends_the_others_drain_and_the_code_says_so(way: str, code: int, own: int) -> None:
    with capture_logs() as logged:
        async with family(DRAINS, way) as running:
            # Which of the links is whose is not known.
            async with trio.open_nursery() as nursery:
                for link in running.links:
                    nursery.start_soon(link.send_all, b".")
            assert await running.wait() == code
            assert sorted([await link.receive_some() for link in running.links]) == [b"", b"eof\n"]
    assert {"event": "process_ended", "process": 1, "code": own, "log_level": "error"} in logged


async def test_who_does_not_end_in_time_is_killed() -> None:
    with capture_logs() as logged:
        async with family(STUBBORN, DRAINS, grace_s=0.1) as running:
            begin_end()
            assert await running.wait() == exits.OTHER
            assert all([await link.receive_some() in {b"eof\n", b""} for link in running.links])
    assert logged[-1]["event"] == "processes_killed"


async def test_who_dies_of_the_signal_while_all_end_had_nothing_to_drain() -> None:
    async with family(EARLY) as running:
        begin_end()
        assert await heard(running.links[0], b"eof\n")
        begin_end()
        assert await running.wait() == 0


async def test_cancelled_nothing_is_left() -> None:
    async with family(STUBBORN, DRAINS) as running:
        running.cancel()
        with trio.CancelScope(shield=True):
            for link in running.links:
                while await link.receive_some():
                    pass  # until whoever had the other end is gone
    assert running.code is None


async def test_the_wait_for_the_end_of_the_input_ends_with_it() -> None:
    reading, writing = os.pipe()
    ended = trio.Event()

    async def wait() -> None:
        await drained_at_eof(reading)
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        os.write(writing, b"what is said does not matter")
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        os.close(writing)
        await ended.wait()
    os.close(reading)


def settings(**sections: Mapping[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_each_process_has_a_name_and_ports_of_its_own() -> None:
    common = settings(kafka={"group_instance_id": "pod-0"}, api={"port": 8080}, metrics={"port": 9090})
    environ = {"PATH": "/bin", "POD_NAME": "pod-0", "POOLER__api__port": "8080"}
    assert environment(common, environ, "pod-0", 1, 2) == {
        "PATH": "/bin",
        "POD_NAME": "pod-0.1",
        "POOLER__KAFKA__GROUP_INSTANCE_ID": "pod-0.1",
        "POOLER__API__PORT": "8081",
        "POOLER__METRICS__PORT": "9091",
    }


def test_what_has_no_name_or_port_gets_none() -> None:
    common = settings(api={"port": 0}, metrics={"enabled": False})
    assert environment(common, {}, "host", 0, 2) == {"POD_NAME": "host.0"}


@pytest.mark.parametrize(
    ("api", "metrics", "complaint"),
    [
        (8080, 8081, "metrics.port: 8081 is too near to api.port"),
        (8082, 8080, "metrics.port: 8080 is too near to api.port"),
        (65_534, 9090, "api.port: 3 processes from 65534 on need ports above 65535"),
    ],
)
def test_ports_that_would_meet_are_refused(api: int, metrics: int, complaint: str) -> None:
    common = settings(api={"port": api}, metrics={"port": metrics})
    with pytest.raises(ConfigError, match=complaint):
        environment(common, {}, "host", 0, 3)


@pytest.fixture
def several(tmp_path: Path) -> Iterator[RunningPooler]:
    """Two processes of the service that try to reach a broker, and say so in the log."""
    at = {"host": "127.0.0.1", "port": free_ports(2)}
    patience = {"max_retries": 1000, "base_backoff_ms": 30_000}
    given: dict[str, dict[str, Any]] = {"kafka": patience, "api": at, "metrics": {"enabled": False}}
    site = Site(tmp_path / "site", NO_BROKER, {}, given)
    with site.running("--processes", "2", ready=False, POD_NAME="pod-0") as running:
        wait_until(lambda: len(workers(running, "broker_unreachable")) == 2, "both to try")
        yield running


def workers(running: RunningPooler, event: str) -> set[str]:
    """Tell whose log has an event; the last line may not be whole yet."""
    lines = [line for line in running.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {
        name for name in ("pod-0.0", "pod-0.1") for line in lines if event in line and f'"{name}"' in line
    }


def test_the_service_as_two_processes_drains_as_one(several: RunningPooler) -> None:
    several.signal(signal.SIGTERM)
    assert several.wait() == 0
    assert workers(several, "service_stopped") == {"pod-0.0", "pod-0.1"}


def test_if_it_is_killed_its_processes_drain(several: RunningPooler) -> None:
    several.signal(signal.SIGKILL)
    wait_until(lambda: len(workers(several, "service_stopped")) == 2, "both to end")
