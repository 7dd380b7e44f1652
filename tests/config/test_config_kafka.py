"""How to get in at the brokers: what goes together, what is a mistake, and what is never shown."""

from pathlib import Path
from typing import Any

import pytest
import trustme
from ruamel.yaml import YAML

from pooler.bus.security import credentials
from pooler.config import Configuration, load
from pooler.config.settings import KafkaSettings
from pooler.errors import BrokerRefused, ConfigError

SECRET = "correct horse"
LOGIN = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "u",
    "sasl_password": SECRET,
}
AUTHORITY = trustme.CA()


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with certificates and passwords."""
    monkeypatch.chdir(tmp_path)
    certificate = AUTHORITY.issue_cert("client")
    AUTHORITY.cert_pem.write_to_path("ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path("both.pem")
    certificate.private_key_pem.write_to_path("key.pem")
    AUTHORITY.issue_cert("other").private_key_pem.write_to_path("other-key.pem")
    Path("cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    Path("password").write_text(f"{SECRET}\nmore\n")
    Path("empty").write_text("\n")
    return tmp_path


def read(keys: dict[str, Any], environ: dict[str, str] | None = None) -> Configuration:
    with Path("config.yaml").open("w") as stream:
        YAML().dump({"kafka": keys}, stream)
    return load(Path("config.yaml"), None, environ or {})


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in (LOGIN | more).items() if key not in keys}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"security_protocol": "ssl"},
        {"security_protocol": "SSL", "ssl_ca_location": "ca.pem", "ssl_certificate_location": "both.pem"},
        {"security_protocol": "SSL", "ssl_certificate_location": "cert.pem", "ssl_key_location": "key.pem"},
        LOGIN,
        LOGIN | {"sasl_mechanism": "scram-sha-512", "ssl_ca_location": "ca.pem"},
        without("sasl_password", sasl_password_file="password"),
        LOGIN | {"sasl_password_file": ""},
        {"group_instance_id": "pooler-0", "compression": "zstd", "topic_checks": "warn"},
    ],
)
def test_what_goes_together(keys: dict[str, Any]) -> None:
    assert read(keys).warnings == ()


@pytest.mark.parametrize(
    ("keys", "key", "mistake"),
    [
        ({"security_protocol": "TLS"}, "security_protocol", "expected 'PLAINTEXT', 'SSL', 'SASL_PLAIN"),
        (LOGIN | {"sasl_mechanism": "GSSAPI"}, "sasl_mechanism", "expected 'PLAIN', 'SCRAM-SHA-256' or"),
        ({"ssl_ca_location": "ca.pem"}, "ssl_ca_location", "asks for TLS, and security_protocol is"),
        ({"ssl_certificate_location": "both.pem"}, "ssl_certificate_location", "asks for TLS"),
        ({"security_protocol": "SSL", "ssl_ca_location": "none.pem"}, "ssl_ca_location", "No such file"),
        ({"security_protocol": "SSL", "ssl_ca_location": "password"}, "ssl_ca_location", "expected certif"),
        ({"security_protocol": "SSL", "ssl_key_location": "key.pem"}, "ssl_key_location", "expected ssl_"),
        (
            {
                "security_protocol": "SSL",
                "ssl_certificate_location": "cert.pem",
                "ssl_key_location": "other-key.pem",
            },
            "ssl_key_location",
            "expected a certificate and",
        ),
        ({"sasl_mechanism": "PLAIN"}, "sasl_mechanism", "asks for SASL, and security_pr"),
        ({"security_protocol": "SSL", "sasl_username": "u"}, "sasl_username", "asks for SASL"),
        ({"sasl_password": SECRET}, "sasl_password", "asks for SASL"),
        (without("sasl_password", sasl_password_file="none"), "sasl_password_file", "none cannot be read: "),
        (without("sasl_password", sasl_password_file="empty"), "sasl_password_file", "empty has no password"),
        (LOGIN | {"sasl_password_file": "password"}, "sasl_password_file", "sasl_password is given too"),
        (LOGIN | {"sasl_username": "a\0b"}, "sasl_username", "expected no CR, LF or NUL"),
        (LOGIN | {"sasl_password": f"{SECRET}\0"}, "sasl_password", "expected no CR, LF or NUL"),
        (LOGIN | {"sasl_password": 4711}, "sasl_password", "expected text, got ***"),
        ({"compression": "brotli"}, "compression", "expected 'none', 'gzip', 'snappy', 'lz4' or 'zstd'"),
        ({"group_instance_id": "a b"}, "group_instance_id", "expected letters, digits"),
        ({"topic_checks": "maybe"}, "topic_checks", "expected 'stop', 'warn' or 'off'"),
    ],
)  # fmt: skip
def test_a_mistake_stands_at_its_key(keys: dict[str, Any], key: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(keys)
    (only,) = caught.value.problems
    line = list(keys).index(key) + 2
    assert only.startswith(f"config.yaml:{line}:{len(key) + 5}: kafka.{key}: ")
    assert mistake in only
    assert SECRET not in only
    assert "4711" not in only


@pytest.mark.parametrize(
    ("keys", "key", "mistake"),
    [
        (
            without("sasl_mechanism"),
            "sasl_mechanism",
            "missing: security_protocol is SASL_SSL: expected PLAIN,",
        ),
        (without("sasl_username"), "sasl_username", "missing: sasl_mechanism is PLAIN"),
        (without("sasl_password"), "sasl_password_file", "missing: "),
        (
            {"security_protocol": "SSL", "ssl_certificate_location": "cert.pem"},
            "ssl_key_location",
            "expected a certificate and",
        ),
    ],
)
def test_what_is_missing_is_told_at_the_section(keys: dict[str, Any], key: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(keys)
    (only,) = caught.value.problems
    assert only.startswith(f"config.yaml:1:1: kafka.{key}: ")
    assert mistake in only


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        (
            LOGIN | {"security_protocol": "SASL_PLAINTEXT"},
            "config.yaml:2:22: kafka.security_protocol: without TLS anybody on the way can read the password",
        ),
        (
            LOGIN | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256"},
            "config.yaml:2:22: kafka.security_protocol: without TLS anybody on the way can read every job",
        ),
        *(
            (
                {"security_protocol": "SSL", "ssl_endpoint_identification_algorithm": value},
                "config.yaml:3:42: kafka.ssl_endpoint_identification_algorithm: any certificate of a trusted",
            )
            for value in ("none", "")
        ),
    ],
)
def test_what_is_less_safe_than_it_should_be_loads_with_a_warning(keys: dict[str, Any], warning: str) -> None:
    (only,) = read(keys).warnings
    assert only.startswith(warning)


def test_a_warning_about_the_environment_names_the_variable() -> None:
    environ = {"POOLER__KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SECRET": SECRET}
    (only,) = read(without("security_protocol", sasl_password="${SECRET}"), environ).warnings
    assert only.startswith("POOLER__KAFKA__SECURITY_PROTOCOL: kafka.security_protocol: ")


def test_a_password_is_not_shown() -> None:
    settings = read(without(sasl_password="${SECRET}"), {"SECRET": SECRET}).settings
    assert credentials(settings.kafka)["sasl_plain_password"] == SECRET
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert SECRET not in shown


def test_what_a_client_is_given() -> None:
    assert credentials(KafkaSettings()) == {"client_id": "ftp-pooler", "security_protocol": "PLAINTEXT"}
    given = credentials(read(LOGIN | {"ssl_ca_location": "ca.pem"}).settings.kafka)
    assert given["sasl_mechanism"] == "PLAIN"
    assert given["ssl_context"].check_hostname
    assert len(given["ssl_context"].get_ca_certs()) == 1
    lax = {"security_protocol": "SSL", "ssl_endpoint_identification_algorithm": "none"}
    context = credentials(read(lax).settings.kafka)["ssl_context"]
    assert not context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_files_are_read_each_time() -> None:
    settings = read(
        without("sasl_password", sasl_password_file="password", ssl_ca_location="ca.pem")
    ).settings.kafka
    assert credentials(settings)["sasl_plain_password"] == SECRET
    Path("password").write_text("another one")
    assert credentials(settings)["sasl_plain_password"] == "another one"
    Path("password").unlink()
    with pytest.raises(
        BrokerRefused, match=r"kafka.sasl_password_file: password cannot be read: No such file"
    ):
        credentials(settings)
    Path("password").write_text(SECRET)
    Path("ca.pem").write_text("")
    with pytest.raises(BrokerRefused, match=r"kafka.ssl_\*_location: a certificate cannot be read"):
        credentials(settings)
