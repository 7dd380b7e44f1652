"""Times as FTP writes them: MDTM and MLSx (RFC 3659 §2.3), MFMT, and what a listing's clock is worth. Pure.

A time-val is UTC, ``20261123093000`` with an optional fraction. Servers of the last century that count years
from 1900 and write ``19`` in front say ``191261123093000`` for it, and some write their own zone's time.

Neighbours: `facts` and `listing` read times by these, a session asks for them and sets them.
"""

import enum
import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from pooler.errors import PeerProtocolError
from pooler.ftp.wire import Command

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

_TIME_VAL = re.compile(
    r"(?P<year>[0-9]{4}|19[0-9]{3})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,32}))?"
)
_FIVE_DIGITS = 5
_YEAR_ZERO_OF_C = 1900
_MFMT_REPLY = re.compile(r"\bmodif(?:y|ied)=([0-9.]+)", re.IGNORECASE)
_SHOWN = 80

_QUARTER = timedelta(minutes=15)
_EASTERNMOST = timedelta(hours=14)
_WESTERNMOST = timedelta(hours=-12)
# A listing cuts the seconds off; another minute for servers that round.
_TOLERANCE = timedelta(minutes=2)
_YEARS_BACK = 8  # the 29th of February may be that far away, around 1900 or 2100


@lru_cache(maxsize=1024)  # a file is asked for its time before it is read, and once more behind it
def parse_time_val(text: str, zone: tzinfo = UTC) -> tuple[datetime, timedelta]:
    """Read a time-val.

    Args:
        text: nothing else.
        zone: that it is written in.

    Returns:
        The time in UTC, and how exact it is: a second, or a microsecond where there is a fraction. Of a
        fraction six digits count.

    Raises:
        PeerProtocolError: it is none, or no time that there is.
    """
    match = _TIME_VAL.fullmatch(text)
    if match is None:
        raise PeerProtocolError(f"not a time: {text[:_SHOWN]!r}")
    year = int(match["year"])
    if len(match["year"]) == _FIVE_DIGITS:
        year = _YEAR_ZERO_OF_C + year % 1000
    fraction = match["fraction"]
    try:
        # A leap second, ":60", is the first one of the next minute.
        moment = datetime(
            *(year, int(match["month"]), int(match["day"]), int(match["hour"]), int(match["minute"])),
            tzinfo=zone,
        ).astimezone(UTC) + timedelta(seconds=_checked_second(match["second"]))
        moment += timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
    except (ValueError, OverflowError) as error:
        raise PeerProtocolError(f"not a time: {text[:_SHOWN]!r}") from error
    return moment, SECOND if fraction is None else timedelta.resolution


def _checked_second(digits: str) -> int:
    if int(digits) > 60:  # noqa: PLR2004 - RFC 3659 §2.3
        raise ValueError(digits)
    return int(digits)


def parse_mdtm(text: str, zone: tzinfo = UTC) -> tuple[datetime, timedelta]:
    """Read the text of a 213 to MDTM (RFC 3659 §3.1), in a zone; words behind the time are passed over.

    Returns:
        As `parse_time_val`.

    Raises:
        PeerProtocolError: there is no time in it.
    """
    first, _, _ = text.strip().partition(" ")
    return parse_time_val(first, zone)


def parse_mfmt(text: str, zone: tzinfo = UTC) -> datetime | None:
    """Read the text of a 213 to MFMT (draft-somers-ftp-mfxx §3.1), in a zone: ``Modify=20261123093000; f``.

    Returns:
        The time that the server says it has set; None where it does not say.

    Raises:
        PeerProtocolError: what it says is no time.
    """
    match = _MFMT_REPLY.search(text)
    return None if match is None else parse_time_val(match[1], zone)[0]


def format_time_val(moment: datetime, zone: tzinfo = UTC) -> str:
    """Write a time-val in a zone, to the second: draft-somers-ftp-mfxx wants no fraction.

    Raises:
        ValueError: ``moment`` has no zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be sent")
    there = moment.astimezone(zone)
    # strftime writes years before 1000 with fewer than four digits.
    return f"{there.year:04}{there:%m%d%H%M%S}"


class TimeSetting(enum.Enum):
    """The ways to set a file's time, in the order in which to try them."""

    MFMT = "MFMT"
    MDTM = "MDTM with a time"
    SITE_UTIME = "SITE UTIME, the time first"
    SITE_UTIME_OLD = "SITE UTIME, three times behind the path"


def set_time(how: TimeSetting, path: bytes, moment: datetime, zone: tzinfo = UTC) -> Command:
    """Make the command that sets a file's time of modification.

    Args:
        how: which one; a server that refuses it with 500, 501, 502 or 504 may know the next.
        path: in the server's charset.
        moment: with a zone.
        zone: of the times that MDTM tells and is told; of the others it is always UTC.

    Raises:
        ValueError: ``moment`` has no zone.
        LocalProtocolError: the path has a line end in it.
    """
    stamp = format_time_val(moment, zone if how is TimeSetting.MDTM else UTC).encode("ascii")
    match how:
        case TimeSetting.MFMT | TimeSetting.MDTM:
            return Command(how.name, stamp + b" " + path)
        case TimeSetting.SITE_UTIME:
            return Command("SITE", b"UTIME " + stamp + b" " + path)
        case TimeSetting.SITE_UTIME_OLD:
            # Of access, modification, creation.
            return Command("SITE", b" ".join([b"UTIME", path, stamp, stamp, stamp, b"UTC"]))


def zone_offset(listed: datetime, exact: datetime) -> timedelta:
    """Find the zone of a server's listings by one file whose time is also known from MDTM.

    Args:
        listed: the wall clock's time of the file, from LIST, to the minute at least, without a zone.
        exact: the same file's time from MDTM.

    Returns:
        What listings of this server are ahead of UTC, in whole quarter hours.

    Raises:
        ValueError: the two have no zone in common: not the same time, or a listing to the day.
    """
    ahead = listed.replace(tzinfo=UTC) - exact
    offset = round(ahead / _QUARTER) * _QUARTER
    if not _WESTERNMOST <= offset <= _EASTERNMOST or abs(ahead - offset) > _TOLERANCE:
        raise ValueError(f"{listed} and {exact} differ by no time zone")
    return offset


def with_year(month: int, day: int, hour: int, minute: int, now: datetime) -> datetime:
    """Add the year that a listing left out: the newest that is at most a day ahead of ``now``.

    A day, because the server's clock may be ahead, and in another zone.

    Args:
        month: 1 to 12.
        day: of the month.
        hour: 0 to 23.
        minute: 0 to 59.
        now: the time of the listing, without a zone.

    Raises:
        ValueError: no year has this date.
    """
    latest = now + DAY
    for year in range(latest.year, latest.year - _YEARS_BACK - 1, -1):
        try:
            moment = datetime(year, month, day, hour, minute)  # noqa: DTZ001 - the server's wall clock
        except ValueError:
            continue
        if moment <= latest:
            return moment
    raise ValueError(f"no year has month {month}, day {day}, {hour}:{minute}")
