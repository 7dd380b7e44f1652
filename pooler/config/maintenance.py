"""When a server is to be left alone: ``Mon-Fri 02:00-04:30 Asia/Seoul; Sun 00:00-06:00 UTC``. Pure.

A window is what the clock on the wall of its time zone shows. Where that clock is put forward, an hour that
does not exist is the moment at which it is. Where it is put back, a window begins the first time it shows
the beginning, and ends the last time that it shows the end: nobody can tell which of them was meant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from pooler.config.dialect import timezone

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(_DAYS)
_WINDOW = re.compile(
    r"(?P<days>\S+)\s+(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)\s+(?P<zone>\S+)", re.ASCII | re.IGNORECASE
)
_DAYS_ITEM = re.compile(rf"({_DAY})(?:-({_DAY}))?", re.IGNORECASE)
_EXPECTED = "expected such as 'Mon-Fri 02:00-04:30 Asia/Seoul; Sun 00:00-06:00 UTC'"
_DAY_MINUTES = 24 * 60
_NEAR = range(-2, 10)
"""The days whose windows may matter now: a time zone may be a day away, and so may an end."""
_FOR_EVER = timedelta(days=8)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days of the week.

    Attributes:
        days: on which it begins; 0 is Monday.
        begin: minutes since midnight.
        end: minutes since midnight, of the next day where it is not after ``begin``.
        zone: whose clock it goes by.
    """

    days: frozenset[int]
    begin: int
    end: int
    zone: tzinfo

    def span(self, day: date) -> tuple[datetime, datetime]:
        """Tell when it begins and ends, in UTC, if it begins on that day; it may be empty."""
        over_midnight = _DAY_MINUTES if self.end <= self.begin else 0
        return (
            _moment(day, self.begin, self.zone, last=False),
            _moment(day, self.end + over_midnight, self.zone, last=True),
        )


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of one server."""

    windows: tuple[Window, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.windows)

    def closed_until(self, now: datetime) -> datetime | None:
        """Tell when the server may be used again; None where it may be ``now``.

        Args:
            now: with its time zone.

        Returns:
            A time in UTC, through windows that follow one on another.
        """
        until = now = now.astimezone(UTC)
        while until - now < _FOR_EVER:
            ends = [end for begin, end in self._spans(until) if begin <= until < end]
            if not ends:
                break
            until = max(ends)
        return None if until == now else until

    def next_begin(self, now: datetime) -> datetime | None:
        """Tell when the next window begins, after ``now``, in UTC; None where there is none within a week."""
        return min((begin for begin, end in self._spans(now) if now < begin < end), default=None)

    def _spans(self, near: datetime) -> Iterator[tuple[datetime, datetime]]:
        for window in self.windows:
            today = near.astimezone(window.zone).date()
            for days in _NEAR:
                day = today + timedelta(days=days)
                if day.weekday() in window.days:
                    yield window.span(day)


NO_WINDOWS = Windows()


def windows(text: str) -> Windows:
    """Read windows, with ``;`` between them.

    Raises:
        ValueError: with what was expected.
    """
    found = Windows(tuple(_window(part.strip()) for part in text.split(";") if part.strip()))
    if not found:
        raise ValueError(f"{_EXPECTED}, got {text!r}")
    some_monday = datetime(2024, 1, 8, tzinfo=UTC)
    until = found.closed_until(some_monday)
    if until is not None and until - some_monday >= _FOR_EVER:
        raise ValueError("expected a time at which the server may be used, got windows that leave none")
    return found


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError(f"{_EXPECTED}, got {text!r}")
    begin, end = _minutes(match["begin"]), _minutes(match["end"])
    if begin in (_DAY_MINUTES, end):
        raise ValueError(f"expected some time between its begin and its end, got {text!r}")
    return Window(_days(match["days"]), begin, end, timezone(match["zone"]))


def _minutes(text: str) -> int:
    minutes = int(text[:2]) * 60 + int(text[3:])
    if minutes > _DAY_MINUTES or int(text[3:]) >= 60:  # noqa: PLR2004 - an hour
        raise ValueError(f"expected a time from 00:00 to 24:00, got {text!r}")
    return minutes


def _days(text: str) -> frozenset[int]:
    if text.lower() == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for item in text.split(","):
        match = _DAYS_ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"expected days such as Mon-Fri, Sat,Sun or daily, got {text!r}")
        first = _DAYS.index(match[1].lower())
        last = _DAYS.index((match[2] or match[1]).lower())
        found.update((first + days) % 7 for days in range((last - first) % 7 + 1))
    return frozenset(found)


def _moment(day: date, minutes: int, zone: tzinfo, *, last: bool) -> datetime:
    """Tell when a clock shows a time, in UTC: the first or the last time that it does."""
    shown = datetime.combine(day, time()) + timedelta(minutes=minutes)
    moment = shown.replace(tzinfo=zone, fold=int(last)).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == shown:
        return moment
    # It never does: the clock is put forward over it. By the two offsets it would be before that, and after.
    before, after = sorted(shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
