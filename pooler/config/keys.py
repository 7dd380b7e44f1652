"""The keys of one section of connections.ini, asked for one by one.

Neighbours: `pooler.config.inifile` has the section as it stands, `pooler.config.values` and the other readers
know what a value means.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from pooler.config.expand import expand
from pooler.config.inifile import IniSection
from pooler.config.problems import Problems, did_you_mean
from pooler.config.values import switch

_T = TypeVar("_T")

COMMON_KEYS = frozenset({"type", "description"})
"""What any section may have; a description is words for people."""
_RCLONE_ITSELF = ("global.", "override.")


class Idle(NamedTuple):
    """A key of rclone's that is not honoured, and loads where it asks for nothing.

    Attributes:
        reader: reads its value.
        default: the value that asks for nothing.
        why: the mistake, for any other value.
    """

    reader: Callable[[str], object]
    default: object
    why: str = "not supported by this version: expected rclone's default, or no such key"


class Keys:
    """The keys of one section, asked for one by one; mistakes are noted, and the answer is then None."""

    def __init__(self, section: IniSection, environ: Mapping[str, str], problems: Problems) -> None:
        self.name = section.name
        self._section = section
        self._problems = problems
        self._before = problems.count
        self._values: dict[str, str] = {}
        for key, entry in section.entries.items():
            label = f"{section.name}.{key}"
            value = expand(entry.value, environ, entry.value_place, label, problems)
            if value:  # rclone takes a key with nothing behind it for one that is not there, and so do we
                self._values[key] = value

    @property
    def whole(self) -> bool:
        """Whether nothing in this section was a mistake so far."""
        return self._problems.count == self._before

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str | None:
        """Return a value as it stands, references replaced; None where the key is not there."""
        return self._values.get(key)

    def read(self, key: str, reader: Callable[[str], _T], default: _T) -> _T:
        """Read a value; its default where the key is not there, or where it is a mistake."""
        text = self._values.get(key)
        if text is None:
            return default
        try:
            return reader(text)
        except ValueError as error:
            self.mistake(key, str(error))
            return default

    def switch(self, key: str, *, default: bool = False) -> bool:
        """Read a switch."""
        return self.read(key, switch, default)

    def only(self, known: frozenset[str], idle: Mapping[str, Idle]) -> None:
        """Note every key that is not known, and every one that asks for what is not done.

        Args:
            known: the keys that are honoured.
            idle: the others that may be there.
        """
        for key in self._section.entries:
            if key in idle:
                reader, default, why = idle[key]
                if key in self._values and self.read(key, reader, default) != default:
                    self.mistake(key, why)
            elif key.startswith(_RCLONE_ITSELF):
                self._problems.add(
                    self._section.entries[key].key_place,
                    f"{self.name}.{key}: a setting of rclone itself: expected no such key, "
                    "and what this remote is to do by keys of its own",
                )
            elif key not in known and key not in COMMON_KEYS:
                everything = known | COMMON_KEYS | idle.keys()
                self._problems.add(
                    self._section.entries[key].key_place,
                    f"{self.name}.{key}: not a known key{did_you_mean(key, sorted(everything))}",
                )

    def mistake(self, key: str, text: str) -> None:
        """Note a mistake in a value."""
        self._problems.add(self._section.entries[key].value_place, f"{self.name}.{key}: {text}")

    def missing(self, key: str, expected: str) -> None:
        """Note that a key is not there."""
        self._problems.add(self._section.place, f"{self.name}.{key}: missing: expected {expected}")

    def warn(self, key: str, text: str) -> None:
        """Note a warning about a value."""
        self._problems.warn(self._section.entries[key].value_place, f"{self.name}.{key}: {text}")
