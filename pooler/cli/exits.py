"""What the exit codes mean; they are rclone's where rclone has them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

OK: Final = 0
"""All that was asked for is done."""
OTHER: Final = 1
"""Something went wrong that none of the others names."""
USAGE: Final = 2
"""The command line was not understood."""
TEMPORARY: Final = 5
"""Some jobs failed in a way that may pass: trying them again may help."""
JOBS_FAILED: Final = 6
"""Some jobs failed for good: trying them again will not help."""
FATAL: Final = 7
"""Nothing could be begun or gone on with: the configuration, or the brokers."""
INTERRUPTED: Final = 130
"""Stopped from the keyboard."""

ANY: Final = frozenset({OK, USAGE, INTERRUPTED})
"""What any command may end with: done, not understood, interrupted."""
_OVER_THE_API: Final = frozenset({OTHER, TEMPORARY, JOBS_FAILED, FATAL})
_ON_A_SERVER: Final = frozenset({OTHER, TEMPORARY, JOBS_FAILED, FATAL})
_CONFIGURED: Final = frozenset({FATAL})

CODES: Final[Mapping[str, frozenset[int]]] = MappingProxyType(
    {
        command: codes | ANY
        for command, codes in {
            "run": frozenset({OTHER, FATAL}),
            "demo": frozenset({OTHER, FATAL}),
            "copy": frozenset({TEMPORARY, JOBS_FAILED, FATAL}),
            "job submit": frozenset({OTHER, TEMPORARY, JOBS_FAILED, FATAL}),
            "job validate": frozenset({JOBS_FAILED, FATAL}),
            "job import": frozenset({JOBS_FAILED}),
            "job retry": _CONFIGURED,
            "job tail": _CONFIGURED,
            **dict.fromkeys(("job running", "job show", "job cancel"), _OVER_THE_API),
            **dict.fromkeys(("dlq ls", "dlq replay"), _CONFIGURED),
            **dict.fromkeys(
                (
                    *("remote list", "remote show", "remote pause", "remote resume", "remote drain"),
                    *("remote reset", "remote probe", "remote limit", "remote bandwidth", "top"),
                ),
                _OVER_THE_API,
            ),
            **dict.fromkeys(
                ("ftp ls", "ftp stat", "ftp get", "ftp put", "ftp rm", "ftp probe"), _ON_A_SERVER
            ),
            "doctor": frozenset({TEMPORARY, JOBS_FAILED, FATAL}),
            "debug bundle": frozenset({OTHER, FATAL}),
            **dict.fromkeys(("config check", "config dump"), _CONFIGURED),
            **dict.fromkeys(
                ("config schema", "config reference", "openapi", "version", "completion"), frozenset()
            ),
            "schema": frozenset({OTHER}),
        }.items()
    }
)
"""With what each command may end."""

_MEANINGS: Final = MappingProxyType(
    {
        OK: "done",
        OTHER: "something went wrong",
        USAGE: "the command line cannot be meant",
        TEMPORARY: "something failed in a way that may pass",
        JOBS_FAILED: "something failed for good",
        FATAL: "nothing could be begun: the configuration, or the brokers",
        INTERRUPTED: "interrupted",
    }
)


def told(command: str) -> str:
    """Say with what a command may end, for its help."""
    return "Exits with " + "; ".join(f"{code}: {_MEANINGS[code]}" for code in sorted(CODES[command])) + "."
