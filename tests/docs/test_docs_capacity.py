"""The arithmetic of docs/capacity.md is right, from its own figures on."""

import math
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "capacity.md").read_text("utf-8")
STEPS = dict(re.findall(r"^## (Step \d): .*\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))
SIZE = 500_000
PEAK = 3
EACH = 500
SLOW_S, FAST_S = 0.32, 0.03


def rows(step: str) -> list[tuple[float, list[str]]]:
    """Give the table of a step: files a day, and the cells behind that."""
    found = re.findall(r"^\| (\d+) million \| (.*) \|$", STEPS[step], re.MULTILINE)
    assert found
    return [(int(millions) * 1e6, cells.split(" | ")) for millions, cells in found]


def number(text: str) -> float:
    """Read a figure with its unit."""
    units = {"TB": 1e12, "GB": 1e9, "Gbit/s": 1e9, "Mbit/s": 1e6, "": 1.0}
    match = re.fullmatch(r"([\d,.]+) ?(\S*)", text)
    assert match is not None, text
    return float(match[1].replace(",", "")) * units[match[2]]


def same(shown: str, reckoned: float) -> bool:
    """Tell whether a figure is what was reckoned, to the digits that it is given in."""
    digits = re.sub(r"[^\d]", "", shown).lstrip("0")
    return number(shown) == pytest.approx(reckoned, rel=0.6 * 10 ** (1 - len(digits)))


def peak(files: float) -> float:
    return files / 86_400 * PEAK


def pods(files: float) -> int:
    return math.ceil(peak(files) / (EACH * 2 / 3)) + 1


def test_step_1() -> None:
    for files, (average, most, volume, bits) in rows("Step 1"):
        assert same(average, files / 86_400)
        assert same(most, peak(files))
        assert same(volume, files * SIZE)
        assert same(bits, peak(files) * SIZE * 8)


def test_step_2() -> None:
    for files, (most, division, count) in rows("Step 2"):
        assert same(most, peak(files))
        match = re.fullmatch(r"([\d,]+) / 333 = ([\d.]+)", division)
        assert match is not None
        assert match[1] == most
        assert same(match[2], peak(files) / (EACH * 2 / 3))
        assert int(count) == pods(files)


def test_step_3() -> None:
    for files, (most, fast, slow) in rows("Step 3"):
        assert same(most, peak(files))
        assert same(fast, peak(files) * FAST_S)
        assert same(slow, peak(files) * SLOW_S)
    sessions, on, each = re.findall(r"([\d,]+) sessions on (\d+) pods are (\d+) for each", STEPS["Step 3"])[0]
    assert int(on) == pods(100e6)
    assert same(each, number(sessions) / int(on))


def test_step_4() -> None:
    match = re.search(r"(\d+) for 10 million a day, (\d+) for 100 million", STEPS["Step 4"])
    assert match is not None
    assert (int(match[1]), int(match[2])) == (2 * pods(10e6), 2 * pods(100e6))
    assert f"{match[2]} / 0.5 s = {int(match[2]) * 2} a second" in STEPS["Step 4"]


def test_step_5() -> None:
    for files, (records, disk) in rows("Step 5"):
        assert same(records, 2 * peak(files))
        assert same(disk, (250 + 700) * files * 3 * 7)


def test_step_7() -> None:
    match = re.search(r"([\d,]+) / (\d+) = (\d+) a second,\s+are ([\d,]+) jobs", STEPS["Step 7"])
    assert match is not None
    most, count, each, jobs = match.groups()
    assert same(most, peak(100e6))
    assert int(count) == pods(100e6)
    assert same(each, number(most) / int(count))
    assert same(jobs.rstrip("0,"), number(each) * 45 / 1000)
