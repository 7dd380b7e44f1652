"""This release and the last one: each a tree with its package and its manifests.

The last one is the newest tag before this commit. As long as there is no tag it is ``BEFORE_TAGS``, a commit
that has been in use; whoever tags a first release need not touch this.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rehearsal.manifest import StatefulSpec, read

ROOT = Path(__file__).parents[2]
BEFORE_TAGS = "ae4e0745b06a161d15c4ef550ebccfa996774e6f"
_PROGRAM = "pooler"


class NoReleaseError(Exception):
    """The last release cannot be had; says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Attributes:
        name: what it is called here.
        root: its tree.
        spec: its StatefulSet.
    """

    name: str
    root: Path
    spec: StatefulSpec

    def command(self, words: Sequence[str]) -> list[str]:
        """Turn a command line of the image into one of this machine.

        Raises:
            NoReleaseError: the image begins with another program.
        """
        program, *others = words
        if Path(program).name != _PROGRAM:
            raise NoReleaseError(f"the image of {self.name} begins with {program}, not with {_PROGRAM}")
        return [sys.executable, "-m", _PROGRAM, *others]

    def environment(self) -> dict[str, str]:
        """What makes Python take this release's package."""
        # Before what is installed: an editable install of this tree comes behind it.
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.root), "PYTHONSAFEPATH": "1"}


def this_release() -> Release:
    """Return what is checked out."""
    return _release("this release", ROOT)


def last_release(folder: Path) -> Release:
    """Unpack the last release.

    Args:
        folder: where to.

    Raises:
        NoReleaseError: the history does not reach as far.
    """
    commit = find_last_release(ROOT)
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit, "pooler", "kube", "Containerfile"],
        cwd=ROOT, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return _release(f"the last release, {commit}", folder)


def find_last_release(root: Path) -> str:
    """Tell which commit the last release is.

    Args:
        root: of a clone.

    Raises:
        NoReleaseError: the history does not reach as far, or there is none.
    """
    tag = _git(root, "describe", "--tags", "--abbrev=0", "HEAD^")
    commit = tag.stdout.strip() if tag.returncode == 0 else BEFORE_TAGS
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0:
        return commit
    shallow = _git(root, "rev-parse", "--is-shallow-repository").stdout.strip() == "true"
    way_on = (
        "this clone is shallow: git fetch --unshallow --tags" if shallow else "take a clone with its history"
    )
    raise NoReleaseError(f"the last release, {commit}, is not in the history of {root}; {way_on}")


def _release(name: str, root: Path) -> Release:
    release = Release(name, root, read(root))
    # Compiled once, not by each pod at once; and a look at whose package it really is.
    say = (
        "import pooler, compileall, sys; compileall.compile_dir(sys.argv[1], quiet=2); print(pooler.__file__)"
    )
    whose = subprocess.run(
        [sys.executable, "-c", say, str(root / "pooler")],
        cwd=root, env=release.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    if Path(whose.stdout.strip()) != root / "pooler" / "__init__.py":
        raise NoReleaseError(f"{name} is at {root}, and Python takes {whose.stdout.strip()}")
    return release


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
