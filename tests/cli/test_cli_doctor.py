"""``pooler doctor``, beside a real FTP server, and where nothing is as it should be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.cli import exits
from pooler.cli.doctor.findings import Finding, worst
from tests.support.process import free_port
from tests.support.servers import RunningServer, running_server


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("s"), tls=request.param == "tls") as running:
        running.make_folder("/drop")
        yield running


class Clinic:
    """A configuration, and the doctor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "disk").mkdir()
        self._sections = [f"[local]\ntype = local\nbase_path = {folder / 'disk'}\n"]
        self._kafka = f"kafka:\n  bootstrap_servers: 127.0.0.1:{free_port()}\n  max_retries: 0\n"

    def add(self, name: str, server: RunningServer, **more: object) -> None:
        keys = {"host": server.host, "port": server.port, "user": server.user, "pass": server.password}
        if server.ca_file is not None:
            keys |= {"explicit_tls": "true", "ca_file": str(server.ca_file)}
        lines = "".join(f"{key} = {value}\n" for key, value in {**keys, **more}.items())
        self._sections.append(f"[{name}]\ntype = ftp\n{lines}")

    def ask(self, *words: str) -> tuple[int, str, str]:
        ini, yaml = self.folder / "c.ini", self.folder / "c.yaml"
        ini.write_text("\n".join(self._sections))
        ini.chmod(0o600)
        yaml.write_text(self._kafka)
        # A process of its own: it sets up the log of the whole process.
        command = [
            sys.executable,
            "-m",
            "pooler",
            "doctor",
            *words,
            "--config",
            str(yaml),
            "--connections",
            str(ini),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def findings(self, *words: str) -> tuple[int, list[Finding]]:
        code, out, _ = self.ask(*words, "-o", "json")
        return code, [Finding(**found) for found in json.loads(out)]


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def test_a_remote_in_good_health(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-a", server)
    code, found = clinic.findings("site-a", "--write", "/drop")
    assert code == exits.OK
    assert (found[1].status, found[1].subject) == ("ok", "remote site-a")
    assert found[1].text == f"login, listing, write, rename and removal at {server.host}:{server.port}"
    doubts = [finding.text for finding in found if finding.status == "warn"]
    assert doubts == ([] if server.ca_file else ["no TLS: the password and all files pass in plain text"])
    assert list((server.root / "drop").iterdir()) == []


def test_a_charset_that_has_no_hangul_is_a_doubt(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-a", server, charset="latin-1")
    code, found = clinic.findings("site-a", "--write", "/drop")
    assert code == exits.OK
    assert any(one.status == "warn" and one.text.startswith("a name in Hangul: ") for one in found)
    assert list((server.root / "drop").iterdir()) == []


def test_all_that_is_wrong_is_told_at_once(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-a", server)
    clinic.add("site-b", server, port=free_port())
    clinic.add("site-c", server, **{"pass": "open-sesame"})
    clinic.add("site-d", server, host="no-such-host.invalid")
    (clinic.folder / "disk").rmdir()
    code, found = clinic.findings()
    assert code == exits.FATAL
    by_subject = {finding.subject: finding for finding in found if finding.status != "warn"}
    assert {subject: (one.status, one.exit_code) for subject, one in by_subject.items()} == {
        "configuration": ("ok", exits.OK),
        "kafka": ("fail", exits.FATAL),
        "folder local": ("fail", exits.FATAL),
        "remote site-a": ("ok", exits.OK),
        "remote site-b": ("fail", exits.TEMPORARY),
        "remote site-c": ("fail", exits.JOBS_FAILED),
        "remote site-d": ("fail", exits.TEMPORARY),
    }
    assert "no-such-host.invalid" in by_subject["remote site-d"].text
    assert "open-sesame" not in json.dumps(found)


def test_a_part_alone(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-b", server, port=free_port())
    code, out, err = clinic.ask("--only", "folders")
    assert (code, err) == (exits.OK, "")
    assert [line.split(": ")[0].split(maxsplit=1) for line in out.splitlines()] == [
        ["ok", "configuration"], ["ok", "folder local"],
    ]  # fmt: skip
    assert list((clinic.folder / "disk").iterdir()) == []


def test_a_sheet_for_the_partner(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-a", server)
    code, out, _ = clinic.ask("site-a", "--report", "--write", "/drop")
    assert code == exits.OK
    lines = out.splitlines()
    assert lines[0] == "# site-a"
    assert "| a name in Hangul | ok |" in lines
    assert "| write, rename, remove | ok |" in lines
    (firewall,) = [line for line in lines if line.startswith("| firewall |")]
    assert f"from us to {server.host}:{server.port}, and to the server's passive ports (port " in firewall
    (tls,) = [line for line in lines if line.startswith("| TLS |")]
    assert tls.startswith("| TLS | explicit, TLSv1." if server.ca_file else "| TLS | none |")
    assert server.password not in out


def test_a_name_that_was_mistyped(clinic: Clinic, server: RunningServer) -> None:
    clinic.add("site-a", server)
    assert clinic.ask("site_a") == (exits.USAGE, "", "site_a: no such remote (did you mean site-a?)\n")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], exits.OK),
        ([exits.OK, exits.TEMPORARY], exits.TEMPORARY),
        ([exits.TEMPORARY, exits.JOBS_FAILED], exits.JOBS_FAILED),
        ([exits.JOBS_FAILED, exits.FATAL, exits.TEMPORARY], exits.FATAL),
    ],
)
def test_the_worst_counts(codes: list[int], expected: int) -> None:
    assert worst(Finding("ok", "x", "", code) for code in codes) == expected
