"""Opens the sessions of one remote, and says when it had better not: backoff, breaker, limit.

Its answers come from whether the server can be reached and logged in to, never from how jobs end.
"""

from math import inf

import structlog
import trio

from pooler.errors import PoolerError, Remedy, RemoteError
from pooler.flow.breaker import Breaker, Event, State
from pooler.flow.limit import SessionLimit
from pooler.flow.retry import Backoff
from pooler.ops.metrics import Metrics
from pooler.transfer.session import Connector, Session

log = structlog.get_logger(__name__)


class Opener:
    """The way to one server.

    Args:
        name: the remote's, for the log.
        connector: opens sessions.
        limit: how many there may be.
        breaker: when the server is left alone.
        backoff: pauses after failures.
        metrics: where failures are counted.

    Attributes:
        opening: sessions that are being opened.
        last_error: why the newest one could not be; None while all could.
    """

    def __init__(
        self,
        name: str,
        connector: Connector,
        *,
        limit: SessionLimit,
        breaker: Breaker,
        backoff: Backoff,
        metrics: Metrics,
    ) -> None:
        self.opening = 0
        self.last_error: PoolerError | None = None
        self._name = name
        self._connector = connector
        self._limit = limit
        self._breaker = breaker
        self._backoff = backoff
        self._metrics = metrics
        self._scopes: set[trio.CancelScope] = set()
        self._failures_in_a_row = 0
        self._failed_at = -inf
        self._not_before = -inf

    def allows(self, now: float, there: int) -> bool:
        """Tell whether one more session may be opened now.

        Args:
            now: the time, in seconds.
            there: sessions that are open.
        """
        return (
            # A wrong password is tried once and not ten times; and a full server is not stormed.
            self.opening <= there
            and there + self.opening < self._limit.current(now)
            and now >= self._not_before
            and self._breaker.allows(now, self.opening)
        )

    def next_change(self, now: float) -> float:
        """Tell when time alone may change what ``allows`` said at ``now``; infinity where it will not."""
        times = (self._not_before, self._breaker.opens_until, self._limit.next_change())
        return min((at for at in times if at is not None and at > now), default=inf)

    def unreachable(self) -> PoolerError | None:
        """Tell why the breaker is open; None where it is not."""
        return self.last_error if self._breaker.state is State.OPEN else None

    async def open(self, others: int) -> Session | None:
        """Open a session; whoever calls has counted it into ``opening``.

        Args:
            others: sessions there are besides, those being opened included; asked of the caller since it
                alone knows them.

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
            self._note_failure(error, begun, others)
        if session is not None:
            self._failures_in_a_row = 0
            if self._breaker.note(Event.SUCCESS, trio.current_time()):
                log.info("breaker_changed", remote=self._name, state=self._breaker.state.value)
        return session

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

    def _note_failure(self, error: PoolerError, begun: float, others: int) -> None:
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
        if error.remedy is Remedy.FEWER_SESSIONS and others:
            self._limit.too_many(others, now)
            log.info("limit_lowered", remote=self._name, limit=self._limit.current(now), error=str(error))
            return
        event = Event.REFUSAL if error.remedy is Remedy.OTHER_LOGIN else Event.FAILURE
        if (news or event is Event.REFUSAL) and self._breaker.note(event, now):
            log.warning(
                "breaker_changed", remote=self._name, state=self._breaker.state.value, error=str(error)
            )
