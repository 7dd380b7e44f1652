"""What a page would fetch from elsewhere is found, and what it only names is not."""

from pathlib import Path

import pytest

from tests.docs.offline import foreign

OWN = '<link rel="stylesheet" href="own.css"><script src="a.js"></script><a href="https://example.com">x</a>'


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img src="http://a.example/b.png">',
    ],
)
def test_what_is_fetched_is_found(tmp_path: Path, page: str) -> None:
    (tmp_path / "index.html").write_text(f"<html>{OWN}{page}</html>")
    assert len(list(foreign(tmp_path))) == 1


def test_what_is_only_named_is_not(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f'{OWN}<link rel="canonical" href="https://a.example/">')
    assert list(foreign(tmp_path)) == []


@pytest.mark.parametrize(
    "rule", ["@import 'https://a.example/b.css';", 'a { src: url("//a.example/f.woff2") }']
)
def test_styles_are_read_too(tmp_path: Path, rule: str) -> None:
    (tmp_path / "own.css").write_text(rule)
    assert len(list(foreign(tmp_path))) == 1
