"""`pooler ftp` as a person gives it: a process of its own, beside a real FTP server."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pooler.cli import exits
from tests.support.process import free_port
from tests.support.servers import RunningServer, running_server
from tests.support.service import wait_until

ROOT = Path(__file__).parents[2]
LIMIT_S = 60
KOREAN = "한국어 보고서.csv"


@dataclass(slots=True)
class Shell:
    """A folder with a configuration, in which commands are given."""

    folder: Path

    def configure(self, server: RunningServer, *, section: str = "site", **more: object) -> None:
        keys: dict[str, object] = {
            "type": "ftp",
            "host": server.host,
            "port": server.port,
            "user": server.user,
            "pass": server.password,
            **({"explicit_tls": "true", "ca_file": server.ca_file} if server.ca_file else {}),
            **more,
        }
        lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
        text = f"[{section}]\n{lines}\n[local]\ntype = local\nbase_path = {self.folder}\n"
        (self.folder / "c.ini").write_text(text)
        (self.folder / "c.ini").chmod(0o600)
        (self.folder / "c.yaml").write_text("{}")

    def command(self, *words: str) -> list[str]:
        files = ["--config", "c.yaml", "--connections", "c.ini"]
        return [sys.executable, "-m", "pooler", "ftp", *words, *files]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}

    def run(self, *words: str, given: bytes = b"", **environment: str) -> "Result":
        done = subprocess.run(
            self.command(*words),
            input=given,
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    def start(self, *words: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def files(self) -> set[str]:
        return {found.name for found in self.folder.iterdir()} - {"c.ini", "c.yaml"}


@dataclass(frozen=True, slots=True)
class Result:
    """What a command answered."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("s"), tls=request.param == "tls") as running:
        running.put("/base/a", b"aaaa")
        running.put("/base/with  two spaces ", b"b")
        running.put(f"/base/{KOREAN}", b"a;b\n")
        running.make_folder("/base/below")
        yield running


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serve one folder of names that no terminal should see, and one of very many names."""
    with running_server("pyftpdlib", tmp_path_factory.mktemp("s")) as running:
        folder = running.make_folder("/odd")
        for name in (b"bell\x07esc\x1b[31m", b"back\\slash", "\u202eright".encode(), "é한".encode()):
            (folder / os.fsdecode(name)).touch()
        many = running.make_folder("/many")
        for number in range(5000):
            (many / f"{number:05}-{'x' * 60}").touch()
        yield running


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("s"), rate_bytes_s=500_000) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


# ---- ls, stat, rm -----------------------------------------------------------------------------------------


def test_names_are_listed(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base")
    result = shell.run("ls", "site:")
    assert (result.code, result.err) == (exits.OK, "")
    assert {"a", "with  two spaces ", KOREAN, "below"} <= set(result.lines)
    assert shell.run("ls", "site:/below/").out == b""


def test_a_long_listing(shell: Shell, server: RunningServer) -> None:
    shell.configure(server)
    lines = shell.run("ls", "-l", "site:base").lines
    (of_file,) = [line for line in lines if line.endswith(" a")]
    kind, size, time, _ = of_file.split()
    assert (kind, size, time[-1], len(time)) == ("file", "4", "Z", 20)
    (of_folder,) = [line for line in lines if line.endswith(" below")]
    assert of_folder.split()[:2] == ["folder", "-"]


def test_a_listing_as_json(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base")
    found = {entry["name"]: entry for entry in shell.run("ls", "-o", "json", "site:/").json}
    assert (found[KOREAN]["kind"], found[KOREAN]["size_bytes"]) == ("file", 4)
    assert found[KOREAN]["modified"].endswith("Z")
    assert found["below"]["kind"] == "folder"


def test_a_file_is_looked_at(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base")
    (found,) = shell.run("stat", f"site:{KOREAN}", "--output", "json").json
    assert (found["path"], found["size_bytes"]) == (f"/base/{KOREAN}", 4)
    assert found["modified"].endswith("Z")
    assert shell.run("stat", "site:a").lines[1].split() == ["size_bytes", "4"]


def test_a_file_is_removed(shell: Shell, server: RunningServer) -> None:
    shell.configure(server)
    gone = server.put("/gone/a b", b"x")
    assert shell.run("rm", "site:gone/a b") == Result(exits.OK, b"", "")
    assert not gone.exists()
    assert shell.run("rm", "site:gone/a b").code == exits.JOBS_FAILED


def test_no_name_is_a_command_to_the_terminal(shell: Shell, odd: RunningServer) -> None:
    shell.configure(odd)
    result = shell.run("ls", "site:odd")
    expected = {r"bell\x07esc\x1b[31m", r"back\\slash", r"\u202eright", "é한"}
    assert set(result.lines) == expected
    in_ascii = shell.run("ls", "site:odd", PYTHONIOENCODING="ascii")
    assert set(in_ascii.lines) == expected - {"é한"} | {r"\u00e9\ud55c"}
    names = {entry["name"] for entry in shell.run("ls", "site:odd", "-o", "json").json}
    assert names == {"bell\x07esc\x1b[31m", r"back\slash", "\u202eright", "é한"}
    error = shell.run("stat", "site:odd/none\x1b[31m")
    assert (error.code, "\x1b" in error.err, r"none\x1b[31m" in error.err) == (exits.JOBS_FAILED, False, True)


def test_bytes_that_are_no_text_are_escaped(shell: Shell, odd: RunningServer) -> None:
    shell.configure(odd, charset="ascii")
    assert rb"\xc3\xa9\xed\x95\x9c" in shell.run("ls", "site:odd").out.splitlines()
    (korean,) = [
        entry["name"] for entry in shell.run("ls", "site:odd", "-o", "json").json if len(entry["name"]) == 5
    ]
    assert os.fsencode(korean) == "é한".encode()


def test_the_reader_of_a_listing_goes_away(shell: Shell, odd: RunningServer) -> None:
    shell.configure(odd)
    with shell.start("ls", "site:many", "-o", "json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT_S) == exits.OTHER


# ---- get and put ------------------------------------------------------------------------------------------


def test_a_file_comes_and_goes(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base")
    data = os.urandom(1_500_000)
    (shell.folder / KOREAN).write_bytes(data)
    assert shell.run("put", KOREAN, "site:/in new/") == Result(exits.OK, b"", "")
    assert [found.name for found in (server.root / "base/in new").iterdir()] == [KOREAN]
    assert (server.root / "base/in new" / KOREAN).read_bytes() == data
    assert shell.run("get", f"site:in new/{KOREAN}", "deep/down") == Result(exits.OK, b"", "")
    assert (shell.folder / "deep/down").read_bytes() == data
    (shell.folder / KOREAN).write_bytes(b"what was there")
    assert shell.run("get", f"site:in new/{KOREAN}").code == exits.OK
    assert (shell.folder / KOREAN).read_bytes() == data
    assert shell.files() == {KOREAN, "deep"}


def test_a_file_goes_as_its_remote_wants_it(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base", temp_name="/tmp/{name}.{token}")
    (shell.folder / "f").write_bytes(b"four")
    assert shell.run("put", "f", "site:/wanted/f") == Result(exits.OK, b"", "")
    assert (server.root / "base/wanted/f").read_bytes() == b"four"
    # It was made for the file on its way.
    assert list((server.root / "base/tmp").iterdir()) == []


def test_a_file_comes_and_goes_through_pipes(shell: Shell, server: RunningServer) -> None:
    shell.configure(server)
    data = os.urandom(1_500_000)
    assert shell.run("put", "-", "site:piped/a b", given=data) == Result(exits.OK, b"", "")
    assert [found.name for found in (server.root / "piped").iterdir()] == ["a b"]
    assert shell.run("get", "site:piped/a b", "-") == Result(exits.OK, data, "")
    assert shell.run("put", "-", "site:piped/a b") == Result(exits.OK, b"", "")
    assert shell.run("get", "site:piped/a b", "-") == Result(exits.OK, b"", "")


def test_what_is_no_file_is_not_replaced(shell: Shell, server: RunningServer) -> None:
    shell.configure(server)
    os.mkfifo(shell.folder / "fifo")
    result = shell.run("get", "site:base/a", "fifo")
    assert (result.code, result.err) == (exits.OTHER, "fifo: not a regular file\n")
    assert shell.files() == {"fifo"}


def test_progress_is_for_a_terminal(shell: Shell, server: RunningServer) -> None:
    shell.configure(server)
    ours, theirs = pty.openpty()
    with shell.start("get", "site:base/a", "-", stderr=theirs) as process:
        assert process.communicate(timeout=LIMIT_S)[0] == b"aaaa"
    os.close(theirs)
    shown = os.read(ours, 4096)
    os.close(ours)
    assert shown.startswith(b"\ra  0.0 MB")
    assert shown.endswith(b"\n")


def test_an_interrupted_get_leaves_nothing(shell: Shell, slow: RunningServer) -> None:
    shell.configure(slow)
    slow.put("/big", b"x" * 50_000_000)
    with shell.start("get", "site:big") as process:
        wait_until(
            lambda: process.poll() is not None or any(name.endswith(".part") for name in shell.files()),
            "the part to be there",
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (exits.INTERRUPTED, b"", b"")
    assert shell.files() == set()


@pytest.mark.parametrize("local", ["big", "-"])
def test_an_interrupted_put_leaves_nothing(shell: Shell, slow: RunningServer, local: str) -> None:
    shell.configure(slow)
    (shell.folder / "big").write_bytes(b"x" * 50_000_000)
    with shell.start("put", local, "site:in/big") as process:
        if local == "-":
            assert process.stdin is not None
            process.stdin.write(b"x")
            process.stdin.flush()
        wait_until(
            lambda: process.poll() is not None or bool(list(slow.root.glob("in/*.part"))),
            "the part to be there",
        )
        process.send_signal(signal.SIGINT)
        # Its standard input is still open.
        code = process.wait(LIMIT_S)
        assert process.stderr is not None
        assert (code, process.stderr.read()) == (exits.INTERRUPTED, b"")
    assert list(slow.root.glob("in/*")) == []


def test_the_reader_of_a_file_goes_away(shell: Shell, slow: RunningServer) -> None:
    shell.configure(slow)
    slow.put("/big", b"x" * 50_000_000)
    with shell.start("get", "site:big", "-") as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.wait(LIMIT_S) == exits.OTHER


def test_a_file_that_is_cut_on_its_way_is_no_whole_one(shell: Shell, slow: RunningServer) -> None:
    shell.configure(slow)
    cut = slow.put("/cut", b"x" * 2_000_000)
    with shell.start("get", "site:cut", "-") as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        os.truncate(cut, 1_500_000)
        _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (exits.TEMPORARY, b"1500000 bytes arrived, the server has 2000000\n")


# ---- probe ------------------------------------------------------------------------------------------------


def test_a_probe(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/base")
    (found,) = shell.run("probe", "site", "-o", "json", "--write", "probed").json
    assert found["address"] == f"{server.host}:{server.port}"
    assert (found["listing"], found["write"], found["mlsd"], found["epsv"]) == ("ok", "ok", True, True)
    assert found["passive_port"] > 1023
    assert "MLST" in str(found["features"])
    if server.ca_file:
        assert found["tls_version"].startswith("TLSv1.")
        assert found["tls_cipher"].startswith(("TLS_", "ECDHE-"))
        assert found["certificate_days_left"] > 1
        assert found["certificate_not_after"].endswith("Z")
    else:
        assert found["tls_version"] is None
        assert found["tls_cipher"] is None
    assert found["tls_weakness"] is None
    assert list((server.root / "base/probed").iterdir()) == []
    lines = shell.run("probe", "site:").lines
    assert ["listing", "ok"] in [line.split() for line in lines]
    assert not [line for line in lines if line.startswith("write")]


def test_a_probe_that_cannot_list(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, base_path="/none")
    result = shell.run("probe", "site", "-o", "json")
    assert result.code == exits.JOBS_FAILED
    assert result.json[0]["listing"] in result.err
    assert result.json[0]["remote"] == "site"


def test_a_probe_that_may_not_write(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server("pyftpdlib", tmp_path_factory.mktemp("s"), writable=False) as server:
        shell.configure(server)
        result = shell.run("probe", "site", "-o", "json", "--write", "/")
    assert result.code == exits.JOBS_FAILED
    assert (result.json[0]["listing"], "STOR" in result.json[0]["write"]) == ("ok", True)


# ---- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["ls", "site:none"], ["stat", "site:none"], ["get", "site:none"], ["put", "none", "site:x"]]
)
def test_a_missing_file(shell: Shell, server: RunningServer, words: Sequence[str]) -> None:
    shell.configure(server)
    result = shell.run(*words)
    assert (result.code, result.out) == (exits.JOBS_FAILED, b"")
    assert "none" in result.err
    assert shell.files() == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ls", "sites:"], "sites: no such remote (did you mean site?)\n"),
        (["ls", "local:"], "local: a local folder, not a server\n"),
        (["ls", "site"], "site: expected REMOTE:PATH\n"),
        (["ls", "site:../up"], "site:../up: leaves the root\n"),
        (["get", "site:below/"], "site:below/: names a folder, not a file\n"),
        (["put", "-", "site:below/"], "site:below/: names a folder, not a file\n"),
        (["probe", "site", "--write", ".."], "site:..: leaves the root\n"),
    ],
)
def test_what_cannot_be_meant(shell: Shell, odd: RunningServer, words: Sequence[str], expected: str) -> None:
    shell.configure(odd)
    assert shell.run(*words) == Result(exits.USAGE, b"", expected)


def test_a_wrong_password(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, **{"pass": "not-the-one"})
    result = shell.run("ls", "site:")
    assert (result.code, result.out) == (exits.JOBS_FAILED, b"")
    assert "530" in result.err
    assert "not-the-one" not in result.err


def test_a_server_that_is_not_there(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, port=free_port())
    result = shell.run("ls", "site:")
    assert (result.code, result.out) == (exits.TEMPORARY, b"")
    assert result.err


def test_a_configuration_that_cannot_be_used(shell: Shell, server: RunningServer) -> None:
    shell.configure(server, no_such_key="x")
    assert shell.run("ls", "site:").code == exits.FATAL
