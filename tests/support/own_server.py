"""An honest FTP server of our own, for ``servers``: ``python -m tests.support.own_server '{"port": …}'``.

It is the scripted server without a script and over a real folder. So what quirks are replayed with has to
keep the contract as well: connections, TLS and the four ways to a data connection are the scripted server's,
login and files are here. It is a program of its own, so that a client that blocks does not stop its server.
It needs no root, and nothing installed. Commands go one at a time: one that is sent beside a transfer is
answered behind it. Files go as images only.
"""

import hashlib
import json
import os
import posixpath
import socket
import ssl
import stat
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partialmethod
from io import FileIO
from pathlib import Path
from typing import Any

import trio

from tests.support.scripted import Connection, Data, Left, ScriptedServer

_BLOCK_BYTES = 1 << 16
_RECENTLY_S = 180 * 86400
_FEATURES = (
    "EPRT", "EPSV", "MDTM", "MFMT", "MLST type*;size*;modify*;", "REST STREAM", "SIZE", "TVFS", "UTF8",
    "XCRC", "XMD5", "XSHA1", "XSHA256", "XSHA512",
)  # fmt: skip
_FEATURES_OF_TLS = ("AUTH TLS", "PBSZ", "PROT")
_BEFORE_LOGIN = frozenset({"GREETING", "AUTH", "PBSZ", "PROT", "USER", "PASS", "FEAT", "NOOP", "QUIT"})
_LOGIN = frozenset({"USER", "PASS"})
_AS_IMAGE = frozenset({"RETR", "STOR", "APPE", "SIZE"})
_TRANSFERS = frozenset({"RETR", "STOR", "APPE", "LIST", "NLST", "MLSD"})
_CHANGES = frozenset({"STOR", "APPE", "DELE", "RNFR", "RNTO", "MKD", "RMD", "MFMT"})


class OwnServer(ScriptedServer):
    """The server.

    Args:
        settings: as ``servers`` has them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__({}, None, None, implicit=False, host=settings["host"])
        self.root = Path(settings["root"])
        self.account = (settings["user"].encode(), settings["password"].encode())
        self.writable: bool = settings["writable"]
        self.max_clients: float = settings["max_clients"] or float("inf")
        self.clients_now = 0
        if settings["certificate"]:
            self.context = _make_context(settings["certificate"], settings["tls_version"])

    def connection(self, stream: trio.SocketStream) -> "OwnConnection":
        """Make what serves one client."""
        return OwnConnection(self, stream)


class OwnConnection(Connection):
    """One client's control connection: a method for each command."""

    server: OwnServer

    def __init__(self, server: OwnServer, stream: trio.SocketStream) -> None:
        super().__init__(server, stream)
        # An ABOR comes as urgent data (RFC 959 §4.1.3), whose last byte would be lost.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, True)
        self._user = b""
        self._logged_in = False
        self._private = False
        self._image = False
        self._folder = "/"
        self._offset = 0
        self._old: Path | None = None

    async def serve(self) -> None:
        """Serve, and count as a client no longer than the client can see."""
        self.server.clients_now += 1
        try:
            await super().serve()
        finally:
            self.server.clients_now -= 1

    async def normally(self, verb: str, argument: bytes) -> None:
        """Do a command, or say why not."""
        refusal = self._refusal(verb.upper())
        if refusal is not None:
            await self.say(refusal)
            return
        try:
            await super().normally(verb, argument)
        except OSError as error:
            await self.say(b"550 %s." % os.strerror(error.errno or 0).encode())
        except ValueError:
            await self.say(b"501 Not to be understood.")

    def _refusal(self, verb: str) -> bytes | None:
        if not self._logged_in and verb not in _BEFORE_LOGIN:
            return b"530 Log in first."
        needs_tls = self.server.context is not None
        refusals = (
            (_LOGIN, needs_tls and self.stream is self._raw, b"530 AUTH TLS first."),
            (_TRANSFERS, needs_tls and not self._private, b"522 PROT P first."),
            (_TRANSFERS, self.active is None and self._listener is None, b"425 EPSV or EPRT first."),
            (_AS_IMAGE, not self._image, b"550 TYPE I first."),
            (_CHANGES, not self.server.writable, b"550 Permission denied."),
        )
        return next((why for verbs, holds, why in refusals if holds and verb in verbs), None)

    def _at(self, argument: bytes) -> Path:
        """Find what a path means on the disk; no ``..`` leads out."""
        return self.server.root / self._said(argument).lstrip("/")

    def _said(self, argument: bytes) -> str:
        return posixpath.normpath(posixpath.join(self._folder, os.fsdecode(argument)))

    def _file_at(self, argument: bytes) -> Path:
        path = self._at(argument)
        _open(path, "r").close()
        return path

    @asynccontextmanager
    async def _moving(self) -> AsyncIterator[Data]:
        """Have the data connection, between a 150 and a 226."""
        data = await self.accept()
        await self.say(b"150 Here we go.")
        try:
            await data.shake_hands()
            yield data
            await data.close()
        except (trio.BrokenResourceError, OSError):
            await data.cut()
            await self.say(b"426 Broken off.")
        else:
            await self.say(b"226 Done.")

    def _take_offset(self) -> int:
        offset, self._offset = self._offset, 0
        return offset

    async def _receive(self, file: FileIO) -> None:
        async with self._moving() as data:
            while block := await data.stream.receive_some(_BLOCK_BYTES):
                file.write(block)

    async def _send_lines(self, lines: Iterator[bytes]) -> None:
        content = b"".join(line + b"\r\n" for line in lines)
        async with self._moving() as data:
            await data.send(content)

    async def on_greeting(self, _: bytes) -> None:
        if self.server.clients_now > self.server.max_clients:
            await self.say(b"421 Too many clients.")
            raise Left
        await self.say(b"220 The server of our own.")

    async def on_auth(self, argument: bytes) -> None:
        if self.server.context is None:
            await self.say(b"502 No TLS here.")
        elif argument.upper() != b"TLS" or self.stream is not self._raw:
            await self.say(b"504 AUTH TLS, once.")
        else:
            self._buffer.clear()  # what came in plain text behind it, anybody may have put there
            await super().on_auth(argument)

    async def on_prot(self, argument: bytes) -> None:
        self._private = self.server.context is not None and argument.upper() == b"P"
        await self.say(b"200 Private." if self._private else b"536 Not that.")

    async def on_user(self, argument: bytes) -> None:
        self._user, self._logged_in = argument, False
        await self.say(b"331 Password?")

    async def on_pass(self, argument: bytes) -> None:
        self._logged_in = (self._user, argument) == self.server.account
        await self.say(b"230 Welcome." if self._logged_in else b"530 Login incorrect.")

    async def on_feat(self, _: bytes) -> None:
        features = _FEATURES + (_FEATURES_OF_TLS if self.server.context else ())
        await self.say(b"211-Features:", *(b" " + name.encode() for name in features), b"211 End")

    async def on_opts(self, argument: bytes) -> None:
        await self.say(b"200 Always." if argument.upper() == b"UTF8 ON" else b"501 No such option.")

    async def on_syst(self, _: bytes) -> None:
        await self.say(b"215 UNIX Type: L8")

    async def on_type(self, argument: bytes) -> None:
        self._image = argument.upper() == b"I"
        known = self._image or argument.upper() in {b"A", b"A N"}
        await self.say(b"200 Agreed." if known else b"504 A or I.")

    async def on_pasv(self, argument: bytes) -> None:
        if ":" in self.server.host:
            await self.say(b"522 IPv6 has EPSV alone, (2).")
        else:
            await super().on_pasv(argument)

    async def on_abor(self, _: bytes) -> None:
        await self.say(b"226 Nothing is under way.")

    async def on_rest(self, argument: bytes) -> None:
        self._offset = int(argument)
        await self.say(b"350 The next transfer begins there.")

    async def on_retr(self, argument: bytes) -> None:
        offset = self._take_offset()
        with _open(self._at(argument), "r") as file:
            file.seek(offset)
            async with self._moving() as data:
                while block := file.read(_BLOCK_BYTES):
                    await data.send(block)

    async def on_stor(self, argument: bytes) -> None:
        offset = self._take_offset()
        with _open(self._at(argument), "r+" if offset else "w") as file:
            file.seek(offset)
            await self._receive(file)

    async def on_appe(self, argument: bytes) -> None:
        with _open(self._at(argument), "a") as file:
            await self._receive(file)

    async def on_mlsd(self, argument: bytes) -> None:
        entries = _entries(self._at(argument))
        await self._send_lines(_facts(path) + b" " + os.fsencode(path.name) for path in entries)

    async def on_nlst(self, argument: bytes) -> None:
        await self._send_lines(os.fsencode(path.name) for path in _entries(self._at(argument)))

    async def on_list(self, argument: bytes) -> None:
        """List as ``ls -l`` does, in UTC; with ``-a`` also the names that begin with a dot."""
        option, _, rest = argument.partition(b" ")
        hidden = option == b"-a"
        entries = _entries(self._at(rest if hidden else argument))
        shown = (path for path in entries if hidden or not path.name.startswith("."))
        await self._send_lines(_long_line(path) for path in shown)

    async def on_mlst(self, argument: bytes) -> None:
        facts = _facts(self._at(argument))
        await self.say(b"250-Facts:", b" " + facts + b" " + argument, b"250 End")

    async def on_size(self, argument: bytes) -> None:
        await self.say(b"213 %d" % self._file_at(argument).stat().st_size)

    async def on_mdtm(self, argument: bytes) -> None:
        await self.say(b"213 " + _time_val(self._file_at(argument).stat().st_mtime))

    async def on_mfmt(self, argument: bytes) -> None:
        moment, _, name = argument.partition(b" ")
        at = datetime.strptime(moment.decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
        os.utime(self._at(name), (at, at))
        await self.say(b"213 Modify=" + moment + b"; " + name)

    async def on_mkd(self, argument: bytes) -> None:
        self._at(argument).mkdir()
        await self.say(b"257 %s made." % _quoted(self._said(argument)))

    async def on_rmd(self, argument: bytes) -> None:
        self._at(argument).rmdir()
        await self.say(b"250 Removed.")

    async def on_cwd(self, argument: bytes) -> None:
        _entries(self._at(argument))
        self._folder = self._said(argument)
        await self.say(b"250 Changed.")

    async def on_cdup(self, _: bytes) -> None:
        await self.on_cwd(b"..")

    async def on_pwd(self, _: bytes) -> None:
        await self.say(b"257 %s is where you are." % _quoted(self._folder))

    async def on_dele(self, argument: bytes) -> None:
        self._at(argument).unlink()
        await self.say(b"250 Deleted.")

    async def on_rnfr(self, argument: bytes) -> None:
        self._at(argument).stat()
        self._old = self._at(argument)
        await self.say(b"350 Ready for RNTO.")

    async def on_rnto(self, argument: bytes) -> None:
        old, self._old = self._old, None
        if old is None:
            await self.say(b"503 RNFR first.")
        else:
            old.replace(self._at(argument))
            await self.say(b"250 Renamed.")

    async def on_xcrc(self, argument: bytes) -> None:
        await self.say(b"250 %08X" % zlib.crc32(self._file_at(argument).read_bytes()))

    async def _hash(self, algorithm: str, argument: bytes) -> None:
        digest = hashlib.new(algorithm, self._file_at(argument).read_bytes()).hexdigest()
        await self.say(b"250 " + digest.encode())

    on_xmd5 = partialmethod(_hash, "md5")
    on_xsha1 = partialmethod(_hash, "sha1")
    on_xsha256 = partialmethod(_hash, "sha256")
    on_xsha512 = partialmethod(_hash, "sha512")


def _open(path: Path, mode: str) -> FileIO:
    """Open a file without a buffer: at the 226 all of it must be there."""
    return FileIO(path, mode)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _time_val(moment: float) -> bytes:
    """Say a time as RFC 3659 §2.3 has it."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(moment)).encode()


def _facts(path: Path) -> bytes:
    status = path.stat()
    kind = b"dir" if stat.S_ISDIR(status.st_mode) else b"file"
    return b"type=%s;size=%d;modify=%s;" % (kind, status.st_size, _time_val(status.st_mtime))


def _long_line(path: Path) -> bytes:
    status = path.stat()
    recent = abs(time.time() - status.st_mtime) < _RECENTLY_S
    moment = time.strftime("%b %d %H:%M" if recent else "%b %d  %Y", time.gmtime(status.st_mtime))
    line = f"{stat.filemode(status.st_mode)} {status.st_nlink} own own {status.st_size:>12} {moment} "
    return line.encode() + os.fsencode(path.name)


def _quoted(path: str) -> bytes:
    """Quote a path as RFC 959, appendix II, has it."""
    return b'"%s"' % os.fsencode(path).replace(b'"', b'""')


def _make_context(certificate: str, version: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # Some builds of Python take an end without close_notify for a proper one.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    if version is not None:
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    return context


async def main(settings: Mapping[str, Any]) -> None:
    """Serve one account until killed."""
    listeners = await trio.open_tcp_listeners(settings["port"], host=settings["host"])
    await trio.serve_listeners(OwnServer(settings).serve, listeners)


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
