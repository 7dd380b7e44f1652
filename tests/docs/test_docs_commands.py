"""No page shows a command, an option, a setting or a job that is not there.

Every code block of every page is looked through: its command lines are parsed by the CLI's own parser, what
is config.yaml or connections.ini is loaded by the service's own loader, and jobs are decoded.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from cyclopts import CycloptsError, MissingArgumentError

from pooler.bus import records
from pooler.cli import exits
from pooler.cli.main import GROUPS, app
from pooler.config import load
from pooler.config.settings import Settings
from pooler.errors import ConfigError
from pooler.model.job import Job, Origin, Record

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_INLINE = re.compile(r"(?<!`)`(pooler [^`\n]*)`(?!`)")
_SEPARATORS = frozenset({"|", "||", "&&", ";", "&", "(", ")"})
_REDIRECTIONS = frozenset({">", ">>", "<", "2>", "<<"})
_LONGEST_QUOTE = 4
_WORDS_OF_SHELL = frozenset({"do", "then", "exec", "$", "!"})
_LOADED_ELSEWHERE = re.compile(
    r"cannot be read: (No such file|Permission)|environment variable \w+ is not set"
)


class Shown(NamedTuple):
    """What a page shows, and where."""

    where: str
    text: str


def blocks() -> Iterator[Shown]:
    """Give every code block, fenced or indented, without its indentation."""
    for page in PAGES:
        block: list[str] = []
        begun, fence = 0, ""
        for number, line in enumerate([*page.read_text("utf-8").splitlines(), "end"], start=1):
            opened = re.match(r" *(```+)", line)
            if fence or opened is not None:
                if opened is not None and not fence:
                    fence, begun, block = opened[1], number, []
                elif line.strip() == fence:
                    yield Shown(f"{page.name}:{begun}", dedented(block))
                    fence, block = "", []
                else:
                    block.append(line)
            elif line.startswith("    ") and (block or line.strip()):
                begun = begun if block else number
                block.append(line)
            elif not line.strip() and block:
                block.append("")
            elif block:
                yield Shown(f"{page.name}:{begun}", dedented(block))
                block = []


def dedented(lines: list[str]) -> str:
    """Take away what the first line is indented by."""
    by = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    return "\n".join(line[by:] if line[:by].isspace() else line for line in lines)


def command_lines() -> Iterator[Shown]:
    """Give each command of the pooler that stands in a block."""
    for where, text in blocks():
        begun = ""
        for line in text.replace("\\\n", " ").splitlines():
            # A quote may go over several lines; an apostrophe in what is printed is none.
            begun = f"{begun}\n{line}" if begun else line
            words = split(begun)
            if words is None and begun.count("\n") < _LONGEST_QUOTE:
                continue
            yield from (Shown(where, shlex.join(found)) for found in commands(words or split(line) or []))
            begun = ""


def split(line: str) -> list[str] | None:
    """Part a line of a shell into words and operators; None where a quote does not end in it."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        return list(lexer)
    except ValueError:
        return None


def commands(found: list[str]) -> Iterator[list[str]]:
    """Part words into commands; give the words behind ``pooler`` of those that are ours."""
    words: list[str] = []
    skipped = False
    for word in [*found, ";"]:
        if word in _SEPARATORS:
            while words and (words[0] in _WORDS_OF_SHELL or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                words = words[1:]
            if words and words[0].rpartition("/")[2] == "pooler" and len(words) > 1:
                yield words[1:]
            words = []
        elif word in _REDIRECTIONS or skipped:
            skipped = word in _REDIRECTIONS
        else:
            words.append(word)


def parsed(words: list[str]) -> None:
    """Parse a command line; nothing is run.

    Raises:
        CycloptsError: it cannot be meant.
    """
    app.parse_args(words, exit_on_error=False, print_error=False)


COMMANDS = sorted(set(command_lines()))
INLINE = sorted(
    {
        Shown(f"{page.name}: {words}", words.removeprefix("pooler "))
        for page in PAGES
        for words in _INLINE.findall(page.read_text("utf-8"))
        if "COMMAND" not in words
    }
)


def test_there_are_such_lines() -> None:
    assert len(COMMANDS) > 40
    assert len(INLINE) > 60
    assert {shlex.split(text)[0] for _, text in COMMANDS} >= {
        "copy",
        "demo",
        "ftp",
        "job",
        "remote",
        "config",
    }


@pytest.mark.parametrize("shown", COMMANDS, ids=lambda shown: f"{shown.where} {shown.text}")
def test_a_command_line_can_be_given_as_it_is_shown(shown: Shown) -> None:
    parsed(shlex.split(shown.text))


@pytest.mark.parametrize("shown", INLINE, ids=lambda shown: shown.where)
def test_a_command_that_is_named_is_there(shown: Shown) -> None:
    words = ["1" if word == "N" else word for word in shlex.split(shown.text) if word != "…"]
    with suppress(MissingArgumentError):  # a name, and no whole line
        parsed(words)


@pytest.mark.parametrize(
    "wrong", ["jobs submit x", "job submit x --urgently", "copy", "remote pause", "doctor --report=maybe x"]
)
def test_what_is_not_there_would_be_found(wrong: str) -> None:
    with pytest.raises(CycloptsError):
        parsed(shlex.split(wrong))


def test_every_command_of_the_table_is_there_and_every_command_is_in_it() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    table = page.partition("## Commands")[2].partition("\n## ")[0]
    first = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    shown = [re.findall(r"`([^`]+)`", cell)[0].split()[0] for cell in first]
    assert set(shown) >= {name for name, *_ in GROUPS}
    for name in shown:
        assert name in app, name


def rows() -> Iterator[tuple[str, set[int]]]:
    """Give each command of the table, a group with all that is below it, and the codes beside it."""
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    table = page.partition("## Commands")[2].partition("\n## ")[0]
    for row in table.splitlines():
        if row.startswith("| `"):
            cells = row.split("|")
            codes = {int(code) for code in re.findall(r"\d+", cells[-2])}
            names = re.findall(r"`([^`]+)`", cells[1])
            group = names[0].split()[0]
            if names[0].endswith("…"):
                meant = [known for known in exits.CODES if known.startswith(f"{group} ")]
            else:
                # A cell has words, arguments in capitals, or only what follows the group.
                short = [[word for word in name.split() if not word.isupper()] for name in names]
                meant = [" ".join(words if words[0] == group else [group, *words]) for words in short]
            yield from ((name, codes) for name in dict.fromkeys(meant))


def test_each_command_has_one_row_with_the_codes_it_exits_with() -> None:
    told = list(rows())
    assert sorted(name for name, _ in told) == sorted(exits.CODES)
    # Any command may end with 2 and with 130, which the page says once.
    for name, codes in told:
        assert codes | exits.ANY == exits.CODES[name], name


SECTIONS = set(Settings.model_fields)


def configurations() -> Iterator[Shown]:
    for where, text in blocks():
        first = re.match(r"(?:#.*\n)*(\w+):(?: |\n|$)", text)
        if first is not None and first[1] in SECTIONS:
            yield Shown(where, text)


CONFIGURATIONS = list(configurations())
CONNECTIONS = [
    shown for shown in blocks() if re.search(r"^\[[^\]]+\]\n(?:.*\n)*?type *=", shown.text, re.MULTILINE)
]


def loaded(folder: Path, config: str, connections: str) -> list[str]:
    """Load two files; give the mistakes that are not about files and variables of another machine."""
    (folder / "config.yaml").write_text(config)
    (folder / "connections.ini").write_text(connections)
    try:
        load(folder / "config.yaml", folder / "connections.ini", {})
    except ConfigError as error:
        return [line for line in error.problems if _LOADED_ELSEWHERE.search(line) is None]
    return []


@pytest.mark.parametrize("shown", CONFIGURATIONS, ids=lambda shown: shown.where)
def test_a_configuration_that_is_shown_loads(tmp_path: Path, shown: Shown) -> None:
    assert loaded(tmp_path, shown.text, "") == []


@pytest.mark.parametrize("shown", CONNECTIONS, ids=lambda shown: shown.where)
def test_connections_that_are_shown_load(tmp_path: Path, shown: Shown) -> None:
    text = shown.text
    if "<<'EOF'" in text:
        text = text.partition("<<'EOF'\n")[2].partition("\nEOF")[0]
    assert loaded(tmp_path, "{}", text.replace("${PWD}", "/pwd")) == []


def test_there_are_configurations_and_a_wrong_one_is_found(tmp_path: Path) -> None:
    assert len(CONFIGURATIONS) >= 4
    assert len(CONNECTIONS) >= 3
    assert loaded(tmp_path, "kafka: {input_topik: x}", "[a]\ntyp = ftp\n") != []


def jobs() -> Iterator[Shown]:
    for where, text in blocks():
        for found in re.finditer(r"^\{", text, re.MULTILINE):
            try:
                record, _ = json.JSONDecoder().raw_decode(text, found.start())
            except ValueError:
                continue
            # A CloudEvent has its job inside.
            record = record.get("data", record)
            if {"src_path", "source"} & record.keys() and "status" not in record:
                yield Shown(where, json.dumps(record))


JOBS = list(jobs())


@pytest.mark.parametrize("shown", JOBS, ids=lambda shown: shown.where)
def test_a_job_that_is_shown_is_one(shown: Shown) -> None:
    assert isinstance(records.decode(Record(Origin("docs", 0, 0), None, shown.text.encode())), Job)


def test_there_are_jobs() -> None:
    assert len(JOBS) >= 4
