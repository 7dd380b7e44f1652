"""The commands of a line, and what stands around them: folders, locks, time limits, outputs. Pure."""

import getopt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from pooler.cli.imports import lftp, rclone
from pooler.cli.imports.copying import Surroundings, Translation, Untranslated
from pooler.cli.imports.shell import Token, tokens

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_KEYWORDS = frozenset({"if", "for", "while", "until", "case", "function", "{", "select"})
_SILENT = frozenset({"true", ":", "exit", "set", "wait", "umask", "ulimit", "sleep", "date"})
"""They copy nothing, and what they do is not missed."""


class _Wrapper(NamedTuple):
    """A command that runs another one.

    Attributes:
        short: its options, as getopt takes them.
        operands: how many words of its own stand before that other one.
        note: what to know; empty for nothing.
    """

    short: str
    operands: int
    note: str = ""


_LOCK = "flock: jobs with one destination do not overlap in a service; a line of cron keeps its own flock"
_LIMIT = "timeout: transfer.transfer_timeout_seconds bounds a file, and deadline_seconds a job"
_WRAPPERS = MappingProxyType(
    {
        "nice": _Wrapper("n:", 0),
        "ionice": _Wrapper("c:n:t", 0),
        "chronic": _Wrapper("", 0),
        "cronic": _Wrapper("", 0),
        "nohup": _Wrapper("", 0),
        "setsid": _Wrapper("", 0),
        "exec": _Wrapper("", 0),
        "time": _Wrapper("p", 0),
        "timeout": _Wrapper("k:s:v", 1, _LIMIT),
        "flock": _Wrapper("nxseow:E:F", 1, _LOCK),
        "sudo": _Wrapper("nEHu:g:", 0, "sudo: files belong to whoever runs the pooler"),
        "env": _Wrapper("", 0),
    }
)


def translate(text: str, around: Surroundings) -> Translation:
    """Say what a line of a shell copies.

    Args:
        text: the line, without a schedule.
        around: what it finds around it; ``cd`` and assignments change a copy of that.
    """
    found = Translation()
    around = replace(around, variables=dict(around.variables))
    try:
        for words in _simple(tokens(text, around.variables)):
            _command(words, around, found)
            around.stdin = None
    except Untranslated as error:
        found.untranslated.append(str(error))
    return found


def _simple(found: Iterator[Token]) -> Iterator[list[str]]:
    """Part tokens into commands, without their redirections and without what their output is piped to."""
    words: list[str] = []
    piped = redirected = False
    for token in chain(found, [Token(";", operator=True)]):
        if not token.operator:
            if not redirected:
                words.append(token.text)
            redirected = False
            continue
        if token.text in {"<", "<<", "<&", "(", ")"}:
            raise Untranslated(f"the shell's `{token.text}`")
        if token.text in {">", ">>", ">&", "&>"}:
            redirected = True
            if words and words[-1] in {"1", "2"}:
                words.pop()
            continue
        if words and not piped:
            yield words
        words, piped, redirected = [], token.text == "|", False


def _command(words: list[str], around: Surroundings, found: Translation) -> None:
    variables = dict(around.variables)
    if words[:1] and words[0] in _KEYWORDS:
        raise Untranslated(f"the shell's `{words[0]}`")
    while words and (match := _ASSIGNMENT.fullmatch(words[0])) is not None:
        variables[match[1]] = match[2]
        words = words[1:]
    if not words:
        around.variables.update(variables)
        return
    program = words[0].rpartition("/")[2]
    its_own = replace(around, variables=variables)
    if program in {"export", "declare", "readonly"}:
        _command(words[1:], around, found)
    elif program == "cd":
        around.cwd = around.local(words[1] if len(words) > 1 else "~")
    else:
        _program(program, words, its_own, found)


def _program(program: str, words: list[str], around: Surroundings, found: Translation) -> None:
    if program in {"test", "["}:
        found.note(f"{program}: the condition is left out")
    elif program in {"sh", "bash", "dash"}:
        _inner(program, words, around, found)
    elif program in _WRAPPERS:
        _wrapped(program, words, around, found)
    elif program in _TRANSLATORS:
        _copying(program, words[1:], around, found)
    elif program not in _SILENT:
        found.untranslated.append(f"{program}: only rclone and lftp are known")


_Translator = Callable[[Sequence[str], Surroundings, Translation], None]
_TRANSLATORS: Mapping[str, _Translator] = {"rclone": rclone.translate, "lftp": lftp.translate}


def _copying(program: str, words: Sequence[str], around: Surroundings, found: Translation) -> None:
    try:
        _TRANSLATORS[program](words, around, found)
    except (Untranslated, getopt.GetoptError) as error:
        found.untranslated.append(f"{program}: {error}")


def _inner(program: str, words: list[str], around: Surroundings, found: Translation) -> None:
    flags = [word for word in words[1:] if word.startswith("-")]
    if not any(flag.endswith("c") for flag in flags) or len(words) < len(flags) + 2:
        found.untranslated.append(f"{program}: its lines stand in a file: import that")
        return
    inner = translate(words[len(flags) + 1], around)
    found.copyings += inner.copyings
    found.untranslated += inner.untranslated
    for note in inner.notes:
        found.note(note)


def _wrapped(program: str, words: list[str], around: Surroundings, found: Translation) -> None:
    wrapper = _WRAPPERS[program]
    try:
        # Without long options' names none is known, and none is guessed at.
        _, rest = getopt.getopt(words[1:], wrapper.short, _LONG.get(program, []))
    except getopt.GetoptError as error:
        found.untranslated.append(f"{program}: {error}")
        return
    if wrapper.note:
        found.note(wrapper.note)
    rest = rest[wrapper.operands :]
    if program == "flock" and rest[:1] in (["-c"], ["--command"]):
        rest = ["sh", "-c", *rest[1:]]
    if rest:
        _command(rest, around, found)


_LONG: Mapping[str, list[str]] = {
    "nice": ["adjustment="],
    "ionice": ["class=", "classdata=", "ignore"],
    "timeout": ["kill-after=", "signal=", "foreground", "preserve-status", "verbose"],
    "flock": ["nonblock", "exclusive", "shared", "wait=", "timeout=", "conflict-exit-code=", "verbose"],
    "sudo": ["user=", "group=", "non-interactive"],
}
