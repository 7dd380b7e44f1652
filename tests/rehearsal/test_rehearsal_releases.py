"""The last release is found in the history, or somebody is told what to do."""

import subprocess
from pathlib import Path

import pytest

from tests.rehearsal import releases
from tests.rehearsal.releases import NoReleaseError, find_last_release


def git(folder: Path, *words: str) -> str:
    config = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *config, "-C", str(folder), *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    for number in range(3):
        git(tmp_path, "commit", "--allow-empty", "-m", f"change {number}")
    return tmp_path


def test_it_is_the_newest_tag_before_this_commit(clone: Path) -> None:
    git(clone, "tag", "v1.0.0", "HEAD~2")
    git(clone, "tag", "v1.1.0", "HEAD~1")
    git(clone, "tag", "v1.2.0", "HEAD")
    assert find_last_release(clone) == "v1.1.0"


def test_without_a_tag_it_is_a_commit_that_was_in_use(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "BEFORE_TAGS", git(clone, "rev-parse", "HEAD~1"))
    assert find_last_release(clone) == releases.BEFORE_TAGS


def test_a_history_that_is_cut_off_is_told(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(NoReleaseError, match="with its history"):
        find_last_release(clone)
    shallow = tmp_path_factory.mktemp("shallow")
    git(shallow, "clone", "--depth", "1", f"file://{clone}", ".")
    with pytest.raises(NoReleaseError, match="git fetch --unshallow"):
        find_last_release(shallow)
