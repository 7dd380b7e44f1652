"""FTP without any cleverness, for measuring servers: it sends what it is told to, and keeps what it hears.

It is not the client of `pooler.ftp` on purpose: that one avoids what is to be measured.
"""

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.servers import RunningServer

LIMIT_S = 10.0
_PORT = re.compile(r"\|\|\|(\d+)\|")


class Said(NamedTuple):
    """A reply. Code 0 is an end of the connection, and -1 a silence."""

    code: int
    text: str = ""


class Moved(NamedTuple):
    """A transfer.

    Attributes:
        code: how it ended.
        data: what came.
        text: of the reply that ended it.
        closed_in_order: whether TLS was ended by close_notify; True without TLS.
        resumed: whether the data connection resumed a TLS session.
    """

    code: int
    data: bytes = b""
    text: str = ""
    closed_in_order: bool = True
    resumed: bool = False


class RawFtp:
    """One control connection, logged in.

    Args:
        server: what to connect to.
        version: of TLS; None for none.
    """

    def __init__(self, server: RunningServer, version: ssl.TLSVersion | None) -> None:
        self.server = server
        self.context: ssl.SSLContext | None = None
        self.control: socket.socket = socket.create_connection((server.host, server.port), LIMIT_S)
        self._buffer = b""
        self.greeting = self.hear()
        if version is not None:
            self.context = ssl.create_default_context(cafile=server.ca_file)
            self.context.minimum_version = self.context.maximum_version = version
            self.ask("AUTH TLS")
            self.control = self.context.wrap_socket(self.control, server_hostname=server.host)
        self.ask(f"USER {server.user}")
        self.ask(f"PASS {server.password}")
        if version is not None:
            self.ask("PBSZ 0")
            self.ask("PROT P")
        self.ask("TYPE I")

    def close(self) -> None:
        """End the connection without a word."""
        self.control.close()

    def say(self, *lines: str | bytes) -> None:
        """Send lines in one write."""
        encoded = (line.encode() if isinstance(line, str) else line for line in lines)
        self.control.sendall(b"".join(line + b"\r\n" for line in encoded))

    def hear(self, within_s: float = LIMIT_S) -> Said:
        """Take the next reply."""
        self.control.settimeout(within_s)
        try:
            while (reply := self._next()) is None:
                if not (more := self.control.recv(65536)):
                    return Said(0)
                self._buffer += more
        except TimeoutError:
            return Said(-1)
        except OSError:
            return Said(0)
        return reply

    def _next(self) -> Said | None:
        lines = self._buffer.split(b"\r\n")
        for number, line in enumerate(lines[:-1], start=1):
            if re.match(rb"\d{3} ", line):
                self._buffer = b"\r\n".join(lines[number:])
                return Said(int(line[:3]), b"\n".join(lines[:number]).decode("utf-8", "replace"))
        return None

    def ask(self, line: str | bytes) -> Said:
        """Send a command and take its reply."""
        self.say(line)
        return self.hear()

    def connect(self) -> socket.socket:
        """Make a data connection, without TLS yet."""
        said = self.ask("EPSV")
        found = _PORT.search(said.text)
        assert found is not None, said
        return socket.create_connection((self.server.host, int(found[1])), LIMIT_S)

    def secure(self, data: socket.socket, *, resume: bool = True) -> socket.socket:
        """Put TLS on a data connection, where there is TLS."""
        if self.context is None:
            return data
        assert isinstance(self.control, ssl.SSLSocket)
        session = self.control.session if resume else None
        return self.context.wrap_socket(
            data, server_hostname=self.server.host, session=session, suppress_ragged_eofs=False
        )

    @contextlib.contextmanager
    def moving(self, line: str | bytes) -> Iterator[socket.socket]:
        """Begin a transfer and give its data connection; the end is heard by the caller."""
        with self.connect() as plain:
            self.say(line)
            with self.secure(plain) as data:
                yield data

    def move(self, line: str | bytes, send: bytes | None = None, *, resume: bool = True) -> Moved:
        """Make a whole transfer: send where there is something to send, else receive."""
        with self.connect() as plain:
            self.say(line)
            first = self.hear()
            if first.code >= 200 or first.code <= 0:
                return Moved(first.code, text=first.text)
            got, in_order, resumed = b"", True, False
            try:
                with self.secure(plain, resume=resume) as data:
                    resumed = isinstance(data, ssl.SSLSocket) and bool(data.session_reused)
                    if send is not None:
                        data.sendall(send)
                        if isinstance(data, ssl.SSLSocket):
                            data.unwrap().close()
                    else:
                        while more := data.recv(65536):
                            got += more
            except OSError:  # a missing close_notify is one too
                in_order = False
            final = self.hear()
            return Moved(final.code, got, final.text, in_order, resumed)
