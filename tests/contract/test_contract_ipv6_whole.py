"""The whole contract over IPv6, but for what is IPv4's alone: PASV, PORT and its source addresses.

The hundreds of transfers on one session are left out too: they are the same ones, and take the longest.

Each server takes part in one of the ways to be secure, so that all of them are there: how a server is reached
and how it is secured do not meet anywhere but where data connections are made, and those have
``test_contract_ipv6``, in each.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.test_files_contract import (  # noqa: F401 - collected here once more
    test_a_rename_makes_the_folder_of_the_new_name,
    test_a_rename_without_replacing,
    test_a_time_is_set,
    test_bare_names_serve_as_well,
    test_checksums_are_those_of_the_file_or_none,
    test_folders_are_listed,
    test_hidden_names_are_listed_where_that_is_forced,
    test_point_23_a_noop_beside_a_transfer_does_no_harm,
    test_size_and_time_are_told,
    test_transfers_begin_in_the_middle,
    test_what_was_learnt_is_told,
)
from tests.contract.test_session_contract import (  # noqa: F401 - collected here once more
    Remote,
    Security,
    content,
    run,
    test_a_cancelled_upload_leaves_no_session_at_the_server,
    test_a_certificate_of_strangers_is_refused,
    test_a_missing_file_is_told_and_the_session_goes_on,
    test_a_rename_goes_over_a_file_that_exists,
    test_a_session_too_many_is_told_apart,
    test_a_store_without_the_right_is_told_and_the_session_goes_on,
    test_a_wrong_password_is_a_login_refused,
    test_all_of_it_goes_through_a_proxy,
    test_missing_parents_are_made,
    test_point_9_names_are_kept_to_the_byte,
    test_point_12_a_store_empties_what_was_there,
    test_point_16_data_connections_resume_the_control_connections_session,
    test_points_15_17_files_of_any_size_go_up_and_come_down_whole,
    test_the_server_may_connect_instead,
)
from tests.contract.test_together_contract import (  # noqa: F401 - collected here once more
    test_one_file_after_another_takes_few_turns,
)
from tests.support.moving import fetch, store
from tests.support.servers import NEED_ROOT, Kind

WAYS: tuple[tuple[Kind, Security], ...] = (
    ("own", "plain"),
    ("own", "TLSv1.3"),
    ("pyftpdlib", "TLSv1.2"),
    ("vsftpd", "TLSv1.3"),
    ("proftpd", "plain"),
    ("pure-ftpd", "TLSv1.2"),
)
REMOTES = [
    pytest.param(way, id="-".join(way), marks=pytest.mark.servers if way[0] in NEED_ROOT else ())
    for way in WAYS
]


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"), host="::1")


@pytest.fixture(params=REMOTES)
def single(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    """A server that takes one session at a time."""
    kind, security = request.param
    yield from run(kind, security, tmp_path, host="::1", max_clients=1)


@pytest.fixture(params=REMOTES)
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path, host="::1", writable=False)


async def test_the_one_source_address_there_is_serves(remote: Remote) -> None:
    for passive in (True, False):
        async with remote.session(bind_address="::1", passive=passive) as session:
            await store(session, "/bound", content(1000))
            assert await fetch(session, "/bound") == content(1000)
