"""The files that an operator would write: config.yaml, connections.ini, passwords, a certificate."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import trustme

from pooler.config import Configuration, load
from pooler.demo.jobs import LOCAL
from pooler.demo.servers import HOST, FtpServer

CONFIG = "config.yaml"
CONNECTIONS = "connections.ini"
CA = "ca.pem"

_CONFIG = """\
kafka:
  bootstrap_servers: {bootstrap}
  commit_interval_ms: 200
  delivery: at_least_once  # the embedded broker only plays at transactions
  topic_checks: off  # and does not tell how its topics are set up
  retry_delays_seconds: []  # a server is away for seconds here: nobody has to be parked
  control_topic: ""  # nor keeps the newest record of each key: there is one process only
retry:  # a server is away for seconds here, not for hours
  base_backoff_ms: 200
  max_backoff_ms: 2000
circuit_breaker:
  failure_threshold: 3
  success_threshold: 1
  timeout_seconds: 2
api:
  host: {host}
  port: 0  # any that is free
  token_file: {tokens}
metrics:
  host: {host}
  port: 0
"""


def issue_certificate(folder: Path) -> Path:
    """Make an authority and a certificate for the loopback address.

    Args:
        folder: where the authority's certificate goes, as `CA`, for clients to trust.

    Returns:
        The file with the server's key and certificate.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / CA)
    certificate = folder / "server.pem"
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
    return certificate


def configure(
    folder: Path, bootstrap: str, local: Path, servers: Sequence[FtpServer], token: str
) -> Configuration:
    """Write the configuration, and load it as ``pooler run`` would.

    The environment is not looked at: what is set there is meant for another service.

    Args:
        folder: where the files go.
        bootstrap: the brokers.
        local: the local folder.
        servers: the remotes.
        token: for the admin API; it may do everything.
    """
    config, connections = folder / CONFIG, folder / CONNECTIONS
    tokens = folder / "tokens"
    tokens.write_text(f"admin:{hashlib.sha256(token.encode()).hexdigest()}:demo\n", "utf-8")
    words = {"bootstrap": bootstrap, "host": HOST, "tokens": str(tokens)}
    config.write_text(_CONFIG.format(**{name: json.dumps(word) for name, word in words.items()}), "utf-8")
    sections = [_section(folder, server) for server in servers]
    sections.append(f"[{LOCAL}]\ntype = local\nbase_path = {local}\n")
    connections.write_text("\n".join(sections), "utf-8")
    return load(config, connections, {})


def _section(folder: Path, server: FtpServer) -> str:
    password = folder / f"{server.name}.password"
    password.touch(mode=0o600)
    password.write_text(f"{server.password}\n", "utf-8")
    lines = [
        f"[{server.name}]",
        "type = ftp",
        f"host = {HOST}",
        f"port = {server.port}",
        f"user = {server.user}",
        f"pass_file = {password}",
    ]
    if server.certificate is not None:
        lines += ["explicit_tls = true", f"ca_file = {folder / CA}"]
    return "\n".join([*lines, ""])
