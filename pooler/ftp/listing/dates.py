"""Dates as listings write them: months in many languages, years left out, numbers in any order. Pure.

Neighbours: `unix`, `windows` and `hosts` find the columns in which a date stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from pooler.ftp.times import DAY, MINUTE, SECOND, with_year

Told = tuple[datetime, timedelta] | tuple[None, None]
"""When, and how exactly; or two Nones."""

UNTOLD: Told = (None, None)

# What glibc and the BSDs print for %b, each list from January on; a slash parts what one month is called.
_MONTHS = (
    "jan feb mar apr may jun jul aug sep/sept oct nov dec",  # English; Dutch, Swedish, Danish in part
    "jan/jän feb mär/mrz/märz apr/april mai jun/juni jul/juli aug sep/sept okt nov dez",  # German
    "janv/jan févr/fév/fev mars avr/avril mai juin/jun juil/jui août/aoû/aou sept oct nov déc",  # French
    "ene feb mar abr may jun jul ago sep/sept oct nov dic",  # Spanish
    "gen feb mar apr mag giu lug ago set ott nov dic",  # Italian
    "jan fev mar abr mai jun jul ago set out nov dez",  # Portuguese
    "jan feb mrt/maart apr mei jun jul aug sep okt nov dec",  # Dutch
    "jan feb mars april maj/mai juni juli aug sep okt nov dec/des",  # Swedish, Danish, Norwegian
    "sty lut mar kwi maj cze lip sie wrz paź lis gru",  # Polish
    "led úno bře dub kvě čen/čer čec/čvc srp zář říj lis pro",  # Czech
    "янв фев/февр мар/марта апр май/мая июн/июня июл/июля авг сен/сент окт ноя/нояб дек",  # Russian
    "oca şub mar nis may haz tem ağu eyl eki kas ara",  # Turkish
    "jan febr márc ápr máj jún júl aug szept okt nov dec",  # Hungarian
    "tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu",  # Finnish
    " ".join(f"{month}월" for month in range(1, 13)),  # Korean
    " ".join(f"{month}月" for month in range(1, 13)),  # Japanese, Chinese
)
# A listing comes in the server's charset, which may be none that names are in.
_CHARSETS = (
    *("utf-8", "cp949", "cp932", "euc-jp", "gbk", "big5"),
    *("cp1252", "cp1250", "cp1251", "koi8-r", "cp866", "cp1254", "cp850"),
)
_DAY_SIGNS = "일日"


def _spellings(words: Mapping[str, int]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for charset in _CHARSETS:
        for word, number in words.items():
            for spelt in (word, word.capitalize(), word.upper()):
                try:
                    found.setdefault(spelt.encode(charset), number)
                except UnicodeEncodeError:
                    continue
    return found


_MONTH_NUMBERS = _spellings(
    {
        name: number
        for line in _MONTHS
        for number, names in enumerate(line.split(), start=1)
        for name in names.split("/")
    }
)
_DAY_ENDS = tuple(_spellings(dict.fromkeys(_DAY_SIGNS, 0)))

_CLOCK = re.compile(rb"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?")
_YEAR = re.compile(rb"[12][0-9]{3}")
_ISO = re.compile(rb"([12][0-9]{3})-([0-9]{2})-([0-9]{2})")
_ISO_SHORT = re.compile(rb"([0-9]{2})-([0-9]{2})")
_ZONE = re.compile(rb"([+-])([0-9]{2})([0-9]{2})")
_DAY = re.compile(rb"([0-9]{1,2})")
_NOON = 12
_MONTHS_A_YEAR = 12
_FULL_YEAR = 1000
_CENTURY_TURN = 70  # two digits below it are of this century
_FIRST_YEAR, _LAST_YEAR = 1900, 9998  # room for a zone at either end


@dataclass(frozen=True, slots=True)
class Clock:
    """What a listing's dates are to be read by.

    Attributes:
        now: the time of the listing, with a zone.
        zone: of the server's wall clock; None where nobody knows, and times then have no zone.
    """

    now: datetime
    zone: tzinfo | None = None

    def settle(self, moment: datetime) -> datetime:
        """Give a wall clock's time its zone, as UTC, where it is known."""
        return moment if self.zone is None else moment.replace(tzinfo=self.zone).astimezone(UTC)

    def tell(self, year: int, month: int, day: int, clock: bytes | None = None, half: bytes = b"") -> Told:
        """Make a time of its parts.

        Args:
            year: in full, or two digits of it, or from 1900 on with three (OS/2).
            month: 1 to 12.
            day: of the month.
            clock: the time of the day; None for a date alone.
            half: of the day, as with `read_clock`.

        Returns:
            The time, or Nones where there is no such time.
        """
        if year < _FULL_YEAR:
            year += 2000 if year < _CENTURY_TURN else 1900
        hour, minute, second, micros, precision = read_clock(clock, half)
        if not _FIRST_YEAR <= year <= _LAST_YEAR:
            return UNTOLD
        try:
            moment = datetime(year, month, day, hour, minute, second, micros)  # noqa: DTZ001 - the wall clock's
        except ValueError:
            return UNTOLD
        return self.settle(moment), precision

    def tell_without_year(self, month: int, day: int, clock: bytes) -> Told:
        """Make a time whose year was left out."""
        hour, minute, *_ = read_clock(clock)
        now = self.now.astimezone(UTC if self.zone is None else self.zone).replace(tzinfo=None)
        try:
            return self.settle(with_year(month, day, hour, minute, now)), MINUTE
        except ValueError:
            return UNTOLD


def is_clock(word: bytes) -> bool:
    """Whether a word is the time of a day."""
    return _CLOCK.fullmatch(word) is not None


def read_clock(word: bytes | None, half: bytes = b"") -> tuple[int, int, int, int, timedelta]:
    """Read the time of a day.

    Args:
        word: as ``9:30``, ``09:30:12`` or ``09:30:12.450``; anything else is midnight, to the day.
        half: ``AM``, ``PM`` or nothing.

    Returns:
        Hours, minutes, seconds, microseconds, and how exact they are.
    """
    match = _CLOCK.fullmatch(word or b"")
    if match is None:
        return 0, 0, 0, 0, DAY
    hour = int(match[1])
    if half:
        hour = hour % _NOON + (_NOON if half.upper().startswith(b"P") else 0)
    if match[3] is None:
        return hour, int(match[2]), 0, 0, MINUTE
    micros = int((match[4] or b"0")[:6].ljust(6, b"0"))
    return hour, int(match[2]), int(match[3]), micros, timedelta.resolution if match[4] else SECOND


def month_number(word: bytes) -> int | None:
    """Give the number of a month's short name, in any of the languages and charsets above; None for none."""
    return _MONTH_NUMBERS.get(word.removesuffix(b".").removesuffix(b","))


def day_number(word: bytes) -> int | None:
    """Give the number of a day, ``23``, ``23.`` or ``23日``; None for none."""
    for end in (b".", b",", *_DAY_ENDS):
        word = word.removesuffix(end)
    match = _DAY.fullmatch(word)
    return int(match[1]) if match else None


def read_words(words: list[bytes], clock: Clock) -> tuple[int, Told] | None:
    """Read a date off the front of a line's words, in any form that ``ls`` has.

    ``Nov 23 09:30``, ``Nov 23  2026``, ``23 nov. 2026``, ``11월 23 09:30``, ``2026-11-23 09:30``,
    ``11-23 09:30``, ``2026-11-23 09:30:12.000000000 +0900``.

    Returns:
        How many words it takes, and the time; None where they are no date.
    """
    match words:
        case [first, second, third, *_]:
            month, day = month_number(first), day_number(second)
            if month is None:
                month, day = month_number(second), day_number(first)
            if month is not None and day is not None:
                if _YEAR.fullmatch(third):
                    return 3, clock.tell(int(third), month, day)
                return (3, clock.tell_without_year(month, day, third)) if is_clock(third) else None
    return _read_iso(words, clock)


def _read_iso(words: list[bytes], clock: Clock) -> tuple[int, Told] | None:
    if not words:
        return None
    date, time = words[0], words[1] if len(words) > 1 else b""
    full = _ISO.fullmatch(date)
    if full:
        year, month, day = map(int, full.groups())
        if not is_clock(time):
            return 1, clock.tell(year, month, day)
        zone = _ZONE.fullmatch(words[2]) if len(words) > 2 else None  # noqa: PLR2004 - date, time, zone
        if zone is None:
            return 2, clock.tell(year, month, day, time)
        return 3, _in_zone(Clock(clock.now).tell(year, month, day, time), zone)
    short = _ISO_SHORT.fullmatch(date)
    if short and is_clock(time):
        return 2, clock.tell_without_year(int(short[1]), int(short[2]), time)
    return None


def _in_zone(told: Told, zone: re.Match[bytes]) -> Told:
    moment, precision = told
    if moment is None or precision is None:
        return UNTOLD
    ahead = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
    return moment.replace(tzinfo=UTC) - (ahead if zone[1] == b"+" else -ahead), precision


@dataclass(frozen=True, slots=True)
class DateOrder:
    """Which of a date's three numbers is what, for a whole listing.

    Attributes:
        year: its place, 0 to 2.
        month: its place.
        day: its place.
    """

    year: int
    month: int
    day: int

    def sort(self, numbers: tuple[int, int, int]) -> tuple[int, int, int]:
        """Give year, month and day."""
        return numbers[self.year], numbers[self.month], numbers[self.day]


MONTH_FIRST = DateOrder(year=2, month=0, day=1)
DAY_FIRST = DateOrder(year=2, month=1, day=0)
YEAR_FIRST = DateOrder(year=0, month=1, day=2)

_THREE_NUMBERS = re.compile(rb"([0-9]{1,4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,4})")
_LONGEST_MONTH = 31


def three_numbers(word: bytes) -> tuple[int, int, int] | None:
    """Read the numbers of a date such as ``11-23-26``; None where it is none."""
    match = _THREE_NUMBERS.fullmatch(word)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def order_of(dates: list[tuple[int, int, int]]) -> DateOrder:
    """Find in which order one listing writes its dates: the month first, unless one of them denies it."""
    if any(first > _LONGEST_MONTH for first, _, _ in dates):
        return YEAR_FIRST
    denied = any(first > _MONTHS_A_YEAR for first, _, _ in dates)
    return DAY_FIRST if denied else MONTH_FIRST
