"""What becomes of a job whose attempt failed: tried again after a pause, or answered."""

from functools import partial
from typing import NamedTuple, Protocol

import structlog
import trio

from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    JobCancelled,
    LocalFileError,
    PoolerError,
    Remedy,
    ReplyError,
)
from pooler.flow.group import LimitGroup, Member
from pooler.flow.policy import RemotePolicy
from pooler.flow.retry import judge
from pooler.flow.room import Room
from pooler.flow.tools import Tools
from pooler.flow.work import Work
from pooler.model.job import Direction
from pooler.model.outcome import Peer
from pooler.ops.metrics import Metrics
from pooler.transfer.session import Session

log = structlog.get_logger(__name__)

_LINES_KEPT = 12
"""Of the dialogue, with a failed attempt."""
_NO_DATA_CONNECTION = frozenset({425, 426})


class _Said(NamedTuple):
    """What an attempt was made with: at once, as the session goes on or ends."""

    peer: Peer | None
    reply: str | None
    dialogue: tuple[str, ...]


_NOTHING_SAID = _Said(None, None, ())


def _said(session: Session) -> _Said:
    return _Said(session.peer, session.last_reply, session.transcript[-_LINES_KEPT:])


class Owner(Member, Protocol):
    """The remote that a job is of."""

    policy: RemotePolicy
    group: LimitGroup
    last_error: str | None
    room: Room

    async def wait(self, work: Work, pause_s: float) -> None:
        """Let a job wait for its next attempt."""
        ...


class Judge:
    """Reads the error of each failed attempt.

    Args:
        remote: whose jobs are judged.
        tools: what ends a job, and what doubts that it is to blame.
        metrics: where retries are counted.
    """

    def __init__(self, remote: Owner, tools: Tools, metrics: Metrics) -> None:
        self._remote = remote
        self._tools = tools
        self._metrics = metrics

    async def failed(self, work: Work, error: PoolerError, session: Session | None) -> None:
        """Take back a job whose attempt failed.

        Args:
            work: the job.
            error: why.
            session: whom the attempt was made with; None where nobody knows.
        """
        said = _NOTHING_SAID if session is None else _said(session)
        judged = partial(self._judge, work, error, said)
        if not (isinstance(error, LocalFileError) and self._tools.doubt(work, error, judged)):
            await judged()

    async def _judge(self, work: Work, error: PoolerError, said: _Said) -> None:
        remote, now = self._remote, trio.current_time()
        if work.cancelled is not None:
            # Whatever it failed of, it is not to be tried again; and the remote is not to blame.
            error = JobCancelled(work.cancelled)
        else:
            remote.last_error = str(error)
        work.last_error = str(error)
        if error.remedy is Remedy.FEWER_SESSIONS:
            remote.group.refused(max(1, remote.group.sessions - 1), str(error))
        elif _speaks_of_ports(error):
            remote.group.crowded(remote, str(error))
        no_room = self._speaks_of_room(work, error)
        again = judge(
            error,
            attempts=work.attempts,
            forgiven=work.forgiven,
            allowed=work.attempts_allowed,
            left_s=work.deadline - now,
            backoff=remote.policy.backoff,
            innocent=no_room and not remote.room.full(work, str(error)),
        )
        if again is None:
            overdue = error.retriable and now >= work.deadline
            await self._tools.end(
                work,
                work.failure(
                    ErrorCode.DEADLINE_EXCEEDED if overdue else error.code,
                    work.overdue() if overdue else str(error),
                    retriable=error.retriable,
                    duration_s=now - (work.started or now),
                    peer=said.peer,
                    reply=said.reply,
                    dialogue=said.dialogue,
                ),
            )
            return
        work.forgiven += not again.counts
        self._metrics.retried(remote.name, error.code)
        log.info(
            "transfer_retried",
            remote=remote.name,
            task_id=work.delivery.job.task_id,
            attempt=work.attempts,
            error_code=error.code.value,
            error=str(error),
            again_in_s=again.after_s,
        )
        if not (no_room and remote.room.holds(work)):
            await remote.wait(work, again.after_s)

    def _speaks_of_room(self, work: Work, error: PoolerError) -> bool:
        """Tell whether an upload found no room on the server, and is to wait for it, which no person does."""
        upload = work.plan.direction is Direction.UPLOAD
        return error.remedy is Remedy.MORE_ROOM and upload and not self._remote.policy.give_up


def _speaks_of_ports(error: PoolerError) -> bool:
    """Tell whether a data connection was refused in a way that may mean that the server has no port for it.

    It says 425 or 426 (RFC 959 §4.2.1), or nobody answers where it said that it listens.
    """
    if isinstance(error, ReplyError):
        return error.reply_code in _NO_DATA_CONNECTION
    return isinstance(error, DataConnectionError) and error.session_survives
