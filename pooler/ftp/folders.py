"""Folders that a store needs: which are known to exist, and how missing ones are made.

None is looked at before a STOR was refused; then it is one MKD where only the last is missing. Who was faster
is asked with CWD, because MKD answers 550 or 521 both to a folder that exists and to one that cannot be.
Neighbour: `session`.
"""

from collections.abc import Awaitable, Callable

from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

_MAX_KNOWN = 4096
_MAYBE_EXISTS = frozenset({521, 550, 553})
_ATTEMPTS = 2


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


async def make_folder(
    folder: str,
    known: KnownFolders,
    say: Callable[[str, str], Awaitable[tuple[Command, Reply]]],
    charset: str,
) -> bool:
    """Make a folder, and those above it where they are missing.

    Args:
        folder: absolute.
        known: is believed, and added to.
        say: sends MKD or CWD about a folder and gives what was sent and its final reply.
        charset: of names in replies.

    Returns:
        Whether this call made it; False where it was there.

    Raises:
        ReplyError: the server refuses.
        SessionLost: the control connection failed.
    """
    if folder in known:
        return False
    for attempt in range(1, _ATTEMPTS + 1):
        mkd, made = await say("MKD", folder)
        if not made.refused:
            break
        if made.code not in _MAYBE_EXISTS:
            raise classify(made, mkd, charset=charset)
        cwd, there = await say("CWD", folder)
        if not there.refused:
            break
        if there.code not in _MAYBE_EXISTS:
            raise classify(there, cwd, charset=charset)
        parent = parent_of(folder)
        if attempt == _ATTEMPTS or parent == "/":
            raise classify(made, mkd, charset=charset)
        await make_folder(parent, known, say, charset)
    known.add(folder)
    return not made.refused
