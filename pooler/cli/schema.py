"""``pooler schema``: the documents for other programs, all of them by one command."""

import sys
from pathlib import Path

import trio

from pooler.cli import exits
from pooler.schemas import documents
from pooler.version import version


async def schema(*, write: Path | None = None, check: Path | None = None) -> int:
    """Make the JSON Schemas of records and configuration, the AsyncAPI and the OpenAPI document.

    Exits with 0, or, with ``--check``, with 1 where a file is not what would be written.

    Args:
        write: the folder to write them to; without it their names are listed.
        check: the folder to compare with.
    """
    made = await documents(version())
    if write is not None:
        folder = trio.Path(write)
        await folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            await (folder / name).write_text(text, "utf-8")
    stale = [name for name, text in made.items() if check is not None and not await _is(check / name, text)]
    for name in stale:
        print(f"{check}/{name}: not what the models say", file=sys.stderr)
    if write is None and check is None:
        print("\n".join(made))
    return exits.OTHER if stale else exits.OK


async def _is(path: Path, text: str) -> bool:
    file = trio.Path(path)
    return await file.exists() and await file.read_text("utf-8") == text
