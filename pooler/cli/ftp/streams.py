"""The standard streams, in threads, and facts written to them."""

import os
import sys
from typing import Any

import trio

from pooler.cli.ftp import view
from pooler.storage.failures import meaning

_STDIN, _STDOUT = 0, 1


# A thread here may wait for ever, for whoever is at the other end of the pipe. It is left behind then: nobody
# else uses the buffer, and the process ends.


async def read(buffer: memoryview) -> int:
    """Read from the standard input; return how many bytes, 0 at its end."""
    try:
        return await trio.to_thread.run_sync(os.readv, _STDIN, [buffer], abandon_on_cancel=True)
    except OSError as error:
        raise meaning(error, "standard input") from error


async def write(data: bytearray | memoryview) -> None:
    """Write all of it to the standard output.

    Raises:
        BrokenPipeError: nobody reads it any more.
        LocalFileError: it cannot be written.
    """
    try:
        await trio.to_thread.run_sync(_write_all, memoryview(data), abandon_on_cancel=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise meaning(error, "standard output") from error


def _write_all(data: memoryview) -> None:
    while data:
        data = data[os.write(_STDOUT, data) :]


async def show(facts: dict[str, Any], output: str) -> None:
    """Write facts to the standard output, as a table or as JSON."""
    await write(bytearray(f"{view.in_words(facts, output)}\n".encode(sys.stdout.encoding)))
