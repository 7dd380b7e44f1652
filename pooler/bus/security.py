"""The way in at the brokers: TLS, SASL, and what exactly is wrong where there is no way in.

aiokafka says "unable to bootstrap" whatever has happened, and tries a wrong password at every broker of the
list, again and again. So somebody knocks first, once, and tells a broker that is away from one that refuses
us.
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from pooler.config.passwords import read_password, reason
from pooler.config.settings import KafkaSettings
from pooler.errors import BrokerRefused, BusError

KNOCK_S = 10.0
"""How long one broker may take to let us in, when it is asked whether it does."""

_CLOSED_S = 0.2

Address = tuple[str, int]


def credentials(settings: KafkaSettings) -> dict[str, Any]:
    """Give the arguments that every client of aiokafka takes to get in.

    Files are read now: a client that is started later has a password that was changed meanwhile.

    Raises:
        BrokerRefused: a file cannot be read any more, or has nothing of use.
    """
    arguments: dict[str, Any] = {
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
    }
    if settings.encrypted:
        arguments["ssl_context"] = _context(settings)
    if settings.sasl_mechanism is not None:
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = _password(settings)
    return arguments


def _context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_location)
        if settings.ssl_certificate_location is not None:
            context.load_cert_chain(settings.ssl_certificate_location, settings.ssl_key_location, password="")
    except (OSError, ValueError) as error:
        raise BrokerRefused(f"kafka.ssl_*_location: a certificate cannot be read: {error}") from error
    context.check_hostname = settings.ssl_endpoint_identification_algorithm == "https"
    return context


def _password(settings: KafkaSettings) -> str:
    if settings.sasl_password is not None:
        return settings.sasl_password.get_secret_value()
    assert settings.sasl_password_file is not None  # noqa: S101 - the settings have one of the two
    try:
        return read_password(settings.sasl_password_file)
    except ValueError as error:
        raise BrokerRefused(f"kafka.sasl_password_file: {error}") from error


async def knock(settings: KafkaSettings) -> None:
    """Connect to the brokers as a client would, until one lets us in; then to those that it names.

    Nothing is tried twice: the first refusal is the last word.

    Raises:
        BrokerRefused: a broker does not let us in, or is none that we trust.
        BusError: none can be reached.
    """
    arguments = {**credentials(settings), "request_timeout_ms": int(KNOCK_S * 1000)}
    first = [_address(server) for server in settings.bootstrap_servers]
    named = await _first_open(first, arguments, settings)
    await _first_open(named, arguments, settings)


async def _first_open(
    addresses: list[Address], arguments: dict[str, Any], settings: KafkaSettings
) -> list[Address]:
    """Find a broker that lets us in; give the addresses that it says the brokers have."""
    away = []
    for host, port in addresses:
        try:
            return await _named(host, port, arguments)
        except (KafkaError, OSError, ValueError) as error:
            causes = list(_causes(error))
            refusal = next(filter(_is_refusal, causes), None)
            if refusal is not None:
                raise BrokerRefused(
                    f"Kafka at {host}:{port} refused us: {_told(refusal, settings)}"
                ) from error
            away.append(f"{host}:{port}: {_told(causes[-1], settings)}")
    raise BusError(f"cannot reach Kafka at {'; '.join(away)}")


async def _named(host: str, port: int, arguments: dict[str, Any]) -> list[Address]:
    connection = AIOKafkaConnection(host, port, **arguments)
    try:
        await connection.connect()
        # No topic: only who the brokers are.
        answer = await connection.send(MetadataRequest([]))
    finally:
        closed = connection.close()
        if closed is not None:
            # One that was never open does not tell when it is closed.
            await asyncio.wait({closed}, timeout=_CLOSED_S)  # noqa: ASYNC102 - asyncio's, with a deadline of its own
    return [(broker[1], broker[2]) for broker in answer.brokers] or [(host, port)]


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what it came from: aiokafka hides what a broker said behind "connection closed"."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, ssl.SSLError):
        # Cut off in the middle of the handshake is what a broker does that goes down.
        return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if isinstance(error, ValueError):
        return not isinstance(error, UnicodeError)  # the broker did not prove that it knows the password
    return isinstance(error, SaslAuthenticationFailed | UnsupportedSaslMechanismError | IllegalSaslStateError)


def _told(error: BaseException, settings: KafkaSettings) -> str:
    """Say in one line what a broker, or the way to it, said."""
    speaking = f"kafka.security_protocol is {settings.security_protocol}: is that what this listener speaks?"
    text = reason(error) if isinstance(error, OSError) else str(error)
    match error:
        case ConnectionRefusedError():
            text = "connection refused"
        case ConnectionResetError() | EOFError() | ssl.SSLEOFError():
            text = f"it closed the connection: {speaking}"
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError() if "CERTIFICATE" in (error.reason or ""):
            text = f"{error.reason}: it wants to see a certificate of ours that it trusts"
        case ssl.SSLError():
            text = f"{error.reason or error}: {speaking}"
        case UnsupportedSaslMechanismError():
            text = f"it does not take {settings.sasl_mechanism}"
        case IllegalSaslStateError():
            text = f"it wants no login: {speaking}"
        case SaslAuthenticationFailed():
            text = f"user {settings.sasl_username!r} with {settings.sasl_mechanism}: {error}"
        case TimeoutError() if not text:
            text = f"no answer within {KNOCK_S:g} s"
    return " ".join(text.split())
