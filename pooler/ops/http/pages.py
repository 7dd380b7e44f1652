"""Long lists by the page (`limit`, `cursor`, `next`): what comes next is told by what came last.

So nothing is missed or told twice when new entries come in meanwhile, and no pod has to remember who reads.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final, Literal

from werkzeug.exceptions import BadRequest

MOST: Final = 1000
"""Entries of a page."""
Pods = Literal["all", "me"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfPods:
    """What one pod or all of them have told.

    Attributes:
        silent: pods that have said nothing.
    """

    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(OfPods):
    """Part of a list, the newest first.

    Attributes:
        next: the cursor of the next page; None behind the last.
    """

    next: str | None


@dataclass(frozen=True, slots=True)
class WhichPods:
    """Who is to answer.

    Attributes:
        pods: ``all`` of them, or the one that is asked: ``me``.
    """

    pods: Pods = "all"


@dataclass(frozen=True, slots=True)
class WhichPage(WhichPods):
    """Which part of a list is meant.

    Attributes:
        limit: so many entries at most, from 1 to 1000.
        cursor: ``next`` of the page before.
    """

    limit: int = 100
    cursor: str = ""


def cursor_of(*place: str) -> str:
    """Write down a place in a list, for a reader that only hands it back."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, parts: int) -> tuple[str, ...] | None:
    """Read a cursor; None for the beginning.

    Args:
        cursor: as ``cursor_of`` made it; empty for the beginning.
        parts: how many parts a place has.

    Raises:
        BadRequest: it is none of ours.
    """
    if not cursor:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not (isinstance(found, list) and len(found) == parts and all(isinstance(one, str) for one in found)):
        raise BadRequest("Expected a cursor as `next` of an answer before has it.")
    return tuple(found)


def page_size(limit: int) -> int:
    """Check how many entries are asked for.

    Raises:
        BadRequest: so many cannot be meant.
    """
    if not 1 <= limit <= MOST:
        raise BadRequest(f"Expected a limit from 1 to {MOST}, got {limit}.")
    return limit
