"""Maintenance windows: how they are written, and when they are, across both changes of clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.maintenance import NO_WINDOWS, windows

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ZONES = (
    "UTC",
    "Asia/Seoul",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Casablanca",  # put back in the spring
    "America/St_Johns",
    "Pacific/Apia",  # a day ahead of its neighbours
    "Pacific/Pago_Pago",
)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "now", "until"),
    [
        ("Mon-Fri 02:00-04:30 Asia/Seoul", "2024-01-07T17:00", "2024-01-07T19:30"),  # Monday, there
        ("Mon-Fri 02:00-04:30 Asia/Seoul", "2024-01-07T16:59:59", None),
        ("Mon-Fri 02:00-04:30 Asia/Seoul", "2024-01-07T19:30", None),
        ("Mon-Fri 02:00-04:30 Asia/Seoul", "2024-01-12T17:00", None),  # Saturday, there
        ("Fri 22:00-06:00 UTC", "2024-01-13T05:59", "2024-01-13T06:00"),
        ("Fri 22:00-06:00 UTC", "2024-01-12T05:00", None),
        ("Sat-Mon 00:00-24:00 UTC", "2024-01-13T00:00", "2024-01-16T00:00"),
        ("sat,SUN 10:00-11:00 UTC; daily 10:30-12:00 UTC", "2024-01-14T10:00", "2024-01-14T12:00"),
        ("Sun 00:00-06:00 UTC;", "2024-01-14T01:00", "2024-01-14T06:00"),
        # The clock is put forward over 02:30, and so are the servers' crontabs.
        ("Sun 02:30-05:00 America/New_York", "2024-03-10T06:59:59", None),
        ("Sun 02:30-05:00 America/New_York", "2024-03-10T07:00", "2024-03-10T09:00"),
        ("Sun 01:00-02:30 America/New_York", "2024-03-10T06:30", "2024-03-10T07:00"),
        ("Sun 02:10-02:50 America/New_York", "2024-03-10T07:00", None),
        # It is put back from 02:00 to 01:00: both of these are meant.
        ("Sun 01:30-02:00 America/New_York", "2024-11-03T05:30", "2024-11-03T07:00"),
        ("Sun 00:00-01:30 America/New_York", "2024-11-03T06:29", "2024-11-03T06:30"),
        ("Sat 23:00-03:00 America/New_York", "2024-11-03T03:00", "2024-11-03T08:00"),
    ],
)
def test_when_a_server_is_left_alone(text: str, now: str, until: str | None) -> None:
    found = windows(text)
    assert found.closed_until(utc(now)) == (None if until is None else utc(until))


def test_when_the_next_window_begins() -> None:
    found = windows("Mon-Fri 02:00-04:30 Asia/Seoul; Sun 00:00-06:00 UTC")
    assert found.next_begin(utc("2024-01-12T00:00")) == utc("2024-01-14T00:00")
    assert found.next_begin(utc("2024-01-14T01:00")) == utc("2024-01-14T17:00")
    assert NO_WINDOWS.next_begin(utc("2024-01-12T00:00")) is None
    assert NO_WINDOWS.closed_until(utc("2024-01-12T00:00")) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected such as 'Mon-Fri 02:00-04:30 Asia/Seoul; "),
        (" ; ", "expected such as"),
        ("02:00-04:30 UTC", "expected such as"),
        ("Mon 02:00-04:30", "expected such as"),
        ("Mon 2:00-04:30 UTC", "expected such as"),
        ("Mon 02:00 - 04:30 UTC", "expected such as"),
        ("Mon 02:00-04:60 UTC", "expected a time from 00:00 to 24:00, got '04:60'"),
        ("Mon 02:00-24:01 UTC", "expected a time from 00:00 to 24:00, got '24:01'"),
        ("Mon 24:00-02:00 UTC", "expected some time between its begin and its end"),
        ("Mon 02:00-02:00 UTC", "expected some time between its begin and its end"),
        ("Mond 02:00-04:30 UTC", "expected days such as Mon-Fri, Sat,Sun or daily, got 'Mond'"),
        ("Mon-Fri-Sun 02:00-04:30 UTC", "expected days such as"),
        ("Mon, 02:00-04:30 UTC", "expected days such as"),
        ("Mon 02:00-04:30 Seoul", "expected the IANA name of a time zone, such as Asia/Seoul, got 'Seoul'"),
        ("Mon 02:00-04:30 ../UTC", "expected the IANA name"),
        ("Mon 02:00-04:30 UTC; junk", "got 'junk'"),
        ("daily 00:00-24:00 UTC", "windows that leave none"),
        ("daily 00:00-12:00 UTC; daily 11:00-01:00 UTC", "windows that leave none"),
    ],
)
def test_what_is_no_window_says_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        windows(text)
    assert why in str(caught.value)


def shown(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


@given(
    st.sampled_from(ZONES),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(0, 24 * 60 - 1),
    st.integers(30, 22 * 60),
    st.datetimes(datetime(2023, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001 - in UTC, below
)
def test_it_is_what_the_clock_on_the_wall_shows(
    zone: str, days: set[str], begin: int, length: int, moment: datetime
) -> None:
    end = (begin + length) % (24 * 60)
    text = f"{','.join(days)} {shown(*divmod(begin, 60))}-{shown(*divmod(end, 60))} {zone}"
    found, now = windows(text), moment.replace(tzinfo=UTC)
    wall = now.astimezone(ZoneInfo(zone))
    minute = wall.hour * 60 + wall.minute
    today, yesterday = DAYS[wall.weekday()], DAYS[wall.weekday() - 1]
    if begin < end:
        inside = today in days and begin <= minute < end
    else:
        inside = (today in days and minute >= begin) or (yesterday in days and minute < end)
    offsets = {(wall + timedelta(hours=hours)).utcoffset() for hours in range(-26, 27)}
    if inside or len(offsets) == 1:
        # Near a change of clocks it may be closed for longer, and is never open where the wall says window.
        assert (found.closed_until(now) is not None) is inside


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["2024-03-10", "2024-11-03", "2024-03-31", "2024-10-27", "2024-04-07", "2024-10-06"]),
    st.integers(0, 24 * 60 - 1),
    st.integers(0, 24 * 60 - 1),
    st.integers(-30 * 60, 54 * 60),
)
def test_near_a_change_of_clocks_a_window_is_one_span_and_ends_when_it_says(
    zone: str, day: str, begin: int, end: int, minutes: int
) -> None:
    if begin == end:
        end = (end + 60) % (24 * 60)
    found = windows(f"Sun {shown(*divmod(begin, 60))}-{shown(*divmod(end, 60))} {zone}")
    now = at(f"{day}T00:00", zone) + timedelta(minutes=minutes)
    until, following = found.closed_until(now), found.next_begin(now)
    second = timedelta(seconds=1)
    if until is None:
        assert following is not None
        assert found.closed_until(following - second) is None
        assert found.closed_until(following) is not None
    else:
        assert now < until <= now + timedelta(hours=26)
        assert found.closed_until(until - second) == until
        assert found.closed_until(until) is None
