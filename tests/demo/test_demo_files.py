import hashlib
from pathlib import Path

import pytest

from pooler.demo.files import LARGEST_BYTES, SMALLEST_BYTES, FileMaker, differs, in_threads


def test_a_file_follows_from_seed_and_number(tmp_path: Path) -> None:
    one = FileMaker(1).make(tmp_path / "a" / "one", 7)
    again = FileMaker(1).make(tmp_path / "b" / "again", 7)
    assert one.path.read_bytes() == again.path.read_bytes()
    assert one[1:] == again[1:]


def test_no_two_files_are_alike(tmp_path: Path) -> None:
    maker = FileMaker(1)
    made = [maker.make(tmp_path / str(number), number) for number in range(20)]
    made.append(FileMaker(2).make(tmp_path / "other", 0))
    assert len({file.digest for file in made}) == len(made)


def test_what_is_told_of_a_file_is_so(tmp_path: Path) -> None:
    for number in range(20):
        made = FileMaker(3).make(tmp_path / str(number), number)
        content = made.path.read_bytes()
        assert SMALLEST_BYTES <= len(content) == made.size_bytes <= LARGEST_BYTES
        assert hashlib.sha256(content).digest() == made.digest


def test_a_right_copy_does_not_differ(tmp_path: Path) -> None:
    made = FileMaker(1).make(tmp_path / "original", 0)
    copy = tmp_path / "copy"
    copy.write_bytes(made.path.read_bytes())
    assert differs(made, copy) is None


def test_one_wrong_byte_is_found(tmp_path: Path) -> None:
    made = FileMaker(1).make(tmp_path / "original", 0)
    content = bytearray(made.path.read_bytes())
    content[-1] ^= 1
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    assert differs(made, copy) == "has other bytes"


def test_a_short_copy_is_found(tmp_path: Path) -> None:
    made = FileMaker(1).make(tmp_path / "original", 0)
    copy = tmp_path / "copy"
    copy.write_bytes(made.path.read_bytes()[:-1])
    assert differs(made, copy) == f"has {made.size_bytes - 1} bytes, not {made.size_bytes}"


def test_a_missing_copy_is_found(tmp_path: Path) -> None:
    assert differs(FileMaker(1).make(tmp_path / "original", 0), tmp_path / "copy") == "is missing"


@pytest.mark.parametrize("count", [0, 1, 32, 33, 100])
async def test_threads_keep_the_order(count: int) -> None:
    assert await in_threads(lambda number: number * 2, range(count)) == [2 * n for n in range(count)]


async def test_a_mistake_in_a_thread_is_raised() -> None:
    with pytest.RaisesGroup(ZeroDivisionError):
        await in_threads(lambda number: 1 // number, range(3))
