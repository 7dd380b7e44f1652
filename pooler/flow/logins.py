"""Has a secret tried by one pod only, until it is known whether the server takes it.

Ten pods that each try a wrong password once lock an account. So before the first login with a secret a
pod says on the control topic that it tries it; the first in the log does, and the others wait for what
comes of it. What was refused nobody tries again, until the secret changes, or an operator has it
forgotten. Who waits for a new secret looks for it every second: nobody has to tell that a file was replaced.
"""

import datetime as dt
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
import trio

from pooler.errors import BusError, LoginRefused, NoPassword
from pooler.model.control import Gone, Login, News, Trial
from pooler.transfer.session import Connector, Session

log = structlog.get_logger(__name__)

_AGAIN_S = 1.0
_LOOK_S = 1.0
_READERS = 4
_UNREADABLE = ""
"""Stands for a secret that cannot be read now."""


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


def read_anew(secret: Callable[[], str], digester: Callable[[str], str]) -> Callable[[], Awaitable[str]]:
    """Digest a secret in a thread each time: it may be a file's, and a digest may be slow to make."""
    readers = trio.CapacityLimiter(_READERS)

    async def digest() -> str:
        return await trio.to_thread.run_sync(
            lambda: digester(secret()), limiter=readers, abandon_on_cancel=True
        )

    return digest


def fixed(digest: str) -> Callable[[], Awaitable[str]]:
    """Stand for a secret that never changes."""

    async def known() -> str:
        await trio.lowlevel.checkpoint()
        return digest

    return known


class _Replaced(Exception):
    """The secret is another one than when it was begun with."""


class OwnBook:
    """What one process knows of logins, where there is nobody to tell of it.

    Args:
        pod: our name.
    """

    incarnation = "alone"

    def __init__(self, pod: str) -> None:
        self.pod = pod
        self._known: dict[str, Login] = {}
        self._changed = trio.Event()

    def login(self, remote: str, digest: str) -> Login | None:
        """Tell what is known of a secret; None where nothing is."""
        known = self._known.get(remote)
        return known if known is not None and known.digest == digest else None

    async def write(self, news: News | Gone) -> None:
        """Remember what came of the newest secret, or forget it."""
        match news:
            case Login():
                self._known[news.remote] = news
            case Gone("login", (remote, digest)) if known := self.login(remote, digest):
                if known.trial is not Trial.TAKEN:
                    del self._known[remote]
        self._changed.set()
        self._changed = trio.Event()
        await trio.lowlevel.checkpoint()

    async def changed(self) -> None:
        """Wait until something is written."""
        await self._changed.wait()

    def forgive(self, remote: str) -> None:
        """Forget that a login was refused."""
        self._known.pop(remote, None)


class CautiousConnector:
    """Opens sessions on one remote, as far as its secret is not known to be wrong.

    Args:
        remote: its name.
        connector: opens them.
        digest: tells what stands for the secret that it would use now.
        book: what is known of it.
    """

    def __init__(
        self, remote: str, connector: Connector, digest: Callable[[], Awaitable[str]], book: Book
    ) -> None:
        self._remote = remote
        self._connector = connector
        self._digest = digest
        self._book = book
        self._taken = ""
        # What could not be told yet of a refusal.
        self._untold: Login | None = None
        # The digest of what nobody logs in with, while that is so.
        self._useless: str | None = None
        self._became_useless = trio.Event()

    async def connect(self) -> Session:
        """Connect and log in; see `pooler.transfer.session.Connector`.

        Raises:
            LoginRefused: the server has refused the secret, now or before, us or another pod.
            NoPassword: there is none to be read.
        """
        while True:
            digest = _UNREADABLE
            try:
                digest = await self._digest()
                session = await self._connect(digest)
            except _Replaced:
                continue
            except (LoginRefused, NoPassword):
                self._useless = digest
                self._became_useless.set()
                raise
            self._useless = None
            return session

    async def run(self, try_again: Callable[[], None]) -> None:
        """Have the remote tried as soon as a useless secret was replaced, for ever.

        Args:
            try_again: has it tried at once, whatever is known against it.

        Cancellation: nothing is left to do.
        """
        while True:
            await self._became_useless.wait()
            self._became_useless = trio.Event()
            while self._useless is not None:
                await trio.sleep(_LOOK_S)
                if await self._is_replaced():
                    self._useless = None
                    log.info("secret_replaced", remote=self._remote)
                    try_again()

    async def _is_replaced(self) -> bool:
        try:
            return await self._digest() != self._useless
        except NoPassword:
            return False  # nor is there another one

    async def _connect(self, digest: str) -> Session:
        if self._untold is not None and not await self._told(self._untold):
            raise LoginRefused(f"not tried again before the other pods know: {self._untold.reply}")
        # The book alone knows what was refused and forgotten since; who cannot read it now goes by its own.
        alone = not self._book.incarnation and digest == self._taken
        if alone or not await self._may_try_first(digest):
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
        try:
            await self._say(self._login(digest, Trial.TAKEN))
            await self._say(Gone("login", (self._remote, digest)))
        except BaseException:
            await session.aclose()  # noqa: ASYNC102 - nobody else knows of it; cancelled, it is closed at once
            raise
        return session

    async def _try(self, digest: str) -> Session:
        try:
            session = await self._connector.connect()
        except LoginRefused as error:
            self._taken = ""
            if await self._is_still(digest):
                await self._told(self._login(digest, Trial.REFUSED, str(error)))
            else:
                # Nobody knows which of the two it was: another pod may try the old one.
                await self._say(Gone("login", (self._remote, digest)))
            raise
        self._taken = digest
        return session

    async def _is_still(self, digest: str) -> bool:
        try:
            return await self._digest() == digest
        except NoPassword:
            return True  # nor is there another one

    async def _told(self, refusal: Login) -> bool:
        """Tell of a refusal; what could not be told is told before the next try."""
        self._untold = refusal
        if await self._say(refusal):
            self._untold = None
        return self._untold is None

    async def _may_try_first(self, digest: str) -> bool:
        """Wait until somebody has tried a secret, or it is for us to do so; tell whether it is.

        Raises:
            _Replaced: there is another one now.
        """
        said, look_at = False, trio.current_time() + _AGAIN_S
        while True:
            known = self._book.login(self._remote, digest)
            if known is not None and known.trial is not Trial.TRIED:
                return False
            if known is not None and known.by == self._book.incarnation:
                return True
            if known is None and not said and self._book.incarnation:
                said = await self._say(self._login(digest, Trial.TRIED))
            else:
                with trio.move_on_at(look_at):
                    await self._book.changed()
                if trio.current_time() < look_at:
                    continue
                said, look_at = False, trio.current_time() + _AGAIN_S
                if not await self._is_still(digest):
                    raise _Replaced

    def _refuse_what_was_refused(self, digest: str) -> None:
        known = self._book.login(self._remote, digest)
        if known is not None and known.trial is Trial.REFUSED:
            at = dt.datetime.fromtimestamp(known.at, dt.UTC).isoformat(timespec="seconds")
            raise LoginRefused(
                f"not tried again: {known.pod} was refused at {at}: {known.reply}; "
                "change the secret, or reset the remote"
            )

    def _login(self, digest: str, trial: Trial, reply: str = "") -> Login:
        return Login(self._remote, digest, trial, self._book.incarnation, self._book.pod, time.time(), reply)

    async def _say(self, news: Login | Gone) -> bool:
        try:
            await self._book.write(news)
        except BusError as error:
            log.warning("login_not_told", remote=self._remote, error=str(error))
            return False
        return True
