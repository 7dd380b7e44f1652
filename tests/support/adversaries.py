"""Adversaries: what they do, what is asked of them, and what must hold however it ends."""

import socket
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from pooler.errors import RemoteError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support import descriptors
from tests.support.moving import fetch, store
from tests.support.scripted import PASSWORD, Connection, Handler, Script, ScriptedServer

CONTENT = b"ten bytes."
MEMORY_BYTES = 8_000_000
"""What one exchange may take, on both ends: buffers, bounded replies, the entries of one chunk."""
FLOOD = b"x" * 65536

Work = Callable[[FtpSession], Awaitable[object]]


async def list_all(session: FtpSession) -> int:
    async with session.listing("/") as entries:
        return len([None async for _ in entries])


async def nothing(_: FtpSession) -> None:
    await trio.lowlevel.checkpoint()


WORK: dict[str, Work] = {
    "log in": nothing,
    "fetch": lambda session: fetch(session, "/f"),
    "store": lambda session: store(session, "/new/g", CONTENT),
    "list": list_all,
    "size": lambda session: session.size("/f"),
    "stat": lambda session: session.stat("/f"),
    "checksum": lambda session: session.checksum("/f", ["sha256"]),
    "rename": lambda session: session.rename("/f", "/g"),
    "remove": lambda session: session.remove("/f"),
    "wait": lambda session: session.keep_alive(),
}


@dataclass(frozen=True)
class Case:
    """One adversary.

    Attributes:
        name: what it does.
        work: what is asked of it; of WORK.
        script: how it does it.
        error: what comes of it.
        words: in the error.
        tls: whether it has TLS.
        survives: whether the session may be used afterwards.
        changes: of the profile.
    """

    name: str
    work: str
    script: Script
    error: type[RemoteError]
    words: str = ""
    tls: bool = False
    survives: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def bounded_memory(limit_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit_bytes


async def meet(server: ScriptedServer, case: Case) -> None:
    """Have it out with an adversary, and see that it ends as it should, with nothing left on either side."""
    server.files = {"/f": CONTENT}
    before = descriptors.count()
    session: FtpSession | None = None
    failure: RemoteError | None = None
    with bounded_memory():
        try:
            session = await FtpConnector(server.profile(**case.changes)).connect()
            await WORK[case.work](session)
        except RemoteError as error:
            failure = error
    assert type(failure) is case.error, failure
    assert case.words in str(failure)
    assert PASSWORD not in "".join((str(failure), *getattr(failure, "__notes__", ())))
    if session is not None:
        assert session.usable is case.survives
        if case.survives:
            await session.keep_alive()
        await session.aclose()
    await server.all_left()
    assert descriptors.count() == before
    assert server.files == {"/f": CONTENT}


async def silent(connection: Connection, _: bytes) -> None:
    await connection.until_left()


async def trickle(connection: Connection, _: bytes) -> None:
    """Say one byte a second, and no end of the line."""
    while True:
        await connection.raw(b"2")
        await trio.sleep(1)


async def silent_handshake(connection: Connection, _: bytes) -> None:
    await connection.say(b"234 Go on.")
    await connection.until_left()


async def trickling_handshake(connection: Connection, _: bytes) -> None:
    """Send the head of a large TLS record, and its bytes one a second."""
    await connection.say(b"234 Go on.")
    await trio.sleep(1)  # what comes behind the reply is thrown away
    await connection.raw(b"\x16\x03\x03\x3f\xff")
    while True:
        await connection.raw(b"\x02")
        await trio.sleep(1)


async def trickling_data(connection: Connection, _: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    await data.raw(b"\x16\x03\x03\x3f\xff")
    while True:
        await data.raw(b"\x02")
        await trio.sleep(1)


def data_then(then: bytes, *, sent: bytes = b"150 Here it comes.") -> Handler:
    """Take the data connection, say and send so much, and nothing more."""

    async def answer(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(sent)
        await data.raw(then)
        await connection.until_left()

    return answer


async def no_final_reply(connection: Connection, _: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    await data.send(CONTENT)
    await data.close()
    await connection.until_left()


async def nobody_reads(connection: Connection, _: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Send it.")
    await data.receive_all()
    await connection.until_left()


async def port_where_nobody_answers(connection: Connection, _: bytes) -> None:
    """Tell a port whose queue is full, asked in either way: the kernel lets our call ring."""
    with socket.create_server((connection.server.host, 0), backlog=0) as full, socket.socket() as caller:
        caller.setblocking(False)
        caller.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        await connection.say(b"229 Listening (|||%d|)" % port)
        assert await connection._line() == b"PASV"
        await connection.say(b"227 Listening (127,0,0,1,%d,%d)" % divmod(port, 256))
        assert await connection._line() == b"NOOP"
    await connection.on_noop(b"")


async def slow_data(connection: Connection, argument: bytes) -> None:
    """Send one byte a second."""
    data = await connection.accept()
    await connection.say(b"150 Here it comes.")
    for byte in connection.server.files[connection.path(argument)]:
        await data.send(bytes([byte]))
        await trio.sleep(1)
    await data.close()
    await connection.say(b"226 Done.")


async def pour(send: Callable[[bytes], Awaitable[None]], again: bytes) -> None:
    """Send 100 MB, of which most must not be taken."""
    again *= len(FLOOD) // len(again)
    for _ in range(1600):
        await send(again)
    raise AssertionError("it has taken 100 MB")


def says_on(first: bytes, again: bytes) -> Handler:
    """Say something, and then the same again and again."""

    async def answer(connection: Connection, _: bytes) -> None:
        await connection.raw(first)
        await pour(connection.raw, again)

    return answer


def says_on_behind_data(again: bytes) -> Handler:
    async def answer(connection: Connection, argument: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await data.send(connection.server.files[connection.path(argument)])
        await data.close()
        await pour(connection.raw, again)

    return answer


def sends_on(again: bytes) -> Handler:
    async def answer(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(b"150 Here it comes.")
        await pour(data.send, again)

    return answer
