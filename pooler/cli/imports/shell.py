"""The words of a command line, as sh reads them; those of lftp's own commands are near enough to it. Pure.

What is written there is never run: of expansions only ``$NAME`` and ``${NAME}`` are known.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pooler.cli.imports.copying import Untranslated

_OPERATORS = ("&&", "||", ">>", "<<", ">&", "<&", "&>", ";;", ";", "&", "|", ">", "<", "(", ")", "\n")
_NAME = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_ESCAPED_IN_QUOTES = '"\\$`\n'


class Token(NamedTuple):
    """A word, or what stands between words.

    Attributes:
        text: without its quotes.
        operator: whether it is none that a command gets.
    """

    text: str
    operator: bool = False


def tokens(text: str, variables: Mapping[str, str] | None) -> Iterator[Token]:
    """Part a text into words and operators, each when it is asked for: what is set by then holds.

    Args:
        text: a line, or several.
        variables: what ``$NAME`` stands for; None where ``$`` means nothing, as in lftp.

    Raises:
        Untranslated: a quote does not end, or the shell would have to work something out.
    """
    return _Scanner(text, variables).scan()


class _Scanner:
    def __init__(self, text: str, variables: Mapping[str, str] | None) -> None:
        self._text = text
        self._variables = variables
        self._at = 0

    def scan(self) -> Iterator[Token]:
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign in " \t\r":
                self._at += 1
            elif sign == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text.startswith("\\\n", self._at):
                self._at += 2
            elif (operator := self._operator()) is not None:
                self._at += len(operator)
                yield Token(operator, operator=True)
            else:
                yield Token(self._word())

    def _operator(self) -> str | None:
        return next((one for one in _OPERATORS if self._text.startswith(one, self._at)), None)

    def _word(self) -> str:
        found = ""
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign in " \t\r" or self._operator() is not None:
                break
            if sign in "'\"":
                found += self._quoted(sign)
            elif sign == "\\":
                found += self._escaped()
            elif sign in "$`" and self._variables is not None:
                value = self._expanded()
                if re.search(r"\s", value):
                    raise Untranslated("a variable without quotes holds more than one word")
                found += value
            else:
                found += sign
                self._at += 1
        return found

    def _escaped(self) -> str:
        found = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        return "" if found == "\n" else found

    def _quoted(self, quote: str) -> str:
        self._at += 1
        found = ""
        while self._at < len(self._text):
            sign = self._text[self._at]
            if sign == quote:
                self._at += 1
                return found
            if sign == "\\" and self._escapes(quote):
                found += self._escaped()
            elif sign in "$`" and quote == '"' and self._variables is not None:
                found += self._expanded()
            else:
                found += sign
                self._at += 1
        raise Untranslated(f"a {quote} has no other one that ends it")

    def _escapes(self, quote: str) -> bool:
        following = self._text[self._at + 1 : self._at + 2]
        if self._variables is None:
            return following in {quote, "\\"}
        return quote == '"' and following != "" and following in _ESCAPED_IN_QUOTES

    def _expanded(self) -> str:
        assert self._variables is not None  # noqa: S101 - who calls has looked
        match = _NAME.match(self._text, self._at)
        if match is None:
            if self._text[self._at] == "`" or re.match(r"\$[({*@#?$!0-9'\"-]", self._text[self._at :]):
                raise Untranslated("the shell works something out, such as $(date): a job says what it is")
            self._at += 1
            return "$"
        name = match[1] or match[2]
        if name not in self._variables:
            raise Untranslated(f"${name} is not set here: give the line with its value")
        self._at = match.end()
        return self._variables[name]
