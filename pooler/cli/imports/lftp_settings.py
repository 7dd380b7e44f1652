"""What lftp's settings are called here. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from pooler.cli.imports.copying import Translation, Untranslated
from pooler.cli.imports.values import is_on

_TLS = "_tls"
_OPPORTUNE = (
    "lftp uses TLS where the server has it: explicit_tls = true asks for it always; "
    "take it away where the server has none"
)
_QUIET = re.compile(
    r"(cmd|xfer:(log|use-temp-file|temp-file-name|make-backup|eta|rate)|log|color|dns|bmk|module|prompt"
    r"|mirror:(use-pget-n|dereference|order|set-permissions|skip-noaccess|no-empty-dirs|require-source)"
    r"|net:(idle|persist-retries|reconnect-\w+|timeout|connection-takeover|connection-limit-\w+)"
    r"|ftp:(use-\w+|nop-interval|retry-530|sync-mode|prefer-epsv|auto-sync-mode|ssl-auth|web-mode|lang"
    r"|ssl-protect-(data|list|fxp)|ssl-use-ccc|ssl-shutdown-timeout|auto-passive-mode|acct|anon-\w+)"
    r"|ssl:(check-hostname|use-sni|priority|crl-file)|file|pget)(:|-|$)?"
)
_SWITCHES = {
    "ftp:passive-mode": ("passive", True),
    "ftp:fix-pasv-address": ("trust_pasv_address", False),
    "ssl:verify-certificate": ("no_check_certificate", False),
}
_VALUES = {
    "ftp:charset": "charset", "file:charset": "", "ssl:ca-file": "ca_file", "ssl:cert-file": "client_cert",
    "ssl:key-file": "client_key", "net:connection-limit": "max_sessions",
    "mirror:parallel-transfer-count": "max_sessions", "cmd:parallel": "max_sessions",
    "net:socket-bind-ipv4": "bind_address", "net:socket-bind-ipv6": "bind_address",
    "ftp:port-ipv4": "active_address", "ftp:port-range": "active_ports",
}  # fmt: skip


def apply(name: str, value: str, keys: dict[str, str], options: dict[str, Any], found: Translation) -> None:
    """Say a setting as keys of the remote, or as options of its jobs.

    Args:
        name: of the setting; such as ``ftp:charset/a.example.com`` is for that server alone.
        value: what it is set to; empty for its default.
        keys: get the keys.
        options: get the options.
        found: gets a note on what has no like here.

    Raises:
        Untranslated: what it asks for cannot be had, and leaving it out would do harm.
    """
    name = _whole(name.partition("/")[0])
    if name in _SWITCHES:
        key, same = _SWITCHES[name]
        keys[key] = str(is_on(value) is same).lower()
    elif name in {"ftp:ssl-force", "ftp:ssl-allow"}:
        keys[_TLS] = "force" if name.endswith("force") and is_on(value) else keys.get(_TLS, "")
        if name.endswith("allow") and not is_on(value):
            keys[_TLS] = "never"
    elif name in _VALUES:
        if _VALUES[name] and value not in {"", "0", "full"}:
            keys[_VALUES[name]] = value
    else:
        _apply_other(name, value, keys, options, found)


def _apply_other(
    name: str, value: str, keys: dict[str, str], options: dict[str, Any], found: Translation
) -> None:
    if name in {"net:limit-rate", "net:limit-total-rate"}:
        _rate(value, keys)
    elif name == "net:max-retries":
        options["retry_count"] = int(value) if re.fullmatch(r"[0-9]{1,3}", value) else 0
    elif name == "xfer:clobber":
        options.update({} if is_on(value) else {"overwrite": "never"})
    elif name == "ftp:list-options":
        keys["force_list_hidden"] = str("a" in value).lower()
    elif name == "ftp:proxy" and value:
        raise Untranslated("ftp:proxy: http_proxy or socks_proxy of the remote")
    elif _QUIET.match(name) is None:
        found.note(f"set {name}: has no like here, and is left out")


def _whole(name: str) -> str:
    """Write out what lftp takes for a whole name, where only its end was given."""
    if ":" in name:
        return name
    ends = (*_SWITCHES, *_VALUES, "ftp:ssl-force", "ftp:ssl-allow", "net:limit-rate", "net:max-retries")
    return next((one for one in ends if one.partition(":")[2] == name), name)


def _rate(value: str, keys: dict[str, str]) -> None:
    rates = {part for part in value.split(":") if part not in {"", "0"}}
    if not rates:
        return
    rate = rates.pop()
    if rates or not re.fullmatch(r"[0-9.]+[kMG]?i?", rate):
        raise Untranslated("net:limit-rate: expected one number for both directions")
    rate = rate.rstrip("i")
    keys["bandwidth"] = f"{rate}B" if rate[-1].isdigit() else rate


def tls(keys: dict[str, str], found: Translation) -> Mapping[str, str]:
    """Say how TLS is used: lftp takes it where the server has it, and no key means that.

    Args:
        keys: of the remote; the word that stood for this is taken out.
        found: gets a note where it is not quite the same.

    Returns:
        The keys that say it.
    """
    wanted = keys.pop(_TLS, "")
    if keys.get("tls") == "true":
        return {}
    if wanted == "never":
        for key in ("no_check_certificate", "ca_file", "client_cert", "client_key"):
            keys.pop(key, None)
        return {}
    if wanted != "force":
        found.note(_OPPORTUNE)
    return {"explicit_tls": "true"}
