"""What a command of rclone's copies. Pure.

The remotes are those of an rclone.conf; their keys are handed on, the password in plain text.
"""

import getopt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pooler.cli.imports.copying import (
    FROM_ROOT,
    Copying,
    Surroundings,
    Translation,
    Untranslated,
    flat,
    folder,
    joined,
    one_file,
    unbraced,
)
from pooler.cli.imports.values import binary_size, seconds
from pooler.config import inifile
from pooler.config.dialect import RCLONE_ENCODING
from pooler.config.obscure import reveal
from pooler.config.problems import Problems

_COPIES = frozenset({"copy", "copyto", "move", "moveto", "sync", "check"})
_QUIET = (
    "progress", "verbose", "quiet", "fast-list", "no-traverse", "create-empty-src-dirs",
    "stats-one-line", "use-json-log", "delete-empty-src-dirs", "delete-after", "delete-before",
    "delete-during", "delete-excluded", "ignore-errors", "metadata", "stats-one-line-date", "one-way",
    "no-unicode-normalization", "use-mmap",
)  # fmt: skip
"""Switches that say nothing about which files are copied, or how."""
_QUIET_VALUES = (
    "checkers", "log-file", "log-level", "log-format", "stats", "stats-log-level", "buffer-size",
    "low-level-retries", "retries-sleep", "timeout", "contimeout", "expect-continue-timeout",
    "tpslimit", "tpslimit-burst", "multi-thread-streams", "multi-thread-cutoff", "user-agent",
    "max-backlog", "order-by", "cache-dir", "max-delete", "syslog-facility",
)  # fmt: skip
_SWITCHES = (
    "checksum", "update", "ignore-existing", "ignore-times", "size-only", "immutable", "dry-run",
    "inplace",
)  # fmt: skip
_VALUES = (
    "config", "transfers", "bwlimit", "include", "exclude", "filter", "min-size", "max-size", "min-age",
    "max-age", "max-depth", "retries",
)  # fmt: skip
_FTP_SWITCHES = (
    "tls", "explicit-tls", "no-check-certificate", "disable-epsv", "disable-mlsd", "disable-utf8",
    "writing-mdtm", "force-list-hidden", "disable-tls13", "allow-insecure-tls-ciphers",
)  # fmt: skip
_FTP_VALUES = (
    "host", "user", "port", "pass", "concurrency", "idle-timeout", "close-timeout", "shut-timeout",
    "tls-cache-size", "socks-proxy", "http-proxy", "encoding",
)  # fmt: skip
_SHORT = "PvqcuInM"
_LONG_OF = {"-c": "--checksum", "-u": "--update", "-I": "--ignore-times", "-n": "--dry-run"}
_WITHOUT = "nothing is deleted because it is missing on the other side"


@dataclass(slots=True)
class _Asked:
    """What the options say."""

    config: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    filters: dict[str, Any] = field(default_factory=dict)
    rules: list[tuple[str, str]] = field(default_factory=list)
    flat: bool = False


def translate(words: Sequence[str], around: Surroundings, found: Translation) -> None:
    """Say what a command copies.

    Args:
        words: behind ``rclone``.
        around: what it finds around it.
        found: gets what it copies, and notes.

    Raises:
        Untranslated: that cannot be said in jobs.
        getopt.GetoptError: it has an option that is not known here.
    """
    given, operands = getopt.gnu_getopt(list(_switches_written_out(words)), _SHORT, _long_options())
    command, *ends = operands or [""]
    if command not in _COPIES:
        raise Untranslated(f"{command or 'no command'}: expected one of {', '.join(sorted(_COPIES))}")
    if len(ends) != 2:  # noqa: PLR2004 - a source and a destination
        raise Untranslated(f"{command}: expected a source and a destination")
    asked = _asked(given, found)
    if command == "check":
        asked.options["check"] = True
    if command in {"move", "moveto"}:
        asked.options["after"] = "delete"
    if command == "sync":
        found.note(_WITHOUT)
    found.copyings += _copyings(command, ends, asked, around, found)


def _long_options() -> list[str]:
    switches = [*_QUIET, *_SWITCHES, *(f"ftp-{name}" for name in _FTP_SWITCHES)]
    values = [*_QUIET_VALUES, *_VALUES, *(f"ftp-{name}" for name in _FTP_VALUES)]
    return [*switches, *(f"{name}=" for name in values)]


def _switches_written_out(words: Sequence[str]) -> list[str]:
    """Make ``--switch`` of ``--switch=true``, and nothing of ``--switch=false``."""
    known = {*_QUIET, *_SWITCHES, *(f"ftp-{name}" for name in _FTP_SWITCHES)}
    written = []
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in known and value in {"true", "false"}:
            written += [f"--{name}"] if value == "true" else []
        else:
            written.append(word)
    return written


def _asked(given: Sequence[tuple[str, str]], found: Translation) -> _Asked:
    asked = _Asked(options={"overwrite": "if_different", "preserve_mtime": True})
    for option, value in given:
        name = _LONG_OF.get(option, option).removeprefix("--")
        if name.startswith("ftp-"):
            key = name.removeprefix("ftp-").replace("-", "_")
            asked.keys[key] = value if name.removeprefix("ftp-") in _FTP_VALUES else "true"
        elif name in _SWITCHES:
            _switch(name, asked)
        elif name in _VALUES:
            _value(name, value, asked, found)
    _filter(asked)
    return asked


def _switch(name: str, asked: _Asked) -> None:
    match name:
        case "checksum":
            asked.options["verify"] = "checksum"
        case "update":
            asked.options["overwrite"] = "if_newer"
        case "ignore-existing" | "immutable":
            asked.options["overwrite"] = "never"
        case "ignore-times":
            asked.options["overwrite"] = "always"
        case "dry-run":
            asked.options["check"] = True
        case "inplace":
            asked.options["in_place"] = True
        case _:
            raise Untranslated(f"--{name}: nothing is kept because its size alone is equal")


def _value(name: str, value: str, asked: _Asked, found: Translation) -> None:
    match name:
        case "config":
            asked.config = value
        case "transfers":
            asked.keys["max_sessions"] = _count(name, value)
        case "bwlimit":
            _bandwidth(value, asked, found)
        case "include" | "exclude" | "filter":
            asked.rules.append(_rule(name, value))
        case "max-depth" if value != "1":
            raise Untranslated("--max-depth: folders below are not entered: expected 1")
        case "max-depth":
            asked.flat = True
        case "retries":
            asked.options["retry_count"] = max(0, int(_count(name, value)) - 1)
        case "min-size" | "max-size":
            asked.filters[name.replace("-", "_")] = binary_size(f"--{name}", value)
        case _:
            asked.filters[name.replace("-", "_")] = seconds(f"--{name}", value)


def _rule(name: str, value: str) -> tuple[str, str]:
    if name != "filter":
        return "+" if name == "include" else "-", value
    sign, _, pattern = value.partition(" ")
    if sign not in {"+", "-"}:
        raise Untranslated("--filter: expected + or -, and a pattern")
    return sign, pattern.strip()


def _count(name: str, value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}", value):
        raise Untranslated(f"--{name}: expected a number")
    return value


def _bandwidth(value: str, asked: _Asked, found: Translation) -> None:
    if re.fullmatch(r"[0-9.]+[BKMGTP]?", value, re.IGNORECASE):
        # rclone counts a number alone in KiB.
        asked.keys["bandwidth"] = value if not value[-1].isdigit() else f"{value}K"
        found.note("--bwlimit: bandwidth is of the remote, and of each process")
    elif value not in {"", "off"}:
        raise Untranslated("--bwlimit: one number is known, and no time table")


def _filter(asked: _Asked) -> None:
    """Make a filter of the rules, where their order does not matter to it."""
    rules = list(asked.rules)
    if any(sign == "+" for sign, _ in rules):
        if rules[-1] == ("-", "*"):
            rules.pop()
        elif any(sign == "-" for sign, _ in rules):
            # rclone copies what no rule names, unless nothing but files to include is named.
            raise Untranslated("files to include and to exclude together: expected `- *` as the last rule")
        first_plus = next(at for at, (sign, _) in enumerate(rules) if sign == "+")
        if any(sign == "-" for sign, _ in rules[first_plus:]):
            raise Untranslated("files to exclude behind files to include: one filter has no order")
    for sign, key in (("+", "name"), ("-", "exclude")):
        patterns = [name for rule, pattern in rules if rule == sign for name in _names(pattern)]
        if patterns:
            asked.filters[key] = patterns


def _names(pattern: str) -> list[str]:
    name = pattern.removeprefix("/")
    if "/" in name or "**" in name or "\\" in name or "{{" in name:
        raise Untranslated("a pattern with folders, `**`, a backslash or a regular expression in it")
    return unbraced(name)


@dataclass(frozen=True, slots=True)
class _End:
    """One side of a copy; ``keys`` are None for the local one."""

    path: str
    name: str = ""
    keys: Mapping[str, str] | None = None


def _copyings(
    command: str, ends: Sequence[str], asked: _Asked, around: Surroundings, found: Translation
) -> list[Copying]:
    source, destination = (_end(text, asked, around, found) for text in ends)
    if (source.keys is None) == (destination.keys is None):
        both = "here" if source.keys is None else "on servers"
        raise Untranslated(f"{command}: both ends are {both}: one must be a folder here, the other a server")
    far = destination if source.keys is None else source
    assert far.keys is not None  # noqa: S101 - one of them has keys
    keys = {**far.keys, **_plain(far.name, asked.keys)}
    last = source.path.rpartition("/")[2]
    options, target = dict(asked.options), destination.path
    if last and (command.endswith("to") or (command != "check" and re.search(r"[^.]\.\w+$", last))):
        if not command.endswith("to"):
            found.note(f"{last} is taken for a file, since its name has a dot")
            target = folder(target) + last
        paths, options = (source.path, target), one_file(source.path, options)
    else:
        if asked.filters:
            options["filter"] = asked.filters
        if not asked.flat:
            found.note(flat(source.path))
        paths = folder(source.path), folder(target)
    return [Copying(keys, far.name, source.keys is None, *paths, options)]


def _end(text: str, asked: _Asked, around: Surroundings, found: Translation) -> _End:
    match = re.match(r"([^:/,]+):(.*)", text, re.DOTALL)
    if match is None:
        if ":" in text.partition("/")[0]:
            raise Untranslated("a remote that is described on the spot: expected one of an rclone.conf")
        return _End(around.local(text))
    name, path = match.groups()
    sections = _sections(asked, around)
    if name not in sections:
        raise Untranslated(f"{name}: is not in the rclone.conf that was read")
    keys = {key: entry.value for key, entry in sections[name].entries.items()}
    kind = keys.pop("type", "")
    if kind == "local":
        return _End(around.local(path))
    if kind == "alias" and keys.get("remote", "").startswith("/"):
        return _End(around.local(f"{keys['remote']}/{path}"))
    if kind != "ftp":
        raise Untranslated(
            f"{name}: is of type {kind or 'none'}: expected ftp, local, or an alias of a folder here"
        )
    if path and not path.startswith("/"):
        found.note(FROM_ROOT)
    # Where nothing is said of it rclone has another default than connections.ini.
    return _End(joined("/", path), name, {"encoding": RCLONE_ENCODING, **_plain(name, keys)})


def _sections(asked: _Asked, around: Surroundings) -> Mapping[str, inifile.IniSection]:
    path = asked.config or around.variables.get("RCLONE_CONFIG")
    if path is None and "HOME" not in around.variables:
        raise Untranslated("nothing says where its rclone.conf is: --rclone-config does")
    path = path or "~/.config/rclone/rclone.conf"
    problems = Problems()
    try:
        sections = inifile.parse(around.read(around.local(path)), path, problems)
    except OSError as error:
        raise Untranslated(f"{path}: {error.strerror}: --rclone-config says where it is") from None
    if any("encrypted" in mistake for mistake in problems.mistakes):
        raise Untranslated(f"{path}: is encrypted (rclone config encryption remove)")
    return sections


def _plain(name: str, keys: dict[str, str]) -> dict[str, str]:
    if keys.get("pass"):
        try:
            keys["pass"] = reveal(keys["pass"])
        except ValueError as error:
            raise Untranslated(f"{name}.pass: {error}") from None
    return keys
