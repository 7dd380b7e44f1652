"""The name that a file has until it is whole. Pure.

It tells who wrote it: the incarnation of the process, the job, and which of the process's attempts it is. So
no two writers meet, not even where a job comes back to a process that had given it away, and what the dead
left behind can be told from what the living are writing. All of that is in the token, which is plain ASCII
and short. Around it is what a remote wants; locally it is always `local_name`.
"""

import hashlib
import re
import secrets
from typing import NamedTuple

from pooler.model.job import Origin

_TOKEN = re.compile(r"pooler-([0-9a-z]+)-([0-9a-f]{16})-[0-9]+")


def incarnation() -> str:
    """Make a name for this process that no other process has, nor this one after a restart."""
    return secrets.token_hex(4)


class Author(NamedTuple):
    """Who writes a file on its way.

    Attributes:
        process: its ``incarnation()``.
        origin: where the job's record stands.
        serial: which of the process's attempts at any job it is.
    """

    process: str
    origin: Origin
    serial: int

    def token(self, content: str = "") -> str:
        """Make what stands for the file in its name.

        Args:
            content: what else is to tell it from other files of the job, such as the state of its source.
        """
        job = hashlib.blake2b(f"{self.origin}\0{content}".encode(), digest_size=8).hexdigest()
        return f"pooler-{self.process}-{job}-{self.serial}"


def local_name(token: str) -> str:
    """Name a file on its way that is on our own side."""
    return f".{token}.part"


def former_author(name: str, own: str, token: str) -> str | None:
    """Tell which process wrote an earlier part of the file that ``own`` is to be.

    Args:
        name: what was found.
        own: the name that this attempt has for its file.
        token: the token in it.

    Returns:
        The process's incarnation; None where it is no earlier part of the same file.
    """
    found, mine = _TOKEN.search(name), _TOKEN.fullmatch(token)
    if found is None or mine is None or found[2] != mine[2] or name == own:
        return None
    return found[1] if name.replace(found[0], token) == own else None


def is_on_its_way(name: str) -> bool:
    """Tell whether a name is one that we give to files that are not whole."""
    return _TOKEN.search(name) is not None
