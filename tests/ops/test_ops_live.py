"""The live state and the page, over real sockets."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pooler.errors import BusError
from pooler.ops.http import live, server
from pooler.ops.http.app import create_app
from pooler.ops.http.auth import Guard
from pooler.ops.http.deployment import DeploymentStatus, PodStatus
from pooler.ops.http.everywhere import Query, Told
from pooler.ops.http.server import GRACE_S
from tests.support.api import TOKENS, assert_problem, bearer, serving
from tests.support.http_client import Address, ask, encode
from tests.support.service_double import ServiceDouble

READ = encode("GET", "/v1/live", bearer("read"))


@pytest.fixture
def service() -> ServiceDouble:
    return ServiceDouble()


@pytest.fixture
async def api(service: ServiceDouble) -> AsyncIterator[Address]:
    closing = trio.Event()
    async with serving(create_app(service, TOKENS, closing)) as (address, _):
        yield address
        closing.set()


def quickly(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    """Have events so often, whatever that takes of the processor."""
    monkeypatch.setattr(live, "PERIOD_S", every_s)
    monkeypatch.setattr(live, "_MOST_TO_TELL", 1e9)
    monkeypatch.setattr(live, "_MOST_TO_SEND", 1e9)


class Reader:
    """Reads events from a connection of its own."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.head = b""
        self._rest = b""

    async def next(self) -> Any:
        while b"}\n\n" not in self._rest:
            self._rest += await self._stream.receive_some()
            if not self.head and b"\r\n\r\n" in self._rest:
                self.head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        event, _, self._rest = self._rest.partition(b"}\n\n")
        return json.loads(event[event.index(b"data: ") + 6 :] + b"}")


async def test_an_event_is_all_that_the_page_shows(api: Address) -> None:
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        reader = Reader(stream)
        state = await reader.next()
    assert b"text/event-stream" in reader.head
    assert state["pods"][0]["ready"] is True
    assert [remote["name"] for remote in state["remotes"]] == ["site-a", "site-b"]
    assert state["remotes"][0]["limit_reason"] == "more sessions do not help"
    assert "sessions" not in state["remotes"][0]  # that would be much, for 200 remotes
    assert [job["task_id"] for job in state["running"]] == ["task-1"]
    assert state["service"]["running"] == 1
    assert [cause["error_code"] for cause in state["failures"]] == ["CONNECTION_ERROR"]
    assert [job["status"] for job in state["ended"]] == ["failed", "success"]
    assert [folder["paused_at"] for folder in state["folders"]] == [[], ["pooler-0"]]


async def test_what_changes_is_in_the_next_event(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.05)
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        reader = Reader(stream)
        assert (await reader.next())["pods"][0]["ready"] is True
        service.change_status(ready=False, reasons=("draining",))
        while (await reader.next())["pods"][0]["ready"]:
            pass


async def test_all_readers_share_the_work(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PERIOD_S", 1000.0)
    asked = 0
    tell = service.status

    def count() -> Any:
        nonlocal asked
        asked += 1
        return tell()

    monkeypatch.setattr(service, "status", count)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(_read_one, api)
    assert asked == 1


async def _read_one(address: Address) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(READ)
        assert (await Reader(stream).next())["service"]["version"] == "1.2.3"


def with_others(service: ServiceDouble, *silent: str) -> ServiceDouble:
    """Have another pod, and some that say nothing."""
    other = ServiceDouble()
    other.pod = "pooler-1"
    other.change_status(ready=False, reasons=("draining",), draining=True)
    service.others, service.silent = {other.pod: other}, silent
    service.pods = DeploymentStatus(
        together=True,
        pods=tuple(
            PodStatus(pod, f"{pod}-x", pod == service.pod, pod in silent, 1.0, "1.2.3", (), ())
            for pod in (service.pod, other.pod, *silent)
        ),
        remotes=(),
    )
    return other


async def until(reader: "Reader", what: Callable[[Any], bool]) -> Any:
    """Read on until an event is so."""
    while not what(state := await reader.next()):
        pass
    return state


async def test_any_pod_shows_all_of_them_and_names_those_that_are_silent(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.05)
    with_others(service, "pooler-2")
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        state = await until(Reader(stream), lambda state: state["pods"][1]["told"])
    assert [(pod["pod"], pod["me"], pod["silent"], pod["told"]) for pod in state["pods"]] == [
        ("pooler-0", True, False, True),
        ("pooler-1", False, False, True),
        ("pooler-2", False, True, False),
    ]
    assert state["pods"][1]["reasons"] == ["draining"]
    assert state["service"]["running"] == 2
    assert state["remotes"][0]["waiting"] == 14


async def test_a_pod_that_answers_no_more_is_shown_for_a_while_and_then_named(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.02)
    monkeypatch.setattr(live, "OTHERS_S", 0.02)
    monkeypatch.setattr(live, "KEEP_S", 0.3)
    with_others(service)
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        reader = Reader(stream)
        await until(reader, lambda state: state["pods"][1]["told"])
        service.others = {}
        state = await until(reader, lambda state: not state["pods"][1]["told"])
        assert state["service"]["running"] == 1
        await until(reader, lambda state: state["pods"][1]["silent"])


async def test_others_are_asked_while_somebody_reads_and_once_for_all_who_do(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.02)
    monkeypatch.setattr(live, "OTHERS_S", 1000.0)
    with_others(service)
    asked = 0
    ask_others = service.ask_others

    async def count(what: str, query: Query, within_s: float) -> Told:
        nonlocal asked
        asked += 1
        return await ask_others(what, query, within_s)

    monkeypatch.setattr(service, "ask_others", count)
    await wait_all_tasks_blocked()
    assert asked == 0
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(_read_until_told, api)
    assert asked == 1


async def _read_until_told(address: Address) -> None:
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(READ)
        await until(Reader(stream), lambda state: bool(state["pods"][1]["told"]))


async def test_where_the_control_topic_cannot_be_written_to_it_shows_this_pod(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.02)
    monkeypatch.setattr(live, "KEEP_S", 0.1)
    with_others(service)
    service.deaf = BusError("no answer")
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        state = await until(Reader(stream), lambda state: state["pods"][1]["silent"])
    assert state["pods"][0]["ready"] is True
    assert state["service"]["running"] == 1


async def test_who_does_not_read_gets_the_newest_next_and_makes_nobody_wait(
    service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.001)
    monkeypatch.setattr(server, "_UNREAD_MS", 60_000)  # else the kernel breaks it off meanwhile
    well, _ = service.remotes()
    service.have_remotes(*(replace(well, name=f"site-{at}", last_error="x" * 200) for at in range(200)))
    tell, made = service.status, 0

    def count() -> Any:
        nonlocal made
        made += 1
        return replace(tell(), succeeded=made)

    monkeypatch.setattr(service, "status", count)
    closing = trio.Event()
    async with serving(create_app(service, TOKENS, closing), within_s=90) as (address, _):
        small = trio.socket.socket()
        small.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 65536)
        await small.connect(address)
        async with trio.SocketStream(small) as late, await trio.open_tcp_stream(*address) as stream:
            await late.send_all(READ)
            slow = Reader(late)
            await slow.next()
            await stream.send_all(READ)
            # Each is 150 kB: much more than the kernel keeps for one who does not read.
            await until(Reader(stream), lambda state: state["service"]["done"] > 80)
            newest, got = made, 0
            while (await slow.next())["service"]["done"] < newest:
                got += 1
            assert got < 50
        closing.set()


async def test_so_many_and_no_more(api: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_READERS", 1)
    quickly(monkeypatch, 0.05)
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        await Reader(stream).next()
        assert_problem(await ask(api, "GET", "/v1/live", bearer("read")), 503, "/v1/live")
    with trio.fail_after(10):
        while True:  # until it is noticed that the first one has gone
            async with await trio.open_tcp_stream(*api) as stream:
                await stream.send_all(READ)
                if b" 200 " in await stream.receive_some():
                    return


async def test_a_stream_has_an_end_and_the_next_one_begins_at_once(
    api: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.01)
    monkeypatch.setattr(live, "LASTS_S", 0.1)
    for _ in range(2):
        async with await trio.open_tcp_stream(*api) as stream:
            await stream.send_all(READ)
            said = b""
            while not said.endswith(b"\r\n0\r\n\r\n"):
                said += await stream.receive_some()
            assert b"\r\nretry: 100\n\n" in said
            assert said.count(b"data: {") > 1


async def test_a_stream_ends_when_the_tokens_change(
    service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, 0.02)
    closing, guard = trio.Event(), Guard(TOKENS)
    async with serving(create_app(service, closing=closing, guard=guard)) as (address, _):
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(READ)
            await Reader(stream).next()
            guard.tokens = TOKENS[1:]
            said = b""
            while not said.endswith(b"0\r\n\r\n"):
                said += await stream.receive_some()
        assert_problem(await ask(address, "GET", "/v1/live", bearer("read")), 401, "/v1/live")
        closing.set()


@pytest.mark.parametrize("half", [READ[:20], encode("POST", "/v1/jobs", bearer("admin"), b"[1, 2]")[:-3]])
async def test_half_a_request_is_let_go_long_before_a_stream_would_be(
    service: ServiceDouble, monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.1)
    app = create_app(service, TOKENS)
    assert 0 < app.config["BODY_TIMEOUT"] < server._READ_S
    app.config["BODY_TIMEOUT"] = 0.1
    async with serving(app) as (address, _), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(half)
        while await stream.receive_some():
            pass


def test_a_stream_ends_before_the_server_cuts_it_off() -> None:
    assert live.LASTS_S + live.PERIOD_S < server._READ_S


async def test_a_thousand_readers_get_events_more_seldom_and_are_told_how_often(
    service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = live._Others(service)
    teller = live._Teller(service, others)
    monkeypatch.setattr(live, "_MOST_TO_TELL", 1e9)
    assert json.loads(teller.event().removeprefix(b"data: "))["every_s"] == live.PERIOD_S
    others.readers = 100
    few = teller.every_s
    assert 5 < few < 10
    well, _ = service.remotes()
    service.have_remotes(*(replace(well, name=f"site-{at}") for at in range(200)))
    teller._told_at = float("-inf")
    teller.event()
    assert teller.every_s > 1.1 * few  # each of them is larger
    others.readers = 1000
    assert teller.every_s == live._LONGEST_SILENCE_S
    others.readers = 1
    assert teller.every_s == live.PERIOD_S


async def test_who_gets_events_seldom_may_share_one_that_is_not_quite_new(
    service: ServiceDouble, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert autojump_clock
    monkeypatch.setattr(live, "_MOST_TO_TELL", 1e9)
    others = live._Others(service)
    teller = live._Teller(service, others)
    first = teller.event()
    await trio.sleep(1)
    second = teller.event()
    assert second is not first
    others.readers = 1000
    await trio.sleep(3)
    assert teller.event() is second
    await trio.sleep(3)
    assert teller.event() is not second


async def test_where_there_is_very_much_to_tell_it_is_told_more_seldom(service: ServiceDouble) -> None:
    teller = live._Teller(service, live._Others(service))
    teller._took_s.extend([0.02, 0.015, 3.0])  # the last one was another's fault
    assert teller.every_s == 3.0
    teller._took_s.extend([9.0] * 3)
    assert teller.every_s == live._LONGEST_PERIOD_S


async def test_it_takes_a_token(api: Address) -> None:
    assert_problem(await ask(api, "GET", "/v1/live"), 401, "/v1/live")


@pytest.mark.parametrize("reads_on", [True, False])
async def test_readers_do_not_hold_up_the_end(service: ServiceDouble, *, reads_on: bool) -> None:
    closing = trio.Event()
    async with serving(create_app(service, (), closing)) as (address, shutdown):
        stream = await trio.open_tcp_stream(*address)
        await stream.send_all(encode("GET", "/v1/live"))
        await Reader(stream).next()
        begun = trio.current_time()
        closing.set()
        shutdown.set()
        while reads_on and await stream.receive_some():
            pass
    assert trio.current_time() - begun < GRACE_S
    await stream.aclose()


@pytest.mark.parametrize(
    ("path", "kind", "has"),
    [
        ("/", "text/html", b'<table id="remotes"'),
        ("/page.js", "text/javascript", b'fetch("v1/live"'),
        ("/page.css", "text/css", b"prefers-color-scheme: dark"),
    ],
)
async def test_the_page_is_for_anybody_and_runs_no_script_but_its_own(
    api: Address, path: str, kind: str, has: bytes
) -> None:
    answer = await ask(api, "GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert has in answer.body
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_nothing_of_the_page_is_ever_parsed_as_html(api: Address) -> None:
    script = (await ask(api, "GET", "/page.js")).body
    for word in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert word not in script
