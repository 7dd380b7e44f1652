"""What the tests of cuts share: a server, limits that are never met, and where to cut."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from pooler.ftp.connector import FtpConnector
from tests.support.scripted import Script, ScriptedServer, scripted_server

HANG_S = 60.0
"""Longer than a cut should take to be noticed; the limits of the sessions are longer still."""
VERSIONS = {"plain": None, "TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
_TAIL = 8


@asynccontextmanager
async def served(folder: Path, security: str, script: Script | None = None) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server, plain or in one version of TLS.

    Args:
        folder: for the certificate.
        security: a key of ``VERSIONS``.
        script: what differs from a good server.
    """
    version = VERSIONS[security]
    async with scripted_server(script, tls_folder=None if version is None else folder) as server:
        if server.context is not None and version is not None:
            server.context.minimum_version = server.context.maximum_version = version
        yield server


def patient(server: ScriptedServer, port: int) -> FtpConnector:
    """Make a connector that waits for longer than ``HANG_S``, so that no limit hides a hang."""
    limits = dict.fromkeys(("connect_s", "exchange_s", "stall_s", "close_s"), 2 * HANG_S)
    return FtpConnector(server.profile(port=port, **limits))


def positions(first: int, last: int, stride: int) -> Iterator[int]:
    """Give the bytes behind which to cut a flow: each, or some of them and the end.

    The end holds what decides: the last bytes of a final reply, of a close_notify.

    Args:
        first: the first that matters.
        last: how many bytes the flow has.
        stride: how far apart they are, but for the end.
    """
    for after in range(first, last + 1):
        if after % stride == 0 or after > last - _TAIL:
            yield after
