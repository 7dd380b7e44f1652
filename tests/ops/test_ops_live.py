"""The live state and the page, over real sockets."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from pooler.ops.http import live, server
from pooler.ops.http.app import create_app
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
    assert state["status"]["ready"] is True
    assert [one["remote"]["name"] for one in state["remotes"]] == ["site-a", "site-b"]
    assert state["remotes"][0]["limit_reason"] == "more sessions do not help"
    assert "sessions" not in state["remotes"][0]["remote"]  # that would be much, for 200 remotes
    assert [job["task_id"] for job in state["running"]] == ["task-1"]
    assert state["running_in_all"] == 1
    assert [cause["error_code"] for cause in state["failures"]] == ["CONNECTION_ERROR"]
    assert [job["status"] for job in state["ended"]] == ["failed", "success"]
    assert [folder["paused"] for folder in state["folders"]] == [False, True]


async def test_what_changes_is_in_the_next_event(
    api: Address, service: ServiceDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PERIOD_S", 0.05)
    async with await trio.open_tcp_stream(*api) as stream:
        await stream.send_all(READ)
        reader = Reader(stream)
        assert (await reader.next())["status"]["ready"] is True
        service.change_status(ready=False, reasons=("draining",))
        while (await reader.next())["status"]["ready"]:
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
        assert (await Reader(stream).next())["status"]["version"] == "1.2.3"


async def test_so_many_and_no_more(api: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_READERS", 1)
    monkeypatch.setattr(live, "PERIOD_S", 0.05)
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
    monkeypatch.setattr(live, "PERIOD_S", 0.01)
    monkeypatch.setattr(live, "LASTS_S", 0.1)
    for _ in range(2):
        async with await trio.open_tcp_stream(*api) as stream:
            await stream.send_all(READ)
            said = b""
            while not said.endswith(b"\r\n0\r\n\r\n"):
                said += await stream.receive_some()
            assert b"\r\nretry: 100\n\n" in said
            assert said.count(b"data: {") > 1


def test_a_stream_ends_before_the_server_cuts_it_off() -> None:
    assert live.LASTS_S + live.PERIOD_S < server._READ_S


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
        ("/", "text/html", b'<table id="remotes">'),
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
