import socket
from pathlib import Path

import pytest

from pooler.config.remotes import FtpRemote
from pooler.demo.servers import FtpServer
from pooler.demo.setup import CA, configure, issue_certificate


@pytest.fixture
def servers(tmp_path: Path) -> list[FtpServer]:
    certificate = issue_certificate(tmp_path)
    return [
        FtpServer("plain", tmp_path, tmp_path / "log", None, 2001),
        FtpServer("secure", tmp_path, tmp_path / "log", certificate, 2002),
    ]


def test_the_remotes_are_the_servers(tmp_path: Path, servers: list[FtpServer]) -> None:
    connections = configure(tmp_path, "127.0.0.1:9092", tmp_path / "local", servers, "token").connections
    for server in servers:
        remote = connections[server.name]
        assert isinstance(remote, FtpRemote)
        assert (remote.host, remote.port, remote.user) == ("127.0.0.1", server.port, "demo")
        assert remote.password() == server.password
        assert remote.explicit_tls is (server.name == "secure")
        assert remote.ca_file == (tmp_path / CA if server.name == "secure" else None)
    assert [(folder.name, folder.path) for folder in connections.folders] == [("local", tmp_path / "local")]


def test_a_clean_configuration_on_loopback(tmp_path: Path, servers: list[FtpServer]) -> None:
    configuration = configure(tmp_path, "127.0.0.1:1,127.0.0.1:2", tmp_path, servers, "token")
    settings = configuration.settings
    assert configuration.warnings == ()
    assert settings.kafka.bootstrap_servers == ("127.0.0.1:1", "127.0.0.1:2")
    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 0)
    assert (settings.metrics.host, settings.metrics.port) == ("127.0.0.1", 0)


def test_the_environment_is_another_service_s(
    tmp_path: Path, servers: list[FtpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POOLER__KAFKA__BOOTSTRAP_SERVERS", f"{socket.gethostname()}:9092")
    settings = configure(tmp_path, "127.0.0.1:1", tmp_path, servers, "token").settings
    assert settings.kafka.bootstrap_servers == ("127.0.0.1:1",)


def test_nobody_else_reads_the_passwords(tmp_path: Path, servers: list[FtpServer]) -> None:
    configure(tmp_path, "127.0.0.1:1", tmp_path, servers, "token")
    assert (tmp_path / "plain.password").stat().st_mode & 0o077 == 0
