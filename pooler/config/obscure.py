"""rclone's obscured passwords: hidden from a glance over the shoulder, not from anybody who wants them.

AES-256 in CTR mode under a key that rclone publishes, the IV in front, base64url without padding, and nothing
that would tell a wrong text from a right one.
"""

import base64
import binascii
import re
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

_KEY = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
_IV_BYTES = 16
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def obscure(password: str, iv: bytes | None = None) -> str:
    """Hide a password as ``rclone obscure`` does.

    Args:
        password: any text.
        iv: 16 bytes; random where None.

    Returns:
        The obscured text, for ``pass`` in rclone's format.
    """
    iv = secrets.token_bytes(_IV_BYTES) if iv is None else iv
    # In CTR mode to encrypt and to decrypt are the same.
    hidden = iv + _crypt(iv, password.encode())
    return base64.urlsafe_b64encode(hidden).rstrip(b"=").decode("ascii")


def reveal(obscured: str) -> str:
    """Read a password that rclone, or `obscure`, has hidden.

    Args:
        obscured: the text as it stands in the file.

    Returns:
        The password.

    Raises:
        ValueError: it is no obscured password; most often it is a plain one. The text is not in the message.
    """
    # Python's own decoder would skip or translate what has no place here.
    if not _BASE64URL.fullmatch(obscured):
        raise ValueError("not an obscured password: not base64url")
    try:
        hidden = base64.urlsafe_b64decode(obscured + "=" * (-len(obscured) % 4))
    except binascii.Error:
        raise ValueError("not an obscured password: not base64url") from None
    if len(hidden) < _IV_BYTES:
        raise ValueError("not an obscured password: too short")
    try:
        return _crypt(hidden[:_IV_BYTES], hidden[_IV_BYTES:]).decode()
    except UnicodeDecodeError:
        raise ValueError("not an obscured password: what it hides is not text") from None


def _crypt(iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(AES(_KEY), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
