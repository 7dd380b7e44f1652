"""Tries a remote out for a person: a connection, a login and a command, on a session of its own.

It keeps to all that binds other sessions: the limits, the pace of logins, and that a refused secret is not
tried again. What comes of it counts: a probe that succeeds is one of the successes that close a breaker.
"""

from dataclasses import dataclass
from typing import Final

import trio

from pooler.errors import ErrorCode, PoolerError
from pooler.flow.remote import Remote
from pooler.model.outcome import Peer

PROBE_S: Final = 30.0
_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it.

    Attributes:
        seconds: how long it took.
        peer: whom we spoke to; None where nobody was reached.
        code: why it failed; None unless it did.
        error: the same for people; None unless it failed.
        dialogue: the last lines of the dialogue, secrets masked.
    """

    seconds: float
    peer: Peer | None
    code: ErrorCode | None
    error: str | None
    dialogue: tuple[str, ...]


class NoRoomToProbe(Exception):
    """It may have no further session now, and why."""


async def probe(remote: Remote) -> Probed:
    """Try a remote out.

    Raises:
        NoRoomToProbe: it may have no further session now.

    Cancellation: nothing is left open.
    """
    why_not = remote.why_no_probe()
    if why_not is not None:
        raise NoRoomToProbe(why_not)
    begun = trio.current_time()

    def probed(peer: Peer | None, error: PoolerError | None, dialogue: tuple[str, ...]) -> Probed:
        seconds = round(trio.current_time() - begun, 3)
        code, told = (None, None) if error is None else (error.code, str(error))
        return Probed(seconds, peer, code, told, dialogue[-_LINES:])

    with trio.move_on_after(PROBE_S):
        async with remote.probing() as (session, error):
            if session is None:
                return probed(None, error, _noted(error))
            try:
                await session.keep_alive()
            except PoolerError as failure:
                return probed(session.peer, failure, session.transcript)
            return probed(session.peer, None, session.transcript)
    return Probed(PROBE_S, None, ErrorCode.TRANSFER_TIMEOUT, f"{remote.name}: no answer in {PROBE_S:g} s", ())


def _noted(error: PoolerError | None) -> tuple[str, ...]:
    """Find the dialogue with an error of the login, which goes along as a note."""
    notes = getattr(error, "__notes__", ())
    return tuple(line for note in notes for line in note.splitlines())
