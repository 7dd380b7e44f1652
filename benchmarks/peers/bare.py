"""The ceiling: a Trio loop over sockets that speaks just enough FTP, and is safe from nothing.

    python -m benchmarks.peers.bare <plan>

is what a peer made by `bare` runs as a process of its own. No temporary name, no size check, no time limit,
no error but the end. RETR or STOR leaves before the data connection is made, with the next EPSV behind it in
the same write, which vsftpd lets wait until the transfer is over. The bytes go through this process (recv,
send) or past it (splice, sendfile).
"""

import fcntl
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import trio

from benchmarks.field import Field, Way
from benchmarks.peers.peer import Copy, timed

_BLOCK_BYTES = 1 << 20
_EXTENDED_PORT = re.compile(rb"\(\|\|\|(\d+)\|\)")
Pump = Callable[[trio.socket.SocketType, int], Awaitable[None]]
By = Literal["process", "kernel"]


def bare(by: By) -> Copy:
    """Make a peer whose bytes go through the process, or stay in the kernel."""

    def copy(field: Field, way: Way, names: Sequence[str]) -> float:
        server = field.server
        plan = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "sessions": field.sessions,
            "way": way,
            "by": by,
            "local": str(field.local),
            "names": list(names),
        }
        path = field.folder / "work" / "bare.json"
        path.write_text(json.dumps(plan))
        return timed(field, [sys.executable, "-m", "benchmarks.peers.bare", str(path)])

    return copy


class _Control:
    """A control connection on which nothing unexpected happens."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._received = stream, bytearray()

    async def send(self, *commands: str) -> None:
        await self._stream.send_all("".join(f"{command}\r\n" for command in commands).encode())

    async def reply(self, *codes: bytes) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            self._received += await self._stream.receive_some(4096)
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        if not line.startswith(codes):
            raise SystemExit(f"wanted {codes}, got {line!r}")
        return line


async def _session(plan: Mapping[str, Any], names: Iterator[str]) -> None:
    stream = await trio.open_tcp_stream(plan["host"], plan["port"])
    stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    control = _Control(stream)
    await control.reply(b"220")
    for command, code in ((f"USER {plan['user']}", b"331"), (f"PASS {plan['password']}", b"230")):
        await control.send(command)
        await control.reply(code)
    await control.send("TYPE I", "EPSV")
    await control.reply(b"200")
    pump = _PUMPS[plan["way"], plan["by"]]()
    for name in names:
        found = _EXTENDED_PORT.search(await control.reply(b"229"))
        assert found is not None
        path = Path(plan["local"]) / ("in" if plan["way"] == "down" else "out") / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if plan["way"] == "down" else os.O_RDONLY
        file = os.open(path, flags, 0o644)
        with trio.socket.socket() as data:
            verb = f"RETR /out/{name}" if plan["way"] == "down" else f"STOR /in/{name}"
            await control.send(verb, "EPSV")
            await data.connect((plan["host"], int(found[1])))
            await pump(data, file)
        os.close(file)
        await control.reply(b"150", b"125")
        await control.reply(b"226")


def _receiving() -> Pump:
    buffer = memoryview(bytearray(_BLOCK_BYTES))

    async def pump(data: trio.socket.SocketType, file: int) -> None:
        while count := await data.recv_into(buffer):
            os.write(file, buffer[:count])

    return pump


def _splicing() -> Pump:
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _BLOCK_BYTES)

    async def pump(data: trio.socket.SocketType, file: int) -> None:
        while True:
            try:
                count = os.splice(
                    data.fileno(), into, _BLOCK_BYTES, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
                )
            except BlockingIOError:
                await trio.lowlevel.wait_readable(data)
                continue
            if count == 0:
                return
            while count:
                count -= os.splice(out, file, count, flags=os.SPLICE_F_MOVE)

    return pump


def _sending() -> Pump:
    buffer = memoryview(bytearray(_BLOCK_BYTES))

    async def pump(data: trio.socket.SocketType, file: int) -> None:
        while count := os.readv(file, [buffer]):
            rest = buffer[:count]
            while rest:
                rest = rest[await data.send(rest) :]

    return pump


def _sendfile() -> Pump:
    async def pump(data: trio.socket.SocketType, file: int) -> None:
        at, size = 0, os.fstat(file).st_size
        while at < size:
            try:
                at += os.sendfile(data.fileno(), file, at, size - at)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(data)

    return pump


_PUMPS: Mapping[tuple[Way, By], Callable[[], Pump]] = {
    ("down", "process"): _receiving,
    ("down", "kernel"): _splicing,
    ("up", "process"): _sending,
    ("up", "kernel"): _sendfile,
}


async def _main(plan: Mapping[str, Any]) -> None:
    names = iter(plan["names"])
    async with trio.open_nursery() as nursery:
        for _ in range(plan["sessions"]):
            nursery.start_soon(_session, plan, names)


if __name__ == "__main__":
    trio.run(_main, json.loads(Path(sys.argv[1]).read_text()))
