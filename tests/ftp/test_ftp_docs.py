"""docs/ftp.md: its example runs, its diagram is the table's."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from pooler.ftp.diagram import mermaid
from tests.support.scripted import PASSWORD, scripted_server

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "ftp.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    return str(found)


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
