"""``pooler demo``: the whole service on made-up files, with nothing else installed or running."""

import sys
from importlib.util import find_spec
from typing import Annotated

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from pooler.cli import exits
from pooler.cli.signals import end_at_signal

_EXTRA = ("confluent_kafka", "pyftpdlib", "OpenSSL", "trustme")


async def demo(
    *, files: Annotated[int, Parameter(validator=Number(gte=1, lte=99_999))] = 1000, keep: bool = False
) -> int:
    """Show the whole service on made-up files.

    Brings up a broker and two FTP servers, one of them with TLS, all of them embedded and on loopback; makes
    files of 100 KB to 1 MB; has the service upload and download them, while one server goes away for some
    seconds; checks every byte, and prints what was done. It takes twice the room of the files below the
    system's temporary folder: 1 GB for the usual 1,000.

    Exits with 0 where all was right, 1 where something was not, 7 where the extra ``demo`` is not installed,
    130 where SIGINT or SIGTERM came before the end.

    Args:
        files: how many files.
        keep: leave everything up at the end, until SIGINT or SIGTERM, and print where it is.
    """
    if any(find_spec(name) is None for name in _EXTRA):
        print("pooler demo needs its extra: pip install 'ftp-pooler[demo]'", file=sys.stderr)
        return exits.FATAL
    # Only now can it be imported.
    from pooler.demo.board import Board  # noqa: PLC0415
    from pooler.demo.story import show  # noqa: PLC0415

    wrong = None
    async with trio.open_nursery() as nursery:
        # While the service runs, signals are the service's alone to hear: its receiver stands over this one.
        await nursery.start(end_at_signal, nursery.cancel_scope)
        wrong = await show(files, keep=keep, board=Board(Console()))
        nursery.cancel_scope.cancel()
    if wrong is None:
        return exits.INTERRUPTED
    return exits.OTHER if wrong else exits.OK
