"""A broker that lets in only whom it knows: by SCRAM, PLAIN or a certificate; and anybody who checks it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.kafka import RunningBroker, running_broker
from tests.support.process import free_port

USER = "clerk"
PASSWORD = "s3cret-of-the-clerk"
_HOST = "127.0.0.1"
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """A broker that runs.

    Attributes:
        plain: the same broker, for whoever looks at it: anybody may, at its ``bootstrap``.
        sasl_ssl: port of the listener with TLS that wants a password.
        sasl_plaintext: port of the one without TLS that wants a password.
        ssl: port of the listener that wants a certificate.
        misnamed: port of one that wants nothing, and is given to clients by a name not in its certificate.
        folder: ``ca.pem``, ``client.pem`` with its key, and ``other-ca.pem``, which has signed nothing here.
    """

    plain: RunningBroker
    sasl_ssl: int
    sasl_plaintext: int
    ssl: int
    misnamed: int
    folder: Path

    def by_password(self, mechanism: str, **more: Any) -> dict[str, Any]:
        """Give the settings of a client that gets in by a password, over TLS."""
        return {
            "bootstrap_servers": f"{_HOST}:{self.sasl_ssl}",
            "security_protocol": "SASL_SSL",
            "ssl_ca_location": str(self.folder / "ca.pem"),
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password": PASSWORD,
        } | more

    def by_certificate(self, **more: Any) -> dict[str, Any]:
        """Give the settings of a client that gets in by its certificate."""
        return {
            "bootstrap_servers": f"{_HOST}:{self.ssl}",
            "security_protocol": "SSL",
            "ssl_ca_location": str(self.folder / "ca.pem"),
            "ssl_certificate_location": str(self.folder / "client.pem"),
        } | more

    def refusals(self) -> int:
        """Count how often it has refused a password."""
        return self.plain.log.read_text(errors="replace").count("Failed authentication with")


@contextlib.contextmanager
def running_secured_broker(
    folder: Path, *, options: Mapping[str, str] | None = None
) -> Iterator[SecuredBroker]:
    """Run a broker until the block ends.

    Args:
        folder: where its files go, and those of its clients.
        options: added to its ``server.properties``.

    Raises:
        MissingProgramError: Kafka or Java is not there; says what to do.
        DaemonFailedError: it does not come up; says what it logged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    _write_for_java(authority.issue_cert(_HOST), folder / "server.pem")

    ports = {name: free_port() for name in ("SASL_SSL", "SASL_PLAINTEXT", "SSL", "MISNAMED")}
    listeners = {f"{name}://{_HOST}:{port}": f"{name}://{_HOST}:{port}" for name, port in ports.items()}
    listeners[f"MISNAMED://{_HOST}:{ports['MISNAMED']}"] = f"MISNAMED://localhost:{ports['MISNAMED']}"
    with running_broker(
        folder / "kafka",
        options={**_options(folder), **(options or {})},
        listeners=listeners,
        format_options=[
            word
            for mechanism in _MECHANISMS[1:]
            for word in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ],
    ) as plain:
        yield SecuredBroker(
            plain=plain,
            sasl_ssl=ports["SASL_SSL"],
            sasl_plaintext=ports["SASL_PLAINTEXT"],
            ssl=ports["SSL"],
            misnamed=ports["MISNAMED"],
            folder=folder,
        )


def _options(folder: Path) -> Mapping[str, str]:
    packages = "org.apache.kafka.common.security"
    plain = f'{packages}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    scram = f"{packages}.scram.ScramLoginModule required;"
    options = {
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,"
            "SSL:SSL,MISNAMED:SSL"
        ),
        "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
    }
    for listener in ("sasl_ssl", "sasl_plaintext"):
        options[f"listener.name.{listener}.plain.sasl.jaas.config"] = plain
        for mechanism in _MECHANISMS[1:]:
            options[f"listener.name.{listener}.{mechanism.lower()}.sasl.jaas.config"] = scram
    return options


def _write_for_java(certificate: trustme.LeafCert, path: Path) -> None:
    """Write a key and its chain as Java takes them: the key as PKCS#8."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
