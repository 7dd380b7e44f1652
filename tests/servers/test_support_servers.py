import contextlib
import dataclasses
import ftplib
import io
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.install import MissingProgramError
from tests.support.process import DaemonFailedError, is_alive
from tests.support.servers import KINDS, Kind, RunningServer, TlsVersion, running_server

pytestmark = pytest.mark.servers

CONTENT = bytes(range(256)) * 400


class ResumingClient(ftplib.FTP_TLS):
    """The standard library's client, taught what vsftpd and proftpd ask for: one TLS session for both."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        stream, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        wrapped = self.context.wrap_socket(stream, server_hostname=self.host, session=self.sock.session)
        return wrapped, size


@contextlib.contextmanager
def client_of(
    server: RunningServer, *, password: str | None = None, resume: bool = True
) -> Iterator[ftplib.FTP]:
    client: ftplib.FTP
    if server.ca_file is None:
        client = ftplib.FTP(timeout=10)
    else:
        context = ssl.create_default_context(cafile=server.ca_file)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        client = (ResumingClient if resume else ftplib.FTP_TLS)(context=context, timeout=10)
    with contextlib.closing(client):
        client.connect(server.host, server.port)
        client.login(server.user, password or server.password)
        if isinstance(client, ftplib.FTP_TLS):
            client.prot_p()
        yield client


def fetch(client: ftplib.FTP, path: str) -> bytes:
    data = io.BytesIO()
    client.retrbinary(f"RETR {path}", data.write)
    return data.getvalue()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_goes_there_and_back(kind: Kind, *, tls: bool, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, tls=tls) as server:
        with client_of(server) as client:
            client.storbinary("STOR /up.bin", io.BytesIO(CONTENT))
            assert (server.root / "up.bin").read_bytes() == CONTENT
            (server.root / "down.bin").write_bytes(CONTENT[::-1])
            assert fetch(client, "/down.bin") == CONTENT[::-1]
        pid = server.pid
    assert not is_alive(pid)
    assert not server.root.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_put_belongs_to_the_account(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path) as server:
        server.put("/in/deep/a.bin", CONTENT)
        server.make_folder("/out")
        with client_of(server) as client:
            client.rename("/in/deep/a.bin", "/out/b.bin")
            client.storbinary("STOR /out/b.bin", io.BytesIO(b"over it"))
            client.rmd("/in/deep")
        assert (server.root / "out/b.bin").read_bytes() == b"over it"
        assert sorted(str(entry.relative_to(server.root)) for entry in server.root.rglob("*")) == [
            "in",
            "out",
            "out/b.bin",
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_on_its_port(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path) as server:
        server.put("a.bin", CONTENT)
        with client_of(server) as client:
            server.stop()
            with pytest.raises((OSError, EOFError)):
                client.voidcmd("NOOP")
        with pytest.raises(ConnectionRefusedError), client_of(server):
            pass
        server.start()
        with client_of(server) as client:
            assert fetch(client, "/a.bin") == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_server_is_silent_and_goes_on(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path) as server, client_of(server) as client:
        assert client.sock is not None
        server.freeze()
        client.sock.settimeout(0.2)
        client.putcmd("NOOP")
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        server.thaw()
        client.sock.settimeout(10)
        assert client.sock.recv(512).startswith(b"2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_password_is_refused(kind: Kind, tmp_path: Path) -> None:
    with (
        running_server(kind, tmp_path) as server,
        pytest.raises(ftplib.error_perm, match=r"^530"),
        client_of(server, password="wrong"),
    ):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_without_tls_no_login(kind: Kind, tmp_path: Path) -> None:
    with (
        running_server(kind, tmp_path, tls=True) as server,
        pytest.raises((ftplib.error_perm, ftplib.error_temp)),
        client_of(dataclasses.replace(server, ca_file=None)),
    ):
        pass


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_session_reuse_is_required_unless_waived(kind: Kind, tmp_path: Path) -> None:
    with (
        running_server(kind, tmp_path / "strict", tls=True) as server,
        client_of(server, resume=False) as client,
        pytest.raises((ftplib.Error, OSError)),
    ):
        client.storbinary("STOR /a.bin", io.BytesIO(CONTENT))
    with (
        running_server(kind, tmp_path / "lax", tls=True, session_reuse=False) as server,
        client_of(server, resume=False) as client,
    ):
        client.storbinary("STOR /a.bin", io.BytesIO(CONTENT))


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tls_version_can_be_pinned(kind: Kind, version: TlsVersion, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, tls=True, tls_version=version) as server:
        context = ssl.create_default_context(cafile=server.ca_file)
        with contextlib.closing(ftplib.FTP_TLS(context=context, timeout=10)) as client:
            client.connect(server.host, server.port)
            client.auth()
            assert isinstance(client.sock, ssl.SSLSocket)
            assert client.sock.version() == version


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_implicit_tls(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, tls=True, implicit=True) as server:
        context = ssl.create_default_context(cafile=server.ca_file)
        with (
            socket.create_connection((server.host, server.port), 10) as raw,
            context.wrap_socket(raw, server_hostname=server.host) as stream,
        ):
            assert stream.recv(512).startswith(b"220")


@pytest.mark.parametrize("limit", ["max_clients", "max_per_ip"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_client_too_many(kind: Kind, limit: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {limit: 1}
    with (
        running_server(kind, tmp_path, **options) as server,
        client_of(server),
        pytest.raises(ftplib.Error, match=r"^530" if kind == "proftpd" else r"^421"),
        client_of(server),
    ):
        pass


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pyftpdlib"])
def test_an_idle_session_is_ended(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, idle_s=1) as server, client_of(server) as client:
        assert client.sock is not None
        # The server speaks up by itself: nothing was sent.
        assert client.sock.recv(512).startswith(b"421")


@pytest.mark.parametrize("kind", KINDS)
def test_a_root_that_is_not_writable(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, writable=False) as server, client_of(server) as client:
        (server.root / "a.bin").write_bytes(CONTENT)
        with pytest.raises(ftplib.error_perm, match=r"^55"):
            client.storbinary("STOR /b.bin", io.BytesIO(CONTENT))
        assert fetch(client, "/a.bin") == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_it_serves_the_other_loopback_address(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, host="::1") as server, client_of(server) as client:
        client.storbinary("STOR /a.bin", io.BytesIO(CONTENT))
        assert (server.root / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_server_takes_its_time(kind: Kind, tmp_path: Path) -> None:
    with (
        running_server(kind, tmp_path, rate_bytes_s=500_000) as server,
        client_of(server) as client,
    ):
        # Some let the first pieces pass, so it takes a few.
        server.put("a.bin", CONTENT * 12)
        started = time.monotonic()
        assert fetch(client, "/a.bin") == CONTENT * 12
        assert time.monotonic() - started > 0.5


def test_options_that_a_server_lacks_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="implicit"),
        running_server("pure-ftpd", tmp_path, tls=True, implicit=True),
    ):
        pass


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd", "pure-ftpd"])
def test_a_missing_server_is_named(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLER_TEST_CACHE", str(tmp_path / "nothing"))
    with (
        pytest.raises(MissingProgramError, match=f"{kind} is missing.*support.install servers"),
        running_server(kind, tmp_path),
    ):
        pass


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(DaemonFailedError, match=r"(?s)ended with exit status.*nonsense"),
        running_server("vsftpd", tmp_path, extra=["nonsense=YES"]),
    ):
        pass
