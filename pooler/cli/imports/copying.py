"""What a command line asks for, before its ends have names. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FROM_ROOT = "paths are taken from / on: base_path says another folder, where the login leads to one"
"""What to know of a path on a server without ``/`` in front."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST_PATTERNS = 100


class Untranslated(Exception):
    """What cannot be said in jobs; its text says why, and never has a word that may be a secret."""


@dataclass(frozen=True, slots=True)
class Copying:
    """Files to copy from a server, or to one.

    Attributes:
        remote: the keys of its section of connections.ini.
        name: what that section should be called.
        upload: whether the local side is the source.
        source: its path; of a bulk job, with a pattern or ``/`` at its end.
        destination: its path; likewise with ``/`` at its end.
        options: of the job.
    """

    remote: Mapping[str, str]
    name: str
    upload: bool
    source: str
    destination: str
    options: Mapping[str, Any]


@dataclass(slots=True)
class Translation:
    """What became of a line.

    Attributes:
        copyings: what it asks for.
        notes: what is not quite the same.
        untranslated: what of it has no translation, and why.
    """

    copyings: list[Copying] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    untranslated: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Note what is not quite the same; once a line."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(slots=True)
class Surroundings:
    """What a command finds around it.

    Attributes:
        variables: of the environment; those that are not here are not known.
        cwd: the local folder that relative paths begin at; None where nobody knows.
        read: reads a file that a command names.
        stdin: what the command reads; None for nothing.
    """

    variables: dict[str, str]
    cwd: str | None
    read: Callable[[str], str]
    stdin: str | None = None

    def local(self, path: str) -> str:
        """Make a local path absolute.

        Raises:
            Untranslated: nobody knows where it begins.
        """
        home = self.variables.get("HOME")
        if home is not None and (path == "~" or path.startswith("~/")):
            path = home + path[1:]
        if path.startswith("/"):
            return _plain(path)
        if path.startswith("~") or self.cwd is None:
            raise Untranslated("a local path is relative, and nothing says to which folder: --home says it")
        return _plain(f"{self.cwd}/{path}")


def joined(folder: str, path: str) -> str:
    """Give a path on a server as seen from a folder there: absolute, without ``.`` and ``..``."""
    return _plain(path if path.startswith("/") else f"{folder}/{path}")


def _plain(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    end = "/" if parts and path.endswith(("/", "/.")) else ""
    return "/" + "/".join(parts) + end


def folder(path: str) -> str:
    """Give the path of a folder, with ``/`` at its end."""
    return path if path.endswith("/") else path + "/"


def flat(path: str) -> str:
    """Note of a folder that what is below it is left out."""
    return f"of {path} folders below are not entered, nor names that begin with a dot copied"


def unbraced(pattern: str) -> list[str]:
    """Write ``{a,b}`` in a pattern out.

    Raises:
        Untranslated: that would be too many.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    found = []
    for word in match[1].split(","):
        found += unbraced(pattern[: match.start()] + word + pattern[match.end() :])
        if len(found) > _MOST_PATTERNS:
            raise Untranslated(f"a pattern stands for more than {_MOST_PATTERNS} others")
    return found


def bulk(path: str) -> tuple[str, dict[str, Any]]:
    """Say a path with a pattern in its last part as a bulk job says it.

    Returns:
        The job's source; and the options that belong to it.

    Raises:
        Untranslated: there is a pattern in another part.
    """
    above, _, last = path.rpartition("/")
    if re.search(r"[*?[]", above):
        raise Untranslated(
            "`*` and `?` may stand behind the last `/` of a path alone: list such folders one by one"
        )
    if "[" in last and not re.search(r"[*?]", last):
        return f"{above}/", {"filter": {"name": last}}
    return path, {}


def one_file(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of a job for one file, whatever is in its name."""
    return {**options, "literal": True} if re.search(r"[*?]", path) else dict(options)
