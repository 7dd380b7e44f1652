"""Every exchange, cancelled at every wait, on every kind of session: nothing is left open on either side."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support import descriptors
from tests.support.answers import MLST_LINE, feat, mlst, sends
from tests.support.cancelling import at_every_wait
from tests.support.cut_lives import served
from tests.support.moving import fetch
from tests.support.proxies import TestProxy, http_proxy, socks5_proxy
from tests.support.scripted import Connection, Script, ScriptedServer

PARTS = (b"first ", b"second ", b"third")
CONTENT = b"".join(PARTS)
MOMENT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SHA256 = "0123456789abcdef" * 4
PROXIES = {"SOCKS5": socks5_proxy, "HTTP": http_proxy}


class Kind(NamedTuple):
    """A kind of session."""

    security: str = "plain"
    passive: bool = True
    proxy: str | None = None


KINDS = [
    Kind(),
    Kind("TLS 1.2"),
    Kind("TLS 1.3"),
    Kind(passive=False),
    Kind("TLS 1.2", passive=False),
    Kind("TLS 1.3", passive=False),
    Kind(proxy="SOCKS5"),
    Kind("TLS 1.3", proxy="SOCKS5"),
    Kind(proxy="HTTP"),
    Kind("TLS 1.2", proxy="HTTP"),
]


class Uploads:
    """What the server made of each upload: whole, or broken off by a reset."""

    def __init__(self) -> None:
        self.broken = 0

    async def stor(self, connection: Connection, argument: bytes) -> None:
        if connection.path(argument).rpartition("/")[0] not in connection.server.folders:
            await connection.say(b"553 Could not create file.")
            return
        data = await connection.accept()
        await connection.say(b"150 Send it.")
        try:
            content = await data.receive_all()
        except trio.BrokenResourceError:
            self.broken += 1
            raise
        assert content == CONTENT, "a part was taken for the whole"
        connection.server.files[connection.path(argument)] = content
        await data.close()
        await connection.say(b"226 Stored.")


def script(uploads: Uploads) -> Script:
    facts = b"type=file;size=18;modify=20261123093000; f\r\n"
    return {
        "FEAT": feat(MLST_LINE, b" MFMT", b" HASH SHA-256*"),
        "MLST": mlst,
        "MLSD": sends(facts),
        "MFMT": b"213 Modify=20261123093000; /new/f",
        "HASH": b"213 SHA-256 0-18 " + SHA256.encode() + b" f",
        "STOR": uploads.stor,
    }


async def live(session: FtpSession) -> None:
    """Have every exchange that there is, but the login."""
    async with session.storing("/new/f") as stream:
        for part in PARTS:
            await stream.send_all(memoryview(part))
            await trio.lowlevel.checkpoint()
    assert (await session.stat("/new/f")).size_bytes == len(CONTENT)
    assert await session.size("/new/f") == len(CONTENT)
    assert await session.set_modified("/new/f", MOMENT)
    assert await session.checksum("/new/f", ["sha256"]) == ("sha256", SHA256)
    async with session.listing("/new") as entries:
        assert [entry.name async for entry in entries] == ["f"]
    assert await fetch(session, "/new/f") == CONTENT
    await session.rename("/new/f", "/new/g", replace=False)
    await session.keep_alive()
    await session.remove("/new/g")


async def gone(server: ScriptedServer, proxy: TestProxy | None) -> None:
    await server.all_left()
    if proxy is not None:
        await proxy.all_left()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
async def test_cancelled_at_any_wait_nothing_is_left_on_either_side(tmp_path: Path, kind: Kind) -> None:
    uploads = Uploads()
    sessions: list[FtpSession] = []
    cancelled = 0
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(tmp_path, kind.security, script(uploads)))
        proxy = await stack.enter_async_context(PROXIES[kind.proxy]()) if kind.proxy is not None else None
        connector = FtpConnector(
            server.profile(passive=kind.passive, proxy=proxy.profile if proxy else None, connect_s=60.0)
        )

        async def life() -> None:
            server.folders, server.files = {"/"}, {}
            session = await connector.connect()
            sessions.append(session)
            await live(session)
            await session.aclose()

        await life()
        sessions.clear()
        await gone(server, proxy)
        before = descriptors.count()
        async for cancelled in at_every_wait(life):
            for session in sessions:
                if session.usable:  # cancelled between two exchanges: then nothing is owed
                    await session.keep_alive()
                await session.aclose()
            sessions.clear()
            await gone(server, proxy)
            assert descriptors.count() == before, cancelled
    assert cancelled > 25
    assert uploads.broken > 1
