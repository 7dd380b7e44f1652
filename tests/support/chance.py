"""Servers that answer by chance: any reply to anything, in any pieces, with data of any kind or none."""

import random
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from tests.support.scripted import Connection, Data, Handler, Script

PATIENCE = {"connect_s": 0.3, "exchange_s": 0.3, "stall_s": 0.3, "close_s": 0.1, "doubt_s": 0.01}
"""Of the client: most of them leave it waiting sooner or later."""

_VERBS = (
    *("TYPE", "FEAT", "OPTS", "EPSV", "PASV", "EPRT", "PORT", "REST", "RETR", "STOR", "MLSD", "LIST", "NOOP"),
    *("SIZE", "MDTM", "MLST", "MFMT", "HASH", "CWD", "CDUP", "MKD", "DELE", "RNFR", "RNTO", "QUIT"),
)
_LOGIN = ("GREETING", "AUTH", "USER", "PASS", "PBSZ", "PROT")
_CODES = (
    *(100, 110, 120, 125, 150, 200, 202, 211, 213, 220, 221, 225, 226, 227, 229, 230, 234, 250, 257),
    *(331, 332, 334, 350, 421, 425, 426, 450, 451, 452, 500, 501, 502, 503, 504, 521, 522, 530, 532),
    *(550, 551, 552, 553, 599, 631),
)
_WORDS = (
    *(
        b"",
        b" Yes.",
        b" No such file",
        b" Permission denied",
        b" Too many users",
        b" Broken pipe",
        b" exists",
    ),
    *(b" 10", b" 99999999999999999999", b" 19126", b" 00010101000000", b" 99991231235959"),
    *(b" (|||1|)", b" (127,0,0,1,0,1)", b" Modify=99991231235959; f", b" \0\0\xff\xfb\x01\xff", b" \x1b[2J"),
    *(b"-", b"-More.\r\n{} End.", b"-More.\r\n150 Or less.", b" " + b"x" * 9000),
    b"-Facts\r\n type=file;size=10;modify=00010101000000; /f\r\n{} End.",
    b"-Features\r\n MLST type*;size*;modify*;\r\n MFMT\r\n HASH SHA-256*;MD5\r\n UTF8\r\n{} End.",
    b" SHA-256 0-99999999999999999999 " + b"a" * 64 + b" f",
)
_PIECES = (
    *(b"x" * 100, b"\0\0\0\r\n", b"\r\n", b"total 5\r\n"),
    b"type=file;size=5;modify=00010101000000; a\r\n",
    b"type=dir;modify=99991231235959; \xff\xfe\r\n",
    b"type=file;size=5; ../../etc\r\ntype=file; a/\r\n",
    b"-rw-r--r-- 1 anna staff 5 Jan 1 1900 f\r\n",
    b"-rw-r--r-- 1 anna staff 5 Feb 29 00:00 a\rb\r\n",
    b"01-01-00  12:00AM 99999999999999999999999 n\r\n",
    b"+i1,m253402300799,r,s5,\tn\r\n",
    b"A.B;1  1/1  1-JAN-9998 23:59:59.99 [A] (RWED)\r\n",
)
_ACCEPT_S = 0.05


def by_chance(chance: random.Random) -> Script:
    """Make a server that answers some verbs by chance, and the others as it should.

    Args:
        chance: the same one makes the same server, as far as the client asks it the same.
    """
    script = {verb: _in_turn(verb) for verb in ("RETR", "STOR", "RNTO")}
    script |= {verb: _answer(chance) for verb in _VERBS if chance.random() < 0.35}
    return script | {verb: _answer(chance) for verb in _LOGIN if chance.random() < 0.03}


def _in_turn(verb: str) -> Handler:
    """Do as a good server does, where what goes before has not been left out."""

    async def answer(connection: Connection, argument: bytes) -> None:
        ready = connection._renamed in connection.server.files if verb == "RNTO" else _offered(connection)
        if ready:
            await connection.normally(verb, argument)
        else:
            await connection.say(b"503 Out of turn.")

    return answer


def _offered(connection: Connection) -> bool:
    """Whether a data connection was agreed on."""
    return connection._listener is not None or connection.active is not None


def _answer(chance: random.Random) -> Handler:
    kind = chance.random()

    async def answer(connection: Connection, _: bytes) -> None:
        if kind < 0.1:
            await connection.cut()
        elif kind < 0.3:
            await _in_pieces(connection, chance)
        elif kind < 0.55:
            await _transfer(connection, chance)
        else:
            await connection.raw(_line(chance))

    return answer


def _line(chance: random.Random) -> bytes:
    code = b"%d" % chance.choice(_CODES)
    return code + chance.choice(_WORDS).replace(b"{}", code) + b"\r\n"


async def _in_pieces(connection: Connection, chance: random.Random) -> None:
    said = b"".join(_line(chance) for _ in range(chance.randint(1, 2)))
    at = chance.randrange(len(said) + 1)
    await connection.raw(said[:at])
    await trio.testing.wait_all_tasks_blocked()
    if chance.random() < 0.3:
        await connection.cut()
    await connection.raw(said[at:])


async def _transfer(connection: Connection, chance: random.Random) -> None:
    """Do what a transfer consists of, in any order, and not all of it."""
    data: Data | None = None
    if _offered(connection):
        with trio.move_on_after(_ACCEPT_S):
            data = await connection.accept()
    if data is None:
        await connection.raw(_line(chance))
        return
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: connection.raw(chance.choice([b"150 It comes.\r\n", _line(chance)])),
        lambda: data.send(b"".join(chance.choices(_PIECES, k=chance.randrange(5)))),
        chance.choice([data.close, data.cut, data.reset]),
        lambda: connection.raw(chance.choice([b"226 Done.\r\n", _line(chance)])),
    ]
    if chance.random() < 0.5:
        chance.shuffle(steps)
    if chance.random() < 0.4:
        steps.pop(chance.randrange(len(steps)))
    for step in steps:
        try:
            await step()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            continue
