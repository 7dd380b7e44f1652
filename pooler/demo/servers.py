"""Embedded FTP servers that can be stopped and started again on their port.

Each is a process (`pooler.demo.ftpd`): it shares no interpreter lock with the service, and killing it cuts
its sessions and data connections off as the crash of a machine would.
"""

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from pooler.demo.errors import DemoFailed

HOST: Final = "127.0.0.1"
_READY_S = 15.0
_KILL_S = 5.0


class FtpServer:
    """One server with one account; made by `serving`.

    Attributes:
        name: what the demo calls it.
        root: the folder that it serves.
        log: where it writes its log.
        certificate: key and certificate in one PEM file, where it requires TLS; None where it has none.
        port: of the control connection; the same after each start.
        user: the account.
        password: its password.
    """

    def __init__(self, name: str, root: Path, log: Path, certificate: Path | None, port: int) -> None:
        self.name = name
        self.root = root
        self.log = log
        self.certificate = certificate
        self.port = port
        self.user = "demo"
        self.password = secrets.token_urlsafe(9)
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it takes connections; no effect where it runs.

        Raises:
            DemoFailed: it did not come up.

        Cancellation: it may be left running; ``stop`` ends it.
        """
        if self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "pooler.demo.ftpd"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C of the terminal is for the demo alone.
                start_new_session=True,
            )
        settings = {
            "host": HOST,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "root": str(self.root),
            "certificate": None if self.certificate is None else str(self.certificate),
        }
        answer = b""
        with trio.move_on_after(_READY_S):
            answer = await _introduce(self._process, json.dumps(settings).encode() + b"\n")
        if not answer:
            await self.stop()
            raise DemoFailed(f"{self.name} did not come up: {tail(self.log, 5)}")

    async def stop(self) -> None:
        """Kill it: every session is cut off. No effect where it does not run.

        Cancellation: it is killed all the same.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.move_on_after(_KILL_S, shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()


async def _introduce(process: trio.Process, settings: bytes) -> bytes:
    """Tell a new server what to serve; return its answer, empty where it ended instead."""
    assert process.stdin is not None  # noqa: S101 - it was asked for
    assert process.stdout is not None  # noqa: S101
    try:
        await process.stdin.send_all(settings)
    except trio.BrokenResourceError:
        return b""
    return bytes(await process.stdout.receive_some())


@asynccontextmanager
async def serving(
    name: str, root: Path, log: Path, certificate: Path | None = None
) -> AsyncIterator[FtpServer]:
    """Run a server for as long as the block lasts, on a free port of loopback.

    Args:
        name: what the demo calls it.
        root: the folder to serve.
        log: where its log is to go.
        certificate: key and certificate in one PEM file, to require TLS of 1.2 or newer on both connections.

    Yields:
        The server, started.

    Raises:
        DemoFailed: it did not come up.

    Cancellation: it is killed.
    """
    with socket.socket() as place:
        # Bound but never listened on, this keeps the port for us while the server is stopped, and still lets
        # the server listen there.
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((HOST, 0))
        server = FtpServer(name, root, log, certificate, place.getsockname()[1])
        try:
            await server.start()
            yield server
        finally:
            with trio.move_on_after(_KILL_S, shield=True):
                await server.stop()


def tail(log: Path, lines: int) -> str:
    """Read the last lines of a log; empty where there are none."""
    try:
        return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
