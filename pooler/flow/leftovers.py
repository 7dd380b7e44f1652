"""Parts of files that were left on a server: remembered, and removed by the next session that is begun."""

from collections.abc import Callable

import structlog
import trio

from pooler.errors import ErrorCode, RemoteError
from pooler.flow.opener import Opener
from pooler.transfer.session import Session

log = structlog.get_logger(__name__)

_LAST_ERRAND_S = 5.0
_MOST = 1_000
_TRIES = 10
"""To open a session for nothing else, in a row; then they wait for one that is opened for a job."""


class Leftovers:
    """What is to be removed from one server.

    Args:
        remote: its name.
        removed: told of each part that is gone: the remote and the path.
    """

    def __init__(self, remote: str, removed: Callable[[str, str], None]) -> None:
        self._remote = remote
        self._removed = removed
        self._paths: list[str] = []
        self._tries = 0
        self._sweeping = False

    @property
    def wait(self) -> bool:
        """Whether there are any that nobody is removing, for which a session is worth opening."""
        return bool(self._paths) and not self._sweeping and self._tries < _TRIES

    def add(self, path: str) -> None:
        """Remember a part; beyond a thousand of them it is left to the sweep of who is gone."""
        self._tries = 0
        if len(self._paths) < _MOST:
            self._paths.append(path)

    def not_reached(self) -> None:
        """Take in that no session could be opened."""
        self._tries += 1

    async def sweep(self, session: Session) -> None:
        """Remove them, as long as the session can be used.

        Cancellation: what is not known to be removed is still remembered.
        """
        if self._sweeping:
            return
        self._sweeping = True
        try:
            while self._paths and session.usable:
                await self._remove(session, self._paths.pop())
        finally:
            self._sweeping = False

    async def _remove(self, session: Session, path: str) -> None:
        try:
            await session.remove(path)
        except RemoteError as error:
            if not session.usable:
                self._paths.append(path)  # whether it is gone, the next session will tell
                self._tries += 1
            elif error.code is ErrorCode.FILE_NOT_FOUND:
                self._removed(self._remote, path)
            else:
                log.warning("part_left_behind", remote=self._remote, path=path, error=str(error))
        except BaseException:
            self._paths.append(path)
            raise
        else:
            self._removed(self._remote, path)

    async def sweep_at_the_end(self, opener: Opener, why_not: str | None) -> None:
        """Remove what is left once no session is there any more, by a last one that is opened for it.

        Args:
            opener: opens it.
            why_not: what forbids that; None where nothing does.

        Cancellation: shielded for five seconds.
        """
        if not self._paths:
            return
        with trio.move_on_after(_LAST_ERRAND_S, shield=True):
            if why_not is not None:
                self._tell(why_not)
                return
            opener.opening += 1  # it counts like any other
            try:
                session = await opener.open_to_tidy()
                if session is None:
                    self._tell(str(opener.last_error))
                    return
                try:
                    await self.sweep(session)
                finally:
                    await session.aclose()
            finally:
                opener.opening -= 1

    def _tell(self, error: str) -> None:
        log.warning("parts_left_behind", remote=self._remote, paths=self._paths, error=error)
