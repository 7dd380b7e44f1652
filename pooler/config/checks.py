"""What has to go together in a section of type ftp, and what deserves a warning.

Neighbour: `pooler.config.ftp_section`, which reads the keys one by one.
"""

from pooler.config.keys import Keys
from pooler.config.remotes import FtpRemote
from pooler.config.temp_name import NAME, TOKEN, TOKEN_BYTES
from pooler.config.tls import check_client_certificate, weak_ciphers
from pooler.model.job import Verify

_NAME_MAX_BYTES = 255


def check_tls(keys: Keys, remote: FtpRemote, *, insecure: bool) -> None:
    """Note what does not go together, and, as a warning, everything that makes TLS less than it should be."""
    if not (remote.tls or remote.explicit_tls):
        for key in ("ca_file", "client_cert", "client_key", "tls_min_version", "tls_ciphers"):
            if key in keys:
                keys.mistake(key, "asks for TLS: expected tls or explicit_tls beside it")
        return
    if remote.tls and remote.explicit_tls:
        keys.mistake("explicit_tls", "tls is on too: expected one of the two")
    if remote.tls_min_version == "1.3" and remote.disable_tls13:
        keys.mistake("disable_tls13", "tls_min_version is 1.3: expected one of the two")
    if remote.client_cert is None and remote.client_key is not None:
        keys.mistake("client_key", "expected client_cert beside it")
    if remote.client_cert is not None:
        try:
            check_client_certificate(remote.client_cert, remote.client_key)
        except ValueError as error:
            keys.mistake("client_cert", str(error))
    _check_strength(keys, remote, insecure=insecure)


def _check_strength(keys: Keys, remote: FtpRemote, *, insecure: bool) -> None:
    if remote.no_check_certificate:
        keys.warn("no_check_certificate", "anybody on the way can pose as the server and read everything")
    if remote.tls_min_version in {"1.0", "1.1"}:
        keys.warn("tls_min_version", f"TLS {remote.tls_min_version} is broken: what it protects can be read")
    weak = weak_ciphers(remote.tls_ciphers) if remote.tls_ciphers is not None else ()
    if weak and insecure:
        keys.warn("allow_insecure_tls_ciphers", f"these weak ciphers may be used: {', '.join(weak)}")
    elif weak:
        keys.mistake(
            "tls_ciphers",
            f"weak: {', '.join(weak)}: expected a list without them, or allow_insecure_tls_ciphers = true",
        )


def check_route(keys: Keys, remote: FtpRemote) -> None:
    """Note what does not go together between active mode and proxies."""
    for key in ("active_address", "active_ports"):
        if key in keys and remote.passive:
            keys.mistake(key, "asks for active mode: expected passive = false beside it")
    if "socks_proxy" in keys and "http_proxy" in keys:
        keys.mistake("http_proxy", "socks_proxy is given too: expected one of the two")
    if remote.proxy is not None and not remote.passive:
        keys.mistake("passive", "no server can connect to us through a proxy: expected true")


def check_commands(keys: Keys, remote: FtpRemote) -> None:
    """Note a command that cannot be written in the remote's charset."""
    for key, lines in (("after_login", remote.after_login), ("before_store", remote.before_store)):
        try:
            ";".join(lines).encode(remote.charset)
        except UnicodeEncodeError as error:
            lacking = error.object[error.start : error.end]
            keys.mistake(key, f"{lacking!r}: expected nothing that the charset {remote.charset} lacks")


def check_uploads(keys: Keys, remote: FtpRemote) -> None:
    """Note what does not go together of an upload's names, and of how it is verified."""
    if "temp_name" in keys:
        _check_temp_name(keys, remote)
    if remote.write_only and remote.verify is not Verify.NONE:
        keys.mistake("verify", "write_only is on: expected none, or no such key, as nothing can be compared")
    if remote.transfer_type == "ascii" and remote.verify is Verify.READ_BACK:
        keys.mistake("verify", "transfer_type is ascii: what is read back is not what was sent")


def _check_temp_name(keys: Keys, remote: FtpRemote) -> None:
    folder, name = remote.temp_name
    if remote.in_place:
        keys.mistake("temp_name", "uploads are in place: expected in_place = false beside it, or no such key")
    try:
        folder.encode(remote.charset)
        own = name.replace(NAME, "").replace(TOKEN, "x" * TOKEN_BYTES).encode(remote.charset)
    except UnicodeEncodeError as error:
        lacking = error.object[error.start : error.end]
        keys.mistake("temp_name", f"{lacking!r}: expected nothing that the charset {remote.charset} lacks")
        return
    if len(own) > _NAME_MAX_BYTES:
        keys.mistake("temp_name", f"expected a name of at most {_NAME_MAX_BYTES} bytes with its token")
    if not remote.temp_name.is_unique:
        keys.warn(
            "temp_name",
            f"without {TOKEN} two processes that are given one job write into one file, and what a dead one "
            "left is neither gone on with nor removed",
        )
