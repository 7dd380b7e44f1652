"""Certificates, versions, ciphers, resumption; and HOST, which decides whose certificate it must be."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from math import inf
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from pooler.config.tls import weak_ciphers
from pooler.errors import ConnectError, SessionLost, TlsError
from pooler.ftp.certificate import Certificate
from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from pooler.ftp.tls import weakness
from tests.support.moving import fetch, store
from tests.support.scripted import Connection, ScriptedServer, scripted_server

CONTENT = bytes(range(256)) * 1000


async def connect(server: ScriptedServer, **changes: object) -> FtpSession:
    return await FtpConnector(server.profile(**changes)).connect()


def show(server: ScriptedServer, certificate: trustme.LeafCert) -> None:
    """Give the server another certificate to show."""
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server.context)


async def test_an_expired_certificate_is_refused_and_read_all_the_same(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    past = datetime.now(UTC) - timedelta(days=1)
    async with scripted_server(tls_folder=tmp_path) as server:
        show(server, authority.issue_cert("127.0.0.1", not_after=past))
        with pytest.raises(TlsError, match="certificate has expired"):
            await connect(server, ca_file=str(tmp_path / "own.pem"))
        session = await connect(server, verify_certificate=False)
        assert session.certificate is not None
        assert session.certificate.not_after == past.replace(microsecond=0)
        await session.aclose()
        assert session.certificate.sha256 == session.peer.certificate_sha256


@pytest.mark.parametrize(("name", "words"), [("127.0.0.2", "mismatch"), ("localhost", "mismatch")])
async def test_a_certificate_for_another_name_is_refused(tmp_path: Path, name: str, words: str) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    async with scripted_server(tls_folder=tmp_path) as server:
        show(server, authority.issue_cert(name))
        with pytest.raises(TlsError, match=words):
            await connect(server, ca_file=str(tmp_path / "own.pem"))


def self_signed(file: Path) -> None:
    """Write a certificate for 127.0.0.1 that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lonely")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(*(at in {0, 5} for at in range(9))), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + text)


async def test_a_certificate_that_signed_itself_is_refused_until_it_is_trusted(tmp_path: Path) -> None:
    self_signed(tmp_path / "lonely.pem")
    async with scripted_server(tls_folder=tmp_path) as server:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(tmp_path / "lonely.pem")
        with pytest.raises(TlsError, match="self-signed"):
            await connect(server, ca_file=None)
        session = await connect(server, ca_file=str(tmp_path / "lonely.pem"))
        assert session.certificate is not None
        assert session.certificate.not_after is not None
        assert session.certificate.not_after > datetime.now(UTC)
        await session.aclose()


def test_a_certificate_that_cannot_be_read_has_no_end() -> None:
    assert Certificate(b"\x30\x00").not_after is None
    assert len(Certificate(b"\x30\x00").sha256) == 64


async def test_without_tls_there_is_no_certificate() -> None:
    async with scripted_server() as server:
        session = await connect(server)
        assert session.certificate is None
        await session.aclose()


async def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    own = trustme.CA().issue_cert("anna@example.org")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    key = load_pem_private_key(own.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "own.key").write_bytes(locked)
    async with scripted_server(tls_folder=tmp_path) as server:
        with pytest.raises(TlsError, match=r"certificates of 127.0.0.1"):
            await connect(
                server,
                client_certificate=str(tmp_path / "own.pem"),
                client_key=str(tmp_path / "own.key"),
            )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_in_two_files_serves_both_connections(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("anna@example.org")
    own.cert_chain_pems[0].write_to_path(tmp_path / "own.pem")
    own.private_key_pem.write_to_path(tmp_path / "own.key")
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.verify_mode = ssl.CERT_REQUIRED
        server.context.minimum_version = server.context.maximum_version = version
        server.context.set_ciphers("DEFAULT")
        authority.configure_trust(server.context)
        session = await connect(
            server,
            client_certificate=str(tmp_path / "own.pem"),
            client_key=str(tmp_path / "own.key"),
        )
        await store(session, "/f", CONTENT)
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()
        with pytest.raises((TlsError, ConnectError)):
            await connect(server)


async def test_weak_ciphers_are_refused_unless_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    async with scripted_server(tls_folder=tmp_path) as server:
        show(server, authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA))
        assert server.context is not None
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        server.context.set_ciphers("AES128-SHA256")
        with pytest.raises(TlsError, match=r"(?i)handshake"):
            await connect(server, ca_file=str(tmp_path / "own.pem"))
        told: list[tuple[str, str]] = []
        connector = FtpConnector(
            server.profile(ca_file=str(tmp_path / "own.pem"), tls_ciphers="kRSA+AES"),
            on_weak_tls=lambda weakness: told.append((weakness, server.verbs()[-1])),
        )
        for _ in range(2):
            session = await connector.connect()
            assert (session.tls_version, session.tls_cipher) == ("TLSv1.2", "AES128-SHA256")
            await store(session, "/f", CONTENT)
            await session.aclose()
        # Once, and before the password has gone over it.
        assert told == [("AES128-SHA256 has no forward secrecy", "AUTH")]
        assert connector.learnt["tls_weakness"] == "AES128-SHA256 has no forward secrecy"


def test_what_is_weak_at_load_is_weak_on_the_wire() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:!PSK:!SRP:@SECLEVEL=0")
    for name in (str(cipher["name"]) for cipher in context.get_ciphers()):
        is_weak = name in weak_ciphers(f"{name}:@SECLEVEL=0") if not name.startswith("TLS_") else False
        assert (weakness("TLSv1.2", name) is not None) is is_weak, name
    assert weakness("TLSv1.3", "TLS_AES_128_GCM_SHA256") is None
    assert weakness(None, None) is None


@pytest.mark.parametrize(
    ("version", "cipher", "words"),
    [
        ("TLSv1.2", "AES256-GCM-SHA384", "AES256-GCM-SHA384 has no forward secrecy"),
        ("TLSv1.2", "ECDHE-RSA-RC4-SHA", "ECDHE-RSA-RC4-SHA is broken"),
        ("TLSv1.2", "DES-CBC3-SHA", "DES-CBC3-SHA is broken"),
        ("TLSv1.2", "ADH-AES256-SHA", "ADH-AES256-SHA shows no certificate"),
        ("TLSv1.1", "ECDHE-RSA-AES256-SHA", "TLSv1.1 is broken"),
        ("TLSv1", "AES256-SHA", "TLSv1 is broken, AES256-SHA has no forward secrecy"),
    ],
)
def test_what_is_weak_is_named(version: str, cipher: str, words: str) -> None:
    assert weakness(version, cipher) == words


async def test_strong_tls_is_not_told_about(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        told: list[str] = []
        connector = FtpConnector(server.profile(), on_weak_tls=told.append)
        session = await connector.connect()
        assert (session.tls_version, session.tls_cipher) == ("TLSv1.3", connector.learnt["tls_cipher"])
        await session.aclose()
        assert told == []
        assert connector.learnt["tls_weakness"] is None


async def test_a_cipher_that_there_is_not_is_an_error_of_tls(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        with pytest.raises(TlsError, match=r"or its ciphers: .*[Nn]o cipher"):
            await connect(server, tls_ciphers="NONE-SUCH")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
async def test_broken_versions_are_spoken_only_when_the_floor_is_lowered(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.minimum_version = ssl.TLSVersion.TLSv1
        server.context.maximum_version = ssl.TLSVersion.TLSv1
        server.context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.raises(TlsError):
            await connect(server)
        session = await connect(server, minimum_tls=ssl.TLSVersion.TLSv1)
        assert session.peer.tls_version == "TLSv1"
        assert str(session.learnt["tls_weakness"]).startswith("TLSv1 is broken")
        await store(session, "/f", CONTENT)
        assert await fetch(session, "/f") == CONTENT
        await session.aclose()


async def test_resumption_can_be_turned_off(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        for resumes in (True, False):
            session = await connect(server, resume_tls=resumes)
            async with session.storing("/f") as up:
                await up.send_all(memoryview(b"x"))
            assert up.tls_resumed is resumes
            await session.aclose()


async def test_a_host_is_chosen_before_anything_else_and_has_its_own_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "own.pem")
    async with scripted_server(tls_folder=tmp_path) as server:
        show(server, authority.issue_cert("ftp.example.com"))
        own = {"ca_file": str(tmp_path / "own.pem")}
        session = await connect(server, virtual_host="ftp.example.com", **own)
        assert server.commands[:2] == ["HOST ftp.example.com", "AUTH TLS"]
        await store(session, "/f", b"x")
        await session.aclose()
        with pytest.raises(TlsError, match="mismatch"):
            await connect(server, virtual_host="ftp.example.org", **own)


async def test_an_address_as_host_stands_in_brackets() -> None:
    async with scripted_server() as server:
        await (await connect(server, virtual_host="2001:db8::1")).aclose()
        assert server.commands[0] == "HOST [2001:db8::1]"


@pytest.mark.parametrize("refusal", [b"504 No such host.", b"502 What?", b"421 Bye."])
async def test_a_host_refused_gets_no_password(refusal: bytes) -> None:
    async with scripted_server({"HOST": refusal}) as server:
        with pytest.raises(ConnectError):
            await connect(server, virtual_host="ftp.example.com")
        assert server.verbs() == ["HOST"]


async def _silent(connection: Connection, _: bytes) -> None:
    data = await connection.accept()
    await connection.say(b"150 Send.")
    await data.receive_all()
    await connection.until_left()


async def test_the_reply_after_the_data_has_a_limit_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.1
    async with scripted_server({"STOR": _silent}) as server:
        session = await connect(server, exchange_s=100.0, final_s=3.0)
        began = trio.current_time()
        with pytest.raises(SessionLost, match="nothing within 3 s"):
            await store(session, "/f", b"x")
        assert trio.current_time() - began == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_point_16_the_server_s_word_on_its_ticket_is_the_session_s_lifetime(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.minimum_version = server.context.maximum_version = version
        session = await connect(server)
        # OpenSSL's own two hours, of which a quarter is left to what comes late in a job.
        assert session.lifetime_s == 0.75 * 7200
        await session.aclose()
        session = await connect(server, resume_tls=False)
        assert session.lifetime_s == inf
        await session.aclose()


async def test_a_session_without_a_ticket_lives_as_long_as_it_likes(tmp_path: Path) -> None:
    async with scripted_server(tls_folder=tmp_path) as server:
        assert server.context is not None
        server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        server.context.options |= ssl.OP_NO_TICKET
        session = await connect(server)
        assert session.lifetime_s == inf
        await session.aclose()
    async with scripted_server() as server:
        session = await connect(server)
        assert session.lifetime_s == inf
        await session.aclose()
