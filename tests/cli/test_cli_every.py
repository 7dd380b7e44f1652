"""What holds for every command there is: found by walking the application, so that none is forgotten."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from pooler.cli import exits, main
from tests.support.command import Command
from tests.support.process import free_port

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text("utf-8")
OF_ITS_OWN = {
    "run": "it prints a log",
    "demo": "it is for people",
    "copy": "its results are JSON lines",
    "job import": "it writes files, and tells of them on the standard error",
    **dict.fromkeys(("ftp get", "ftp put", "ftp rm"), "they print no data but a file's own"),
    "openapi": "it is JSON",
    "schema": "it writes JSON files, or lists their names",
    "config schema": "it is JSON",
    "config reference": "it is Markdown",
    "completion": "it is a shell's own language",
}
"""Commands without ``-o json``, and why they need none."""


def walk(app: App, *names: str) -> Iterator[tuple[str, App]]:
    below = [name for name in app if not name.startswith("-")]
    if not below:
        yield " ".join(names), app
    for name in below:
        yield from walk(app[name], *names, name)


COMMANDS = dict(walk(main.app))
GROUPS = {name.rpartition(" ")[0] for name in COMMANDS}


def documented() -> dict[str, set[int]]:
    """Read the table of commands in docs/cli.md: with what each exits."""
    found: dict[str, set[int]] = {}
    for row in re.findall(r"^\| (`.*) \| .* \| ([\d, ]+) \|$", TEXT, re.MULTILINE):
        group = ""
        for word in re.findall(r"`([^`]+)`", row[0]):
            names = [name for name in word.split() if name.islower()]
            # Behind the first one of a row others may stand without their group.
            name = " ".join(names if not group or len(names) > 1 else (group, *names))
            group = group or names[0]
            every = [one for one in COMMANDS if word.endswith("…") and one.startswith(f"{group} ")]
            for one in every or [name]:
                found[one] = {int(code) for code in row[1].split(",")}
    return found


def test_the_walk_finds_what_there_is() -> None:
    assert {"run", "job submit", "remote bandwidth", "config check", "debug bundle", "version"} <= set(
        COMMANDS
    )


def test_docs_say_with_what_each_exits_and_so_does_the_program() -> None:
    # Any command may do these; the page says so above its table.
    found = {name: codes | exits.ANY for name, codes in documented().items()}
    assert found == exits.CODES
    assert set(exits.CODES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main.main([*name.split(), "--help"]))
    assert ended.value.code in {exits.OK, None}
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: pooler {name}")
    # All that its docstring says of it, and of each option.
    doc = COMMANDS[name].default_command.__doc__ or ""
    said = " ".join(doc.partition("Args:")[0].replace("``", "").split())
    assert said
    assert said.partition(". ")[0].rstrip(".") in " ".join(out.split())
    for argument in COMMANDS[name].assemble_argument_collection(parse_docstring=True):
        if argument.show:
            assert argument.parameter.help, (name, argument.names)
    assert f"Exits with 0: done{';' if len(exits.CODES[name]) > 1 else '.'}" in " ".join(out.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_json_where_it_prints_data(name: str) -> None:
    names = {name for argument in COMMANDS[name].assemble_argument_collection() for name in argument.names}
    assert ({"-o", "--output"} <= names) == (name not in OF_ITS_OWN)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_there_is_not(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([*name.split(), *("x",) * 2, "--no-such-option-at-all"])
    assert ended.value.code == exits.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "╭─ Error" in err


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_word_that_was_mistyped(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(name for name in COMMANDS if name.startswith(f"{group} " if group else "doctor"))
    word = name.removeprefix(group).split()[0]
    with pytest.raises(SystemExit) as ended:
        main.main([*group.split(), f"{word}x"])
    assert ended.value.code == exits.USAGE
    assert f'Did you mean "{word}"?' in " ".join(capsys.readouterr().err.replace("│", "").split())


@pytest.mark.parametrize("words", [["remote", "--help"], ["remot"]])
def test_no_color(words: list[str]) -> None:
    # A process of its own: the console is made once.
    said = []
    for more in ({}, {"NO_COLOR": "1"}):
        environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        done = subprocess.run(
            [sys.executable, "-m", "pooler", *words],
            cwd=ROOT,
            env=environ | {"FORCE_COLOR": "1", "TERM": "xterm-256color"} | more,
            capture_output=True,
            check=False,
        )
        said.append(re.search(rb"\x1b\[[0-9;]*[34]\dm", done.stdout + done.stderr) is not None)
    assert said == [True, False]


OVER_THE_API = {
    "job running": ["job", "running"],
    "job show": ["job", "show", "task-1"],
    "job cancel": ["job", "cancel", "task-1"],
    "remote list": ["remote", "list"],
    **{
        f"remote {verb}": ["remote", verb, "site-a"]
        for verb in ("show", "pause", "resume", "drain", "reset", "probe")
    },
    "remote limit": ["remote", "limit", "site-a", "--total", "3"],
    "remote bandwidth": ["remote", "bandwidth", "site-a", "10M"],
    "top": ["top", "--once"],
}


def test_all_that_ask_the_api_are_tried() -> None:
    asking = {
        name
        for name, app in COMMANDS.items()
        if any("--api" in argument.names for argument in app.assemble_argument_collection())
    }
    assert asking == {*OVER_THE_API, "debug bundle"}


@pytest.mark.parametrize("name", OVER_THE_API)
async def test_json_is_what_comes(command: Command, name: str) -> None:
    code, out, err = await command(*OVER_THE_API[name], "-o", "json")
    assert (code, err) == (exits.OK, "")
    assert json.loads(out)


@pytest.mark.parametrize("name", OVER_THE_API)
def test_nobody_answers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    assert main.main([*OVER_THE_API[name], "--api", where]) == exits.TEMPORARY
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{where}: no answer: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"ok": True, "mistakes": []}),
        ("api:\n  prot: 1\n", {"ok": False, "mistakes": ["api.prot: not a known key (did you mean port?)"]}),
    ],
)
def test_a_check_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: dict[str, object]
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    (tmp_path / "c.ini").write_text("[d]\ntype = local\nbase_path = /d\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--connections", str(tmp_path / "c.ini"), "-o", "json"]
    assert main.main(["config", "check", *words]) == (exits.OK if expected["ok"] else exits.FATAL)
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] == expected["ok"]
    assert [one.partition(" ")[2] for one in found["mistakes"]] == expected["mistakes"]
    assert found["folders"] == (["d"] if found["ok"] else [])
