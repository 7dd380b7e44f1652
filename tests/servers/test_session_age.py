"""Sessions are replaced before the server forgets what a data connection has to resume; as root."""

import re
from pathlib import Path

import pytest

from tests.cli.test_cli_copy import Place, job, section
from tests.support.servers import Kind, TlsVersion, running_server

pytestmark = pytest.mark.servers

TICKET_S = 8


@pytest.mark.parametrize(
    ("kind", "version", "forgets", "max_age"),
    [
        ("vsftpd", "TLSv1.3", (), "1s"),
        ("proftpd", "TLSv1.2", (f"TLSSessionCache internal: {TICKET_S}",), "5s"),
        ("proftpd", "TLSv1.3", (f"TLSSessionCache internal: {TICKET_S}",), "off"),
    ],
    ids=["vsftpd", "proftpd, which tells nothing in TLS 1.2", "proftpd, which tells its ticket's age"],
)
def test_point_16_sessions_are_replaced_before_a_data_connection_is_refused(
    tmp_path: Path, kind: Kind, version: TlsVersion, forgets: tuple[str, ...], max_age: str
) -> None:
    # Each file takes a second, by the server's clock: together they take longer than a ticket lives.
    jobs = [job(number, f"site:/f{number}", f"local:/f{number}") for number in range(12)]
    folder = tmp_path / "server"
    with running_server(
        kind, folder, tls=True, tls_version=version, rate_bytes_s=100_000, extra=forgets
    ) as server:
        for number in range(12):
            server.put(f"/f{number}", bytes(100_000))
        place = Place(tmp_path)
        tls = {"explicit_tls": "true", "ca_file": str(server.ca_file)}
        place.configure(section(server, max_sessions=1, max_session_age=max_age, **tls))
        done = place.copy(jobs)
        assert done.code == 0, done.err
        assert [line["attempts"] for line in done.lines] == [1] * 12
        assert len(re.findall(r"\bPASS\b", server.log.read_text())) >= 2
