"""Jobs, remotes and local folders, made of what the lines of a text copy. Pure."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pooler.cli.imports.commands import translate
from pooler.cli.imports.copying import Copying, Surroundings, Translation
from pooler.cli.imports.reading import Line, Variable

_ORDER = ("host", "port", "user", "pass", "pass_file", "tls", "explicit_tls")
"""What stands first in a section."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A line and what became of it.

    Attributes:
        line: it.
        jobs: as records write them.
        notes: what is not quite the same.
        untranslated: what of it has no translation, and why.
    """

    line: Line
    jobs: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    untranslated: tuple[str, ...]


@dataclass(slots=True)
class Gathered:
    """All of a text.

    Attributes:
        lines: those that are commands.
        sections: of connections.ini: their keys by their names.
    """

    lines: list[Translated] = field(default_factory=list)
    sections: dict[str, dict[str, str]] = field(default_factory=dict)

    def connections(self) -> str:
        """Write connections.ini."""
        parts = []
        for name, keys in self.sections.items():
            ordered = sorted(keys, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
            parts.append("".join([f"[{name}]\n", *(f"{key} = {_written(keys[key])}\n" for key in ordered)]))
        return "\n".join(parts)


def gather(
    found: Iterable[Line | Variable],
    read: Callable[[str], str],
    variables: Mapping[str, str],
    *,
    check: bool,
) -> Gathered:
    """Translate the lines of a text.

    Args:
        found: the lines.
        read: reads a file that a command names; raises OSError.
        variables: of the environment, such as HOME.
        check: whether the jobs only compare.
    """
    known = dict(variables)
    translated: list[tuple[Line, Translation]] = []
    for one in found:
        if isinstance(one, Variable):
            known[one.name] = one.value
            continue
        cwd = known.get("HOME")
        around = Surroundings(known, cwd, read, one.stdin)
        translated.append((one, translate(one.command, around)))
    gathered = Gathered()
    folders = _Folders(copying for _, translation in translated for copying in translation.copyings)
    for line, translation in translated:
        jobs = tuple(
            _job(gathered.sections, folders, line, copying)
            | {"task_id": f"line-{line.number}-{number}"}
            | ({"options": {**copying.options, "check": True}} if check else {})
            for number, copying in enumerate(translation.copyings, start=1)
        )
        gathered.lines.append(
            Translated(line, jobs, tuple(translation.notes), tuple(translation.untranslated))
        )
    for name, path in folders.named.items():
        gathered.sections[name] = {"type": "local", "base_path": path}
    return gathered


def _job(
    sections: dict[str, dict[str, str]], folders: "_Folders", line: Line, copying: Copying
) -> dict[str, Any]:
    remote = _section(sections, copying, folders.named)
    near = copying.source if copying.upload else copying.destination
    folder, path = folders.place(near)
    here, there = (folder, path), (remote, copying.destination if copying.upload else copying.source)
    source, destination = (here, there) if copying.upload else (there, here)
    origin: dict[str, Any] = {"line": line.number}
    if line.schedule is not None:
        origin["schedule"] = line.schedule
    return {
        "task_id": "",
        "src_id": source[0],
        "src_path": source[1],
        "dst_id": destination[0],
        "dst_path": destination[1],
        "options": dict(copying.options),
        "metadata": origin,
    }


def _section(sections: dict[str, dict[str, str]], copying: Copying, taken: Collection[str]) -> str:
    """Give the name of the section that has exactly the keys of a remote; made where there is none."""
    keys = {"type": "ftp", **copying.remote}
    base = re.sub(r"[:/\[\]]|[^\w.@ -]", "-", copying.name).strip() or "remote"
    name, number = base, 1
    while name in taken or sections.setdefault(name, keys) != keys:
        number += 1
        name = f"{base}-{number}"
    return name


class _Folders:
    """The local folders that jobs name: one for each folder below ``/`` that has any of their files."""

    def __init__(self, copyings: Iterable[Copying]) -> None:
        tops: dict[str, list[str]] = {}
        for copying in copyings:
            near = copying.source if copying.upload else copying.destination
            parts = near.split("/")[1:-1]
            common = tops.setdefault(parts[0] if parts else "", parts)
            tops[parts[0] if parts else ""] = [
                one for at, one in enumerate(common) if parts[: at + 1] == common[: at + 1]
            ]
        self.named = {
            "local" if len(tops) == 1 else f"local-{top or 'root'}": "/" + "/".join(common)
            for top, common in tops.items()
        }

    def place(self, path: str) -> tuple[str, str]:
        """Give the folder of a path, and the path in it."""
        for name, base in self.named.items():
            below = base.rstrip("/") + "/"
            if path.startswith(below):
                return name, "/" + path[len(below) :]
        raise AssertionError(f"{path}: every path was looked at")


def _written(value: str) -> str:
    """Write a value so that it is read again as it is."""
    value = re.sub(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", r"$\g<0>", value)
    quoted = value[:1] == value[-1:] == "`" or (value.startswith('"""') and value.endswith('"""'))
    return f"`{value}`" if quoted or value != value.strip() else value


def jobs_text(jobs: Iterable[Mapping[str, Any]]) -> str:
    """Write jobs, one a line."""
    return "".join(json.dumps(job, ensure_ascii=False) + "\n" for job in jobs)
