"""The cutting proxy, with a server that says back what it hears."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.cutter import NEAR, Cutter, Route, free_block, running_cutter

_PATIENCE_S = 30


@pytest.fixture
def route() -> Route:
    return Route("echo", free_block(1).start)


@pytest.fixture
def cutter(route: Route, tmp_path: Path) -> Iterator[Cutter]:
    with running_cutter([route], tmp_path / "cutter.log") as running:
        yield running


@asynccontextmanager
async def echoing(route: Route) -> AsyncIterator[None]:
    async def echo(stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                await stream.send_all(data)
            await stream.send_all(b"bye")
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        with trio.fail_after(_PATIENCE_S):
            await nursery.start(partial(trio.serve_tcp, echo, route.port, host="127.0.0.1"))
            yield
        nursery.cancel_scope.cancel()


async def heard(stream: trio.SocketStream, count: int) -> bytes:
    found = bytearray()
    while len(found) < count and (data := await stream.receive_some()):
        found += data
    return bytes(found)


async def to_the_end(stream: trio.SocketStream) -> bytes:
    return b"".join([data async for data in stream])


async def test_it_hands_on_both_ways_and_ends_one_way_at_a_time(route: Route, cutter: Cutter) -> None:
    much = bytes(range(256)) * 2**16
    async with echoing(route), await trio.open_tcp_stream(NEAR, route.port) as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, much)
            # Until everything on the way is full: it must be read again later.
            await wait_all_tasks_blocked(0.1)
            assert await heard(stream, len(much)) == much
        await stream.send_eof()
        assert await to_the_end(stream) == b"bye"
    assert cutter.counts() == {"echo": {"opened": 1}}


async def test_a_reset_is_a_reset_and_a_fin_a_fin(route: Route, cutter: Cutter) -> None:
    async with echoing(route):
        async with await trio.open_tcp_stream(NEAR, route.port) as stream:
            await stream.send_all(b"x")
            assert await heard(stream, 1) == b"x"
            assert cutter.cut(["echo"], "RST") == 1
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        async with await trio.open_tcp_stream(NEAR, route.port) as stream:
            await stream.send_all(b"x")
            assert await heard(stream, 1) == b"x"
            assert cutter.cut(["echo"], "FIN") == 1
            assert await to_the_end(stream) == b""
    assert cutter.counts() == {"echo": {"opened": 2, "cut": 2}}
    assert cutter.cut(["echo"], "RST") == 0


async def test_while_it_stalls_nothing_passes(route: Route, cutter: Cutter) -> None:
    async with echoing(route), await trio.open_tcp_stream(NEAR, route.port) as old:
        await old.send_all(b"x")
        await heard(old, 1)
        began = time.monotonic()
        cutter.stall(["echo"], 0.5)
        took_s = []

        async def ask(stream: trio.SocketStream) -> None:
            await stream.send_all(b"y")
            assert await heard(stream, 1) == b"y"
            took_s.append(time.monotonic() - began)

        async with await trio.open_tcp_stream(NEAR, route.port) as new, trio.open_nursery() as asking:
            asking.start_soon(ask, old)
            asking.start_soon(ask, new)
    assert len(took_s) == 2
    assert min(took_s) >= 0.5


async def test_a_calm_ends_a_stall(route: Route, cutter: Cutter) -> None:
    async with echoing(route), await trio.open_tcp_stream(NEAR, route.port) as stream:
        cutter.stall(["echo"], 10 * _PATIENCE_S)
        await stream.send_all(b"x")
        cutter.calm()
        assert await heard(stream, 1) == b"x"


async def test_slow_means_later_and_in_order(route: Route, cutter: Cutter) -> None:
    async with echoing(route), await trio.open_tcp_stream(NEAR, route.port) as stream:
        cutter.slow(["echo"], 0.2, 10 * _PATIENCE_S)
        began = time.monotonic()
        await stream.send_all(b"first")
        assert await heard(stream, 5) == b"first"
        assert time.monotonic() - began >= 0.4
        await stream.send_all(b"second")
        cutter.calm()
        await stream.send_all(b"third")
        await stream.send_eof()
        assert await to_the_end(stream) == b"secondthirdbye"


async def test_lives_can_be_brief(route: Route, tmp_path: Path) -> None:
    with running_cutter([route], tmp_path / "cutter.log", lives_s=(0.2, 0.3)) as cutter:
        began = time.monotonic()
        async with echoing(route), await trio.open_tcp_stream(NEAR, route.port) as stream:
            with suppress(trio.BrokenResourceError):
                assert await to_the_end(stream) == b""
            assert time.monotonic() - began >= 0.2
        assert cutter.counts()["echo"]["cut"] == 1


async def test_where_nobody_listens_it_resets(route: Route, cutter: Cutter) -> None:
    # Trio may see the reset before it has returned the stream.
    with trio.fail_after(_PATIENCE_S), pytest.raises((trio.BrokenResourceError, OSError)):
        async with await trio.open_tcp_stream(NEAR, route.port) as stream:
            await stream.receive_some()
    assert cutter.counts() == {"echo": {"opened": 1, "refused": 1}}


def test_a_port_that_is_taken_is_an_error(route: Route, cutter: Cutter, tmp_path: Path) -> None:
    assert cutter.kinds == ("echo",)
    with pytest.raises(RuntimeError, match="ended with 1"), running_cutter([route], tmp_path / "second.log"):
        pass
    assert "address already in use" in (tmp_path / "second.log").read_text()
