"""Sizes and durations, as rclone and lftp write them. Pure."""

import math
import re

from pooler.cli.imports.copying import Untranslated
from pooler.config.values import duration, size

_UNITS = {
    "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400,
    "year": 365 * 86_400, "s": 1, "min": 60, "h": 3600, "d": 86_400,
}  # fmt: skip
_AGO = re.compile(r"now\s*-\s*(\d+)\s*([a-z]+?)s?", re.IGNORECASE)


def binary_size(option: str, text: str) -> int:
    """Read a size of rclone's; a number alone is in KiB.

    Raises:
        Untranslated: it is none.
    """
    try:
        value = size(f"{text}K" if text[-1:].isdigit() else text)
    except ValueError:
        value = math.inf
    if value == math.inf:
        raise Untranslated(f"{option}: expected a size such as 10M")
    return round(value)


def seconds(option: str, text: str) -> float:
    """Read how long ago something was, as rclone says it.

    Raises:
        Untranslated: it is none.
    """
    try:
        value = duration(text)
    except ValueError:
        value = math.inf
    if value == math.inf:
        raise Untranslated(f"{option}: expected a duration such as 1d, and no moment")
    return value


def ago(option: str, text: str) -> float:
    """Read how long ago something was, as lftp says it: ``now-7days``.

    Raises:
        Untranslated: it is a moment or a file.
    """
    match = _AGO.fullmatch(text.strip())
    unit = None if match is None else _UNITS.get(match[2].lower()) or _UNITS.get(match[2].lower().rstrip("s"))
    if match is None or unit is None:
        raise Untranslated(f"{option}: expected such as now-7days")
    return float(int(match[1]) * unit)


def is_on(text: str) -> bool:
    """Read a switch of lftp's."""
    return text.strip().lower() in {"", "1", "+", "on", "yes", "true"}
