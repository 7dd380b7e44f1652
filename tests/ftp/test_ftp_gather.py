"""A data connection that is woken for more than a packet loses nothing by it: no byte, no end."""

import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pooler.ftp.tcp import TcpConnection

STALL_S = 600.0
LULL_S = 1.0
WANTED = 10_000


class Ends(NamedTuple):
    """The two ends of a connection over loopback."""

    ours: TcpConnection
    theirs: socket.socket


@pytest.fixture
def ends() -> Iterator[Ends]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
        listener.accept()[0] as far,
    ):
        ours = TcpConnection(near, stall_s=STALL_S)
        ours.gather(WANTED)
        yield Ends(ours, far)


@pytest.fixture
def pipe() -> Iterator[int]:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.fixture(params=["buffer", "pipe"])
def receive(request: pytest.FixtureRequest, ends: Ends, pipe: int) -> Callable[[], Awaitable[int | None]]:
    buffer = memoryview(bytearray(2 * WANTED))
    if request.param == "buffer":
        return lambda: ends.ours.receive_into(buffer)
    return lambda: ends.ours.splice_into(pipe, 2 * WANTED)


class Receiving:
    """What a task that receives has got."""

    def __init__(self, receive: Callable[[], Awaitable[int | None]]) -> None:
        self._receive = receive
        self.got: int | None = None

    async def run(self) -> None:
        self.got = await self._receive()


async def test_it_is_woken_when_there_is_enough(
    ends: Ends, receive: Callable[[], Awaitable[int | None]], mock_clock: MockClock
) -> None:
    assert mock_clock.rate == 0  # however long this takes, there is no lull
    receiving = Receiving(receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving.run)
        await wait_all_tasks_blocked()
        ends.theirs.sendall(bytes(WANTED - 1))
        # A look at the sockets, and all that comes of it.
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert receiving.got is None
        ends.theirs.sendall(b"!")
    assert receiving.got == WANTED


async def test_what_is_there_is_received_at_once(
    ends: Ends, receive: Callable[[], Awaitable[int | None]]
) -> None:
    ends.theirs.sendall(b"ten bytes.")
    assert await receive() == 10


async def test_an_end_wakes_it_with_what_is_left(
    ends: Ends, receive: Callable[[], Awaitable[int | None]]
) -> None:
    receiving = Receiving(receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiving.run)
        await wait_all_tasks_blocked()
        ends.theirs.sendall(b"ten bytes.")
        ends.theirs.shutdown(socket.SHUT_WR)
    assert receiving.got == 10
    assert await receive() == 0


async def test_after_a_lull_few_bytes_are_enough(
    ends: Ends, receive: Callable[[], Awaitable[int | None]], mock_clock: MockClock
) -> None:
    for few in (b"ten bytes.", b"!"):
        receiving = Receiving(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receiving.run)
            await wait_all_tasks_blocked()
            ends.theirs.sendall(few)
            if few != b"!":  # which wakes it by itself
                mock_clock.jump(LULL_S)
        assert receiving.got == len(few)


async def test_who_sends_nothing_has_stalled(
    receive: Callable[[], Awaitable[int | None]], mock_clock: MockClock
) -> None:
    async def jump() -> None:
        for pause_s in (LULL_S, STALL_S):
            await wait_all_tasks_blocked()
            mock_clock.jump(pause_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(jump)
        with pytest.raises(trio.TooSlowError):
            await receive()
