"""The name that an upload has on a server until it is whole, as connections.ini writes it. Pure.

Neighbours: `pooler.config.checks`, which looks at what it means beside other keys, and
`pooler.transfer.names`, which makes the token.
"""

import re
from typing import NamedTuple

from pooler.config.values import line

NAME, TOKEN = "{name}", "{token}"
"""What stands for the file's own name, and for what no two writers have in common."""
TOKEN_BYTES = 64
"""No token is longer."""

_STEP_UP = re.compile(r"(^|[/\\\\])\.{1,2}($|[/\\\\])")


class TempName(NamedTuple):
    """Where an upload's bytes go until it is whole.

    Attributes:
        folder: empty for the destination's own; another one as seen from that, or with a ``/`` in front from
            the remote's base path.
        name: with ``{token}`` in it, ``{name}``, or both, each once.
    """

    folder: str = ""
    name: str = ".{token}.part"

    @property
    def is_unique(self) -> bool:
        """Whether no two writers ever have one name."""
        return TOKEN in self.name


BESIDE = TempName()
"""A hidden file beside the destination: what holds where nothing else is said."""


def temp_name(text: str) -> TempName:
    """Read a pattern such as ``.{token}.part``, ``{name}.filepart``, ``tmp/{token}`` or ``/tmp/{token}``.

    Raises:
        ValueError: with what was expected.
    """
    folder, slash, name = line(text).rpartition("/")
    if _STEP_UP.search(text) or "//" in text or not name:
        raise ValueError(f"expected a name, or folders and a name, without '.' and '..', got {text!r}")
    unknown = re.sub("|".join(map(re.escape, (NAME, TOKEN))), "", name)
    if "{" in unknown + folder or "}" in unknown + folder:
        raise ValueError(f"expected {NAME} and {TOKEN} alone in braces, and in the name alone, got {text!r}")
    if name.count(NAME) > 1 or name.count(TOKEN) > 1:
        raise ValueError(f"expected {NAME} and {TOKEN} once each, got {text!r}")
    pattern = TempName(folder or slash, name)
    if not pattern.is_unique:
        _check_shared(pattern, text)
    return pattern


def _check_shared(pattern: TempName, text: str) -> None:
    """See that at least no two destinations have one temporary name."""
    if NAME not in pattern.name:
        raise ValueError(f"expected {TOKEN} in it, or all files would have one name, got {text!r}")
    if pattern.folder.startswith("/"):
        raise ValueError(f"expected {TOKEN} in it, since files of all folders would meet there, got {text!r}")
    if pattern == TempName("", NAME):
        raise ValueError("expected more than the file's own name: for that there is in_place = true")
