"""Real FTP servers for tests: each on a free loopback port, in a folder of its own, gone at the end.

``with running_server("vsftpd", tmp_path) as server:`` gives one whose account has been seen to be served.
vsftpd, proftpd and pure-ftpd must be started by root, since they change to the account's identity, as they do
in real life; ``install`` unpacks them. pyftpdlib comes with the packages of the tests, and ``own_server`` is
ours; they need no root.
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import trustme

from tests.support import install
from tests.support.process import Daemon, free_port

Kind = Literal["vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "own"]
KINDS: tuple[Kind, ...] = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib")
"""Those of others."""
NEED_ROOT: frozenset[Kind] = frozenset({"vsftpd", "proftpd", "pure-ftpd"})
TlsVersion = Literal["TLSv1.2", "TLSv1.3"]


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs, and the folder that it serves.

    Attributes:
        kind: which program it is.
        host: the loopback address on which it listens.
        port: where it listens; the same after each start.
        user: the one account.
        password: its password.
        root: the folder that the account sees as ``/``. What the tests put there by hand belongs to them,
            and the account can read it; ``put``, ``make_folder`` and ``adopt`` give things to the account.
        ca_file: who signed its certificate, for a TLS client to trust; None without TLS.
        log: what it wrote; vsftpd, proftpd and pyftpdlib write down every command.
    """

    kind: Kind
    host: str
    port: int
    user: str
    password: str
    root: Path
    ca_file: Path | None
    log: Path
    _daemon: Daemon = field(repr=False)
    _owner: tuple[int, int] | None = field(repr=False)

    @property
    def pid(self) -> int:
        """The process that listens."""
        return self._daemon.pid

    def stop(self) -> None:
        """End the server and with it every session; connections are refused from now on."""
        self._daemon.kill()

    def start(self) -> None:
        """Start the server again after a ``stop``, on the same port, with the same folder."""
        self._daemon.start()

    def freeze(self) -> None:
        """Let every session, and the listener, fall silent without closing anything."""
        self._daemon.freeze()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._daemon.thaw()

    def put(self, path: str, data: bytes = b"") -> Path:
        """Write a file that the account owns, parents included; ``path`` is as the account sees it."""
        target = self._local(path)
        self.make_folder(str(Path(path).parent))
        target.write_bytes(data)
        return self.adopt(target)

    def make_folder(self, path: str) -> Path:
        """Make a folder that the account owns, parents included; ``path`` is as the account sees it."""
        target = self._local(path)
        for folder in (*reversed(target.relative_to(self.root).parents), target.relative_to(self.root)):
            if not (self.root / folder).is_dir():
                (self.root / folder).mkdir()
                self.adopt(self.root / folder)
        return target

    def adopt(self, target: Path) -> Path:
        """Make the account the owner of a file or folder, and of all below it."""
        if self._owner is not None:
            for entry in (target, *(target.rglob("*") if target.is_dir() else ())):
                os.chown(entry, *self._owner, follow_symlinks=False)
        return target

    def _local(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a server is to be, before it is put into its own configuration's words."""

    host: str
    port: int
    folder: Path
    root: Path
    log: Path
    certificate: Path | None
    implicit: bool
    tls_version: TlsVersion | None
    session_reuse: bool
    max_clients: int | None
    max_per_ip: int | None
    idle_s: int | None
    rate_bytes_s: int | None
    writable: bool
    extra: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Command:
    argv: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def running_server(
    kind: Kind,
    folder: Path,
    *,
    tls: bool = False,
    implicit: bool = False,
    tls_version: TlsVersion | None = None,
    session_reuse: bool = True,
    host: str = "127.0.0.1",
    max_clients: int | None = None,
    max_per_ip: int | None = None,
    idle_s: int | None = None,
    rate_bytes_s: int | None = None,
    writable: bool = True,
    crowded: bool = False,
    extra: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """Run an FTP server until the block ends.

    Args:
        kind: which server.
        folder: where its configuration and its logs go.
        tls: whether it speaks TLS; then it takes no login and no data without.
        implicit: TLS from the first byte on (vsftpd and proftpd).
        tls_version: the only version it speaks; None: what it and its OpenSSL choose.
        session_reuse: whether a data connection must resume the control connection's TLS session, as is
            vsftpd's and proftpd's own default (the others never ask for it).
        host: ``127.0.0.1`` or ``::1``.
        max_clients: sessions in all. Beyond it all but proftpd answer the connection with 421, proftpd the
            login with 530.
        max_per_ip: sessions of one address, answered likewise.
        idle_s: idle time in seconds after which a session is ended; pure-ftpd rounds up to minutes.
        rate_bytes_s: bytes a second of each transfer.
        writable: whether the account may write into its root.
        crowded: whether others connect as soon as it listens, so that it is never seen without a session.
        extra: lines for vsftpd's or proftpd's configuration, arguments for pure-ftpd.

    Raises:
        MissingProgramError: the server is not there, or cannot be started by this user; says what to do.
        DaemonFailedError: it does not come up; says what it logged.
        ValueError: this server has no such option.
    """
    if implicit and (not tls or kind not in {"vsftpd", "proftpd"}):
        raise ValueError("implicit TLS is for vsftpd and proftpd, with tls=True")
    if extra and kind not in NEED_ROOT:
        raise ValueError(f"{kind} has no configuration to add to")
    owner = None
    if kind in NEED_ROOT:
        if os.geteuid() != 0:
            raise install.MissingProgramError(f"{kind} must be started by root: run these tests as root")
        account = install.server_account()
        owner = (account.pw_uid, account.pw_gid)
    folder.mkdir(parents=True, exist_ok=True)
    certificate = _certificate(folder) if tls else None
    # Not below `folder`: pytest's temporary folders are closed to every other user, the account included.
    root = Path(tempfile.mkdtemp(prefix="pooler-ftp-"))
    try:
        root.chmod(0o755)
        plan = _Plan(
            host=host,
            port=free_port(host),
            folder=folder,
            root=root,
            log=folder / f"{kind}.log",
            certificate=certificate,
            implicit=implicit,
            tls_version=tls_version,
            session_reuse=session_reuse,
            max_clients=max_clients,
            max_per_ip=max_per_ip,
            idle_s=idle_s,
            rate_bytes_s=rate_bytes_s,
            writable=writable,
            extra=extra,
        )
        command = _COMMANDS[kind](plan)
        daemon = Daemon(
            command.argv,
            folder=folder,
            log=plan.log,
            environment=command.environment,
            # Then the session of that look has ended too, and does not count as a client.
            ready=[lambda: _greets(plan), lambda: crowded or not daemon.children()],
        )
        server = RunningServer(
            kind=kind,
            host=host,
            port=plan.port,
            user=install.ACCOUNT,
            password=install.PASSWORD,
            root=root,
            ca_file=folder / "ca.pem" if tls else None,
            log=plan.log,
            _daemon=daemon,
            _owner=owner,
        )
        if writable:
            server.adopt(root)
        daemon.start()
        try:
            yield server
        finally:
            daemon.kill()
    finally:
        shutil.rmtree(root)


def _vsftpd(plan: _Plan) -> _Command:
    program = install.server_program("vsftpd")
    empty = plan.folder / "empty"
    empty.mkdir(exist_ok=True)
    own = "listen_ipv6" if ":" in plan.host else "listen"
    address = "listen_address6" if ":" in plan.host else "listen_address"
    lines = [
        f"{own}=YES",
        f"{'listen' if own == 'listen_ipv6' else 'listen_ipv6'}=NO",
        f"{address}={plan.host}",
        f"listen_port={plan.port}",
        "background=NO",
        "anonymous_enable=NO",
        "local_enable=YES",
        "write_enable=YES",
        "local_umask=022",
        f"local_root={plan.root}",
        "chroot_local_user=YES",
        "allow_writeable_chroot=YES",
        f"pam_service_name={install.PAM_SERVICE}",
        f"secure_chroot_dir={empty}",
        # The sandboxes cost a process or a namespace each session, and containers often forbid them.
        "seccomp_sandbox=NO",
        "isolate=NO",
        "isolate_network=NO",
        "xferlog_enable=YES",
        "log_ftp_protocol=YES",
        f"vsftpd_log_file={plan.log}",
        f"max_clients={plan.max_clients or 0}",
        f"max_per_ip={plan.max_per_ip or 0}",
        f"local_max_rate={plan.rate_bytes_s or 0}",
    ]
    if plan.idle_s:
        lines.append(f"idle_session_timeout={plan.idle_s}")
    if plan.certificate:
        lines += [
            "ssl_enable=YES",
            f"rsa_cert_file={plan.certificate}",
            "ssl_ciphers=HIGH",
            f"implicit_ssl={_yes(plan.implicit)}",
            f"require_ssl_reuse={_yes(plan.session_reuse)}",
        ]
    conf = plan.folder / "vsftpd.conf"
    conf.write_text("\n".join([*lines, *plan.extra, ""]))
    return _Command([program, conf], _openssl_environment(plan))


def _proftpd(plan: _Plan) -> _Command:
    program = install.server_program("proftpd")
    account = install.server_account()
    users = plan.folder / "proftpd.passwd"
    users.write_text(
        f"{install.ACCOUNT}:{install.PASSWORD_HASH}:{account.pw_uid}:{account.pw_gid}::{plan.root}:/bin/false\n"
    )
    users.chmod(0o600)
    lines = [
        'ServerName "pooler tests"',
        "ServerType standalone",
        f"DefaultAddress {plan.host}",
        "SocketBindTight on",
        f"Port {plan.port}",
        "User nobody",
        "Group nogroup",
        f"ModulePath {program.parents[1] / 'lib' / 'proftpd'}",
        "LoadModule mod_tls.c",
        "LoadModule mod_digest.c",
        "AuthOrder mod_auth_file.c",
        f"AuthUserFile {users}",
        "RequireValidShell off",
        "UseReverseDNS off",
        "DefaultRoot ~",
        "Umask 022",
        "AllowOverwrite on",
        "AllowStoreRestart on",
        "AllowRetrieveRestart on",
        "DelayEngine off",
        "WtmpLog off",
        "TransferLog none",
        f"SystemLog {plan.log}",
        'LogFormat commands "%P %r -> %s"',
        f"ExtendedLog {plan.log} ALL commands",
        f"PidFile {plan.folder / 'proftpd.pid'}",
        f"ScoreboardFile {plan.folder / 'proftpd.scoreboard'}",
    ]
    if plan.max_clients:
        lines.append(f"MaxClients {plan.max_clients}")
    if plan.max_per_ip:
        lines.append(f"MaxClientsPerHost {plan.max_per_ip}")
    if plan.idle_s:
        lines.append(f"TimeoutIdle {plan.idle_s}")
    if plan.rate_bytes_s:
        lines.append(f"TransferRate APPE,RETR,STOR,STOU {plan.rate_bytes_s / 1024:.3f}")
    if plan.certificate:
        options = [
            *(["UseImplicitSSL"] if plan.implicit else []),
            *([] if plan.session_reuse else ["NoSessionReuseRequired"]),
        ]
        lines += [
            "TLSEngine on",
            "TLSRequired on",
            f"TLSRSACertificateFile {plan.certificate}",
            f"TLSRSACertificateKeyFile {plan.certificate}",
            f"TLSLog {plan.folder / 'proftpd.tls.log'}",
            f"TLSProtocol {(plan.tls_version or 'TLSv1.2 TLSv1.3').replace('v1 ', 'v1.0 ')}",
            *([f"TLSOptions {' '.join(options)}"] if options else []),
        ]
    conf = plan.folder / "proftpd.conf"
    conf.write_text("\n".join([*lines, *plan.extra, ""]))
    return _Command([program, "-n", "-q", "-c", conf])


def _pure_ftpd(plan: _Plan) -> _Command:
    program = install.server_program("pure-ftpd")
    account = install.server_account()
    users = plan.folder / "pure-ftpd.passwd"
    users.write_text(
        f"{install.ACCOUNT}:{install.PASSWORD_HASH}:{account.pw_uid}:{account.pw_gid}::{plan.root}/./::::::::::::\n"
    )
    database = plan.folder / "pure-ftpd.pdb"
    pure_pw = program.parents[1] / "bin" / "pure-pw"
    subprocess.run([pure_pw, "mkdb", database, "-f", users], check=True, capture_output=True)
    argv: list[str | Path] = [
        *(program, "-S", f"{plan.host},{plan.port}"),
        *("-l", f"puredb:{database}"),
        *("-A", "-E", "-H", "-u", "1"),
        *("-g", plan.folder / "pure-ftpd.pid"),
        *("-O", f"clf:{plan.log}"),
        *("-c", str(plan.max_clients or 500)),
    ]
    if plan.max_per_ip:
        argv += ["-C", str(plan.max_per_ip)]
    if plan.idle_s:
        argv += ["-I", str(-(-plan.idle_s // 60))]
    if plan.rate_bytes_s:
        kilobytes = max(1, plan.rate_bytes_s // 1024)
        argv += ["-T", f"{kilobytes}:{kilobytes}"]
    if plan.certificate:
        argv += ["-Y", "3", "-2", plan.certificate]
    return _Command([*argv, *plan.extra], _openssl_environment(plan))


def _pyftpdlib(plan: _Plan) -> _Command:
    return _of_ours(
        "pyftpd", plan, max_per_ip=plan.max_per_ip, idle_s=plan.idle_s, rate_bytes_s=plan.rate_bytes_s
    )


def _own(plan: _Plan) -> _Command:
    if plan.max_per_ip or plan.idle_s or plan.rate_bytes_s:
        raise ValueError("the server of our own bounds its clients alone")
    return _of_ours("own_server", plan)


def _of_ours(module: str, plan: _Plan, **more: int | None) -> _Command:
    """Run a module that stands beside this one."""
    settings = {
        "host": plan.host,
        "port": plan.port,
        "user": install.ACCOUNT,
        "password": install.PASSWORD,
        "root": str(plan.root),
        "certificate": plan.certificate and str(plan.certificate),
        "tls_version": plan.tls_version,
        "max_clients": plan.max_clients,
        "writable": plan.writable,
    }
    argv = [sys.executable, "-m", f"tests.support.{module}", json.dumps(settings | more)]
    return _Command(argv, {"PYTHONPATH": str(install.ROOT)})


_COMMANDS: Mapping[Kind, Callable[[_Plan], _Command]] = {
    "vsftpd": _vsftpd,
    "proftpd": _proftpd,
    "pure-ftpd": _pure_ftpd,
    "pyftpdlib": _pyftpdlib,
    "own": _own,
}


@functools.cache
def certificate_authority() -> trustme.CA:
    """Return the one that signs every server's certificate in this process."""
    return trustme.CA(key_type=trustme.KeyType.RSA)


def _certificate(folder: Path) -> Path:
    """Write ``ca.pem`` and ``server.pem`` (key and certificate), and return the latter."""
    authority = certificate_authority()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    target = folder / "server.pem"
    # RSA, which every cipher list of every server takes.
    leaf = authority.issue_cert("127.0.0.1", "::1", "localhost", key_type=trustme.KeyType.RSA)
    target.touch(mode=0o600)
    leaf.private_key_and_cert_chain_pem.write_to_path(str(target))
    return target


def _openssl_environment(plan: _Plan) -> Mapping[str, str]:
    """Pin the TLS version of servers that have no setting for it, through OpenSSL's own configuration."""
    if plan.tls_version is None:
        return {}
    conf = plan.folder / "openssl.cnf"
    conf.write_text(
        "openssl_conf = init\n[init]\nssl_conf = modules\n[modules]\nsystem_default = defaults\n[defaults]\n"
        f"MinProtocol = {plan.tls_version}\nMaxProtocol = {plan.tls_version}\n"
    )
    return {"OPENSSL_CONF": str(conf)}


def _greets(plan: _Plan) -> bool:
    """Tell whether the server greets, and wait for the end of that session."""
    try:
        with contextlib.ExitStack() as stack:
            stream: socket.socket = stack.enter_context(socket.create_connection((plan.host, plan.port), 5.0))
            if plan.implicit:
                context = ssl.create_default_context(cafile=plan.folder / "ca.pem")
                stream = stack.enter_context(context.wrap_socket(stream, server_hostname=plan.host))
            greeted = stream.recv(512).startswith(b"220")
            stream.sendall(b"QUIT\r\n")
            while stream.recv(512):
                pass
            return greeted
    except OSError:
        return False


def _yes(value: bool) -> str:  # noqa: FBT001 - it only spells the value
    return "YES" if value else "NO"
