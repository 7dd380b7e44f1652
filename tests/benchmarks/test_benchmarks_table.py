from pathlib import Path

import pytest

from benchmarks import floor, table
from benchmarks.__main__ import measure
from benchmarks.cpu import digest
from benchmarks.field import Field, Way, WrongCopyError
from benchmarks.peers.peer import Peer

TURNS = {"one": [100.0, 10.0, 50.0], "other": [50.0, 20.0, 100.0], "refused": []}


def test_the_median_is_of_the_turns_and_the_refused_have_none() -> None:
    assert table.medians(TURNS) == {"one": 50.0, "other": 50.0}


def test_a_ratio_is_of_one_turn_not_of_two() -> None:
    # 0.5, 2 and 2: the medians alone would say that they are alike.
    assert table.ratios(TURNS, "one") == {"one": 1.0, "other": 2.0}
    assert table.ratios(TURNS, "refused") == {}
    assert table.ratios(TURNS, "absent") == {}


def test_a_table_has_a_row_for_each_that_was_not_refused() -> None:
    lines = table.markdown(TURNS, TURNS, TURNS, ["one", "refused"]).splitlines()

    assert lines[0] == "| files/s | median | least to most | with its start | CPU ms a file | over one |"
    assert lines[2:] == [
        "| one | 50.0 | 10.0 to 100.0 | 50.0 | 50.00 | 1.00 |",
        "| other | 50.0 | 20.0 to 100.0 | 50.0 | 50.00 | 2.00 |",
    ]
    assert {line.count("|") for line in lines} == {7}


def test_the_same_stands_in_the_json() -> None:
    found = table.as_json(TURNS, TURNS, TURNS, ["one", "refused"])

    assert found["ratios"] == {"one": {"one": 1.0, "other": 2.0}}
    assert found["medians"] == {"one": 50.0, "other": 50.0}


@pytest.mark.parametrize(
    ("size", "rounds"),
    [(0, 1), (1, 1), (14_480, 1), (14_481, 2), (43_440, 2), (43_441, 3), (500_000, 6)],
)
def test_slow_start_doubles_from_ten_segments(size: int, rounds: int) -> None:
    assert floor.slow_start_rounds(size, 1500) == rounds


def test_an_upload_that_is_looked_at_and_renamed_takes_two_round_trips_more() -> None:
    assert floor.round_trips(500_000, 1500, "down", safe=True) == 7
    assert floor.round_trips(500_000, 1500, "up", safe=False) == 7
    assert floor.round_trips(500_000, 1500, "up", safe=True) == 9


def test_the_floor_is_of_all_sessions_together() -> None:
    rate = floor.files_per_s([500_000, 500_000], 1500, "down", 0.04, 8, safe=True)

    assert rate == pytest.approx(8 / (7 * 0.04))


class _Double(Field):
    """Ten files that nobody reads, and a destination that is as the peer left it."""

    def __init__(self) -> None:
        self.sizes = {f"{number}": 1 for number in range(10)}
        self.sessions = 2
        self.there: list[str] = []

    def clear(self) -> None:
        self.there = []

    def check(self, way: Way, names: list[str]) -> None:  # type: ignore[override]
        if sorted(self.there) != sorted(names):
            raise WrongCopyError(f"not all there, {way}")


def _peer(name: str, *, loses_in_turn: int = 0, starts_slowly: bool = False, start_s: float = 1.0) -> Peer:
    turns = 0

    def copy(field: Field, _way: Way, names: list[str]) -> float:
        nonlocal turns
        turns += 1
        assert isinstance(field, _Double)
        field.there = list(names)[turns == loses_in_turn :]
        return (start_s if len(names) == field.sessions else 1.0) + 0.1 * len(names)

    return Peer(name, copy, starts_slowly=starts_slowly)  # type: ignore[arg-type]


def test_who_once_loses_a_file_has_no_figure_at_all() -> None:
    steady, whole, cpu_ms = measure(_Double(), "up", [_peer("good"), _peer("bad", loses_in_turn=2)], 3)

    assert steady == whole == {"good": [5.0, 5.0, 5.0], "bad": []}
    assert cpu_ms == {"good": [0.0, 0.0, 0.0], "bad": []}


def test_a_start_is_taken_from_what_starts_slowly() -> None:
    steady, whole, _ = measure(_Double(), "up", [_peer("slow", starts_slowly=True)], 1)

    assert steady["slow"] == [pytest.approx(8 / 0.8)]
    assert whole["slow"] == [5.0]


def test_a_start_that_took_as_long_as_all_of_it_tells_nothing() -> None:
    steady, whole, _ = measure(_Double(), "up", [_peer("slow", starts_slowly=True, start_s=1.9)], 1)

    assert steady == whole == {"slow": [5.0]}


def test_a_copy_with_the_right_size_and_other_bytes_is_seen(tmp_path: Path) -> None:
    field = _Double()
    field.local = tmp_path
    for folder, content in (("out", b"a"), ("in", b"b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0").write_bytes(content)

    with pytest.raises(WrongCopyError, match="other bytes"):
        Field.check(field, "down", ["0"])
    (tmp_path / "in" / "0").write_bytes(b"a")
    Field.check(field, "down", ["0"])
    (tmp_path / "in" / "1").write_bytes(b"a")
    with pytest.raises(WrongCopyError, match="1 files are not"):
        Field.check(field, "down", ["0"])


def test_a_profile_tells_what_is_in_a_function_and_what_is_below_it() -> None:
    raw = "main (pooler/a.py:1);send (pooler/b.py:7) 3\nmain (pooler/a.py:2) 1\n"

    lines = digest(raw).splitlines()

    assert lines[0] == "4 samples"
    assert lines[4:6] == [
        "| 75.0 % | 75.0 % | send (pooler/b.py) |",
        "| 25.0 % | 100.0 % | main (pooler/a.py) |",
    ]
    assert lines[-2:] == ["| 100.0 % | main (pooler/a.py) |", "| 75.0 % | send (pooler/b.py) |"]
