"""Ciphers and certificates of a remote, looked at before anybody connects: what is weak, what loads.

Neighbour: `pooler.config.remotes`, which names the key that a mistake stands in.
"""

import re
import ssl
from pathlib import Path
from typing import Literal

from pooler.config.passwords import reason

TlsVersion = Literal["1.0", "1.1", "1.2", "1.3"]

INSECURE_CIPHERS = (
    # The good ones first, then those that an old server may have nothing besides.
    "ECDH+AESGCM:ECDH+CHACHA20:DHE+AESGCM:ECDH+AES:DHE+AES:kRSA+AES:ECDH+3DES:DHE+3DES:kRSA+3DES:RC4"
    ":!aNULL:!eNULL:!PSK:!SRP:!aDSS:@SECLEVEL=1"
)
"""What ``allow_insecure_tls_ciphers`` allows where no list is given."""

_STRONG_BITS = 128
_BROKEN = re.compile(r"rc4|rc2|des|null|seed|idea", re.IGNORECASE)
_LOW_LEVEL = re.compile(r"@SECLEVEL=[01]", re.IGNORECASE)


def tls_version(text: str) -> TlsVersion:
    """Read a version such as ``1.2`` or ``TLSv1.2``.

    Raises:
        ValueError: with what was expected.
    """
    match text.lower().removeprefix("tlsv").removeprefix("tls").strip():
        case "1.0" | "1.1" | "1.2" | "1.3" as version:
            return version
        case _:
            raise ValueError(f"expected 1.2 or 1.3, got {text!r}")


def ciphers(text: str) -> str:
    """Read a list of ciphers, which is left as it stands.

    Raises:
        ValueError: with what was expected.
    """
    weak_ciphers(text)
    return text


def weak_ciphers(ciphers: str) -> tuple[str, ...]:
    """Give what a list of OpenSSL's lets in that should not be: OpenSSL's names, the strongest first.

    Weak is what has no forward secrecy (RSA key exchange), shows no certificate, encrypts with RC4, DES,
    3DES, fewer than 128 bits or not at all, and a security level below OpenSSL's own.

    Raises:
        ValueError: it is no such list, or nothing of it is there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.set_ciphers(ciphers)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"expected ciphers as OpenSSL lists them, such as ECDHE+AESGCM, got {ciphers!r}"
        ) from error
    weak = [
        str(cipher["name"])
        for cipher in context.get_ciphers()
        # Those with a shared key cannot come about: there is none.
        if not re.search("psk|srp", cipher["kea"]) and _is_weak(cipher)
    ]
    return (*weak, *_LOW_LEVEL.findall(ciphers))


def _is_weak(cipher: "ssl._Cipher") -> bool:
    return (
        cipher["kea"] == "kx-rsa"
        or cipher["auth"] == "auth-null"
        or cipher["strength_bits"] < _STRONG_BITS
        or _BROKEN.search(str(cipher["symmetric"])) is not None
    )


def check_client_certificate(certificate: Path, key: Path | None) -> None:
    """Look whether a certificate and its key load, and belong together.

    Raises:
        ValueError: they do not, or the key wants a passphrase.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected a certificate and its key, without a passphrase, as PEM: {reason(error)}"
        ) from None


def check_authorities(file: Path) -> None:
    """Look whether certificates to trust load.

    Raises:
        ValueError: there is none.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"expected certificates as PEM: {reason(error)}") from None
