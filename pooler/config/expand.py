"""``${NAME}`` in a value: replaced by the environment variable of that name.

``$${NAME}`` stands for the text ``${NAME}`` itself; any other ``$`` is left alone.
"""

import re
from collections.abc import Mapping

from pooler.config.problems import Place, Problems

_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def expand(text: str, environ: Mapping[str, str], place: Place, label: str, problems: Problems) -> str:
    """Replace every reference in ``text``; what a variable holds is not looked into again.

    Args:
        text: the value as it was written.
        environ: the environment.
        place: where the value stands.
        label: the key's name, for the mistake.
        problems: gets a mistake for each variable that is not set, or is no text.

    Returns:
        The text with its references replaced; those that are mistakes stay as they are.
    """

    def replacement(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in environ:
            problems.add(place, f"{label}: the environment variable {name} is not set")
            return match[0]
        value = environ[name]
        if not _is_text(value):
            problems.add(place, f"{label}: the environment variable {name} is not UTF-8")
            return match[0]
        return value

    return _REFERENCE.sub(replacement, text)


def _is_text(value: str) -> bool:
    """Whether a variable was UTF-8: Python hands other bytes on as surrogates, which nothing can encode."""
    return not any("\ud800" <= sign <= "\udfff" for sign in value)
