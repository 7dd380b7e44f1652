"""Opens the sessions of one remote, and says when it had better not: backoff, breaker, logins a minute.

Its answers come from whether the server can be reached and logged in to, never from how jobs end.
"""

from math import inf

import structlog
import trio

from pooler.errors import NoPassword, PoolerError, Remedy, RemoteError
from pooler.flow.breaker import Breaker, Event, State
from pooler.flow.group import LimitGroup
from pooler.flow.retry import Backoff
from pooler.ops.metrics import Metrics
from pooler.transfer.session import Connector, Session

log = structlog.get_logger(__name__)


class Opener:
    """The way to one server.

    Args:
        name: the remote's, for the log.
        connector: opens sessions.
        group: who shares the host: how many sessions and logins there may be.
        breaker: when the server is left alone.
        backoff: pauses after failures.
        metrics: where failures are counted.

    Attributes:
        opening: sessions that are being opened.
        last_error: why the newest one could not be; None while all could.
        away_since: since when none could be, in seconds of ``trio.current_time()``; None where one could.
    """

    def __init__(
        self,
        name: str,
        connector: Connector,
        *,
        group: LimitGroup,
        breaker: Breaker,
        backoff: Backoff,
        metrics: Metrics,
    ) -> None:
        self.opening = 0
        self.last_error: PoolerError | None = None
        self.away_since: float | None = None
        self._name = name
        self._connector = connector
        self._group = group
        self._breaker = breaker
        self._backoff = backoff
        self._metrics = metrics
        self._scopes: set[trio.CancelScope] = set()
        self._failures_in_a_row = 0
        self._failed_at = -inf
        self._not_before = -inf

    def allows(self, now: float, there: int) -> bool:
        """Tell whether the server should be tried now.

        Args:
            now: the time, in seconds.
            there: sessions that are open.
        """
        return (
            # A wrong password is tried once and not ten times; and a full server is not stormed.
            self.opening <= there
            and now >= self._not_before
            and now >= self._group.logins.ready_at(now)
            and self._breaker.allows(now, self.opening)
        )

    def begin(self, now: float) -> None:
        """Count a session that is about to be opened."""
        self.opening += 1
        self._group.logins.take(now)

    def next_change(self, now: float) -> float:
        """Tell when time alone may change what ``allows`` said at ``now``; infinity where it will not."""
        times = (self._not_before, self._breaker.opens_until, self._group.logins.ready_at(now))
        return min((at for at in times if at is not None and at > now), default=inf)

    def unreachable(self) -> PoolerError | None:
        """Tell why the breaker is open, or that there is no password; None where neither is so."""
        has_none = self.away_since is not None and isinstance(self.last_error, NoPassword)
        return self.last_error if has_none or self._breaker.state is State.OPEN else None

    async def open(self) -> Session | None:
        """Open a session, after ``begin``.

        Returns:
            The session, or None where it could not be opened, or ``close`` came first.

        Cancellation: nothing is left open.
        """
        begun, session = trio.current_time(), None
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    session = await self._connector.connect()
                finally:
                    self._scopes.discard(scope)
        except PoolerError as error:
            self._note_failure(error, begun)
        if session is not None:
            self._failures_in_a_row = 0
            self.away_since = None
            if self._breaker.note(Event.SUCCESS, trio.current_time()):
                log.info("breaker_changed", remote=self._name, state=self._breaker.state.value)
        return session

    def forget_failures(self) -> None:
        """Let nothing that has failed keep the next one from being opened."""
        self._failures_in_a_row = 0
        self._not_before = -inf

    def change(self, connector: Connector) -> None:
        """Open sessions in another way from now on; what is being opened is given up."""
        self._connector = connector
        self.close()

    async def open_to_tidy(self) -> Session | None:
        """Open a session for a last errand, whatever the breaker says; None where that fails."""
        try:
            return await self._connector.connect()
        except PoolerError as error:
            self.last_error = error
            return None

    def close(self) -> None:
        """Give up opening: what is being opened is cancelled."""
        for scope in self._scopes:
            scope.cancel()

    def _note_failure(self, error: PoolerError, begun: float) -> None:
        now = trio.current_time()
        # Those begun before the newest failure was known are part of the same bad moment.
        news = begun > self._failed_at
        self._failed_at = now
        self._failures_in_a_row += news
        self._not_before = now + self._backoff.after(self._failures_in_a_row)
        self.last_error = error
        if isinstance(error, RemoteError):
            self._metrics.login_failed(self._name, error)
        log.warning("connect_failed", remote=self._name, error=str(error), error_code=error.code.value)
        others = self._group.sessions - 1
        if error.remedy is Remedy.FEWER_SESSIONS and others:
            self._group.refused(others, str(error))
            return
        self.away_since = now if self.away_since is None else self.away_since
        if isinstance(error, NoPassword):
            return  # the server was not asked, and has nothing to do with it
        event = Event.REFUSAL if error.remedy is Remedy.OTHER_LOGIN else Event.FAILURE
        if (news or event is Event.REFUSAL) and self._breaker.note(event, now):
            log.warning(
                "breaker_changed", remote=self._name, state=self._breaker.state.value, error=str(error)
            )
