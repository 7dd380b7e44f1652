import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pooler.errors import JobError, LocalFileError
from pooler.storage.adopt import adopt_part
from pooler.storage.journal import Entry
from pooler.storage.landing import KeptPart
from pooler.storage.root import LocalRoot
from tests.support import descriptors


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    with descriptors.none_left():
        yield


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    (tmp_path / "in").mkdir()
    for name, size in {"a": 3, "b": 7, "c": 5, "f": 8, "empty": 0}.items():
        (tmp_path / "in" / name).write_bytes(bytes(size))
    return LocalRoot("disk", tmp_path)


def adopt(
    root: LocalRoot, is_ours: Callable[[str], bool] | set[str], limit_bytes: int = 10
) -> KeptPart | None:
    wanted = is_ours.__contains__ if isinstance(is_ours, set) else is_ours
    return adopt_part(root, ("in", "f"), "new", is_ours=wanted, limit_bytes=limit_bytes)


def sizes(root: LocalRoot) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (root.path / "in").iterdir()}


def test_the_largest_is_taken_over(root: LocalRoot) -> None:
    before = sizes(root)
    found = adopt(root, {"a", "b", "c"})
    assert found == KeptPart(root, ("in", "f"), "new")
    assert sizes(root) == {name: size for name, size in before.items() if name != "b"} | {"new": 7}
    part = found.open(replace=True)
    assert part.size_bytes == 7
    part.discard()


def test_what_is_larger_than_the_whole_is_no_part_of_it(root: LocalRoot) -> None:
    adopt(root, {"a", "b", "c"}, limit_bytes=6)
    assert sizes(root)["new"] == 5


@pytest.mark.parametrize("ours", [set(), {"empty"}, {"missing"}])
def test_nothing_is_none(root: LocalRoot, ours: set[str]) -> None:
    before = sizes(root)
    assert adopt(root, ours) is None
    assert sizes(root) == before


def test_no_folder_is_none(root: LocalRoot) -> None:
    assert adopt_part(root, ("out", "f"), "new", is_ours=bool, limit_bytes=9) is None
    assert not (root.path / "out").exists()


def test_what_is_no_file_is_none(root: LocalRoot) -> None:
    (root.path / "in" / "link").symlink_to("b")
    (root.path / "in" / "folder").mkdir()
    os.mkfifo(root.path / "in" / "pipe")
    assert adopt(root, {"link", "folder", "pipe"}) is None


def test_where_another_is_faster_there_is_none(root: LocalRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(old: str, new: str, **where: int) -> None:
        os.unlink(old, dir_fd=where["src_dir_fd"])
        real(old, new, **where)

    monkeypatch.setattr(os, "rename", rename)
    assert adopt(root, {"b"}) is None
    assert "new" not in sizes(root)


def test_one_that_is_gone_when_it_is_looked_at(root: LocalRoot) -> None:
    def is_ours(name: str) -> bool:
        if name == "b":
            (root.path / "in" / "b").unlink()
        return name in {"a", "b"}

    assert adopt(root, is_ours) is not None
    assert sizes(root)["new"] == 3


def test_a_folder_that_cannot_be_opened_is_told_of(root: LocalRoot) -> None:
    with pytest.raises(LocalFileError):
        adopt_part(root, ("in", "f", "g"), "new", is_ours=bool, limit_bytes=9)


def test_nothing_outside_is_taken(root: LocalRoot) -> None:
    (root.path / "out").symlink_to("/")
    with pytest.raises(JobError):
        adopt_part(root, ("out", "f"), "new", is_ours=bool, limit_bytes=9)


class Noting(LocalRoot):
    """A root that remembers what is noted, and what stood there then."""

    def __init__(self, root: LocalRoot) -> None:
        super().__init__(root.name, root.path)
        self.told: list[tuple[str, Entry, str, bool]] = []

    def note(self, entry: Entry, part: str) -> None:
        self.told.append(("note", entry, part, "new" in sizes(self)))

    def forget(self, entry: Entry, part: str) -> None:
        self.told.append(("forget", entry, part, "new" in sizes(self)))


NOTED = ("note", Entry("", "in"), "new", False)


def test_it_is_written_down_before_it_is_ours(root: LocalRoot) -> None:
    noting = Noting(root)
    assert adopt(noting, {"missing"}) is None
    assert noting.told == []
    assert adopt(noting, {"b"}) is not None
    assert noting.told == [NOTED]


@pytest.mark.parametrize("error", [FileNotFoundError(), OSError(errno.EIO, "bad")])
def test_what_has_not_become_ours_is_forgotten(
    root: LocalRoot, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def rename(*_args: object, **_where: object) -> None:
        raise error

    monkeypatch.setattr(os, "rename", rename)
    noting = Noting(root)
    with suppress(LocalFileError):
        assert adopt(noting, {"b"}) is None
    assert noting.told == [NOTED, ("forget", *NOTED[1:])]
