"""How to get in at the brokers: the keys of the kafka section that Kafka's own clients have too.

Their names are those of librdkafka and, where it has the same, of the Java client, with ``_`` for each dot.
Values are checked here, each against those that stand before it; `pooler.bus.security` uses them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, ValidationInfo, field_validator

from pooler.config.passwords import fits_line, read_password
from pooler.config.section import Doubt, Section
from pooler.config.tls import check_authorities, check_client_certificate

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSecurity(Section):
    """Whether connections to the brokers are encrypted, and who we are."""

    security_protocol: Protocol = "PLAINTEXT"
    """What the brokers' listener speaks."""
    ssl_ca_location: Path | None = None
    """The certificates to trust, as PEM, instead of the system's."""
    ssl_certificate_location: Path | None = None
    """Our own certificate, with its chain, as PEM."""
    ssl_key_location: Path | None = None
    """Its key, without a passphrase; None where it stands in the certificate's file."""
    ssl_endpoint_identification_algorithm: Literal["https", "none"] = "https"
    """Whether a broker's certificate must have the name that we connected to."""
    sasl_mechanism: Mechanism | None = None
    """How we say who we are."""
    sasl_username: str | None = None
    """Who we are."""
    sasl_password: SecretStr | None = None
    """The password."""
    sasl_password_file: Path | None = None
    """A file whose first line is the password, read at each start of a client."""

    @property
    def encrypted(self) -> bool:
        """Whether connections use TLS."""
        return self.security_protocol in {"SSL", "SASL_SSL"}

    @field_validator("security_protocol", "sasl_mechanism", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("ssl_endpoint_identification_algorithm", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        """Take nothing for none, as the Java client has it."""
        return "none" if value == "" else value

    @field_validator("ssl_ca_location", "ssl_certificate_location", "ssl_key_location")
    @classmethod
    def _with_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        protocol = info.data.get("security_protocol", "SSL")
        if value is not None and protocol not in {"SSL", "SASL_SSL"}:
            raise ValueError(f"asks for TLS, and security_protocol is {protocol}: expected SSL or SASL_SSL")
        return value

    @field_validator("ssl_ca_location")
    @classmethod
    def _authorities(cls, value: Path | None) -> Path | None:
        if value is not None:
            check_authorities(value)
        return value

    @field_validator("ssl_key_location")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "ssl_certificate_location" not in info.data:  # a mistake by itself, told already
            return value
        certificate: Path | None = info.data["ssl_certificate_location"]
        if certificate is not None:
            check_client_certificate(certificate, value)
        elif value is not None:
            raise ValueError("expected ssl_certificate_location beside it")
        return value

    @field_validator("sasl_mechanism", "sasl_username", "sasl_password", "sasl_password_file")
    @classmethod
    def _with_sasl(cls, value: Any, info: ValidationInfo) -> Any:
        protocol = info.data.get("security_protocol")
        if value is not None and protocol in {"PLAINTEXT", "SSL"}:
            raise ValueError(
                f"asks for SASL, and security_protocol is {protocol}: expected SASL_SSL or SASL_PLAINTEXT"
            )
        return value

    @field_validator("sasl_mechanism")
    @classmethod
    def _chosen(cls, value: str | None, info: ValidationInfo) -> str | None:
        protocol = info.data.get("security_protocol", "")
        if value is None and protocol.startswith("SASL"):
            raise ValueError(
                f"missing: security_protocol is {protocol}: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
            )
        return value

    @field_validator("sasl_username")
    @classmethod
    def _somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        mechanism = info.data.get("sasl_mechanism")
        if value is None and mechanism is not None:
            raise ValueError(f"missing: sasl_mechanism is {mechanism}: expected a user")
        if value is not None and not fits_line(value):
            raise ValueError("expected no CR, LF or NUL")
        return value

    @field_validator("sasl_password")
    @classmethod
    def _writable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not fits_line(value.get_secret_value()):
            raise ValueError("expected no CR, LF or NUL")
        return value

    @field_validator("sasl_password_file")
    @classmethod
    def _one_password(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "sasl_password" not in info.data or info.data.get("sasl_mechanism") is None:
            return value
        given = info.data["sasl_password"] is not None
        if value is None and not given:
            raise ValueError("missing: sasl_mechanism is given: expected a file, or sasl_password")
        if value is not None and given:
            raise ValueError("sasl_password is given too: expected one of the two")
        if value is not None:
            read_password(value)
        return value

    def doubts(self) -> Iterator[Doubt]:
        """Give what makes the way to the brokers less safe than it should be."""
        if self.security_protocol == "SASL_PLAINTEXT":
            seen = "the password" if self.sasl_mechanism == "PLAIN" else "every job and answer"
            yield Doubt("security_protocol", f"without TLS anybody on the way can read {seen}: use SASL_SSL")
        if self.encrypted and self.ssl_endpoint_identification_algorithm == "none":
            yield Doubt(
                "ssl_endpoint_identification_algorithm",
                "any certificate of a trusted authority passes for a broker's, whatever name it has",
            )
