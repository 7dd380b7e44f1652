"""A section of type ftp: which keys it may have, and what each of them means.

Neighbours: `pooler.config.keys` hands the values out, `pooler.config.dialect` and others read them, and
`pooler.config.checks` looks at what has to go together.
"""

import math
import os
import pwd
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from pooler.config.addresses import host, http_proxy, ip_address, ports, socks_proxy
from pooler.config.checks import check_commands, check_route, check_tls, check_uploads
from pooler.config.dialect import (
    RAW_ENCODING,
    RCLONE_ENCODING,
    commands,
    encoding,
    path_style,
    timezone,
    transfer_type,
    unicode_form,
    verify,
)
from pooler.config.keys import Idle, Keys
from pooler.config.maintenance import NO_WINDOWS, windows
from pooler.config.obscure import reveal
from pooler.config.passwords import FixedPassword, PasswordFile
from pooler.config.paths import readable_file, server_folder
from pooler.config.remotes import MAX_SESSION_AGE_S, FtpRemote
from pooler.config.temp_name import BESIDE, temp_name
from pooler.config.tls import INSECURE_CIPHERS, check_authorities, ciphers, tls_version
from pooler.config.values import charset, duration, line, size, switch, whole
from pooler.model.job import Verify

_MOST_BYTES_PER_S = 10**15
"""Of all pods together: what they tell each other is no larger (`pooler.bus.control_records`)."""

Format = Literal["plain", "rclone"]

FTP_KEYS = frozenset(
    {
        "host", "user", "port", "pass", "pass_file", "account", "virtual_host", "explicit_tls", "tls",
        "no_check_certificate", "disable_tls13", "ca_file", "client_cert", "client_key", "tls_min_version",
        "tls_ciphers", "allow_insecure_tls_ciphers", "tls_cache_size", "disable_epsv", "trust_pasv_address",
        "passive", "active_address", "active_ports", "bind_address", "socks_proxy", "http_proxy", "base_path",
        "charset", "unicode_form", "encoding", "disable_utf8", "path_style", "transfer_type", "after_login",
        "before_store", "disable_mlsd", "force_list_hidden", "timezone", "mdtm_timezone", "writing_mdtm",
        "double_iac", "temp_name", "in_place", "write_only", "verify", "max_sessions",
        "max_sessions_total", "concurrency", "limit_group", "owner", "connects_per_minute",
        "data_connections_per_second", "idle_timeout", "max_session_age", "bandwidth", "bandwidth_total",
        "maintenance", "close_timeout", "shut_timeout", "checksum_timeout", "noop_after",
    }
)  # fmt: skip
"""The keys that are honoured."""
RCLONE_FTP_KEYS: Mapping[str, Idle] = {
    "ask_password": Idle(
        switch, default=False, why="nobody is there to be asked: expected false, and pass or pass_file"
    ),
    "no_check_upload": Idle(
        switch,
        default=False,
        why=(
            "every upload is checked: expected false, or no such key; verify = none compares nothing, "
            "and write_only = true is for folders that show nothing"
        ),
    ),
}
"""rclone's other keys."""
_UTC: tzinfo = UTC
_ENCODINGS: Mapping[Format, str] = {"plain": RAW_ENCODING, "rclone": RCLONE_ENCODING}


def ftp_remote(keys: Keys, environ: Mapping[str, str], file_format: Format) -> FtpRemote | None:
    """Read a section of type ftp.

    Args:
        keys: the section; gets the mistakes and warnings.
        environ: the environment, for the default of ``user``.
        file_format: how ``pass`` is written, and whose default ``encoding`` has.

    Returns:
        None where something is a mistake.
    """
    keys.only(FTP_KEYS, RCLONE_FTP_KEYS)
    server = keys.read("host", host, "")
    if "host" not in keys:
        keys.missing("host", "the name or address of the server")
    user = keys.read("user", line, "") if "user" in keys else _os_user(environ)
    if not user and "user" not in keys:
        keys.missing("user", "an account, because the user who runs this has no name")
    tls = keys.switch("tls")
    insecure = keys.switch("allow_insecure_tls_ciphers")
    write_only = keys.switch("write_only")
    password = _password(keys, file_format)
    concurrency = keys.read("concurrency", lambda text: whole(text, 0, 10_000), 0)
    remote = FtpRemote(
        name=keys.name,
        host=server,
        user=user,
        password=password,
        port=keys.read("port", lambda text: whole(text, 1, 65535), 990 if tls else 21),
        account=keys.read("account", line, None),
        virtual_host=keys.read("virtual_host", host, None),
        explicit_tls=keys.switch("explicit_tls"),
        tls=tls,
        no_check_certificate=keys.switch("no_check_certificate"),
        disable_tls13=keys.switch("disable_tls13"),
        ca_file=keys.read("ca_file", _authorities, None),
        client_cert=keys.read("client_cert", readable_file, None),
        client_key=keys.read("client_key", readable_file, None),
        tls_min_version=keys.read("tls_min_version", tls_version, "1.2"),
        tls_ciphers=keys.read("tls_ciphers", ciphers, INSECURE_CIPHERS if insecure else None),
        resume_tls=keys.read("tls_cache_size", lambda text: whole(text, 0, 10**9), 32) > 0,
        disable_epsv=keys.switch("disable_epsv"),
        trust_pasv_address=keys.switch("trust_pasv_address"),
        passive=keys.switch("passive", default=True),
        active_address=keys.read("active_address", ip_address, None),
        active_ports=keys.read("active_ports", ports, None),
        bind_address=keys.read("bind_address", ip_address, None),
        proxy=keys.read("socks_proxy", socks_proxy, None) or keys.read("http_proxy", http_proxy, None),
        base_path=keys.read("base_path", server_folder, "/"),
        charset=keys.read("charset", charset, "utf-8"),
        unicode_form=keys.read("unicode_form", unicode_form, "keep"),
        encoding=keys.read("encoding", encoding, _ENCODINGS[file_format]),
        disable_utf8=keys.switch("disable_utf8"),
        path_style=keys.read("path_style", path_style, "absolute"),
        transfer_type=keys.read("transfer_type", transfer_type, "image"),
        after_login=keys.read("after_login", commands, ()),
        before_store=keys.read("before_store", commands, ()),
        disable_mlsd=keys.switch("disable_mlsd"),
        force_list_hidden=keys.switch("force_list_hidden"),
        timezone=keys.read("timezone", timezone, None),
        mdtm_timezone=keys.read("mdtm_timezone", timezone, _UTC),
        writing_mdtm=keys.switch("writing_mdtm"),
        double_iac=keys.switch("double_iac"),
        temp_name=keys.read("temp_name", temp_name, BESIDE),
        in_place=keys.switch("in_place", default=write_only),
        write_only=write_only,
        verify=keys.read("verify", verify, Verify.NONE if write_only else Verify.SIZE),
        max_sessions=keys.read("max_sessions", lambda text: whole(text, 1, 10_000), concurrency or None),
        max_sessions_total=keys.read("max_sessions_total", lambda text: whole(text, 1, 100_000), None),
        limit_group=keys.read("limit_group", line, None),
        owner=keys.read("owner", line, None),
        connects_per_minute=keys.read("connects_per_minute", lambda text: whole(text, 1, 100_000), None),
        data_connections_per_s=keys.read("data_connections_per_second", _per_second, None),
        bandwidth_bytes_per_s=keys.read("bandwidth", _bandwidth, None),
        bandwidth_total_bytes_per_s=keys.read("bandwidth_total", _whole_bandwidth, None),
        maintenance=keys.read("maintenance", windows, NO_WINDOWS),
        idle_timeout_s=keys.read("idle_timeout", _limit, None),
        max_session_age_s=keys.read("max_session_age", _limit, MAX_SESSION_AGE_S),
        close_timeout_s=keys.read("close_timeout", _limit, None),
        shut_timeout_s=keys.read("shut_timeout", _limit, None),
        checksum_timeout_s=keys.read("checksum_timeout", _limit, None),
        noop_after_s=keys.read("noop_after", _limit, None),
    )
    check_tls(keys, remote, insecure=insecure)
    check_route(keys, remote)
    check_commands(keys, remote)
    check_uploads(keys, remote)
    return remote if keys.whole else None


def _password(keys: Keys, file_format: Format) -> FixedPassword | PasswordFile:
    if "pass_file" in keys:
        if "pass" in keys:
            keys.mistake("pass_file", "pass is given too: expected one of the two")
        return PasswordFile(keys.name, keys.read("pass_file", readable_file, Path()))
    reader = _obscured if file_format == "rclone" else line
    return FixedPassword(SecretStr(keys.read("pass", reader, "")))


def _obscured(text: str) -> str:
    try:
        return line(reveal(text))
    except ValueError as error:
        raise ValueError(f"{error} (connections.format is rclone; plain reads it as it stands)") from None


def _limit(text: str) -> float:
    """Read a duration of which rclone says that 0 means without end."""
    return duration(text) or math.inf


def _per_second(text: str) -> float:
    """Read how often something may happen in a second: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"expected a number above 0, got {text!r}")
    return value


def _bandwidth(text: str) -> float | None:
    bytes_per_s = size(text)
    return None if bytes_per_s == math.inf else bytes_per_s


def _whole_bandwidth(text: str) -> int | None:
    bytes_per_s = _bandwidth(text)
    if bytes_per_s is not None and bytes_per_s > _MOST_BYTES_PER_S:
        raise ValueError(f"expected at most {_MOST_BYTES_PER_S} bytes a second, or off, got {text!r}")
    return None if bytes_per_s is None else max(1, round(bytes_per_s))


def _authorities(text: str) -> Path:
    path = readable_file(text)
    check_authorities(path)
    return path


def _os_user(environ: Mapping[str, str]) -> str:
    try:
        return environ.get("LOGNAME") or environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user id need not have a name
        return ""
