"""What was found, and how bad it is."""

import enum
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from pooler.cli import exits

Status = Literal["ok", "warn", "fail"]

_WORST: Final = (exits.FATAL, exits.JOBS_FAILED, exits.TEMPORARY)


class Part(enum.StrEnum):
    """What is looked at."""

    KAFKA = "kafka"
    FOLDERS = "folders"
    REMOTES = "remotes"


class Finding(NamedTuple):
    """Something that was looked at.

    Attributes:
        status: how it is.
        subject: what it is about, such as ``kafka`` or ``remote site-a``.
        text: what was found.
        exit_code: of the command, if this is the worst.
    """

    status: Status
    subject: str
    text: str
    exit_code: int = exits.OK


def worst(found: Iterable[Finding]) -> int:
    """Choose the exit code."""
    codes = {finding.exit_code for finding in found}
    return next((code for code in _WORST if code in codes), exits.OK)
