"""The two READMEs lead to each other, and the Korean one says the same by the same commands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    return re.findall(r"^ *```.*?^ *```$", text, re.MULTILINE | re.DOTALL)


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.ko.md"}


def test_they_lead_to_each_other() -> None:
    assert "](README.ko.md)" in ENGLISH.split("\n\n")[1]
    assert "](README.md)" in KOREAN.split("\n\n")[1]


def test_they_have_the_same_commands_and_links() -> None:
    assert blocks(KOREAN) == blocks(ENGLISH)
    assert links(KOREAN) == links(ENGLISH)
    assert [line.count("#") for line in KOREAN.splitlines() if line.startswith("#")] == [
        line.count("#") for line in ENGLISH.splitlines() if line.startswith("#")
    ]


def test_links_lead_to_files() -> None:
    assert [link for link in links(ENGLISH) if not (ROOT / link).exists()] == []
