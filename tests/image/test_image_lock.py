"""What the image is made of stands in lock/, by hash, and is what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Iterator
from itertools import product

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.install import ROOT

PLATFORMS = [
    {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    for python in ("3.11", "3.12", "3.13")
]


def entries(name: str) -> Iterator[tuple[Requirement, list[str]]]:
    text = (ROOT / "lock" / name).read_text()
    for entry in re.split(r"\n(?=\S)", text):
        if not entry.startswith("#"):
            head, *hashes = (part.strip() for part in entry.split("\\\n"))
            yield Requirement(head), hashes


@pytest.mark.parametrize("name", ["image.txt", "build.txt"])
def test_all_is_pinned_to_one_version_and_by_its_hash(name: str) -> None:
    found = list(entries(name))
    assert len(found) > 5
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_the_lock_is_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(r) for r in (*project["dependencies"], *extras["demo"], *extras["tracing"])]
    locked = [requirement for requirement, _ in entries("image.txt")]
    for requirement, platform in product(wanted, PLATFORMS):
        if requirement.marker is not None and not requirement.marker.evaluate(platform):
            continue
        (version,) = {
            Version(str(one.specifier).removeprefix("=="))
            for one in locked
            if canonicalize_name(one.name) == canonicalize_name(requirement.name)
            and (one.marker is None or one.marker.evaluate(platform))
        }
        assert version in requirement.specifier, f"{requirement}: run nox -s lock"


def test_the_build_takes_its_tools_from_the_lock() -> None:
    wanted = (ROOT / "lock" / "build.in").read_text().splitlines()
    locked = {one.name: str(one.specifier).removeprefix("==") for one, _ in entries("build.txt")}
    for line in wanted:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            assert locked[requirement.name] in requirement.specifier
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    for requirement in map(Requirement, project["requires"]):
        assert locked[requirement.name] in requirement.specifier
