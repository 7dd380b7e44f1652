"""Safe for those who forget to read: what holds where nobody has said anything about it.

From the outside, by commands: what is checked, who is let in, and who else may read what is written.
"""

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from pooler.cli import exits
from pooler.config import load
from pooler.ops.http.app import create_app
from pooler.storage.control import FOLDER
from tests.support.servers import RunningServer, running_server
from tests.support.service_double import ServiceDouble

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PROBES = {"/health", "/live", "/livez", "/ready", "/readyz", "/stats"}


def command(*words: str, folder: Path) -> list[str]:
    files = ["--config", str(folder / "c.yaml"), "--connections", str(folder / "c.ini")]
    return [sys.executable, "-m", "pooler", *words, *files]


def pooler(*words: str, folder: Path, umask: int = -1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words, folder=folder),
        cwd=folder,
        env=ENVIRONMENT,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def configure(folder: Path, sections: str, settings: object = None) -> None:
    (folder / "c.yaml").write_text(json.dumps(settings or {}))
    (folder / "c.ini").write_text(sections)
    (folder / "c.ini").chmod(0o600)


def modes_below(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*"):
        # What the process removes meanwhile is nobody's to read.
        with suppress(FileNotFoundError):
            if not stat.S_ISLNK(mode := path.lstat().st_mode):
                yield str(path.relative_to(folder)), mode


@contextmanager
def listener(context: ssl.SSLContext) -> Iterator[int]:
    """Shake hands with whoever connects, and hang up."""

    def serve() -> None:
        while True:
            try:
                connection, _ = place.accept()
            except OSError:  # closed
                return
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

    with socket.create_server(("127.0.0.1", 0)) as place:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield place.getsockname()[1]
        finally:
            place.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("name", "trusted", "said"),
    [
        ("127.0.0.1", False, "its certificate is not trusted: unable to get local issuer certificate"),
        ("kafka.example", True, "its certificate is not trusted: IP address mismatch"),
    ],
)
def test_a_broker_s_certificate_and_its_name_are_checked(
    tmp_path: Path,
    name: str,
    trusted: bool,  # noqa: FBT001 - a parameter of the table
    said: str,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with listener(context) as port:
        kafka = {"bootstrap_servers": f"127.0.0.1:{port}", "security_protocol": "SSL", "max_retries": 0}
        kafka |= {"ssl_ca_location": str(tmp_path / "ca.pem")} if trusted else {}
        configure(tmp_path, f"[local]\ntype = local\nbase_path = {tmp_path}\n", {"kafka": kafka})
        (tmp_path / "jobs").write_text("")
        done = pooler("job", "submit", "jobs", folder=tmp_path)
    assert done.returncode == exits.FATAL
    assert said in done.stderr


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("server"), tls=True) as server:
        server.put("/a", b"data")
        yield server


def section(server: RunningServer, **more: object) -> str:
    keys = {"type": "ftp", "host": server.host, "port": server.port, "user": server.user}
    keys |= {"pass": server.password, "explicit_tls": "true", **more}
    return "[site]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def test_a_server_s_certificate_is_checked_and_gets_no_password(
    tmp_path: Path, secure: RunningServer
) -> None:
    configure(tmp_path, section(secure))
    logins = secure.log.read_text().count("USER")
    done = pooler("ftp", "ls", "site:/", folder=tmp_path)
    assert done.returncode != exits.OK
    assert "certificate" in done.stderr.lower()
    assert secure.log.read_text().count("USER") == logins
    configure(tmp_path, section(secure, ca_file=secure.ca_file))
    assert pooler("ftp", "ls", "site:/", folder=tmp_path).stdout == "a\n"


def test_what_nobody_has_set(tmp_path: Path) -> None:
    configure(tmp_path, "[site]\ntype = ftp\nhost = h\ntls = true\n")
    found = load(tmp_path / "c.yaml", tmp_path / "c.ini", {})
    [site] = found.connections.remotes
    assert (site.no_check_certificate, site.tls_min_version, site.resume_tls) == (False, "1.2", True)
    assert not site.trust_pasv_address
    assert found.settings.kafka.ssl_endpoint_identification_algorithm == "https"
    assert found.settings.kafka.delivery == "exactly_once"
    assert found.settings.api.token_file is None


async def test_no_route_is_open_to_others_without_a_token() -> None:
    app = create_app(ServiceDouble(), ())
    caller: Any = app.test_client()
    away = {"client": ("192.0.2.1", 1)}
    seen = set()
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<name>", "site-a").replace("<path:filename>", "page.js")
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE", "PATCH"}:
            answer = await caller.open(path, method=method, scope_base=away)
            if answer.status_code not in {401, 403}:
                seen.add(rule.rule)
    # What probes ask, the document that anybody may have, and the page, which has nothing in it by itself.
    assert {path for path in seen if path.startswith("/v1") or path == "/"} <= {"/", "/v1/openapi.json"}
    assert seen >= PROBES


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o027, 0o640, 0o750), (0o077, 0o600, 0o700)])
def test_the_umask_holds_for_all_that_is_written(
    tmp_path: Path, secure: RunningServer, umask: int, file: int, folder: int
) -> None:
    local = tmp_path / "data"
    local.mkdir(mode=0o700)
    local.chmod(0o755)
    configure(
        tmp_path, section(secure, ca_file=secure.ca_file) + f"[local]\ntype = local\nbase_path = {local}\n"
    )
    ends = {"src_id": "site", "src_path": "/a", "dst_id": "local", "dst_path": "/in/deep/a"}
    options = {"write_marker": True, "after": "none", "resume": True}
    with subprocess.Popen(
        command("copy", "-", folder=tmp_path),
        cwd=tmp_path, env=ENVIRONMENT, umask=umask, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**ends, "options": options}).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["status"] == "success", answer
        # While it goes on, its own files are there too.
        modes = dict(modes_below(local))
        process.stdin.close()
        assert process.wait(60) == exits.OK
    assert {"in/deep/a", "in/deep/a.ok", FOLDER} <= modes.keys()
    assert any(name.startswith(f"{FOLDER}/") for name in modes)
    for name, mode in modes.items():
        assert stat.S_IMODE(mode) == (folder if stat.S_ISDIR(mode) else file), name


def test_a_file_that_is_fetched_by_hand_is_nobody_s_to_run(tmp_path: Path, secure: RunningServer) -> None:
    configure(tmp_path, section(secure, ca_file=secure.ca_file))
    assert pooler("ftp", "get", "site:/a", folder=tmp_path, umask=0o027).returncode == exits.OK
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
