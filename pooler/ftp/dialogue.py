"""A dialogue, held to the table of `state`: what may be sent, and what a reply answers. Pure.

Neighbours: `wire` has the form of commands and replies, `control` moves the bytes.
"""

from collections import deque
from dataclasses import dataclass

from msgspec import Struct

from pooler.errors import LocalProtocolError, PeerProtocolError
from pooler.ftp.state import GREETING, TABLE, Row, State, good_end, lookup
from pooler.ftp.wire import Command, Reply, ReplyParser

_SERVICE_NOT_AVAILABLE = 421
_TRANSFERS = frozenset({"RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"})
_BESIDE = TABLE[State.TRANSFERRING]
# How a transfer ends. Nothing else is answered so, but ABOR.
_ENDS_OF_A_TRANSFER = frozenset({225, 226, 425, 426})


class Preliminary(Struct, frozen=True):
    """The command is running: a further reply will come."""

    command: Command | None
    reply: Reply


class Final(Struct, frozen=True):
    """The command has ended, well or not. ``command`` is None for the greeting."""

    command: Command | None
    reply: Reply


class Farewell(Struct, frozen=True):
    """The server ends the dialogue (421) and nobody had asked for anything."""

    reply: Reply


Event = Preliminary | Final | Farewell


@dataclass(slots=True)
class _Owed:
    """A command that awaits its end."""

    command: Command | None
    row: Row
    running: bool = False


class Dialogue:
    """One control connection's dialogue: what may be sent, and what a reply answers. Moves no bytes.

    Args:
        max_outstanding: how many commands may await their end at once; 1 is lockstep, which every server
        bears.
        max_beside: how many more while data moves, of those that may be sent beside it.
        double_iac: see `Command.encode`.
    """

    def __init__(self, *, max_outstanding: int = 1, max_beside: int = 1, double_iac: bool = False) -> None:
        self._max_outstanding = max_outstanding
        self._max_beside = max_beside
        self._double_iac = double_iac
        self._parser = ReplyParser()
        self._owed: deque[_Owed] = deque([_Owed(None, TABLE[State.CONNECTED][GREETING])])
        self._state = State.CONNECTED
        self._suspect = False
        # A transfer was refused, and its data connection closed by us: some servers then report its end too.
        self._may_be_told_twice = False

    def __repr__(self) -> str:
        return f"<Dialogue {self._state.name} owed={len(self._owed)}>"

    @property
    def state(self) -> State:
        """What the server thinks of us, by its replies so far."""
        return self._state

    @property
    def idle(self) -> bool:
        """Whether no reply is owed and none has begun."""
        return not self._owed and self._parser.empty

    @property
    def suspect(self) -> bool:
        """Whether a reply was malformed: end what runs, then begin a new session."""
        return self._suspect

    @property
    def in_doubt(self) -> bool:
        """Whether all turns on nothing following: then call `settle`."""
        return self._parser.in_doubt

    def send(self, *commands: Command) -> bytes:
        """Make the bytes of commands that go in one write, and expect their replies.

        Raises:
            LocalProtocolError: one of them has no place here; nothing has changed.
        """
        data, owed_before = b"", len(self._owed)
        try:
            for command in commands:
                data += command.encode(double_iac=self._double_iac)
                self._owed.append(_Owed(command, self._row_for(command)))
        except LocalProtocolError:
            while len(self._owed) > owed_before:
                self._owed.pop()
            raise
        for command in commands:
            self._parser.hide(command.secret)
        return data

    def _row_for(self, command: Command) -> Row:
        state: State | None = self._state
        beside = _BESIDE.get(command.verb) if state is State.TRANSFERRING else None
        if beside is not None:
            if len(self._owed) >= self._max_outstanding + self._max_beside:
                raise LocalProtocolError(f"{command}: too many commands await their replies")
            return beside
        if self._owed:
            if len(self._owed) >= self._max_outstanding:
                raise LocalProtocolError(f"{command}: {self._owed[-1].command or 'greeting'} has not ended")
            state = good_end(self._owed[-1].row)
        row = TABLE[state].get(command.verb) if state is not None else None
        if row is None:
            raise LocalProtocolError(f"{command}: out of turn ({self._state.value})")
        return row

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Take bytes of the server's and tell what they mean.

        Raises:
            PeerProtocolError: they are no replies, or replies that have no place here. The dialogue is over.
        """
        self._parser.feed(data)
        events: list[Event] = []
        try:
            while self._must_parse:
                reply = self._parser.next_reply()
                if reply is None:
                    return events
                if not self._is_told_twice(reply):
                    events.append(self._match(reply))
        except PeerProtocolError:
            self._state = State.CLOSED
            raise
        self._parser.clear()
        return events

    @property
    def _must_parse(self) -> bool:
        state = self._state
        return state is not State.SECURING and state is not State.CLEARING and state is not State.CLOSED

    def settle(self) -> list[Event]:
        """Take the reply in doubt as it stands, because nothing has followed it for a while."""
        self._suspect = True
        return [self._match(self._parser.settle())]

    def transport_changed(self) -> None:
        """TLS was put on after AUTH, or taken off after CCC: the dialogue goes on.

        After AUTH a new login is due (RFC 4217 §4).
        """
        if self._state is State.SECURING:
            self._state = State.GREETED
        elif self._state is State.CLEARING:
            self._state = State.READY
        else:
            raise LocalProtocolError(f"the transport changed out of turn ({self._state.value})")

    def close(self) -> None:
        """The connection is gone: nothing may be sent, nothing will be answered."""
        self._state = State.CLOSED
        self._owed.clear()
        self._parser.clear()

    def _is_told_twice(self, reply: Reply) -> bool:
        """Whether this is the end of a transfer that was refused before: it answers nothing."""
        asked = self._owed[0].command if self._owed else None
        may_end_so = asked is not None and (asked.verb in _TRANSFERS or asked.verb == "ABOR")
        if not self._may_be_told_twice or may_end_so or reply.code not in _ENDS_OF_A_TRANSFER:
            return False
        self._may_be_told_twice = False
        return True

    def _match(self, reply: Reply) -> Event:
        if reply.code == _SERVICE_NOT_AVAILABLE:
            self._state = State.CLOSED
            event: Event = Final(self._owed[0].command, reply) if self._owed else Farewell(reply)
            self._owed.clear()
            return event
        if not self._owed:
            raise PeerProtocolError(f"nobody asked for this reply: {reply}")
        owed, state = self._addressee(reply)
        if reply.kind == 1:
            owed.running = True
            self._state = state
            return Preliminary(owed.command, reply)
        self._owed.remove(owed)
        if owed.command is not None and owed.command.verb in _TRANSFERS:
            self._may_be_told_twice = reply.refused and not owed.running
        if state is not State.TRANSFERRING:
            self._state = state
        return Final(owed.command, reply)

    def _addressee(self, reply: Reply) -> tuple[_Owed, State]:
        candidates = self._owed if self._owed[0].running else [self._owed[0]]
        best: tuple[int, State] | None = None
        addressee = self._owed[0]
        for owed in candidates:
            found = lookup(owed.row, reply.code)
            if found is not None and (best is None or found[0] > best[0]):
                addressee, best = owed, found
        if best is None:
            raise PeerProtocolError(f"no reply to {addressee.command or 'the connection'}: {reply}")
        return addressee, best[1]
