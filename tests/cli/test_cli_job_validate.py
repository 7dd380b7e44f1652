"""`pooler job validate`, `completion` and `-X`: what they print and how they end."""

import json
from pathlib import Path

import pytest

from pooler.cli import exits, main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.ini").write_text(
        f"[local]\ntype = local\nbase_path = {tmp_path}\n"
        "[far]\ntype = ftp\nhost = 127.0.0.1\nuser = u\npass = p\n"
    )
    (tmp_path / "c.ini").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def line(source: str, destination: str, **more: object) -> str:
    (src_id, src_path), (dst_id, dst_path) = source.split(":"), destination.split(":")
    return json.dumps(
        {"src_id": src_id, "src_path": src_path, "dst_id": dst_id, "dst_path": dst_path, **more}
    )


def run(*words: str) -> int:
    return main.main([*words, "--connections", "c.ini"])


def test_all_can_be_begun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "jobs").write_text(line("far:/a", "local:/a") + "\n" + line("local:/out/*", "far:/in/"))
    assert run("job", "validate", "jobs") == exits.OK
    assert capsys.readouterr().out == "2 of 2 jobs can be begun\n"


def test_those_that_cannot_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        line("far:/a", "local:/a"),
        "junk",
        line("far:/a", "nowhere:/a"),
        line("far:/a/", "local:/b"),
        line("far:/a", "local:/a", options={"overwritee": True}),
    ]
    (folder / "jobs").write_text("\n".join(lines))
    assert run("job", "validate", "jobs") == exits.JOBS_FAILED
    out, err = capsys.readouterr()
    assert out == "1 of 5 jobs can be begun\n"
    assert [one.split(": ")[1:3] for one in err.splitlines()] == [
        ["job 2", "no JSON object"],
        ["job 3", "UNKNOWN_REMOTE"],
        ["job 4", "INVALID_JOB"],
        ["job 5", "INVALID_JOB"],
    ]
    assert run("job", "validate", "jobs", "-o", "json") == exits.JOBS_FAILED
    found = json.loads(capsys.readouterr().out)
    assert (found["jobs"], [one["job"] for one in found["wrong"]]) == (5, [2, 3, 4, 5])


def test_a_list_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.is_dir()
    assert run("job", "validate", "missing") == exits.USAGE
    assert capsys.readouterr().err == "missing: No such file or directory\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["completion", shell]) == exits.OK
    out = capsys.readouterr().out
    assert "pooler" in out
    assert "doctor" in out


def test_a_setting_over_all_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert folder.is_dir()
    assert run("config", "dump", "-o", "json", "-X", "kafka.client_id=a=b") == exits.OK
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["kafka"]["client_id"]["value"] == "a=b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("kafka", "-X kafka: expected SECTION.KEY=VALUE\n"),
        ("kafka.client_idd=x", "not a known key (did you mean client_id?)\n"),
    ],
)
def test_an_override_that_cannot_be_meant(
    folder: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    assert folder.is_dir()
    assert run("config", "check", "-X", override) == exits.FATAL
    assert capsys.readouterr().err.endswith(said)


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["jbo"])
    assert caught.value.code == exits.USAGE
    out, err = capsys.readouterr()
    assert 'Did you mean "job"?' in out + err
