"""Folders that a store needs: which are known to exist, and how missing ones are made.

None is looked at before a STOR was refused; then it is one MKD where only the last is missing. Who was faster
is asked with CWD, because MKD answers 550 or 521 both to a folder that exists and to one that cannot be.
Neighbour: `session`.
"""

from collections.abc import Awaitable, Callable

from pooler.errors import RemoteError
from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

_MAX_KNOWN = 4096
_MAYBE_EXISTS = frozenset({521, 550, 553})

Say = Callable[[str, str], Awaitable[tuple[Command, Reply]]]
"""Sends MKD or CWD about a folder, and gives what was sent and its final reply."""


def parent_of(path: str) -> str:
    """Give the folder of an absolute path."""
    return path.rstrip("/").rpartition("/")[0] or "/"


class KnownFolders:
    """Folders of one remote that existed when last heard of; bounded, the oldest are forgotten first."""

    def __init__(self) -> None:
        self._folders: dict[str, None] = {}

    def __contains__(self, folder: str) -> bool:
        return folder == "/" or folder in self._folders

    def __len__(self) -> int:
        return len(self._folders)

    def add(self, folder: str) -> None:
        """Remember that a folder exists."""
        if folder not in self:
            if len(self._folders) == _MAX_KNOWN:
                del self._folders[next(iter(self._folders))]
            self._folders[folder] = None

    def forget(self, folder: str) -> None:
        """Forget a folder and those above it: one of them may have gone."""
        while folder != "/":
            self._folders.pop(folder, None)
            folder = parent_of(folder)


async def make_folder(folder: str, known: KnownFolders, say: Say, charset: str) -> bool:
    """Make a folder, and those above it where they are missing.

    Args:
        folder: absolute.
        known: is believed, and added to.
        say: speaks to the server.
        charset: of names in replies.

    Returns:
        Whether this call made it; False where it was there.

    Raises:
        ReplyError: the server refuses.
        SessionLost: the control connection failed.
    """
    missing: list[str] = []
    made = False
    here = folder
    while here not in known:  # up, as far as there is nothing; a path has more parts than Python has frames
        made, refusal = await _try_to_make(here, say, charset)
        if refusal is None:
            known.add(here)
            break
        missing.append(here)
        here = parent_of(here)
        if here == "/":
            raise refusal
    for here in reversed(missing):
        made, refusal = await _try_to_make(here, say, charset)
        if refusal is not None:
            raise refusal
        known.add(here)
    return made


async def _try_to_make(folder: str, say: Say, charset: str) -> tuple[bool, RemoteError | None]:
    """Make one folder; tell whether it was made, and why there is none: it may be for want of those above."""
    mkd, made = await say("MKD", folder)
    if not made.refused:
        return True, None
    if made.code not in _MAYBE_EXISTS:
        raise classify(made, mkd, charset=charset)
    cwd, there = await say("CWD", folder)
    if not there.refused:
        return False, None
    if there.code not in _MAYBE_EXISTS:
        raise classify(there, cwd, charset=charset)
    return False, classify(made, mkd, charset=charset)
