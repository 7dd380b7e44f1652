"""What goes into a debug bundle: gathered from a running service, masked, and packed.

What cannot be had is noted instead, with the reason: half of it is worth more than none while something is
wrong.
"""

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from pooler.cli.admin.api import Api, NotAnswered
from pooler.cli.admin.masking import Mask
from pooler.version import version

_LOG_BYTES: Final = 1024 * 1024
_METRICS_BYTES: Final = 16 * 1024 * 1024
_METRICS_S: Final = 10.0
_MOST_REMOTES: Final = 200
_LIBRARIES: Final = ("trio", "trio-asyncio", "aiokafka", "quart", "quart-trio", "hypercorn", "pydantic")
_ASKED: Final[Mapping[str, tuple[str, Mapping[str, str | int]]]] = MappingProxyType(
    {
        "service": ("service", {}),
        "pods": ("pods", {}),
        "remotes": ("remotes", {}),
        "folders": ("folders", {}),
        "partitions": ("partitions", {}),
        "configuration": ("config", {}),
        "jobs-running": ("jobs/running", {}),
        "jobs-failed": ("jobs/ended", {"status": "failed", "limit": 200}),
        "failures": ("failures", {}),
        "batches": ("batches", {}),
        "audit": ("audit", {"limit": 1000}),
        "tasks": ("tasks", {}),
    }
)
"""Each file of the archive, and what is asked for it."""


@dataclass(slots=True)
class Bundle:
    """What was gathered.

    Attributes:
        name: of the one folder in the archive.
        documents: what JSON can say, by the names of their files, without the ending.
        texts: likewise, of which each line is masked by itself.
        missing: what could not be had, and why.
    """

    name: str
    documents: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, document: Any) -> None:
        """Take in what JSON can say."""
        self.documents[name] = document

    def add_log(self, path: Path) -> None:
        """Take in the end of a log. Blocks."""
        try:
            with path.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, io.SEEK_END) - _LOG_BYTES))
                text = stream.read(_LOG_BYTES).decode("utf-8", "replace")
        except OSError as error:
            self.missing["log"] = f"{path}: {error.strerror}"
        else:
            self.texts["log"] = text


async def gather(api: Api, found: Bundle, *, metrics: str | None, metrics_port: int) -> None:
    """Ask a running service for all that is of use.

    Args:
        api: of any pod.
        found: where to; what is not answered is noted there.
        metrics: where they are; None for the API's host.
        metrics_port: the port there.
    """
    found.add("version", _versions())
    try:
        found.add("status", await api.get("status"))
    except NotAnswered as error:
        found.missing["what the API tells"] = str(error)  # and what else it is asked it would not answer
    else:
        await _ask_all(api, found)
    for name, url in (
        ("stats", f"{api.address}/stats"),
        ("metrics", metrics or _beside(api.address, metrics_port)),
    ):
        try:
            found.texts[name] = await _text(url)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            found.missing[name] = f"{url}: {str(error) or type(error).__name__}"


async def _ask_all(api: Api, found: Bundle) -> None:
    for name, (path, query) in _ASKED.items():
        try:
            found.add(name, await api.get(path, **query))
        except NotAnswered as error:
            found.missing[name] = str(error)
    names = [remote["name"] for remote in found.documents.get("remotes", {}).get("remotes", ())]
    each = []
    for name in names[:_MOST_REMOTES]:
        try:
            each.append(await api.remote(name))
        except NotAnswered as error:
            found.missing[f"remote {name}"] = str(error)
    if names:
        found.add("remotes", {"remotes": each, "not_told": len(names[_MOST_REMOTES:])})


def _beside(address: str, port: int) -> str:
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}/metrics"


async def _text(url: str) -> str:
    async with (
        httpx2.AsyncClient(timeout=_METRICS_S, trust_env=False) as client,
        client.stream("GET", url) as told,
    ):
        told.raise_for_status()
        body = b""
        async for piece in told.aiter_bytes():
            body += piece[: _METRICS_BYTES - len(body)]
            if len(body) >= _METRICS_BYTES:
                break
        return body.decode("utf-8", "replace")


def _versions() -> dict[str, Any]:
    return {
        "pooler": version(),
        "python": sys.version,
        "platform": platform.platform(),
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
    }


def pack(path: Path, found: Bundle, mask: Mask) -> list[str]:
    """Write the archive, masked, readable by ourselves alone. Blocks.

    Returns:
        The names of its files.

    Raises:
        OSError: it cannot be written.
    """
    files = {f"{name}.json": _json(mask(document)) for name, document in found.documents.items()}
    files |= {f"{name}.txt": _lines(text, mask) for name, text in found.texts.items()}
    files["missing.json"] = _json(mask(found.missing))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in sorted(files.items()):
            body = text.encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"{found.name}/{name}")
            member.size, member.mtime, member.mode = len(body), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(body))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # one that was there already may be everybody's to read
        file.write(packed.getvalue())
    return sorted(files)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _lines(text: str, mask: Mask) -> str:
    # As a whole first: a key of many lines is none that stands in one of them.
    return "".join(f"{mask.line(line)}\n" for line in mask.keys(text).splitlines())
