"""A scripted FTP server: does by itself what a good server does, and for any verb what a test says instead.

A script maps a verb (``GREETING`` for the greeting) to a line to answer, or to an async function that gets
the connection and the argument and may say, accept data, stall, cut, whatever the test is about. It runs in
the test's own Trio loop on a loopback port; its files are a dictionary.
"""

import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trustme

from pooler.ftp.profile import Profile

HOST = "127.0.0.1"
USER, PASSWORD = "tester", "s3cret"
_MAX_LINE_BYTES = 8192


class Left(Exception):
    """The client, or the script, has ended the connection."""


Handler = Callable[["Connection", bytes], Awaitable[None]]
Script = Mapping[str, bytes | Handler]


class ScriptedServer:
    """What a test sees of the server.

    Attributes:
        port: where it listens.
        files: path → content; paths as bytes decoded like the client's.
        folders: those that exist.
        commands: every line received, of all connections, in order.
        logins: connections accepted.
        clients: the address of each.
        connects_from: the address of ours to make active data connections from; None for the usual one.
    """

    def __init__(
        self,
        script: Script,
        authority: trustme.CA | None,
        ca_file: Path | None,
        *,
        implicit: bool,
        host: str = HOST,
    ) -> None:
        self.script = script
        self.implicit = implicit
        self.port = 0
        self.files: dict[str, bytes] = {}
        self.folders = {"/"}
        self.commands: list[str] = []
        self.logins = 0
        self.clients: list[str] = []
        self.ca_file = ca_file
        self.host = host
        self.connects_from: str | None = None
        self.context: ssl.SSLContext | None = None
        self._inside = 0
        self._changed = trio.Event()
        if authority is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(self.context)

    def profile(self, **changes: Any) -> Profile:
        """How to reach it: limits of five seconds, and explicit TLS if it has TLS."""
        values: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": USER,
            "password": lambda: PASSWORD,
            "tls": "implicit" if self.implicit else "explicit" if self.context else "none",
            "ca_file": str(self.ca_file) if self.ca_file else None,
            "connect_s": 5.0,
            "exchange_s": 5.0,
            "stall_s": 5.0,
            "close_s": 1.0,
            "doubt_s": 0.02,
        }
        return Profile(**values | changes)

    def verbs(self) -> list[str]:
        """The verbs received so far."""
        return [line.split(" ")[0] for line in self.commands]

    async def all_left(self) -> None:
        """Wait until no client is connected any more, five seconds at most."""
        with trio.fail_after(5):
            while self._inside:
                await self._changed.wait()

    def connection(self, stream: trio.SocketStream) -> "Connection":
        """Make what serves one client."""
        return Connection(self, stream)

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one client until it or the script ends it."""
        self.logins += 1
        self.clients.append(stream.socket.getpeername()[0])
        self._inside += 1
        connection = self.connection(stream)
        try:
            await connection.serve()
        except (Left, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(connection.stream)
                await connection.close_all()
            self._inside -= 1
            self._changed.set()
            self._changed = trio.Event()


class Connection:
    """One control connection, as the scripts see it.

    Attributes:
        active: where the client listens, since its last EPRT or PORT.
    """

    def __init__(self, server: ScriptedServer, stream: trio.SocketStream) -> None:
        self.server = server
        self.stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = stream
        self._raw = stream
        self._listener: trio.SocketListener | None = None
        self.active: tuple[str, int] | None = None
        self._data: list[Data] = []
        self._buffer = bytearray()
        self._renamed = ""

    async def serve(self) -> None:
        if self.server.implicit:
            await self.secure()
        await self._do("GREETING", b"")
        while True:
            line = await self._line()
            self.server.commands.append(line.decode("utf-8", "surrogateescape"))
            verb, _, argument = line.partition(b" ")
            await self._do(verb.decode(), argument)

    async def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            assert len(self._buffer) < _MAX_LINE_BYTES
            data = await self.stream.receive_some(4096)
            if not data:
                raise Left
            self._buffer += data
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        self._buffer[:] = rest
        return line

    async def _do(self, verb: str, argument: bytes) -> None:
        answer = self.server.script.get(verb)
        if answer is None:
            await self.normally(verb, argument)
        elif isinstance(answer, bytes):
            await self.say(answer)
        else:
            await answer(self, argument)

    async def normally(self, verb: str, argument: bytes) -> None:
        """Do what a good server does."""
        method = getattr(self, f"on_{verb.lower()}", None)
        if method is None:
            await self.say(b"502 Unknown command.")
        else:
            await method(argument)

    async def say(self, *lines: bytes) -> None:
        """Send lines, each with its end, in one write."""
        await self.stream.send_all(b"".join(line + b"\r\n" for line in lines))

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def cut(self) -> None:
        """End the control connection."""
        await trio.aclose_forcefully(self.stream)
        raise Left

    async def until_left(self) -> None:
        """Say nothing until the client goes away."""
        while await self.stream.receive_some(4096):
            pass
        raise Left

    async def secure(self) -> None:
        """Put TLS on the control connection."""
        assert self.server.context is not None
        assert isinstance(self.stream, trio.SocketStream)
        self.stream = trio.SSLStream(self.stream, self.server.context, server_side=True)
        await self.stream.do_handshake()

    async def listen(self) -> int:
        """Listen for a data connection; return the port."""
        await self.close_listener()
        self.active = None
        (self._listener,) = await trio.open_tcp_listeners(0, host=self.server.host)
        port: int = self._listener.socket.getsockname()[1]
        return port

    async def close_listener(self) -> None:
        if self._listener is not None:
            await self._listener.aclose()
            self._listener = None

    async def accept(self) -> "Data":
        """Have the data connection, by whichever mode; with TLS the handshake comes with the first bytes."""
        if self.active is not None:
            return await self.connect(*self.active)
        assert self._listener is not None
        data = Data(await self._listener.accept(), self.server.context)
        self._data.append(data)
        await self.close_listener()
        return data

    async def connect(self, host: str, port: int) -> "Data":
        """Connect to the client, as active mode has it."""
        source = self.server.connects_from
        try:
            stream = await trio.open_tcp_stream(host, port, local_address=source)
        except OSError as error:
            raise Left from error
        data = Data(stream, self.server.context)
        self._data.append(data)
        return data

    async def peek(self) -> bytes:
        """Look what has come that was not read yet; without TLS."""
        assert isinstance(self.stream, trio.SocketStream)
        await trio.lowlevel.checkpoint()
        with socket.socket(fileno=os.dup(self.stream.socket.fileno())) as waiting:
            try:
                return bytes(self._buffer) + waiting.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return bytes(self._buffer)

    async def close_all(self) -> None:
        for data in self._data:
            await data.cut()
        await self.close_listener()

    def path(self, argument: bytes) -> str:
        return argument.decode("utf-8", "surrogateescape")

    async def on_greeting(self, _: bytes) -> None:
        await self.say(b"220 Scripted server.")

    async def on_auth(self, _: bytes) -> None:
        await self.say(b"234 Go on.")
        await self.secure()

    async def on_pbsz(self, _: bytes) -> None:
        await self.say(b"200 PBSZ=0")

    async def on_prot(self, _: bytes) -> None:
        await self.say(b"200 Private.")

    async def on_user(self, _: bytes) -> None:
        await self.say(b"331 Password?")

    async def on_pass(self, argument: bytes) -> None:
        await self.say(b"230 Welcome." if argument == PASSWORD.encode() else b"530 Login incorrect.")

    async def on_type(self, _: bytes) -> None:
        await self.say(b"200 Image.")

    async def on_noop(self, _: bytes) -> None:
        await self.say(b"200 Still here.")

    async def on_quit(self, _: bytes) -> None:
        await self.say(b"221 Bye.")
        raise Left

    async def on_epsv(self, _: bytes) -> None:
        await self.say(b"229 Listening (|||%d|)" % await self.listen())

    async def on_pasv(self, _: bytes) -> None:
        port = await self.listen()
        await self.say(b"227 Listening (127,0,0,1,%d,%d)." % divmod(port, 256))

    async def on_port(self, argument: bytes) -> None:
        *address, high, low = argument.decode("ascii").split(",")
        self.active = (".".join(address), int(high) * 256 + int(low))
        await self.say(b"200 I shall connect.")

    async def on_eprt(self, argument: bytes) -> None:
        _, family, host, port, _ = argument.decode("ascii").split("|")
        assert family == ("2" if ":" in host else "1")
        self.active = (host, int(port))
        await self.say(b"200 I shall connect.")

    async def on_host(self, _: bytes) -> None:
        await self.say(b"220 At your service.")

    async def on_size(self, argument: bytes) -> None:
        content = self.server.files.get(self.path(argument))
        await self.say(b"550 No such file." if content is None else b"213 %d" % len(content))

    async def on_retr(self, argument: bytes) -> None:
        content = self.server.files.get(self.path(argument))
        if content is None:
            await self.say(b"550 No such file.")
            return
        data = await self.accept()
        await self.say(b"150 Here it comes.")
        await data.send(content)
        await data.close()
        await self.say(b"226 Done.")

    async def on_stor(self, argument: bytes) -> None:
        path = self.path(argument)
        if (path.rpartition("/")[0] or "/") not in self.server.folders:
            await self.say(b"553 Could not create file.")
            return
        data = await self.accept()
        await self.say(b"150 Send it.")
        try:
            self.server.files[path] = await data.receive_all()
        except trio.BrokenResourceError:
            await self.say(b"426 Broken off.")
            return
        await data.close()
        await self.say(b"226 Stored.")

    async def on_mkd(self, argument: bytes) -> None:
        path = self.path(argument)
        if path in self.server.folders or (path.rpartition("/")[0] or "/") not in self.server.folders:
            await self.say(b"550 Create directory operation failed.")
            return
        self.server.folders.add(path)
        await self.say(b'257 "made"')

    async def on_cwd(self, argument: bytes) -> None:
        known = self.path(argument) in self.server.folders
        await self.say(b"250 Changed." if known else b"550 Failed to change directory.")

    async def on_dele(self, argument: bytes) -> None:
        known = self.server.files.pop(self.path(argument), None) is not None
        await self.say(b"250 Deleted." if known else b"550 Delete operation failed.")

    async def on_rnfr(self, argument: bytes) -> None:
        self._renamed = self.path(argument)
        known = self._renamed in self.server.files
        await self.say(b"350 Ready for RNTO." if known else b"550 RNFR command failed.")

    async def on_rnto(self, argument: bytes) -> None:
        self.server.files[self.path(argument)] = self.server.files.pop(self._renamed)
        await self.say(b"250 Renamed.")


class Data:
    """A data connection, as the scripts see it."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext | None) -> None:
        self._raw = stream
        self.stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = stream
        if context is not None:
            self.stream = trio.SSLStream(stream, context, server_side=True)

    @property
    def peer(self) -> str:
        """The client's address."""
        address: str = self._raw.socket.getpeername()[0]
        return address

    async def shake_hands(self) -> None:
        if isinstance(self.stream, trio.SSLStream):
            await self.stream.do_handshake()

    async def send(self, content: bytes) -> None:
        await self.shake_hands()
        await self.stream.send_all(content)

    async def raw(self, content: bytes) -> None:
        """Send bytes as they are, TLS or not."""
        await self._raw.send_all(content)

    async def receive_all(self) -> bytes:
        content = bytearray()
        while data := await self.stream.receive_some(65536):
            content += data
        return bytes(content)

    async def close(self) -> None:
        """End it in order, with TLS by close_notify."""
        await self.stream.aclose()

    async def cut(self) -> None:
        """End it as plain TCP does, without close_notify."""
        await trio.aclose_forcefully(self._raw)

    async def reset(self) -> None:
        """End it by a reset."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self._raw)


@asynccontextmanager
async def scripted_server(
    script: Script | None = None,
    *,
    tls_folder: Path | None = None,
    implicit: bool = False,
    host: str = HOST,
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server until the block ends.

    Args:
        script: what differs from a good server.
        tls_folder: where to put the certificate of the authority; None for a server without TLS.
        implicit: TLS from the first byte.
        host: the address it listens on.
    """
    authority, ca_file = None, None
    if tls_folder is not None:
        authority, ca_file = trustme.CA(), tls_folder / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
    server = ScriptedServer(script or {}, authority, ca_file, implicit=implicit, host=host)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=host)
        server.port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, server.serve, listeners)
        yield server
        nursery.cancel_scope.cancel()
