"""What a server has shown of itself. Pure.

Neighbour: `tcp` has it from the handshake.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the other side has shown of itself.

    Attributes:
        der: the certificate as it came over the wire.
    """

    der: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """The hexadecimal fingerprint."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def not_after(self) -> datetime | None:
        """When it expires, with a time zone; None where it is so odd that it cannot be read."""
        # Imported here: most of those who shake hands never ask.
        from cryptography import x509  # noqa: PLC0415

        try:
            return x509.load_der_x509_certificate(self.der).not_valid_after_utc
        except (ValueError, x509.InvalidVersion):
            return None
