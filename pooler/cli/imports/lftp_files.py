"""What ``get``, ``mget``, ``put`` and ``mput`` of lftp's copy. Pure."""

import getopt
import re
from typing import Any

from pooler.cli.imports.copying import Untranslated, bulk, folder, one_file, unbraced
from pooler.cli.imports.lftp_session import Session


def _transfer(session: Session, words: list[str], *, upload: bool, many: bool) -> None:
    # The -o of get stands behind the file that it renames; all other options may stand anywhere.
    given, operands = (getopt.gnu_getopt if many else getopt.getopt)(words, "cEaeqdo:O:P:n:")
    asked = dict(given)
    options: dict[str, Any] = {"preserve_mtime": True}
    options.update({"resume": True} if "-c" in asked else {})
    options.update({"after": "delete"} if "-E" in asked else {})
    if "-a" in asked:
        raise Untranslated("-a: ASCII mode is of a remote: transfer_type = ascii")
    if many and "-d" in asked:
        raise Untranslated("-d: each folder takes a job of its own")
    if "-P" in asked:
        session.settings["max_sessions"] = asked["-P"]
    if not operands:
        raise Untranslated("expected a file")
    base, renamed = asked.get("-O", ""), [asked["-o"]] if "-o" in asked else []
    for source, target in _pairs(operands, renamed, many=many):
        destination = _destination(session, base, None if many else (target, source), upload=upload)
        if not many:
            path = session.around.local(source) if upload else session.far(source)
            session.copies(path, destination, one_file(path, options), upload=upload)
            continue
        for pattern in unbraced(source):
            path, more = bulk(session.around.local(pattern) if upload else session.far(pattern))
            one = not more and not re.search(r"[*?]", path)
            where = folder(destination) + (path.rpartition("/")[2] if one else "")
            session.copies(path, where, {**options, **more}, upload=upload)


def _pairs(operands: list[str], renamed: list[str], *, many: bool) -> list[tuple[str, str]]:
    """Pair sources with the names that ``-o`` gives; it may stand behind each of them."""
    pairs: list[tuple[str, str]] = []
    rest = list(operands)
    while rest:
        source = rest.pop(0)
        if many:
            pairs.append((source, ""))
            continue
        if source.startswith("-"):
            raise Untranslated(f"{source[:2]}: expected before the first file")
        target = ""
        if rest[:1] == ["-o"] and len(rest) > 1:
            target = rest[1]
            del rest[:2]
        elif renamed:
            target = renamed.pop()
        pairs.append((source, target))
    return pairs


def _destination(session: Session, base: str, one: tuple[str, str] | None, *, upload: bool) -> str:
    """Give where a file goes, by the name that it is to have and its own; or the folder of many."""
    where = session.far if upload else session.around.local
    target, source = one or ("", "")
    if not target or target.endswith("/"):
        target += source.rstrip("/").rpartition("/")[2]
    return where(f"{folder(base)}{target}" if base else target or ".")


def get(session: Session, words: list[str]) -> None:
    """Follow ``get``, ``pget`` and ``reget``."""
    _transfer(session, words, upload=False, many=False)


def mget(session: Session, words: list[str]) -> None:
    """Follow ``mget``."""
    _transfer(session, words, upload=False, many=True)


def put(session: Session, words: list[str]) -> None:
    """Follow ``put`` and ``reput``."""
    _transfer(session, words, upload=True, many=False)


def mput(session: Session, words: list[str]) -> None:
    """Follow ``mput``."""
    _transfer(session, words, upload=True, many=True)
