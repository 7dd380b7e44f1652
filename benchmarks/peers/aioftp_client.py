"""aioftp: so many clients, each with its own session, and its streams instead of its slower `download`.

    python -m benchmarks.peers.aioftp_client <plan>

is what `copy` runs as a process of its own.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.field import Field, Way
from benchmarks.peers.peer import timed

_BLOCK_BYTES = 256 * 1024


def copy(field: Field, way: Way, names: Sequence[str]) -> float:
    server = field.server
    plan = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "sessions": field.sessions,
        "way": way,
        "local": str(field.local),
        "names": list(names),
    }
    path = field.folder / "work" / "aioftp.json"
    path.write_text(json.dumps(plan))
    return timed(field, [sys.executable, "-m", "benchmarks.peers.aioftp_client", str(path)])


async def _session(plan: dict[str, Any], names: Iterator[str]) -> None:
    import aioftp  # noqa: PLC0415 - the table of peers is read without it

    local = Path(plan["local"])
    async with aioftp.Client.context(plan["host"], plan["port"], plan["user"], plan["password"]) as client:
        for name in names:
            if plan["way"] == "down":
                with (local / "in" / name).open("wb", buffering=0) as file:
                    async with client.download_stream(f"/out/{name}") as stream:
                        async for block in stream.iter_by_block(_BLOCK_BYTES):
                            file.write(block)
            else:
                async with client.upload_stream(f"/in/{name}") as stream:
                    await stream.write((local / "out" / name).read_bytes())


async def _main(plan: dict[str, Any]) -> None:
    names = iter(plan["names"])
    async with asyncio.TaskGroup() as group:
        for _ in range(plan["sessions"]):
            group.create_task(_session(plan, names))


if __name__ == "__main__":
    asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
