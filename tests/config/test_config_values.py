import contextlib
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.values import charset, duration, size, switch, whole


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90.0),
        ("90", 90.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("2d", 172800.0),
        ("1w", 604800.0),
        ("1M", 2592000.0),
        ("1y", 31536000.0),
        (".5s", 0.5),
        ("0", 0.0),
        ("off", math.inf),
        ("OFF", math.inf),
    ],
)
def test_durations_of_rclone(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10M", 10 * 1024**2),
        ("1.5GiB", 1.5 * 1024**3),
        ("500B", 500),
        ("64k", 64 * 1024),
        ("1KB", 1024),
        ("1T", 1024**4),
        ("1p", 1024**5),
        ("off", math.inf),
    ],
)
def test_sizes_of_rclone(text: str, value: float) -> None:
    assert size(text) == value


@pytest.mark.parametrize(
    "text", ["10", "", "M", "0M", "-1M", "1e3K", "10 M", "10Mi/s", "0.1B", "infK", "\uff11M"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^expected a size with its unit, such as 10M or 500B, or off, got "
    ):
        size(text)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    assert duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    "text", ["", "-1s", "1x", "1 m", "m", "1m30", "inf", "nan", "1e3", "\u0661s", "\u0663"]
)
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 1m30s, or off"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("T", True), ("1", True), ("False", False), ("0", False)]
)
def test_switches(text: str, value: bool) -> None:  # noqa: FBT001 - a table's column
    assert switch(text) is value


@pytest.mark.parametrize(("text", "name"), [("UTF8", "utf-8"), ("cp949", "cp949"), ("Latin-1", "iso8859-1")])
def test_charsets(text: str, name: str) -> None:
    assert charset(text) == name


@pytest.mark.parametrize(
    "text", ["utf-16", "rot13", "base64", "nonsense", "cp037", "a\0b", "", "idna", "undefined"]
)
def test_no_charset_for_commands(text: str) -> None:
    with pytest.raises(ValueError, match="expected a charset that contains ASCII"):
        charset(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "1.0", "٣", "1" * 30, "1_0", " 1"])
def test_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number from 1 to 65535"):
        whole(text, 1, 65535)


@pytest.mark.parametrize("reader", [duration, switch, charset, lambda text: whole(text, 0, 9)])
@given(text=st.text())
def test_any_text_is_read_or_refused(reader: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(ValueError):
        reader(text)
