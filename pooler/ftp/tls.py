"""Whether what TLS has agreed on protects anything, told by its version and its cipher's name. Pure.

Neighbours: `profile` says what may be agreed on, `connector` has somebody told about it.
"""

import re

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
