"""Answers for scripted servers: what FEAT lists, listings, attributes; and a login to begin with."""

from pooler.ftp.connector import FtpConnector
from pooler.ftp.session import FtpSession
from tests.support.scripted import Connection, Handler, ScriptedServer

MLST_LINE = b" MLST type*;size*;modify*;"


async def connect(server: ScriptedServer, **changes: object) -> FtpSession:
    """Log in; what the login has said is forgotten."""
    session = await FtpConnector(server.profile(**changes)).connect()
    server.commands.clear()
    return session


def feat(*lines: bytes) -> Handler:
    """List features, each with its space in front."""

    async def answer(connection: Connection, _: bytes) -> None:
        await connection.say(b"211-Features:", *lines, b"211 End")

    return answer


def sends(content: bytes, first: bytes = b"150 Here it comes.", last: bytes = b"226 Done.") -> Handler:
    """Send the same data, whatever is asked for."""

    async def answer(connection: Connection, _: bytes) -> None:
        data = await connection.accept()
        await connection.say(first)
        await data.send(content)
        await data.close()
        await connection.say(last)

    return answer


def says(*replies: bytes) -> Handler:
    """Say one reply after another, each time the next; the last one again and again."""
    left = list(replies)

    async def answer(connection: Connection, _: bytes) -> None:
        await connection.say(left.pop(0) if len(left) > 1 else left[0])

    return answer


async def mlst(connection: Connection, argument: bytes) -> None:
    """Tell the facts of a file that the server has."""
    content = connection.server.files.get(connection.path(argument))
    if content is None:
        await connection.say(b"550 No such file.")
        return
    facts = b" type=file;size=%d;modify=20261123093000; %s" % (len(content), argument)
    await connection.say(b"250-Begin", facts, b"250 End")


def working_folder() -> dict[str, Handler]:
    """A server that takes bare names alone, in the folder that CWD has gone to."""
    here = {}

    async def cwd(connection: Connection, argument: bytes) -> None:
        folder = connection.path(argument)
        if folder in connection.server.folders:
            here[connection] = folder.rstrip("/")
            await connection.say(b"250 Changed.")
        else:
            await connection.say(b"550 No such folder.")

    def bare(verb: str) -> Handler:
        async def answer(connection: Connection, argument: bytes) -> None:
            if b"/" in argument:
                await connection.say(b"501 Names only.")
            else:
                whole = f"{here.get(connection, '/home')}/".encode() + argument
                await connection.normally(verb, whole)

        return answer

    verbs = ("RETR", "STOR", "SIZE", "DELE", "MKD", "RNFR", "RNTO")
    return {"CWD": cwd, **{verb: bare(verb) for verb in verbs}}
