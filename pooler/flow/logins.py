"""Has a secret tried by one pod only, until it is known whether the server takes it.

Ten pods that each try a wrong password once lock an account. So before the first login with a secret a
pod says on the control topic that it tries it; the first in the log does, and the others wait for what
comes of it. What was refused nobody tries again, until the secret changes, or an operator has it
forgotten.
"""

import datetime as dt
import time
from collections.abc import Callable
from typing import Protocol

import structlog
import trio

from pooler.errors import BusError, LoginRefused
from pooler.flow.secrets import Digester
from pooler.model.control import Gone, Login, News, Trial
from pooler.transfer.session import Connector, Session

log = structlog.get_logger(__name__)

_AGAIN_S = 1.0
_READERS = 4


class Book(Protocol):
    """What all pods know of logins; `pooler.flow.steering.Steering` has it."""

    @property
    def pod(self) -> str:
        """Our name."""
        ...

    @property
    def incarnation(self) -> str:
        """The name of our life on the control topic; empty while there is none."""
        ...

    def login(self, remote: str, digest: str) -> Login | None:
        """Tell what is known of a secret; None where nothing is, or where who was trying it is silent."""
        ...

    async def write(self, news: News | Gone) -> None:
        """Write to the control topic; raises ``BusError`` where it is not known to be written."""
        ...

    async def changed(self) -> None:
        """Wait until something is heard."""
        ...


class CautiousConnector:
    """Opens sessions on one remote, as far as its secret is not known to be wrong.

    Args:
        remote: its name.
        connector: opens them.
        secret: tells the secret that it would use now.
        digester: makes what stands for that.
        book: what all pods know.
    """

    def __init__(
        self, remote: str, connector: Connector, secret: Callable[[], str], digester: Digester, book: Book
    ) -> None:
        self._remote = remote
        self._connector = connector
        self._secret = secret
        self._digester = digester
        self._book = book
        self._taken = ""
        self._readers = trio.CapacityLimiter(_READERS)

    async def connect(self) -> Session:
        """Connect and log in; see `pooler.transfer.session.Connector`.

        Raises:
            LoginRefused: the server has refused the secret, now or before, us or another pod.
        """
        digest = await self._digest()
        if digest == self._taken or not await self._may_try_first(digest):
            self._refuse_what_was_refused(digest)
            return await self._try(digest)
        try:
            session = await self._try(digest)
        except LoginRefused:
            raise
        except BaseException:
            # Nothing is known of the secret: another pod may try it.
            with trio.move_on_after(_AGAIN_S, shield=True):
                await self._say(Gone("login", (self._remote, digest)))
            raise
        self._taken = digest
        await self._say(self._login(digest, Trial.TAKEN))
        await self._say(Gone("login", (self._remote, digest)))
        return session

    async def _try(self, digest: str) -> Session:
        try:
            return await self._connector.connect()
        except LoginRefused as error:
            # Where the secret was changed meanwhile nobody knows which of them it was.
            if await self._digest() == digest:
                await self._say(self._login(digest, Trial.REFUSED, str(error)))
            raise

    async def _may_try_first(self, digest: str) -> bool:
        """Wait until somebody has tried a secret, or it is for us to do so; tell whether it is."""
        said = False
        while True:
            known = self._book.login(self._remote, digest)
            if known is not None and known.trial is not Trial.TRIED:
                return False
            if known is not None and known.by == self._book.incarnation:
                return True
            if known is None and not said and self._book.incarnation:
                said = await self._say(self._login(digest, Trial.TRIED))
            else:
                with trio.move_on_after(_AGAIN_S):
                    await self._book.changed()
                    continue
                said = False

    def _refuse_what_was_refused(self, digest: str) -> None:
        known = self._book.login(self._remote, digest)
        if known is not None and known.trial is Trial.REFUSED:
            at = dt.datetime.fromtimestamp(known.at, dt.UTC).isoformat(timespec="seconds")
            raise LoginRefused(
                f"not tried again: {known.pod} was refused at {at}: {known.reply}; "
                "change the secret, or reset the remote"
            )

    async def _digest(self) -> str:
        # The secret may be a file's, which is read anew each time.
        return await trio.to_thread.run_sync(lambda: self._digester(self._secret()), limiter=self._readers)

    def _login(self, digest: str, trial: Trial, reply: str = "") -> Login:
        return Login(self._remote, digest, trial, self._book.incarnation, self._book.pod, time.time(), reply)

    async def _say(self, news: Login | Gone) -> bool:
        try:
            await self._book.write(news)
        except BusError as error:
            log.warning("login_not_told", remote=self._remote, error=str(error))
            return False
        return True
