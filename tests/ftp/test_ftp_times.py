"""MDTM, MFMT and what a listing's clock is worth, by table and Hypothesis."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.errors import LocalProtocolError, PeerProtocolError
from pooler.ftp.times import (
    SECOND,
    TimeSetting,
    format_time_val,
    parse_mdtm,
    parse_mfmt,
    parse_time_val,
    set_time,
    with_year,
    zone_offset,
)

MOMENT = datetime(2026, 11, 23, 9, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20261123093012", MOMENT),
        ("20261123093012.5", MOMENT.replace(microsecond=500_000)),
        ("20261123093012.000001", MOMENT.replace(microsecond=1)),
        ("20261123093012.123456789", MOMENT.replace(microsecond=123_456)),
        ("20261231235960", datetime(2027, 1, 1, tzinfo=UTC)),
        ("191261123093012", MOMENT),
        ("191000101000000", datetime(2000, 1, 1, tzinfo=UTC)),
        ("19991231235959", datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("00010101000000", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_time_vals(text: str, moment: datetime) -> None:
    found, precision = parse_time_val(text)
    assert found == moment
    assert precision == (timedelta.resolution if "." in text else SECOND)
    assert parse_mdtm(f" {text} GMT\r") == (found, precision)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "2026",
            "20261323093012",
            "20261132093012",
            "20261123243012",
            "20261123096012",
            "20261123093061",
        ),
        *("00001123093012", "99991231235960", "20261123093012.", "-0261123093012", "201261123093012"),
        *("\uff12\uff10\uff12\uff16" + "1123093012", "2026112309301", "1926112309301x", "9" * 9000),
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(PeerProtocolError) as caught:
        parse_mdtm(text)
    assert len(str(caught.value)) < 300


@given(st.text(alphabet="0123456789. x", max_size=40))
def test_no_text_breaks_them(text: str) -> None:
    for parse in (parse_time_val, parse_mdtm, parse_mfmt):
        try:
            parse(text)
        except PeerProtocolError:
            continue


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=9))])))
def test_times_come_back(moment: datetime) -> None:
    try:
        text = format_time_val(moment)
    except OverflowError:
        return
    assert parse_time_val(text)[0] == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Modify=20261123093012; /in/a", MOMENT),
        ("modify=20261123093012;unix.owner=1; a", MOMENT),
        ("Modified=20261123093012", MOMENT),
        ("Date set.", None),
    ],
)
def test_mfmt(text: str, moment: datetime | None) -> None:
    assert parse_mfmt(text) == moment


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (TimeSetting.MFMT, b"MFMT 20261123093012 /a b\r\n"),
        (TimeSetting.MDTM, b"MDTM 20261123093012 /a b\r\n"),
        (TimeSetting.SITE_UTIME, b"SITE UTIME 20261123093012 /a b\r\n"),
        (
            TimeSetting.SITE_UTIME_OLD,
            b"SITE UTIME /a b 20261123093012 20261123093012 20261123093012 UTC\r\n",
        ),
    ],
)
def test_setting_a_time(how: TimeSetting, line: bytes) -> None:
    seoul = MOMENT.astimezone(timezone(timedelta(hours=9)))
    assert set_time(how, b"/a b", seoul).encode() == line


def test_a_server_may_write_its_own_zone_s_time() -> None:
    seoul = timezone(timedelta(hours=9))
    assert parse_time_val("20261123183012", seoul) == (MOMENT, timedelta(seconds=1))
    assert parse_mdtm("20261123183012.500 of /f", seoul)[0] == MOMENT.replace(microsecond=500_000)
    assert parse_mfmt("Modify=20261123183012; /f", seoul) == MOMENT
    assert set_time(TimeSetting.MDTM, b"/f", MOMENT, seoul).argument == b"20261123183012 /f"
    for how in set(TimeSetting) - {TimeSetting.MDTM}:
        assert set_time(how, b"/f", MOMENT, seoul) == set_time(how, b"/f", MOMENT)
    for edge, zone in (("00010101000000", seoul), ("99991231235959", timezone(timedelta(hours=-9)))):
        with pytest.raises(PeerProtocolError, match="not a time"):
            parse_time_val(edge, zone)


def test_a_time_to_set_needs_a_zone_and_a_path_without_line_ends() -> None:
    with pytest.raises(ValueError, match="zone"):
        set_time(TimeSetting.MFMT, b"/a", MOMENT.replace(tzinfo=None))
    with pytest.raises(LocalProtocolError):
        set_time(TimeSetting.MFMT, b"/a\r\nDELE b", MOMENT)


@given(st.integers(-48, 56), st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - UTC below
def test_point_20_one_file_tells_the_zone_of_a_server(quarters: int, moment: datetime) -> None:
    exact = moment.replace(tzinfo=UTC)
    ahead = timedelta(minutes=15 * quarters)
    listed = (moment + ahead).replace(second=0, microsecond=0)
    assert zone_offset(listed, exact) == ahead


@pytest.mark.parametrize(
    "off", [timedelta(minutes=7), timedelta(hours=15), timedelta(hours=-13), timedelta(days=365)]
)
def test_point_20_two_times_without_a_zone_in_common(off: timedelta) -> None:
    with pytest.raises(ValueError, match="zone"):
        zone_offset(MOMENT.replace(tzinfo=None) + off, MOMENT)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - a wall clock's
    st.timedeltas(timedelta(days=-363), timedelta(days=1)),
)
def test_point_20_the_year_that_was_left_out(now: datetime, age: timedelta) -> None:
    moment = (now + age).replace(second=0, microsecond=0)
    if moment > now + timedelta(days=1):
        return
    assert with_year(moment.month, moment.day, moment.hour, moment.minute, now) == moment


def test_point_20_a_date_that_no_year_has() -> None:
    with pytest.raises(ValueError, match="no year"):
        with_year(2, 30, 0, 0, MOMENT.replace(tzinfo=None))
