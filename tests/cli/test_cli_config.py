import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from pooler.cli import exits, main
from pooler.errors import BusError, ConfigError, ConnectError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with none of the pooler's variables set."""
    monkeypatch.chdir(tmp_path)
    for name in ("POOLER_CONFIG", "POOLER_CONNECTIONS", "FTP_POOLER_CONFIG", "FTP_POOLER_CONNECTIONS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_configuration_without_a_mistake(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.ini").write_text(
        "[a]\ntype = ftp\nhost = h\nuser = u\n[b]\ntype = ftp\nhost = h\nuser = u\ntls = 1\n"
        "no_check_certificate = true\n[d]\ntype = alias\nremote = /d\n"
    )
    assert main.main(["config", "check", "--connections", "c.ini"]) == exits.OK
    out, err = capsys.readouterr()
    assert out == "ok: 2 remotes, 1 local folder\n"
    assert err == (
        "warning: c.ini:10:24: b.no_check_certificate: "
        "anybody on the way can pose as the server and read everything\n"
    )


def test_every_mistake_has_a_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text("api:\n  port: x\n  prot: 1\n")
    (here / "c.ini").write_text("[a]\ntype = sftp\n")
    assert main.main(["config", "check", "--config", "c.yaml", "--connections", "c.ini"]) == exits.FATAL
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "c.yaml:2:9: api.port: expected a whole number, got 'x'",
        "c.yaml:3:3: api.prot: not a known key (did you mean port?)",
        "c.ini:2:8: a.type: 'sftp' is not supported by this version: expected ftp, local or alias",
    ]


def test_the_environment_of_the_process_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POOLER__API__PORT", "x")
    assert main.main(["config", "check"]) == exits.FATAL
    assert capsys.readouterr().err == "POOLER__API__PORT: api.port: expected a whole number, got 'x'\n"


@pytest.mark.parametrize("words", [["no-such"], ["config", "no-such"], ["config", "check", "--no-such"]])
def test_a_command_line_that_is_not_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(words)
    assert caught.value.code == exits.USAGE
    assert capsys.readouterr().out == ""


def test_help_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == exits.OK
    out = capsys.readouterr().out
    for name, _, words in main.GROUPS:
        assert name in out
        assert words in out


@pytest.mark.parametrize("group", [name for name, _, _ in main.GROUPS])
def test_every_group_can_be_imported(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([group, "--help"]) == exits.OK
    assert f"pooler {group}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"ftp-pooler": "1.2.3"}.__getitem__)
    assert main.main(["version"]) == exits.OK
    assert capsys.readouterr().out == "pooler 1.2.3\n"
    main.main(["--version"])
    assert capsys.readouterr().out == "1.2.3\n"


def test_version_imports_neither_settings_nor_trio() -> None:
    code = (
        "import sys; from pooler.cli.main import main; main(['version']);"
        "print(sorted({'pydantic', 'trio', 'aiokafka', 'pooler.config'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_copy_imports_neither_kafka_nor_http() -> None:
    code = "import sys, pooler.cli.copy; print(sorted({'aiokafka', 'quart', 'hypercorn'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_module_runs_as_a_program() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "pooler", "config", "check", "--config", "/no/such"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exits.FATAL
    assert done.stderr == "/no/such: cannot be read: No such file or directory\n"


def test_a_reader_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with a buffer there is something left at the end
    process = subprocess.Popen(
        [sys.executable, "-m", "pooler", "version"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate()
    assert process.returncode == exits.OTHER
    assert err == b""


def raising(error: BaseException) -> Callable[[object], None]:
    def command(_: object) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError("one", "two"), exits.FATAL, "one\ntwo\n"),
        (BusError("no broker"), exits.FATAL, "no broker\n"),
        (ConnectError("nobody there"), exits.OTHER, "nobody there\n"),
        (KeyboardInterrupt(), exits.INTERRUPTED, ""),
        (ExceptionGroup("", [ExceptionGroup("", [BusError("x")]), BusError("x")]), exits.FATAL, "x\n"),
        (ExceptionGroup("", [ConnectError("x"), ConfigError("y")]), exits.FATAL, "x\ny\n"),
        (ExceptionGroup("", [ConnectError("x")]), exits.OTHER, "x\n"),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), exits.INTERRUPTED, ""),
    ],
)
def test_an_error_becomes_a_code(
    error: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main, "app", raising(error))
    assert main.main([]) == code
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), ExceptionGroup("", [BusError("x"), ZeroDivisionError()])]
)
def test_a_bug_stays_loud(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "app", raising(error))
    with pytest.raises(type(error)):
        main.main([])


def test_a_command_gives_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "app", lambda _: exits.JOBS_FAILED)
    assert main.main([]) == exits.JOBS_FAILED


def test_what_holds_and_where_it_comes_from(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "c.yaml").write_text(
        "kafka:\n  security_protocol: SASL_SSL\n  sasl_mechanism: PLAIN\n  sasl_username: u\n"
        "  sasl_password: kafka-word\npool:\n  prewarm_enabled: false\n"
        "  bandwidth: 10M\n"
    )
    (here / "c.ini").write_text(
        "[a]\ntype = ftp\nhost = h\nuser = u\npass = ftp-word\naccount = account-word\ncharset = cp949\n"
        "socks_proxy = me:proxy-word@p:1080\n[d]\ntype = alias\nremote = /d\n"
    )
    monkeypatch.setenv("POOLER__API__PORT", "8181")
    words = ["config", "dump", "--config", "c.yaml", "--connections", "c.ini"]
    assert main.main(words) == exits.OK
    text = capsys.readouterr().out
    lines = text.splitlines()
    for line in (
        "  prewarm_enabled: false  # c.yaml:7:20",
        '  bandwidth: "10485760B"  # c.yaml:8:14',
        "  port: 8181  # POOLER__API__PORT",
        "  keepalive_seconds: 30.0  # default",
        '  sasl_password: "**********"  # c.yaml:5:18',
        "# [a]", "# host = h", "# charset = cp949", "# [d] /d",
    ):  # fmt: skip
        assert line in lines
    assert not any(line.startswith("# port") for line in lines)
    assert main.main([*words, "-o", "json"]) == exits.OK
    document = capsys.readouterr().out
    found = json.loads(document)
    assert found["settings"]["api"]["port"] == {"value": 8181, "from": "POOLER__API__PORT"}
    for secret in ("kafka-word", "ftp-word", "account-word", "proxy-word"):
        assert secret not in text + document
    # What is shown is a configuration again.
    (here / "again.yaml").write_text(text)
    monkeypatch.delenv("POOLER__API__PORT")
    assert (
        main.main(["config", "dump", "--config", "again.yaml", "--connections", "c.ini", "-o", "json"]) == 0
    )
    again = json.loads(capsys.readouterr().out)
    for section, keys in found["settings"].items():
        assert {key: one["value"] for key, one in keys.items()} == {
            key: one["value"] for key, one in again["settings"][section].items()
        }


def test_the_schema_takes_the_example_and_not_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["config", "schema"]) == exits.OK
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    example = YAML(typ="safe").load(Path(__file__).parents[2] / "etc" / "config.yaml")
    assert list(validator.iter_errors(example)) == []
    for right in ({"pool": {"bandwidth": "10M"}}, {"kafka": {"bootstrap_servers": "a:1,b:2"}}):
        assert list(validator.iter_errors(right)) == []
    wrongs: tuple[object, ...] = ({"api": {"prot": 1}}, {"pool": {"bandwidth": 10}}, {"pol": {}})
    for wrong in wrongs:
        assert list(validator.iter_errors(wrong)) != []
