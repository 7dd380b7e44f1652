"""What can be told of a TLS handshake: whether it protects anything, and which keys the server wants. Pure.

Neighbours: `profile` says what may be agreed on; `connector` has somebody told about it, and has what a
server asks for offered at once from then on.
"""

import re
import struct

_OLD = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})
# OpenSSL's names. Those of TLS 1.3 all begin with TLS_.
_FORWARD_SECRET = ("ECDHE-", "DHE-", "TLS_")
_ANONYMOUS = ("ADH-", "AECDH-")
_BROKEN = re.compile(r"RC4|RC2|DES|NULL|SEED|IDEA|EXP")


def weakness(version: str | None, cipher: str | None) -> str | None:
    """Say what is weak about a connection.

    Args:
        version: such as ``TLSv1.2``; None without TLS.
        cipher: OpenSSL's name for it; None without TLS.

    Returns:
        Words for people; None where nothing is, or there is no TLS.
    """
    if version is None or cipher is None:
        return None
    found = [f"{version} is broken"] if version in _OLD else []
    if _BROKEN.search(cipher):
        found.append(f"{cipher} is broken")
    elif cipher.startswith(_ANONYMOUS):
        found.append(f"{cipher} shows no certificate")
    elif not cipher.startswith(_FORWARD_SECRET):
        found.append(f"{cipher} has no forward secrecy")
    return ", ".join(found) or None


_HANDSHAKE, _SERVER_HELLO, _KEY_SHARE = 22, 2, 51
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_GROUPS = {23: "prime256v1", 24: "secp384r1", 25: "secp521r1"}
"""By OpenSSL's names."""
_HEAD = struct.Struct("!BxxxxBxxxxx32sB")
_EXTENSION = struct.Struct("!HH")


def group_asked_for(answer: bytes) -> str | None:
    """Read the beginning of a server's answer: does it ask for keys of another group (RFC 8446 §4.1.4)?

    That costs a round trip. OpenSSL offers keys of one group; vsftpd and pure-ftpd take those of another.

    Args:
        answer: from the first record's first byte on.

    Returns:
        OpenSSL's name of the group; None where it asks for none, or for one that cannot be offered alone.
    """
    if len(answer) < _HEAD.size:
        return None
    record, message, random, id_bytes = _HEAD.unpack_from(answer)
    if (record, message, random) != (_HANDSHAKE, _SERVER_HELLO, _RETRY):
        return None
    at = _HEAD.size + id_bytes + 5  # the cipher, the compression, how long the extensions are
    while at + _EXTENSION.size <= len(answer):
        kind, size = _EXTENSION.unpack_from(answer, at)
        at += _EXTENSION.size
        if kind == _KEY_SHARE:
            return _GROUPS.get(int.from_bytes(answer[at : at + 2], "big"))
        at += size
    return None
