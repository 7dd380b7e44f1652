"""Mistakes in what the operator wrote: where each one is, and all of them at once.

Every reader of this package adds what it finds to one `Problems`; `pooler.config.load` turns the lot into one
`ConfigError`.
"""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from pooler.errors import ConfigError


class Place(NamedTuple):
    """Where something stands.

    Attributes:
        file: a file's path as it was given, or an environment variable's name.
        line: counted from 1; 0 where there is none to name.
        column: counted from 1, in characters; 0 where there is none to name.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problems:
    """Collects mistakes, and warnings beside them."""

    def __init__(self) -> None:
        self._mistakes: list[tuple[Place, str]] = []
        self._warnings: list[tuple[Place, str]] = []

    def add(self, place: Place, text: str) -> None:
        """Note a mistake: nothing can be started with it."""
        self._mistakes.append((place, text))

    def warn(self, place: Place, text: str) -> None:
        """Note what works, but not as it was written."""
        self._warnings.append((place, text))

    @property
    def count(self) -> int:
        """How many mistakes were noted."""
        return len(self._mistakes)

    @property
    def mistakes(self) -> tuple[str, ...]:
        """One line for each mistake, file by file, in the order of their lines."""
        return _lines(self._mistakes)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each warning, file by file, in the order of their lines."""
        return _lines(self._warnings)

    def raise_any(self) -> None:
        """Do nothing where there is no mistake.

        Raises:
            ConfigError: with every mistake that was noted.
        """
        if self._mistakes:
            raise ConfigError(*self.mistakes)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean …?)`` for the known name that is most like ``name``; empty where none is."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _lines(notes: list[tuple[Place, str]]) -> tuple[str, ...]:
    files = {file: rank for rank, file in enumerate(dict.fromkeys(place.file for place, _ in notes))}
    ordered = sorted(notes, key=lambda note: (files[note[0].file], note[0].line, note[0].column))
    return tuple(dict.fromkeys(f"{place}: {text}" for place, text in ordered))
