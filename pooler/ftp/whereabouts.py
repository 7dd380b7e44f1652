"""Where a session is on the server, and how it gets elsewhere: CWD and CDUP (RFC 959 §4.1.1).

A folder is entered by its whole path. Some servers take no path there, only the name of what is next. So
where a path was refused, and none was ever taken, it is tried name by name: from ``/`` where that is taken,
else from the folder of the login, which then is what ``/`` means. What has worked is what all sessions do.

Neighbours: `commands` asks for it.
"""

from collections.abc import Awaitable, Callable

from pooler.ftp.learnt import Entering, Learnt
from pooler.ftp.wire import Command, Reply

Exchange = Callable[[Command], Awaitable[Reply]]
Answered = tuple[Command, Reply]

_MAY_BE_THE_FORM = frozenset({501, 504, 550, 553})
_NO_SLASH = frozenset({500, 501, 502, 504})
_ROOT = b"/"
_THERE = Reply(250, (b"there already",))


class Whereabouts:
    """Knows the folder of one session.

    Args:
        exchange: sends a command and waits for its final reply.
        learnt: shared by the sessions on this remote.
        steps: whether a path that is refused may be tried name by name.
    """

    def __init__(self, exchange: Exchange, learnt: Learnt, *, steps: bool) -> None:
        self._exchange = exchange
        self._learnt = learnt
        self._steps = steps
        self._here: bytes | None = None
        self._below_login: list[bytes] | None = []
        """The names gone into since the login; None once a path has led elsewhere. No refusal changes it."""

    def __repr__(self) -> str:
        return f"<Whereabouts {self._here!r}>"

    @property
    def here(self) -> bytes | None:
        """The path of the folder we are in; None where that is not sure."""
        return self._here

    def doubt(self) -> None:
        """Something was refused: where we are counts as unknown until the next CWD."""
        self._here = None

    async def go(self, folder: bytes) -> Answered:
        """Go into a folder; give the command and the reply that settled it.

        Args:
            folder: its absolute path.
        """
        match self._learnt.entering:
            case Entering.STEPS_FROM_ROOT:
                return await self._from_root(folder)
            case Entering.STEPS_FROM_LOGIN:
                return await self._from_login(folder)
        answered = await self._by_path(folder)
        if not answered[1].refused:
            if folder != _ROOT:  # which is taken by some that take no other path
                self._learnt.entering = Entering.PATHS
        elif self._steps and self._learnt.entering is None:
            return await self._by_steps(folder, answered)
        return answered

    async def _by_path(self, folder: bytes) -> Answered:
        command = Command("CWD", folder)
        reply = await self._exchange(command)
        if not reply.refused:
            self._here, self._below_login = folder, None
        return command, reply

    async def _by_steps(self, folder: bytes, refusal: Answered) -> Answered:
        """Try it name by name; where that does not work either, the refusal of its path was right."""
        if folder == _ROOT:
            if self._below_login is None or refusal[1].code not in _NO_SLASH:
                return refusal
            return await self._from_login(folder)
        if refusal[1].code not in _MAY_BE_THE_FORM:
            return refusal
        how = Entering.STEPS_FROM_ROOT
        answered = await self._from_root(folder)
        if answered[1].refused and self._below_login is not None:  # not even / was taken
            how = Entering.STEPS_FROM_LOGIN
            answered = await self._from_login(folder)
        if answered[1].refused:
            return refusal
        self._learnt.entering = how
        return answered

    async def _from_root(self, folder: bytes) -> Answered:
        answered = await self._by_path(_ROOT)
        if answered[1].refused:
            return answered
        for name in _names(folder):
            answered = await self._step(Command("CWD", name))
            if answered[1].refused:
                return answered
        self._here = folder
        return answered

    async def _from_login(self, folder: bytes) -> Answered:
        """Go up as far as the two ways differ, and down from there."""
        below, names = self._below_login, _names(folder)
        if below is None:
            return await self._by_path(folder)
        answered: Answered = Command("CWD", folder), _THERE
        common = 0
        while common < min(len(below), len(names)) and below[common] == names[common]:
            common += 1
        while len(below) > common:
            answered = await self._step(Command("CDUP"))
            if answered[1].refused:
                return answered
            below.pop()
        for name in names[common:]:
            answered = await self._step(Command("CWD", name))
            if answered[1].refused:
                return answered
            below.append(name)
        self._here = folder
        return answered

    async def _step(self, command: Command) -> Answered:
        return command, await self._exchange(command)


def _names(folder: bytes) -> list[bytes]:
    return [name for name in folder.split(b"/") if name]
