"""What the fuzzer starts from, and what it has found, replayed without it."""

from pathlib import Path

import pytest

from tests.fuzz.targets import HERE, TARGETS, corpus


@pytest.mark.parametrize(
    ("target", "path"),
    [pytest.param(target, path, id=f"{target}-{path.name}") for target in TARGETS for path in corpus(target)],
)
def test_an_input_breaks_nothing(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


def test_each_target_has_a_corpus() -> None:
    assert {folder.name for folder in (HERE / "corpus").iterdir()} == set(TARGETS)
    assert all(map(corpus, TARGETS))


@pytest.mark.parametrize("target", TARGETS)
def test_a_corpus_is_small_and_has_nothing_twice(target: str) -> None:
    contents = [path.read_bytes() for path in corpus(target)]
    assert len(set(contents)) == len(contents)
    assert max(map(len, contents)) <= 2048
