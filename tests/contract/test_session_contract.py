"""One contract for sessions, kept over every server that we can run, plain and under TLS.

The server of our own and pyftpdlib run everywhere; the others need root and ``python -m
tests.support.install servers`` (marker `servers`). Over IPv6 it is kept by ``test_contract_ipv6_whole``, and
what makes data connections in all the ways to be secure by ``test_contract_ipv6``.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import trio
import trustme

from pooler.errors import (
    ConnectError,
    ErrorCode,
    LoginRefused,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.ftp.connector import FtpConnector
from pooler.ftp.profile import Profile
from pooler.ftp.session import FtpSession
from pooler.transfer.session import Session
from tests.support.proxies import TestProxy, http_proxy, socks5_proxy
from tests.support.servers import KINDS, NEED_ROOT, Kind, RunningServer, TlsVersion, running_server

Security = Literal["plain"] | TlsVersion
SECURITIES: tuple[Security, ...] = ("plain", "TLSv1.2", "TLSv1.3")
SIZES = (0, 1, 100_000, 5_000_000)
NAMES = (
    "plain.bin",
    " before",
    "in  between",
    "한글 이름.bin",
    'it\'s "quoted".txt',
    "50% #1 (ü).txt",
    "-rf",
)
ENDS_IN_SPACE = "behind "
SUMMING = frozenset({"proftpd", "own"})
"""The servers that compute checksums."""


@dataclass(frozen=True)
class Remote:
    """A server, and how it is spoken to."""

    server: RunningServer
    kind: Kind
    security: Security

    def profile(self, **changes: object) -> Profile:
        server = self.server
        values: dict[str, object] = {
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "password": lambda: server.password,
            "tls": "none" if self.security == "plain" else "explicit",
            "ca_file": str(server.ca_file) if server.ca_file else None,
            "exchange_s": 30.0,
            "stall_s": 30.0,
        }
        return Profile(**(values | changes))  # type: ignore[arg-type]

    @asynccontextmanager
    async def session(self, **changes: object) -> AsyncIterator[FtpSession]:
        session = await FtpConnector(self.profile(**changes)).connect()
        try:
            yield session
        finally:
            await session.aclose()


def run(
    kind: Kind,
    security: Security,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    writable: bool = True,
    max_clients: int | None = None,
) -> Iterator[Remote]:
    with running_server(
        kind,
        folder,
        tls=security != "plain",
        tls_version=None if security == "plain" else security,
        host=host,
        writable=writable,
        max_clients=max_clients,
    ) as server:
        yield Remote(server, kind, security)


EVERY_KIND: tuple[Kind, ...] = (*KINDS, "own")
REMOTES = [
    pytest.param(
        (kind, security), id=f"{kind}-{security}", marks=pytest.mark.servers if kind in NEED_ROOT else ()
    )
    for kind in EVERY_KIND
    for security in SECURITIES
]


@pytest.fixture(scope="module", params=REMOTES)
def remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path_factory.mktemp("server"))


@pytest.fixture(params=REMOTES)
def single(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    """A server that takes one session at a time."""
    kind, security = request.param
    yield from run(kind, security, tmp_path, max_clients=1)


@pytest.fixture(params=REMOTES)
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    kind, security = request.param
    yield from run(kind, security, tmp_path, writable=False)


def content(size: int) -> bytes:
    """Bytes that no loss and no exchange of blocks leaves the same."""
    blocks = (hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


async def fetch(session: Session, path: str) -> bytes:
    received, buffer = bytearray(), memoryview(bytearray(1 << 18))
    async with session.retrieving(path) as stream:
        while count := await stream.receive_into(buffer):
            received += buffer[:count]
    return bytes(received)


async def store(session: Session, path: str, data: bytes) -> None:
    async with session.storing(path) as stream:
        await stream.send_all(memoryview(data))


async def test_points_15_17_files_of_any_size_go_up_and_come_down_whole(remote: Remote) -> None:
    async with remote.session() as session:
        for size in SIZES:
            data = content(size)
            await store(session, f"/sizes/{size}", data)
            assert await session.size(f"/sizes/{size}") == size
            stored = (remote.server.root / "sizes" / str(size)).read_bytes()
            assert hashlib.sha256(stored).digest() == hashlib.sha256(data).digest()
            fetched = await fetch(session, f"/sizes/{size}")
            assert hashlib.sha256(fetched).digest() == hashlib.sha256(data).digest()
        assert session.usable
        assert session.last_reply is not None
        assert session.last_reply.startswith("226")


async def test_point_12_a_store_empties_what_was_there(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/again", b"longer")
        await store(session, "/again", b"short")
        assert await fetch(session, "/again") == b"short"


async def test_point_9_names_are_kept_to_the_byte(remote: Remote) -> None:
    root = remote.server.root / "names"
    # pure-ftpd itself writes an underscore for a space at the end of a name.
    for_upload = NAMES if remote.kind == "pure-ftpd" else (*NAMES, ENDS_IN_SPACE)
    async with remote.session() as session:
        for name in for_upload:
            await store(session, f"/names/{name}", name.encode())
        assert sorted(path.name for path in root.iterdir()) == sorted(for_upload)
        remote.server.put(f"/names/{ENDS_IN_SPACE}", ENDS_IN_SPACE.encode())
        for name in (*NAMES, ENDS_IN_SPACE):
            assert await session.size(f"/names/{name}") == len(name.encode())
            assert await fetch(session, f"/names/{name}") == name.encode()
            await session.rename(f"/names/{name}", f"/names/_{name}_")
            assert (root / f"_{name}_").exists()
            await session.remove(f"/names/_{name}_")
        assert list(root.iterdir()) == []


async def test_a_missing_file_is_told_and_the_session_goes_on(remote: Remote) -> None:
    async with remote.session() as session:
        for attempt in (
            lambda: fetch(session, "/missing"),
            lambda: fetch(session, "/nowhere/missing"),
            lambda: session.size("/missing"),
            lambda: session.rename("/missing", "/other"),
        ):
            with pytest.raises(ReplyError) as caught:
                await attempt()
            assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        await session.remove("/missing")
        await session.keep_alive()
        assert session.usable


async def test_a_store_without_the_right_is_told_and_the_session_goes_on(read_only: Remote) -> None:
    async with read_only.session() as session:
        for path in ("/new", "/folder/new"):
            with pytest.raises(ReplyError) as caught:
                await store(session, path, b"x")
            assert caught.value.code is ErrorCode.PERMISSION_DENIED
        assert session.usable


async def test_missing_parents_are_made(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/parents/a b/한글/file", b"x")
        await store(session, "/parents/a b/c/file", b"x")
        assert (remote.server.root / "parents/a b/한글/file").read_bytes() == b"x"
        assert (remote.server.root / "parents/a b/c/file").read_bytes() == b"x"


async def test_a_rename_goes_over_a_file_that_exists(remote: Remote) -> None:
    async with remote.session() as session:
        await store(session, "/rename/.new.tmp", b"new")
        await store(session, "/rename/name", b"old")
        await session.rename("/rename/.new.tmp", "/rename/name")
        assert [path.name for path in (remote.server.root / "rename").iterdir()] == ["name"]
        assert await fetch(session, "/rename/name") == b"new"


async def test_point_16_data_connections_resume_the_control_connections_session(remote: Remote) -> None:
    tls = remote.security != "plain"
    # pure-ftpd gives out no tickets in TLS 1.3, and asks for no resumption.
    resumes = None if not tls else (remote.kind, remote.security) != ("pure-ftpd", "TLSv1.3")
    async with remote.session() as session:
        assert session.peer.tls_version == (remote.security if tls else None)
        assert (session.peer.certificate_sha256 is not None) is tls
        for number in range(5):
            async with session.storing(f"/resume-{number}") as up:
                await up.send_all(memoryview(b"x" * 1000))
            async with session.retrieving(f"/resume-{number}") as down:
                while await down.receive_into(memoryview(bytearray(4096))):
                    pass
            assert (up.tls_resumed, down.tls_resumed) == (resumes, resumes)


async def test_pasv_serves_as_well(remote: Remote) -> None:
    async with remote.session(disable_epsv=True) as session:
        await store(session, "/pasv", b"x" * 1000)
        assert await fetch(session, "/pasv") == b"x" * 1000
        assert "> PASV" in session.transcript
        assert "> EPSV" not in session.transcript


async def test_the_server_may_connect_instead(remote: Remote) -> None:
    # proftpd and vsftpd resume there too, or they would refuse.
    async with remote.session(passive=False) as session:
        for size in SIZES:
            await store(session, "/active", content(size))
            assert await fetch(session, "/active") == content(size)
        with pytest.raises(ReplyError) as caught:
            await fetch(session, "/missing")
        assert caught.value.code is ErrorCode.FILE_NOT_FOUND
        family = 2 if ":" in remote.server.host else 1
        assert f"EPRT |{family}|{remote.server.host}|" in " ".join(session.transcript)
        assert session.usable


async def test_port_serves_as_well(remote: Remote) -> None:
    async with remote.session(passive=False, disable_epsv=True) as session:
        await store(session, "/active", content(1000))
        assert await fetch(session, "/active") == content(1000)
        assert "> PORT 127,0,0,1," in " ".join(session.transcript)


@pytest.mark.parametrize("run_proxy", [socks5_proxy, http_proxy])
async def test_all_of_it_goes_through_a_proxy(
    remote: Remote, run_proxy: Callable[..., AbstractAsyncContextManager[TestProxy]]
) -> None:
    async with run_proxy(login=("anna", "s3cret")) as proxy:
        async with remote.session(proxy=proxy.profile) as session:
            for size in SIZES:
                await store(session, "/proxied", content(size))
                assert await fetch(session, "/proxied") == content(size)
            assert session.usable
        assert len(proxy.asked) == 1 + 2 * len(SIZES)
        assert {host for host, _ in proxy.asked} == {remote.server.host}


async def test_a_source_address_is_kept_to(remote: Remote) -> None:
    # Servers give data only to the address that they know from the control connection.
    for passive in (True, False):
        async with remote.session(bind_address="127.0.0.5", passive=passive) as session:
            await store(session, "/bound", content(1000))
            assert await fetch(session, "/bound") == content(1000)


async def test_a_wrong_password_is_a_login_refused(remote: Remote) -> None:
    with pytest.raises(LoginRefused):
        await FtpConnector(remote.profile(password=lambda: "wrong")).connect()


async def test_a_certificate_of_strangers_is_refused(remote: Remote, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    if remote.security == "plain":
        # The other side of it: a server that does no TLS is not spoken to without.
        changes: dict[str, object] = {"tls": "explicit"}
    else:
        changes = {"ca_file": str(tmp_path / "other.pem")}
    with pytest.raises(TlsError):
        await FtpConnector(remote.profile(**changes)).connect()


async def test_a_cancelled_upload_leaves_no_session_at_the_server(single: Remote) -> None:
    session = await FtpConnector(single.profile()).connect()
    with trio.CancelScope() as scope:
        async with session.storing("/cancelled") as stream:
            await stream.send_all(memoryview(content(1_000_000)))
            scope.cancel()
            await stream.send_all(memoryview(content(1_000_000)))
    assert scope.cancelled_caught
    assert not session.usable
    with pytest.raises(SessionLost):
        await session.keep_alive()
    with trio.fail_after(10):  # the one place may be given free a moment later
        while True:
            try:
                async with single.session() as after:
                    assert after.usable
                    break
            except TooManySessions:
                continue


async def test_a_session_too_many_is_told_apart(single: Remote) -> None:
    async with single.session():
        with pytest.raises(TooManySessions):
            await FtpConnector(single.profile()).connect()


async def test_hundreds_of_transfers_over_one_session(remote: Remote) -> None:
    async with remote.session() as session:
        for number in range(150):
            data = content(1000 + number)
            await store(session, f"/many/{number % 7}", data)
            assert await fetch(session, f"/many/{number % 7}") == data
        assert session.usable


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
async def test_implicit_tls(kind: Kind, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, tls=True, implicit=True) as server:
        async with Remote(server, kind, "TLSv1.3").session(tls="implicit") as session:
            await store(session, "/implicit", b"x" * 1000)
            assert await fetch(session, "/implicit") == b"x" * 1000


@pytest.mark.servers
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
async def test_a_client_certificate_opens_what_demands_one(
    kind: Kind, version: TlsVersion, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(folder / "clients.pem")
    own = authority.issue_cert("anna@example.org", key_type=trustme.KeyType.RSA)
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    lines = {
        "vsftpd": ["require_cert=YES", "validate_cert=YES", f"ca_certs_file={folder / 'clients.pem'}"],
        "proftpd": ["TLSVerifyClient on", f"TLSCACertificateFile {folder / 'clients.pem'}"],
    }[str(kind)]
    with running_server(kind, folder, tls=True, tls_version=version, extra=lines) as server:
        remote = Remote(server, kind, version)
        certificate = {
            "client_certificate": str(tmp_path / "own.pem"),
            "client_key": str(tmp_path / "own.key"),
        }
        async with remote.session(**certificate) as session:
            await store(session, "/certified", content(100_000))
            assert await fetch(session, "/certified") == content(100_000)
            assert session.peer.tls_version == version
        with pytest.raises((TlsError, ConnectError)):
            await FtpConnector(remote.profile()).connect()
