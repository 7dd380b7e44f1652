"""rclone's file format, with the line and column of everything in it.

As rclone itself reads it: a section is ``[name]``, a key ends at the first ``=`` or ``:``, blanks around
either side go, a line that begins with ``#`` or ``;`` is a comment, and there is no other one: a value keeps
its ``#``, ``;`` and ``%``. A value between backquotes, or between triple double quotes, loses them. Lines are
not continued. Two things are stricter: a section or key that stands twice is a mistake, and so is anything
before the first section. Keys are read without regard to case.
"""

from dataclasses import dataclass

from pooler.config.problems import Place, Problems

_QUOTES = ("`", '"""')


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value.

    Attributes:
        key: in lower case.
        value: as it stands, blanks around it and its quotes taken away.
        key_place: where the key begins.
        value_place: where the value begins.
    """

    key: str
    value: str
    key_place: Place
    value_place: Place


@dataclass(frozen=True, slots=True)
class IniSection:
    """A section.

    Attributes:
        name: as it stands, blanks around it taken away.
        place: where its line begins.
        entries: its keys, in their order.
    """

    name: str
    place: Place
    entries: dict[str, Entry]


def parse(text: str, file: str, problems: Problems) -> dict[str, IniSection]:
    """Read the text of a file; what cannot be read is noted, and the rest is read all the same.

    Args:
        text: the file, decoded.
        file: its path, as mistakes are to name it.
        problems: gets the mistakes.

    Returns:
        The sections by name, in their order; of a section or key that stands twice the first one.
    """
    sections: dict[str, IniSection] = {}
    current: IniSection | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        place = Place(file, number, len(raw) - len(raw.lstrip()) + 1)
        if not line or line[0] in "#;":
            continue
        if line.startswith("RCLONE_ENCRYPT_V0"):
            problems.add(
                place, "an encrypted file of rclone's: expected plain text (rclone config encryption remove)"
            )
            break
        if line[0] == "[" and line[-1] == "]":
            current = _section(line[1:-1].strip(), place, sections, problems)
        elif (entry := _entry(raw, number, file)) is None:
            problems.add(place, "not understood: expected [section], key = value, or a comment")
        elif current is None:
            problems.add(place, f"{entry.key}: stands before the first section")
        elif entry.key in current.entries:
            first = current.entries[entry.key].key_place.line
            problems.add(place, f"{current.name}.{entry.key}: stands in line {first} already")
        else:
            current.entries[entry.key] = entry
    return sections


def _section(name: str, place: Place, sections: dict[str, IniSection], problems: Problems) -> IniSection:
    """Begin a section; one that is refused is still returned, so that its own mistakes are found."""
    section = IniSection(name, place, {})
    if not name or not name.isprintable() or any(sign in name for sign in ":/[]"):
        problems.add(
            place, f"{name!r}: expected a section's name without ':', '/', brackets and control characters"
        )
    elif name in sections:
        problems.add(place, f"[{name}]: stands in line {sections[name].place.line} already")
    else:
        sections[name] = section
    return section


def _entry(raw: str, number: int, file: str) -> Entry | None:
    ends = [at for at in (raw.find("="), raw.find(":")) if at >= 0]
    if not ends:
        return None
    end = min(ends)
    key = raw[:end].strip().lower()
    if not key:
        return None
    rest = raw[end + 1 :]
    value = rest.strip()
    # A value that is not there is said to stand where it would have begun.
    start = end + 1 + (len(rest) - len(rest.lstrip()) if value else 0)
    for quote in _QUOTES:
        if len(value) >= 2 * len(quote) and value.startswith(quote) and value.endswith(quote):
            value = value[len(quote) : -len(quote)]
            break
    indent = len(raw) - len(raw.lstrip())
    return Entry(key, value, Place(file, number, indent + 1), Place(file, number, start + 1))
