"""An audit that could not be made is none: nothing passes that was not answered."""

import json
import sys
from pathlib import Path

import pytest

from tests.image import advisories
from tests.image.advisories import KNOWN, NOT_AUDITED, WITNESS, main

CLEAN = {"name": "a", "version": "1", "vulns": []}
KNOWN_AGAINST = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
ADVISORY = {"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"]}
OLD: dict[str, object] = {"name": WITNESS[0], "version": WITNESS[1], "vulns": [ADVISORY]}
SKIPPED = {"name": "b", "skip_reason": "not found"}
NO_ANSWER = "NOT AUDITED: the advisory service gave no answer: "


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "lock.txt"
    path.write_text("a==1 --hash=sha256:00\nb==2 --hash=sha256:00\n")
    return path


def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, witness: object, packages: object) -> None:
    """Put a pip-audit into the path that answers so; a text is an error, as it says it."""
    answers = json.dumps({"witness": witness, "packages": packages})
    program = tmp_path / "bin" / "pip-audit"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"found = json.loads({answers!r})['witness' if '--no-deps' in sys.argv else 'packages']\n"
        "if isinstance(found, str):\n    sys.exit(found)\n"
        "print(json.dumps({'dependencies': found, 'fixes': []}))\n"
        "sys.exit(any(one.get('vulns') for one in found))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.mark.parametrize(
    "case",
    [
        ([OLD], [CLEAN], 0, "2 packages in"),
        ([OLD], [CLEAN, KNOWN_AGAINST], KNOWN, "known: b 2: PYSEC-1, mended in 3\n"),
        ("Could not connect", [CLEAN], NOT_AUDITED, NO_ANSWER + "Could"),
        ([{**OLD, "vulns": []}], [CLEAN], NOT_AUDITED, "knows nothing against jinja2 2.4.1"),
        ([SKIPPED], [CLEAN], NOT_AUDITED, "knows nothing against jinja2"),
        ([OLD], "Connection reset", NOT_AUDITED, NO_ANSWER + "Connection"),
        ([OLD], [CLEAN, SKIPPED], NOT_AUDITED, "NOT AUDITED: b: not found\n"),
        ([OLD], [], NOT_AUDITED, "was asked for"),
    ],
)  # fmt: skip
def test_what_an_audit_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lock: Path,
    case: tuple[object, object, int, str],
) -> None:
    witness, packages, code, said = case
    service(tmp_path, monkeypatch, witness, packages)
    assert main(lock) == code
    out, err = capsys.readouterr()
    assert said in out + err


def test_pip_audit_is_asked_for_every_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*options: str) -> list[dict[str, object]]:
        asked.append(options)
        return [OLD]

    monkeypatch.setattr(advisories, "ask", ask)
    assert main(lock) == KNOWN
    assert tmp_path.is_dir()
    assert asked[-1] == ("--require-hashes", "-r", str(lock))
