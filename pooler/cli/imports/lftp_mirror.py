"""What ``mirror`` of lftp's copies. Pure."""

import getopt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pooler.cli.imports.copying import Untranslated, flat, folder, unbraced
from pooler.cli.imports.lftp_session import Session
from pooler.cli.imports.values import ago

_OPTIONAL = frozenset({"--parallel", "--use-pget-n", "--use-cache", "--verbose"})
"""Options whose value may be missing, which getopt does not know."""
_MIRROR_SHORT = "RceEnrpLNavP:O:i:x:I:X:F:f:TsS"
_MIRROR_LONG = (
    "reverse", "continue", "delete", "Remove-source-files", "Move", "only-newer", "no-recursion",
    "no-perms", "no-umask", "dereference", "no-empty-dirs", "no-symlinks", "dry-run", "allow-suid",
    "allow-chown", "ignore-time", "ignore-size", "only-missing", "loop", "no-dereference",
    "depth-first", "scan-all-first", "overwrite", "no-overwrite", "skip-noaccess", "newer-than=",
    "older-than=", "include=", "exclude=", "include-glob=", "exclude-glob=", "parallel=", "use-pget-n=",
    "use-cache=", "verbose=", "log=", "script=", "size-range=", "max-errors=", "delete-first", "file=",
    "target-directory=",
)  # fmt: skip
_MIRROR_NAMES = {
    "-R": "reverse", "-c": "continue", "-e": "delete", "-E": "Remove-source-files", "-n": "only-newer",
    "-r": "no-recursion", "-N": "newer-than", "-P": "parallel", "-O": "target-directory", "-i": "include",
    "-x": "exclude", "-I": "include-glob", "-X": "exclude-glob", "-f": "file",
}  # fmt: skip
_MIRROR_UNKNOWN = {
    "include": "regular expressions: expected --include-glob",
    "exclude": "regular expressions: expected --exclude-glob",
    "file": "expected folders: get names files",
    "script": "it writes a script in place of copying",
    "only-missing": "what is there in another size would be a failure, and not passed over",
    "ignore-size": "nothing is kept because its time alone is equal",
    "ignore-time": "nothing is kept because its size alone is equal",
}


@dataclass(slots=True)
class _Mirror:
    """What the options of a mirror say."""

    upload: bool = False
    flat: bool = False
    target: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    filters: dict[str, Any] = field(default_factory=dict)


def mirror(session: Session, words: list[str]) -> None:
    """Follow ``mirror``."""
    written = [f"{word}=" if word in _OPTIONAL else word for word in words]
    given, operands = getopt.gnu_getopt(written, _MIRROR_SHORT, _MIRROR_LONG)
    asked = _Mirror(options={"overwrite": "if_different", "preserve_mtime": True})
    for option, value in given:
        name = _MIRROR_NAMES.get(option, option.lstrip("-"))
        if name in _MIRROR_UNKNOWN:
            raise Untranslated(f"{option}: {_MIRROR_UNKNOWN[name]}")
        _mirror_option(session, name, value, asked)
    source = operands[0] if operands else "."
    target = operands[1] if len(operands) > 1 else asked.target
    if not target:
        target = "." if source == "." else source.rstrip("/").rpartition("/")[2] or "/"
    elif target.endswith("/") and target != "/" and not source.endswith("/"):
        # lftp puts the folder itself there, unless the source ends in `/` as well.
        target += source.rpartition("/")[2]
    near, far = (source, target) if asked.upload else (target, source)
    local, remote = session.around.local(near), session.far(far)
    paths = (local, remote) if asked.upload else (remote, local)
    if asked.filters:
        asked.options["filter"] = asked.filters
    if not asked.flat:
        session.found.note(flat(paths[0]))
    session.copies(folder(paths[0]), folder(paths[1]), asked.options, upload=asked.upload)


def _mirror_option(session: Session, name: str, value: str, asked: _Mirror) -> None:
    match name:
        case "reverse":
            asked.upload = True
        case "no-recursion":
            asked.flat = True
        case "target-directory":
            asked.target = value
        case "delete" | "delete-first":
            session.found.note("nothing is deleted because it is missing on the other side")
        case "parallel":
            session.settings["max_sessions"] = value or "2"
        case "include-glob" | "exclude-glob":
            asked.filters.setdefault("name" if name[0] == "i" else "exclude", []).extend(unbraced(value))
        case "newer-than" | "older-than":
            asked.filters["max_age" if name[0] == "n" else "min_age"] = ago(f"--{name}", value)
        case "size-range":
            raise Untranslated("--size-range: min_size and max_size of a filter say it in bytes")
        case _:
            asked.options.update(_MIRROR_OPTIONS.get(name, {}))


_MIRROR_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "continue": {"resume": True},
    "Remove-source-files": {"after": "delete"},
    "Move": {"after": "delete"},
    "only-newer": {"overwrite": "if_newer"},
    "dry-run": {"check": True},
}
