"""What stands for an account's secret where others can read it. Pure.

A digest tells whether two pods have the same secret, and as little else as it can. It is slow to
compute, which makes guessing slow; and short, so that of all wrong guesses one in sixteen million looks
right: too many for who guesses, and few enough for us not to take a new secret for one that was
refused.
"""

import hashlib
import secrets
from collections.abc import Callable

_BYTES = 3
_COST = 2**14
"""Makes scrypt (RFC 7914) take some 50 ms and 16 MB."""


class Digester:
    """Makes the digests of one account.

    Args:
        remote: the remote's name.
        host: its server.
        user: the account.
    """

    def __init__(self, remote: str, host: str, user: str) -> None:
        # Each account has a salt of its own: what was computed to guess one is of no use for another.
        self._salt = f"{remote}\0{host}\0{user}".encode(errors="surrogateescape")
        # The newest one is kept, by what nobody else can compute: each session that is opened asks for it.
        self._key = secrets.token_bytes(32)
        self._known: tuple[bytes, str] = (b"", "")

    def __call__(self, secret: str) -> str:
        """Make what stands for a secret, in hexadecimal."""
        secret_bytes = secret.encode(errors="surrogateescape")
        name = hashlib.blake2b(secret_bytes, key=self._key).digest()
        known, digest = self._known
        if name != known:
            digest = hashlib.scrypt(secret_bytes, salt=self._salt, n=_COST, r=8, p=1, dklen=_BYTES).hex()
            self._known = (name, digest)
        return digest


def unshared() -> Callable[[str], str]:
    """Make what digests secrets for nobody but this process."""
    key = secrets.token_bytes(32)
    return lambda secret: hashlib.blake2b(secret.encode(errors="surrogateescape"), key=key).hexdigest()
