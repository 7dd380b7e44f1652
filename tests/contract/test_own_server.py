"""The server of our own is honest: asked by a client that is not ours, and for what ours never asks."""

import ftplib
import io
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import RunningServer, running_server


@contextmanager
def logged_in(server: RunningServer) -> Iterator[ftplib.FTP]:
    with ftplib.FTP() as ftp:
        ftp.connect(server.host, server.port, timeout=10)
        ftp.login(server.user, server.password)
        yield ftp


@contextmanager
def secured(server: RunningServer) -> Iterator[ftplib.FTP_TLS]:
    with ftplib.FTP_TLS(context=ssl.create_default_context(cafile=server.ca_file)) as ftp:
        ftp.connect(server.host, server.port, timeout=10)
        ftp.auth()
        yield ftp


def refused(ftp: ftplib.FTP, command: str) -> str:
    with pytest.raises(ftplib.Error) as caught:
        ftp.sendcmd(command)
    return str(caught.value)[:3]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("passive", [True, False])
def test_another_client_is_served(tmp_path: Path, host: str, passive: bool) -> None:  # noqa: FBT001 - of the table
    with running_server("own", tmp_path, host=host) as server, logged_in(server) as ftp:
        ftp.set_pasv(passive)
        assert ftp.mkd('/a "b"') == '/a "b"'
        ftp.cwd('a "b"')
        assert ftp.pwd() == '/a "b"'
        ftp.storbinary("STOR f", io.BytesIO(b"four"))
        ftp.storbinary("APPE f", io.BytesIO(b"five"))
        ftp.storbinary("STOR f", io.BytesIO(b"FI"), rest=4)
        received: list[bytes] = []
        ftp.retrbinary("RETR f", received.append, rest=2)
        assert b"".join(received) == b"urFIve"
        assert ftp.size("f") == len(b"fourFIve")
        assert ftp.sendcmd("MFMT 20200229123456 f").startswith("213")
        assert ftp.sendcmd("MDTM f") == "213 20200229123456"
        (server.root / 'a "b"' / ".hidden").touch()
        assert ftp.nlst() == [".hidden", "f"]
        facts = {"type": "file", "size": "8", "modify": "20200229123456"}
        assert dict(ftp.mlsd())["f"] == facts
        long: list[str] = []
        ftp.retrlines("LIST", long.append)
        assert [line.split()[4:] for line in long] == [["8", "Feb", "29", "2020", "f"]]
        assert refused(ftp, "SIZE f") == "550"
        ftp.rename("f", "/g")
        ftp.delete(".hidden")
        ftp.sendcmd("CDUP")
        ftp.rmd('a "b"')
        assert [path.name for path in server.root.iterdir()] == ["g"]
        assert ftp.abort().startswith("226")
        assert ftp.sendcmd("SYST").startswith("215")
        assert ftp.sendcmd("noop").startswith("200")


def test_what_cannot_be_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    with running_server("own", tmp_path) as server, logged_in(server) as ftp:
        server.put("/f", b"x")
        ftp.voidcmd("TYPE I")
        assert ftp.size("../../f") == 1
        for command in ("SIZE /", "CWD /f", "DELE /", "RMD /f", "RNFR /g", "MKD /f"):
            assert refused(ftp, command) == "550", command
        assert refused(ftp, "RNTO /g") == "503"
        assert refused(ftp, "RETR /f") == "425"
        ftp.makepasv()
        for command in ("RETR /missing", "STOR /no/f", "MLSD /f"):
            assert refused(ftp, command) == "550", command
        assert refused(ftp, "TYPE E") == "504"
        assert refused(ftp, "REST x") == "501"
        assert refused(ftp, "MFMT x /f") == "501"
        assert refused(ftp, "AUTH TLS") == "502"
        assert refused(ftp, "SITE x") == "502"
        ftp.voidcmd("TYPE I")
        assert ftp.size("/f") == 1


def test_nothing_is_done_before_the_login(tmp_path: Path) -> None:
    with running_server("own", tmp_path) as server, ftplib.FTP() as ftp:
        ftp.connect(server.host, server.port, timeout=10)
        for command in ("SIZE /", "EPSV", "DELE /f", "HOST h"):
            assert refused(ftp, command) == "530", command
        ftp.sendcmd("USER root")
        assert refused(ftp, f"PASS {server.password}") == "530"


def test_nothing_is_done_without_tls_where_there_is_tls(tmp_path: Path) -> None:
    with running_server("own", tmp_path, tls=True) as server, secured(server) as ftp:
        server.put("/f", b"x")
        with ftplib.FTP() as plain:
            plain.connect(server.host, server.port, timeout=10)
            assert refused(plain, f"USER {server.user}") == "530"
        ftp.login(server.user, server.password)
        assert refused(ftp, "PROT C") == "536"
        assert refused(ftp, "RETR /f") == "522"
        ftp.prot_p()
        received: list[bytes] = []
        ftp.retrbinary("RETR f", received.append)
        assert received == [b"x"]


def test_what_came_in_plain_text_behind_auth_is_forgotten(tmp_path: Path) -> None:
    with (
        running_server("own", tmp_path, tls=True) as server,
        socket.create_connection((server.host, server.port), 10) as plain,
    ):
        plain.recv(512)
        plain.sendall(b"AUTH TLS\r\nNOOP\r\n")
        assert plain.recv(512).startswith(b"234")
        context = ssl.create_default_context(cafile=server.ca_file)
        with context.wrap_socket(plain, server_hostname=server.host) as tls:
            tls.sendall(b"QUIT\r\n")
            assert tls.recv(512).startswith(b"221")


def test_what_it_cannot_do_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="bounds its clients alone"),
        running_server("own", tmp_path, idle_s=1),
    ):
        raise AssertionError


def test_a_broken_upload_is_no_whole_one(tmp_path: Path) -> None:
    with running_server("own", tmp_path, tls=True) as server, secured(server) as ftp:
        ftp.login(server.user, server.password)
        ftp.prot_p()
        ftp.voidcmd("TYPE I")
        with ftp.transfercmd("STOR /f") as data:
            data.sendall(b"x")
            data.shutdown(socket.SHUT_RDWR)  # without close_notify
        with pytest.raises(ftplib.error_temp, match="426"):
            ftp.voidresp()
        ftp.voidcmd("NOOP")
