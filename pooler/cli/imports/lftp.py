"""What a command of lftp's copies: its options, and the commands that it is given. Pure.

The commands are followed as lftp would run them: each ``set`` is for those behind it, ``open`` begins another
session, ``cd`` and ``lcd`` say where relative paths begin.
"""

import getopt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from urllib.parse import unquote

from pooler.cli.imports import lftp_settings
from pooler.cli.imports.copying import Surroundings, Translation, Untranslated
from pooler.cli.imports.lftp_files import get, mget, mput, put
from pooler.cli.imports.lftp_mirror import mirror
from pooler.cli.imports.lftp_session import Session
from pooler.cli.imports.shell import Token, tokens

_URL = re.compile(r"(?:([a-z]+)://)?(?:([^@/]*)@)?(\[[^\]]*\]|[^:/@]+)(?::(\d+))?(/.*)?", re.DOTALL)
_HINTS = MappingProxyType(
    {
        "rm": '"after": "delete" removes each source once its copy is safe',
        "mrm": '"after": "delete" removes each source once its copy is safe',
        "glob": "list what it stands for",
        "mv": '"after": "move:FOLDER/" moves each source once its copy is safe',
        "mmv": '"after": "move:FOLDER/" moves each source once its copy is safe',
        "repeat": "a schedule does that",
        "source": "its commands stand in a file: import that with lftp -f",
    }
)
_SILENT = frozenset(
    {
        "mkdir", "ls", "cls", "nlist", "dir", "pwd", "lpwd", "wait", "jobs", "debug", "echo",
        "exit", "quit", "bye", "close", "cache", "du", "renlist", "recls", "help",
    }
)  # fmt: skip
"""They copy nothing; folders are made where they are missing."""
_ELSEWHERE = frozenset({"open", "lftp", "user", "login", "cd", "lcd"})
"""Without them those behind would mean other files."""


_Command = Callable[[Session, list[str]], None]


def translate(words: Sequence[str], around: Surroundings, found: Translation) -> None:
    """Say what a command copies.

    Args:
        words: behind ``lftp``.
        around: what it finds around it.
        found: gets what it copies, notes, and which of its commands have no translation.

    Raises:
        Untranslated: nothing of it can be said in jobs.
        getopt.GetoptError: it has an option that is not known here.
    """
    session = Session(around, found)
    given, sites = getopt.gnu_getopt(list(words), "de:u:p:f:c:", ["norc", "user=", "env-password", "rcfile="])
    options = dict(given)
    for site in sites[:1]:
        _open(session, site, options)
    if "-c" in options:
        _run(session, options["-c"])
    elif "-f" in options:
        path = options["-f"]
        try:
            _run(session, around.read(around.local(path)))
        except OSError as error:
            raise Untranslated(f"{path}: {error.strerror}") from None
    else:
        _run(session, options.get("-e", ""))
        _run(session, around.stdin or "")
    if not found.copyings and not found.untranslated:
        raise Untranslated("no command of it copies files")


def _run(session: Session, text: str) -> None:
    """Follow commands; what has no translation is named, and those behind it are followed all the same."""
    words: list[str] = []
    for token in [*tokens(text, None), Token(";", operator=True)]:
        if not token.operator:
            words.append(token.text)
            continue
        if token.text not in {";", "\n", "&&", "||", "&"}:
            raise Untranslated(f"lftp's `{token.text}`")
        if words:
            _command(session, words)
        words = []


def _command(session: Session, words: list[str]) -> None:
    name = words[0]
    if name in {"queue", "command"} and len(words) > 1:
        _command(session, words[1:] if len(words) > 2 else words[1].split())  # noqa: PLR2004
        return
    if name not in _COMMANDS:
        if name not in _SILENT:
            shown = "a command of the shell" if name.startswith("!") else name
            session.found.untranslated.append(f"lftp: {shown}: {_HINTS.get(name, 'not known here')}")
        return
    try:
        _COMMANDS[name](session, words[1:])
    except (Untranslated, getopt.GetoptError) as error:
        if name in _ELSEWHERE:
            raise Untranslated(f"{name}: {error}") from None
        session.found.untranslated.append(f"lftp: {name}: {error}")


def _open(session: Session, site: str, options: Mapping[str, str]) -> None:
    match = _URL.fullmatch(site)
    if match is None:
        raise Untranslated("the server's name cannot be read")
    scheme, userinfo, host, port, path = match.groups()
    if scheme not in {None, "ftp", "ftps"}:
        raise Untranslated(f"{scheme}: expected ftp or ftps")
    remote = {"host": host.strip("[]")}
    if scheme == "ftps":
        remote["tls"] = "true"
    if port := options.get("-p", port):
        remote["port"] = port
    user, _, password = (userinfo or "").partition(":")
    user, password = unquote(user), unquote(password)
    account = options.get("-u", options.get("--user"))
    if account is not None:
        user, _, password = account.partition(",")
    if "--env-password" in options:
        password = session.around.variables.get("LFTP_PASSWORD", "")
    remote["user"] = user or "anonymous"
    if password:
        remote["pass"] = password
    session.remote, session.cwd = remote, "/"
    if path and path != "/":
        session.cwd = session.far(unquote(path).replace("//", "/"))


def _opened(session: Session, words: list[str]) -> None:
    given, sites = getopt.gnu_getopt(words, "u:p:e:", ["user=", "env-password"])
    options = dict(given)
    if not sites:
        raise Untranslated("expected a server")
    _open(session, sites[0], options)
    _run(session, options.get("-e", ""))


def _user(session: Session, words: list[str]) -> None:
    if not words:
        raise Untranslated("expected an account")
    session.remote["user"] = words[0]
    session.remote.pop("pass", None)
    if len(words) > 1:
        session.remote["pass"] = words[1]


def _cd(session: Session, words: list[str]) -> None:
    session.cwd = session.far(words[0] if words else "/")


def _lcd(session: Session, words: list[str]) -> None:
    session.around.cwd = session.around.local(words[0] if words else "~")


def _set(session: Session, words: list[str]) -> None:
    if not words:
        return
    name, value = words[0], " ".join(words[1:])
    lftp_settings.apply(name, value, session.settings, session.options, session.found)


def _again(command: _Command, session: Session, words: list[str]) -> None:
    command(session, ["-c", *words])


_COMMANDS: Mapping[str, _Command] = {
    "open": _opened, "lftp": _opened, "user": _user, "login": _user, "cd": _cd, "lcd": _lcd, "set": _set,
    "get": get, "reget": partial(_again, get), "pget": get, "get1": get, "mget": mget, "put": put,
    "reput": partial(_again, put), "mput": mput, "mirror": mirror,
}  # fmt: skip
