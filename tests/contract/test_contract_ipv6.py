"""The contract over IPv6: what makes data connections, on every server, plain and under TLS."""

from collections.abc import Iterator

import pytest

# They are collected here once more, and get the `remote` of this module.
from tests.contract.test_files_contract import (  # noqa: F401 - pytest collects them from here
    test_folders_are_listed,
    test_transfers_begin_in_the_middle,
)
from tests.contract.test_session_contract import (  # noqa: F401 - as above
    REMOTES,
    Remote,
    run,
    test_a_missing_file_is_told_and_the_session_goes_on,
    test_point_16_data_connections_resume_the_control_connections_session,
    test_points_15_17_files_of_any_size_go_up_and_come_down_whole,
    test_the_server_may_connect_instead,
)
from tests.support.moving import fetch, store


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"), host="::1")


async def test_epsv_alone_is_used(remote: Remote) -> None:
    async with remote.session() as session:
        assert session.peer.address == f"[::1]:{remote.server.port}"
        await store(session, "/six", b"x" * 1000)
        assert await fetch(session, "/six") == b"x" * 1000
        assert "> EPSV" in session.transcript
        assert "> PASV" not in session.transcript
