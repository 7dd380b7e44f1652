"""Several sessions at one time on each of the four servers, where they get into each other's way."""

from pathlib import Path

import pytest
import trio

from pooler.errors import RemoteError
from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from tests.support.moving import store
from tests.support.servers import KINDS, Kind, running_server

SESSIONS = 6
ROUNDS = 15


@pytest.mark.servers
@pytest.mark.parametrize("shared", [True, False], ids=["one process", "many"])
@pytest.mark.parametrize("kind", KINDS)
async def test_point_13_folders_are_made_by_many_workers_at_once(
    tmp_path: Path,
    kind: Kind,
    shared: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """Workers of one process know of each other's folders; those of many find them in their way."""
    with running_server(kind, tmp_path) as server:
        profile = Profile(server.host, server.user, lambda: server.password, port=server.port)
        one = FtpConnector(profile)
        connectors = [one if shared else FtpConnector(profile) for _ in range(SESSIONS)]
        failures: list[RemoteError] = []

        async def work(number: int, connector: FtpConnector) -> None:
            session = await connector.connect()
            try:
                for turn in range(ROUNDS):
                    await store(session, f"/{turn}/a/b/c/{number}", b"%d" % number)
            except RemoteError as error:
                failures.append(error)
            finally:
                await session.aclose()

        async with trio.open_nursery() as nursery:
            for number, connector in enumerate(connectors):
                nursery.start_soon(work, number, connector)
        assert failures == []
        found = {path: path.read_bytes() for path in server.root.rglob("*") if path.is_file()}
        assert len(found) == SESSIONS * ROUNDS
        assert all(content == path.name.encode() for path, content in found.items())
