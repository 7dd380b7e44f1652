import ftplib
import io
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from OpenSSL import SSL

from pooler.demo.errors import DemoFailed
from pooler.demo.servers import HOST, FtpServer, serving
from pooler.demo.setup import CA, issue_certificate
from tests.support.process import is_alive


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[FtpServer]:
    root = folder / "root"
    root.mkdir()
    async with serving("plain", root, folder / "log") as server:
        yield server


def log_in(server: FtpServer) -> ftplib.FTP:
    client = ftplib.FTP()
    client.connect(HOST, server.port, timeout=10)
    client.login(server.user, server.password)
    return client


def pid_of(server: FtpServer) -> int:
    assert server._process is not None
    return server._process.pid


async def test_it_serves_its_folder(tmp_path: Path) -> None:
    def talk() -> None:
        with log_in(server) as client:
            client.storbinary("STOR new", io.BytesIO(b"content"))

    async with plain(tmp_path) as server:
        await trio.to_thread.run_sync(talk)
    assert (tmp_path / "root" / "new").read_bytes() == b"content"


async def test_stopping_cuts_sessions_and_data_connections(tmp_path: Path) -> None:
    async with plain(tmp_path) as server:
        client = await trio.to_thread.run_sync(log_in, server)
        data = await trio.to_thread.run_sync(client.transfercmd, "STOR half")
        await server.stop()
        with pytest.raises((EOFError, ConnectionError)):
            await trio.to_thread.run_sync(client.voidcmd, "NOOP")
        with data, pytest.raises(ConnectionError):
            await trio.to_thread.run_sync(send_until_refused, data)
        client.close()


def send_until_refused(data: socket.socket) -> None:
    while True:
        data.sendall(b"x" * 65536)


async def test_while_stopped_its_port_refuses_and_stays_its_own(tmp_path: Path) -> None:
    async with plain(tmp_path) as server:
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, server.port), timeout=5)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, server.port))


async def test_it_comes_back_on_its_port(tmp_path: Path) -> None:
    async with plain(tmp_path) as server:
        before = pid_of(server)
        for _ in range(2):
            await server.stop()
            await server.start()
        with await trio.to_thread.run_sync(log_in, server) as client:
            assert client.getwelcome().startswith("220")
        assert pid_of(server) != before


async def test_nothing_runs_behind_the_block(tmp_path: Path) -> None:
    async with plain(tmp_path) as server:
        pid = pid_of(server)
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_it_ends_when_nobody_holds_its_input(tmp_path: Path) -> None:
    async with plain(tmp_path) as server:
        assert server._process is not None
        assert server._process.stdin is not None
        await server._process.stdin.aclose()
        with trio.fail_after(10):
            assert await server._process.wait() == 0


async def test_one_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=r"secure did not come up: (.|\n)*OpenSSL"):
        async with serving("secure", tmp_path, tmp_path / "log", tmp_path / "nowhere.pem"):
            pass


async def test_with_a_certificate_nothing_goes_without_tls(tmp_path: Path) -> None:
    def talk() -> None:
        with ftplib.FTP() as client:
            client.connect(HOST, server.port, timeout=10)
            with pytest.raises(ftplib.error_perm, match="SSL/TLS required on the control channel"):
                client.login(server.user, server.password)
        context = ssl.create_default_context(cafile=str(tmp_path / CA))
        with ftplib.FTP_TLS(context=context) as client:
            client.connect(HOST, server.port, timeout=10)
            client.login(server.user, server.password)
            assert isinstance(client.sock, ssl.SSLSocket)
            with pytest.raises(ftplib.error_perm, match="SSL/TLS required on the data channel"):
                client.nlst()
            client.prot_p()
            assert client.nlst() == ["file"]

    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    async with serving("secure", root, tmp_path / "log", issue_certificate(tmp_path)) as server:
        await trio.to_thread.run_sync(talk)


async def test_tls_older_than_1_2_is_refused(tmp_path: Path) -> None:
    def shake_hands(newest: int) -> str:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(newest)
        client = ftplib.FTP()
        client.connect(HOST, server.port, timeout=10)
        client.voidcmd("AUTH TLS")
        try:
            assert client.sock is not None
            client.sock.settimeout(None)  # pyOpenSSL waits for nothing else
            connection = SSL.Connection(context, client.sock)
            connection.set_connect_state()
            connection.do_handshake()
            return connection.get_protocol_version_name()
        finally:
            client.close()

    async with serving("secure", tmp_path, tmp_path / "log", issue_certificate(tmp_path)) as server:
        assert await trio.to_thread.run_sync(shake_hands, SSL.TLS1_2_VERSION) == "TLSv1.2"
        with pytest.raises(SSL.Error, match="alert protocol version"):
            await trio.to_thread.run_sync(shake_hands, SSL.TLS1_1_VERSION)
