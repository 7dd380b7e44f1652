"""Long lists by the page (`limit`, `cursor`, `next`): what comes next is told by what came last.

So nothing is missed or told twice when new entries come in meanwhile, and no pod has to remember who reads.
"""

import base64
import binascii
import json
from typing import Final

from werkzeug.exceptions import BadRequest

MOST: Final = 1000
"""Entries of a page."""


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
