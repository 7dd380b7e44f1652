"""docs/ftp.md: its example runs, its diagram is the table's, its points have tests; docs/ftp-servers.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from pooler.ftp.diagram import mermaid
from pooler.ftp.features import Trait
from tests.support.scripted import PASSWORD, scripted_server

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "ftp.md").read_text()
SERVERS = (ROOT / "docs" / "ftp-servers.md").read_text()
POINTS = range(1, 27)


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    return str(found)


def section(docs: str, title: str) -> str:
    return docs.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def points() -> dict[int, list[str]]:
    """The tests that each point names."""
    _, *parts = re.split(r"^(\d+)\. ", section(DOCS, "What real servers force"), flags=re.MULTILINE)
    texts = zip(parts[::2], parts[1::2], strict=True)
    return {int(number): re.findall(r"`(tests/[\w/]+\.py::\w+)`", text) for number, text in texts}


def test_each_point_names_tests_that_name_it() -> None:
    assert list(points()) == list(POINTS)
    for number, tests in points().items():
        assert tests, number
        for test in tests:
            named = re.search(r"::test_points?_(\d+(?:_\d+)*)_", test)
            assert named is not None, test
            assert str(number) in named[1].split("_"), test


def test_each_test_that_a_point_names_is_collected() -> None:
    named = sorted({test for tests in points().values() for test in tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider"]
    found = subprocess.run([*command, *named], cwd=ROOT, capture_output=True, check=False, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    collected = {line.partition("[")[0] for line in found.stdout.splitlines()}
    assert set(named) <= collected


def test_each_trait_has_its_treatment() -> None:
    table = section(SERVERS, "Which gets what treatment, and why")
    rows = re.findall(r"^\| (.+) \| .+ \|$", table, re.MULTILINE)
    assert rows[1:] == [trait.value for trait in Trait]


def test_the_diagram_is_current() -> None:
    assert block("mermaid") == mermaid()


def test_the_diagram_is_printed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "pooler.ftp.diagram"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert printed.stdout == mermaid()


async def test_the_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with scripted_server() as server:
        code = block("python")
        for old, new in {"port=2121": f"port={server.port}", '"secret"': repr(PASSWORD)}.items():
            assert old in code
            code = code.replace(old, new)
        await trio.to_thread.run_sync(exec, compile(code, "docs/ftp.md", "exec"), {})
        assert server.files == {"/in/report.csv": b"a;b\n1;2\n"}
    assert (tmp_path / "report.csv").read_bytes() == b"a;b\n1;2\n"


def test_the_client_stands_alone() -> None:
    allowed = {"pooler.errors", "pooler.model.outcome", "pooler.transfer.session"}
    for path in (ROOT / "pooler" / "ftp").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            for name in names:
                if name.startswith("pooler"):
                    assert name.startswith("pooler.ftp.") or name in allowed, path
