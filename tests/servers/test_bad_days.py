"""Bad days of a server, and what its operator sees: the job's fate, the remote in the API, log and metrics.

docs/operations.md has a table of them, which is compared with what is here.

The servers are scripted: each of them is bad in one way, for as long as the test likes, and then well again.
"""
# ruff: noqa: ARG001 - pytest-trio takes the clock from the arguments

import datetime as dt
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import trio
import trustme
from structlog.testing import capture_logs
from trio.testing import MockClock

from pooler.config.passwords import PasswordFile
from pooler.flow.breaker import Thresholds
from pooler.flow.retry import Backoff
from pooler.ftp.connector import FtpConnector
from pooler.model.outcome import Outcome
from pooler.ops.http.service import RemoteStatus
from pooler.service import RunningService
from pooler.transfer.session import Session
from tests.support.adversaries import silent
from tests.support.black_hole import black_hole
from tests.support.flow_double import FakeServer, Flow, Shape, download, downloads, upload
from tests.support.scripted import HOST, PASSWORD, Connection, ScriptedServer, scripted_server

CONTENT = b"some bytes" * 50
QUICK = Shape(
    limit=1,
    attempts=3,
    backoff=Backoff(0.01, 0.02),
    thresholds=Thresholds(failures=2, successes=1, timeout_s=0.2, probes=1),
)


class Way:
    """A connector that can be exchanged.

    Attributes:
        now: the one that is used.
    """

    def __init__(self, connector: FtpConnector) -> None:
        self.now = connector

    async def connect(self) -> Session:
        return await self.now.connect()

    @property
    def learnt(self) -> Mapping[str, object]:
        return self.now.learnt


class Day:
    """A flow to one server, and what is seen of it.

    Attributes:
        flow: the flow.
        way: to the server.
        logs: what was logged.
    """

    def __init__(self, flow: Flow, way: Way, logs: list[Any]) -> None:
        self.flow = flow
        self.way = way
        self.logs = logs
        self._service = RunningService({"far": HOST}, lambda: None)
        crew: Any = SimpleNamespace(
            fleet=flow.fleet, endings=flow.endings, connectors={"far": way}, keepers={}
        )
        self._service.attach(None, crew)  # type: ignore[arg-type]  # no Kafka here
        flow.metrics.watch(self._service)

    @property
    def seen(self) -> RemoteStatus:
        """The remote, as the API has it."""
        (status,) = self._service.remotes()
        return status

    def metric(self, name: str, **labels: str) -> float:
        """What a scrape would find of the remote."""
        return self.flow.metrics.registry.get_sample_value(name, {"remote": "far", **labels}) or 0.0

    def said(self, event: str) -> list[Any]:
        """What the log has of one event."""
        return [line for line in self.logs if line["event"] == event]

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not holds():  # noqa: ASYNC110 - what is seen from outside tells nobody that it changed
                await trio.sleep(0.01)

    async def outcome(self, name: str) -> Outcome:
        await self.until(lambda: any(ended.delivery.job.task_id == name for ended in self.flow.ended))
        outcome = self.flow.outcomes()[name]
        if outcome.failure is not None:
            await self.until(lambda: self.seen.failed == 1)
        return outcome


@asynccontextmanager
async def day(folder: Path, connector: FtpConnector, shape: Shape = QUICK) -> AsyncIterator[Day]:
    folder = folder / "local"
    folder.mkdir()
    (folder / "source").write_bytes(CONTENT)
    way = Way(connector)
    flow = Flow(folder, shape, far=way)  # type: ignore[arg-type]  # a real one
    with capture_logs() as logs:
        async with flow.running():
            yield Day(flow, way, logs)


# ---- nobody gets in -----------------------------------------------------------------------------------


async def cut(connection: Connection, _: bytes) -> None:
    await connection.cut()


@dataclass(frozen=True)
class Outside:
    """A server that lets nobody in.

    Attributes:
        script: of the server.
        error: words of the last error.
        code: in the log.
        reason: in the metrics.
        connects: how many tries open the breaker.
        limits: of the profile, else its own.
    """

    script: Mapping[str, Any]
    error: str
    code: str = "CONNECTION_ERROR"
    reason: str = "unreachable"
    connects: int = 2
    limits: Mapping[str, Any] = field(default_factory=dict)


OUTSIDE = {
    "accepts and never greets": Outside({"GREETING": silent}, "no greeting", limits={"connect_s": 0.3}),
    "resets each login": Outside({"PASS": cut}, "while logging in: "),
    "wrong password": Outside(
        {"PASS": b"530 Login incorrect."}, "530 Login incorrect.", "LOGIN_REFUSED", "refused", 1
    ),
    "421 at the door": Outside({"GREETING": b"421 Down for today."}, "421 Down for today."),
}


async def see_it_wait_and_be_done(day: Day, expected: Outside, cure: Callable[[], object]) -> None:
    """See that a job waits while nobody gets in, and loses nothing by it."""
    await day.flow.give(download("f"))
    await day.until(lambda: day.flow.remotes["far"].breaker.opens_until is not None)
    seen = day.seen
    assert (seen.state, seen.busy, seen.waiting, seen.failed) == ("open", 0, 1, 0)
    assert seen.breaker_retry_s is not None
    assert expected.error in str(seen.last_error)
    failures = day.said("connect_failed")
    assert len(failures) == expected.connects
    assert {(line["remote"], line["error_code"]) for line in failures} == {("far", expected.code)}
    assert [line["state"] for line in day.said("breaker_changed")] == ["open"]
    assert day.metric("pooler_breaker_state") == 2
    assert day.metric("pooler_lane_jobs") == 1
    assert day.metric("pooler_login_failures_total", reason=expected.reason) == expected.connects
    assert "f" not in day.flow.outcomes()
    cure()
    outcome = await day.outcome("f")
    assert (outcome.failure, outcome.attempts) == (None, 1)
    assert day.seen.state == "closed"
    assert day.metric("pooler_breaker_state") == 0
    assert PASSWORD not in str(day.logs)


@pytest.mark.parametrize("name", OUTSIDE)
async def test_nobody_gets_in(tmp_path: Path, name: str) -> None:
    expected = OUTSIDE[name]
    async with scripted_server(expected.script) as server:
        server.files = {"/f": CONTENT}

        def cure() -> None:
            server.script = {}
            there.way.now = FtpConnector(server.profile())

        bad = FtpConnector(server.profile(**expected.limits))
        async with day(tmp_path, bad) as there:
            await see_it_wait_and_be_done(there, expected, cure)


async def test_a_black_hole(tmp_path: Path) -> None:
    async with scripted_server() as server:
        server.files = {"/f": CONTENT}
        with black_hole() as port:
            bad = FtpConnector(server.profile(port=port, connect_s=0.3))
            async with day(tmp_path, bad) as there:
                await see_it_wait_and_be_done(
                    there,
                    Outside({}, "0.3 s"),
                    lambda: setattr(there.way, "now", FtpConnector(server.profile())),
                )


class Names(trio.abc.HostnameResolver):
    """DNS.

    Attributes:
        address: of every name; None where there is no answer.
    """

    def __init__(self, address: str | None) -> None:
        self.address = address

    async def getaddrinfo(  # type: ignore[override]  # as it is called here
        self, _host: bytes, port: bytes | str | int | None, *_: Any, **__: Any
    ) -> Sequence[Any]:
        await trio.lowlevel.checkpoint()
        if self.address is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, port))]

    async def getnameinfo(self, *_: Any) -> tuple[str, str]:
        raise AssertionError("nobody asks for a name")


async def test_dns_is_gone(tmp_path: Path) -> None:
    async with scripted_server() as server:
        server.files = {"/f": CONTENT}
        names = Names(None)
        trio.socket.set_custom_hostname_resolver(names)
        async with day(tmp_path, FtpConnector(server.profile(host="ftp.example.com"))) as there:
            await see_it_wait_and_be_done(
                there,
                Outside({}, "Temporary failure in name resolution"),
                lambda: setattr(names, "address", HOST),
            )


async def test_an_address_that_changes_behind_its_name(tmp_path: Path) -> None:
    """What is open stays where it is; the next session goes where the name leads by then."""
    names = Names(HOST)
    trio.socket.set_custom_hostname_resolver(names)
    async with scripted_server() as old, trio.open_nursery() as nursery:
        new = ScriptedServer({}, None, None, implicit=False, host="127.0.0.2")
        listeners = await trio.open_tcp_listeners(old.port, host=new.host)
        await nursery.start(trio.serve_listeners, new.serve, listeners)
        old.files, new.files = {"/a": CONTENT, "/b": CONTENT}, {"/c": CONTENT}
        connector = FtpConnector(old.profile(host="ftp.example.com"))
        async with day(tmp_path, connector) as there:
            await there.flow.give(download("a"))
            await there.outcome("a")
            names.address = new.host
            await there.flow.give(download("b"))
            await there.outcome("b")
            assert there.seen.sessions[0].peer == f"{HOST}:{old.port}"
            assert new.logins == 0
            old.script = {"SIZE": b"421 This host is going away."}
            await there.flow.give(download("c"))
            outcome = await there.outcome("c")
            assert (outcome.failure, outcome.attempts) == (None, 2)
            assert there.seen.sessions[0].peer == f"{new.host}:{old.port}"
            (retried,) = there.said("transfer_retried")
            assert "421 This host is going away." in retried["error"]
            assert there.seen.state == "closed"
            assert there.metric("pooler_retries_total", reason="connection_error") == 1
        nursery.cancel_scope.cancel()


async def test_a_certificate_that_expires_in_the_middle_of_the_day(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def certified(not_after: dt.datetime | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(HOST, not_after=not_after).configure_cert(context)
        return context

    async with scripted_server() as server:
        server.files = {"/a": CONTENT, "/f": CONTENT}
        server.context = certified(None)
        server.ca_file = tmp_path / "ca.pem"
        async with day(tmp_path, FtpConnector(server.profile())) as there:
            await there.flow.give(download("a"))
            assert (await there.outcome("a")).failure is None
            server.context = certified(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
            there.flow.remotes["far"].pause()
            await there.until(lambda: not there.flow.remotes["far"].sessions)
            there.flow.remotes["far"].resume()
            expected = Outside({}, "certificate has expired", "TLS_ERROR", "tls")
            await see_it_wait_and_be_done(
                there, expected, lambda: setattr(server, "context", certified(None))
            )


async def test_a_password_file_that_is_empty_for_a_moment_costs_no_login(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("")
    async with scripted_server() as server:
        server.files = {"/f": CONTENT}
        connector = FtpConnector(server.profile(password=PasswordFile("far", secret)))
        async with day(tmp_path, connector) as there:
            await there.flow.give(download("f"))
            await there.until(lambda: len(there.said("connect_failed")) >= 5)
            seen = there.seen
            assert (seen.state, seen.waiting) == ("closed", 1)
            assert seen.last_error == f"far.pass_file: {secret} has no password in its first line"
            assert server.logins == 0
            secret.unlink()
            await there.until(lambda: "No such file" in str(there.seen.last_error))
            new = tmp_path / "new"
            new.write_text(PASSWORD + "\n")
            new.rename(secret)
            outcome = await there.outcome("f")
            assert (outcome.failure, outcome.attempts) == (None, 1)
            assert server.logins == 1
            assert not there.said("breaker_changed")


# ---- in the middle of a job ---------------------------------------------------------------------------


async def test_421_after_each_tenth_command(tmp_path: Path) -> None:
    commands: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()

    async def count(connection: Connection, verb: str, argument: bytes) -> None:
        commands[connection] = commands.get(connection, 0) + 1
        if commands[connection] > 10:
            await connection.say(b"421 Enough of you.")
            await connection.cut()
        await connection.normally(verb, argument)

    def counting(verb: str) -> Callable[[Connection, bytes], Any]:
        return lambda connection, argument: count(connection, verb, argument)

    verbs = ("USER", "PASS", "TYPE", "FEAT", "OPTS", "EPSV", "SIZE", "MDTM", "MLST", "RETR", "NOOP")
    async with scripted_server({verb: counting(verb) for verb in verbs}) as server:
        server.files = {f"/far-{number}": CONTENT for number in range(8)}
        # Each loss costs the job in hand an attempt, and it may hit one job again and again.
        async with day(tmp_path, FtpConnector(server.profile()), replace(QUICK, attempts=20)) as there:
            await there.flow.give(*downloads(8))
            outcomes = [await there.outcome(f"far-{number}") for number in range(8)]
            assert [outcome.failure for outcome in outcomes] == [None] * 8
            assert max(outcome.attempts for outcome in outcomes) > 1
            assert server.logins > 1
            assert (there.seen.state, there.seen.failed) == ("closed", 0)
            assert "421 Enough of you." in str(there.seen.last_error)
            retried = there.said("transfer_retried")
            assert "421 Enough of you." in retried[0]["error"]
            assert there.metric("pooler_retries_total", reason="connection_error") == len(retried)


async def test_a_full_disk_on_the_server(tmp_path: Path) -> None:
    shape = replace(QUICK, attempts=1, backoff=Backoff(0.05, 0.1))
    async with scripted_server({"STOR": b"452 No space left on device."}) as server:
        server.files = {"/down": CONTENT}
        async with day(tmp_path, FtpConnector(server.profile()), shape) as there:
            await there.flow.give(upload("one"), upload("two"))
            await there.until(lambda: there.seen.full_s is not None and there.seen.waiting == 2)
            # What is fetched needs no room.
            await there.flow.give(download("down"))
            assert (await there.outcome("down")).failure is None
            seen = there.seen
            assert (seen.state, seen.failed) == ("closed", 0)
            assert "452 No space left on device." in str(seen.last_error)
            assert there.metric("pooler_remote_full") == 1
            (line,) = there.said("remote_full")
            assert (line["remote"], "452 No space left on device." in line["error"]) == ("far", True)
            assert {line["error_code"] for line in there.said("transfer_retried")} == {"DISK_FULL"}
            assert there.metric("pooler_retries_total", reason="disk_full") >= 1
            assert list(server.files) == ["/down"]
            server.script = {}
            for name in ("one", "two"):
                # One attempt is all that they have, and those that found no room did not count.
                assert (await there.outcome(name)).failure is None
            assert (there.seen.full_s, there.metric("pooler_remote_full")) == (None, 0)
            assert len(there.said("remote_has_room")) == 1
            assert server.logins == 1
            assert set(server.files) == {"/down", "/one", "/two"}


async def test_blocked_passive_ports(tmp_path: Path) -> None:
    with black_hole() as port:
        blocked = {
            "EPSV": b"229 Listening (|||%d|)" % port,
            "PASV": b"227 Listening (127,0,0,1,%d,%d)." % divmod(port, 256),
        }
        async with (
            scripted_server(blocked) as server,
            day(tmp_path, FtpConnector(server.profile(connect_s=0.5))) as there,
        ):
            server.files = {"/f": CONTENT}
            await there.flow.give(download("f"))
            outcome = await there.outcome("f")
            assert outcome.failure is not None
            assert (outcome.failure.code, outcome.attempts) == ("CONNECTION_ERROR", 3)
            assert "data port" in outcome.failure.message
            seen = there.seen
            # Who can log in is there: the breaker has nothing to do with it, and data connections go slower.
            assert (seen.state, seen.failed) == ("closed", 1)
            assert "no answer in 0.5 s" in str(seen.last_error)
            assert seen.limits.data_connections_per_s < 1e6
            assert len(there.said("transfer_retried")) == 2
            assert there.metric("pooler_retries_total", reason="connection_error") == 2
            assert len(there.said("data_pace_lowered")) >= 1


@pytest.mark.parametrize(("attempt_s", "code"), [(inf, None), (0.3, "TRANSFER_TIMEOUT")])
async def test_a_kilobyte_a_second(tmp_path: Path, attempt_s: float, code: str | None) -> None:
    async def slow(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        content = connection.server.files[connection.path(argument)]
        for start in range(0, len(content), 50):
            await data.send(content[start : start + 50])
            await trio.sleep(0.05)
        await data.close()
        await connection.say(b"226 Done.")

    shape = replace(QUICK, attempts=2, attempt_s=attempt_s)
    async with scripted_server({"RETR": slow}) as server:
        server.files = {"/f": CONTENT * 3}
        async with day(tmp_path, FtpConnector(server.profile()), shape) as there:
            await there.flow.give(download("f"))
            await there.until(lambda: there.seen.busy == 1)
            outcome = await there.outcome("f")
            assert (None if outcome.failure is None else outcome.failure.code) == code
            assert there.seen.state == "closed"
            if code is None:
                assert (outcome.attempts, there.seen.last_error) == (1, None)
                assert there.metric("pooler_job_duration_seconds_sum", direction="download") > 1
            else:
                assert there.metric("pooler_retries_total", reason="transfer_timeout") == 1
                assert "no end after 0.3 s" in str(there.seen.last_error)
                assert there.said("transfer_failed")[0]["error_code"] == code


async def test_fast_for_a_minute_and_slow_for_the_next(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Nothing fails, the breaker has no part in it, and what was learnt of the server's moods can be read."""
    server = FakeServer()

    async def moody(_path: str) -> None:
        slow = trio.current_time() % 120 >= 60
        await trio.sleep(1.0 * len(server.open) if slow else 0.5)

    server.on_transfer, server.transfer_s = moody, 0.5
    shape = Shape(limit=16, start=4, lane_room=2000)
    way: Any = server
    with capture_logs() as logs:
        flow = Flow(tmp_path, shape, far=server)
        there = Day(flow, way, logs)
        async with flow.running():
            for number in range(1500):
                await flow.give(download(f"f{number}"))
            await flow.endings.wait_empty()
            seen = there.seen
    assert trio.current_time() > 60
    assert {(outcome.failure, outcome.attempts) for outcome in flow.outcomes().values()} == {(None, 1)}
    assert (seen.state, seen.failed, seen.last_error) == ("closed", 0, None)
    assert 1 <= seen.limit <= 16
    assert seen.limits.decisions
    assert not there.said("transfer_retried") + there.said("breaker_changed")


def test_the_docs_have_a_row_for_each_of_them() -> None:
    here = {name for name in globals() if name.startswith("test_") and "docs" not in name}
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    section = text.split("\n## Bad days of a server\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "`test_" in line]
    named = [re.findall(r"`(test_\w+)(?:\[([^]]+)\])?`", row)[-1] for row in rows]
    assert {name for name, _ in named} == here
    assert {case for name, case in named if name == "test_nobody_gets_in"} == set(OUTSIDE)
