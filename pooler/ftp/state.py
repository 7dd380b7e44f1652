"""The whole legal dialogue on a control connection, as one table (RFC 959 §5.4 and §6). Pure.

The theory
==========

RFC 959 draws a diagram for each group of commands (§6) and lists the replies of each command (§5.4). Taken
together they are one machine. Its states say what the server thinks of us: not greeted yet, greeted, half
logged in, logged in, in the middle of a rename. A command is legal in some states. Each of its replies leads
to a state, by the first digit nearly everywhere, by the whole code where a login needs it:

* ``1`` means that the command is running and a further reply will come. Only what moves data may say so, and
  what is slow. We take any number of them, since pure-ftpd sends two at times, and none, since some send
  none.
* ``2`` ends a command well.
* ``3`` ends a command well and wants a certain next one: PASS behind USER, RNTO behind RNFR.
* ``4`` and ``5`` refuse. Every command may be refused.

Of each row only these classes are listed, not the codes of §5.4: no server keeps to those. 226 and 250 both
end a transfer, 200 and 250 a DELE, and some servers answer 221 where 226 was meant.

Three things stand outside the rows:

* A 421 may come at any time, asked for or not, and ends everything.
* Any other reply that nobody asked for breaks the protocol: from then on replies could be matched to the
  wrong commands, which is how a client comes to believe that the wrong file was stored.
* After 234 to AUTH, and after 200 to CCC, not one more byte may be read or sent as it is before the transport
  has put TLS on, or taken it off. What arrived behind that reply was not protected and is thrown away.

Several commands may be outstanding. A server answers in order, so replies are matched in order. Whether a
command may be sent behind others is asked of the state in which all of those end well; a command with more
than one good end, USER say, lets nothing be sent behind it. While data moves, four commands may be sent
beside it (RFC 959 §4.1.3) whose replies may come before or after the transfer's own: there a reply goes to
the row that names its code most exactly, and among equals to the oldest command.

Neighbours: `dialogue` goes by the table, `diagram` draws it.
"""

import enum
from collections.abc import Mapping


class State(enum.Enum):
    """What the server thinks of us."""

    CONNECTED = "connected: the server speaks first"
    GREETED = "greeted, not logged in"
    SECURING = "AUTH accepted: TLS must be put on"
    CLEARING = "CCC accepted: TLS must be taken off"
    WANTS_PASSWORD = "USER accepted: PASS must follow"  # noqa: S105 - no password
    WANTS_ACCOUNT = "PASS accepted: ACCT must follow"
    READY = "logged in"
    TRANSFERRING = "data moves"
    RENAMING = "RNFR accepted: RNTO must follow"
    RESTARTING = "REST accepted: a transfer must follow"
    CLOSED = "over"

    # Members are the same or not. An Enum's own looks at the name, in Python, dozens of times a file.
    __hash__ = object.__hash__


Row = Mapping[str, State]
"""The beginning of a reply's code → the state it leads to. The longest beginning counts."""

GREETING = ""
"""The verb of the one reply that no command asks for: to have connected is to have asked for it."""

_WAIT = State.TRANSFERRING


def _step(state: State) -> Row:
    """A command that is done or refused, and changes nothing (the first diagram of §6)."""
    return {"2": state, "4": state, "5": state}


def _slow(state: State) -> Row:
    """As `_step`, and it may say first that it is busy (the second diagram of §6)."""
    return {"1": _WAIT, **_step(state)}


def _login(refused: State) -> Row:
    """USER, PASS and ACCT (the last diagrams of §6); 232 is RFC 2228's, 202 means "not needed"."""
    return {
        "2": State.READY,
        "331": State.WANTS_PASSWORD,
        "332": State.WANTS_ACCOUNT,
        "4": refused,
        "5": refused,
    }


def _auth(state: State) -> Row:
    """RFC 4217 §4: 234 and nothing else starts TLS; 334 would ask for data that TLS does not have."""
    return {"234": State.SECURING, "4": state, "5": state}


# Legal wherever a server listens at all.
_ALWAYS: Mapping[str, Row] = {"QUIT": {"2": State.CLOSED, "4": State.CLOSED, "5": State.CLOSED}}


def _before_or_after_login(state: State) -> Mapping[str, Row]:
    return {
        "USER": _login(State.GREETED),
        "AUTH": _auth(state),
        "PBSZ": _step(state),
        "PROT": _step(state),
        "FEAT": _step(state),
        "OPTS": _step(state),
        "LANG": _step(state),
        "CLNT": _step(state),
        "HELP": _step(state),
        "SYST": _step(state),
        "NOOP": _step(state),
        **_ALWAYS,
    }


TABLE: Mapping[State, Mapping[str, Row]] = {
    State.CONNECTED: {
        # 120: "ready in nnn minutes", and 220 follows.
        GREETING: {"1": State.CONNECTED, "2": State.GREETED, "4": State.CLOSED, "5": State.CLOSED},
    },
    State.GREETED: {
        **_before_or_after_login(State.GREETED),
        "HOST": _step(State.GREETED),  # RFC 7151 §3: before USER
    },
    State.SECURING: {},
    State.CLEARING: {},
    State.WANTS_PASSWORD: {"PASS": _login(State.GREETED), **_ALWAYS},
    State.WANTS_ACCOUNT: {"ACCT": _login(State.GREETED), **_ALWAYS},
    State.READY: {
        **_before_or_after_login(State.READY),
        # RFC 959 §4.1.1, access control
        "ACCT": _step(State.READY),
        "CWD": _step(State.READY),
        "CDUP": _step(State.READY),
        "SMNT": _step(State.READY),
        "REIN": {"1": _WAIT, "2": State.GREETED, "4": State.READY, "5": State.READY},
        # §4.1.2, transfer parameters; RFC 2428
        "TYPE": _step(State.READY),
        "STRU": _step(State.READY),
        "MODE": _step(State.READY),
        "PORT": _step(State.READY),
        "PASV": _step(State.READY),
        "EPRT": _step(State.READY),
        "EPSV": _step(State.READY),
        # §4.1.3, service; RFC 3659
        "RETR": _slow(State.READY),
        "STOR": _slow(State.READY),
        "STOU": _slow(State.READY),
        "APPE": _slow(State.READY),
        "LIST": _slow(State.READY),
        "NLST": _slow(State.READY),
        "MLSD": _slow(State.READY),
        "ALLO": _step(State.READY),
        "REST": {"3": State.RESTARTING, "4": State.READY, "5": State.READY},
        "RNFR": {"3": State.RENAMING, "4": State.READY, "5": State.READY},
        "ABOR": _step(State.READY),
        "DELE": _step(State.READY),
        "RMD": _step(State.READY),
        "MKD": _step(State.READY),
        "PWD": _step(State.READY),
        "STAT": _slow(State.READY),
        "SITE": _slow(State.READY),
        "MLST": _step(State.READY),
        "SIZE": _step(State.READY),
        "MDTM": _step(State.READY),
        # draft-somers-ftp-mfxx
        "MFMT": _step(State.READY),
        "MFCT": _step(State.READY),
        "MFF": _step(State.READY),
        # draft-bryan-ftpext-hash, and what came before it
        "HASH": _slow(State.READY),
        "XCRC": _slow(State.READY),
        "XMD5": _slow(State.READY),
        "XSHA1": _slow(State.READY),
        "XSHA256": _slow(State.READY),
        "XSHA512": _slow(State.READY),
        "XSHA": _slow(State.READY),
        "MD5": _slow(State.READY),
        # RFC 4217 §12.3
        "CCC": {"2": State.CLEARING, "4": State.READY, "5": State.READY},
    },
    State.TRANSFERRING: {
        # Beside a transfer; its own end decides the state. ABOR: 426 for the transfer, then 225 or 226.
        "ABOR": {"2": _WAIT, "5": _WAIT},
        "STAT": {"211": _WAIT, "212": _WAIT, "213": _WAIT, "500": _WAIT, "502": _WAIT},
        # No transfer that runs ends by 20x or 50x, so whoever dislikes a NOOP may say so in any of these.
        "NOOP": {"20": _WAIT, "50": _WAIT},
        "QUIT": {"221": State.CLOSED, "500": _WAIT, "502": _WAIT},
    },
    # RFC 959 §4.1.3: "must be immediately followed by".
    State.RENAMING: {"RNTO": _step(State.READY), **_ALWAYS},
    State.RESTARTING: {
        # A later REST replaces the first: REST 0 takes it back.
        "REST": {"3": State.RESTARTING, "4": State.READY, "5": State.READY},
        "RETR": _slow(State.READY),
        "STOR": _slow(State.READY),
        "APPE": _slow(State.READY),
        # "Immediately" leaves no room for these, yet every client opens its data connection here.
        "PASV": _step(State.RESTARTING),
        "EPSV": _step(State.RESTARTING),
        "PORT": _step(State.RESTARTING),
        "EPRT": _step(State.RESTARTING),
        **_ALWAYS,
    },
    State.CLOSED: {},
}


def lookup(row: Row, code: int) -> tuple[int, State] | None:
    """Find how exactly a row knows a code, and where that leads."""
    digits = str(code)
    for length in (3, 2, 1):
        state = row.get(digits[:length])
        if state is not None:
            return length, state
    return None


def good_end(row: Row) -> State | None:
    """Where a row leads when all goes well; None where that is more than one state."""
    ends = {state for digits, state in row.items() if digits[0] in "23"}
    return ends.pop() if len(ends) == 1 else None
