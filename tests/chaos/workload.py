"""The jobs of a run, the files they are about, and what has to come of each.

Sources are shared: some contents on each side serve any number of jobs, but for those whose source is
deleted or moved. What a job is comes from the seed alone, and so does what must be true in the end.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.servers import RunningServer

_SHARED_BY = 4  # jobs to one destination
_SMALLEST_BYTES = 1024
Fate = Literal[
    "copied", "dead letter", "FILE_NOT_FOUND", "INVALID_JOB", "UNKNOWN_REMOTE", "PATH_OUTSIDE_ROOT"
]

_COPIES: Mapping[str, int] = {
    "upload": 34,
    "download": 34,
    "upload, shared": 5,
    "download, shared": 5,
    "upload, delete": 3,
    "download, delete": 3,
    "upload, move": 3,
    "download, move": 3,
}
_BAD: Mapping[Fate, int] = {
    "FILE_NOT_FOUND": 3,
    "dead letter": 3,
    "INVALID_JOB": 2,
    "UNKNOWN_REMOTE": 1,
    "PATH_OUTSIDE_ROOT": 1,
}
_WEIGHTS: Mapping[str, int] = {**_COPIES, **dict(_BAD.items())}


@dataclass(frozen=True, slots=True)
class Order:
    """One record of the input topic.

    Attributes:
        name: its task_id, and the key of the record where it can have none.
        key: of the record.
        value: of the record.
        fate: what has to come of it.
    """

    name: str
    key: bytes
    value: bytes
    fate: Fate


@dataclass(slots=True)
class Truth:
    """What must be true in the end.

    Attributes:
        fates: by the names of the jobs.
        files: which digests the file of a path may have.
        gone: paths of sources that were to be deleted or moved, and whose job that was.
        moved: where they were to be moved, whose job that was, and the digest.
    """

    fates: dict[str, Fate] = field(default_factory=dict)
    files: dict[Path, set[bytes]] = field(default_factory=dict)
    gone: dict[Path, str] = field(default_factory=dict)
    moved: dict[Path, tuple[str, bytes]] = field(default_factory=dict)


class Workload:
    """Makes jobs, one at a time.

    Args:
        seed: what everything is drawn from.
        local: the local root.
        servers: FTP servers, by the names of their sections.
        contents: how many different files there are.
        largest_bytes: the largest file.
        prefix: of the names of jobs and folders, so that runs on one stage do not meet.

    Attributes:
        truth: about the jobs made so far.
    """

    def __init__(
        self,
        seed: int,
        local: Path,
        servers: Mapping[str, RunningServer],
        *,
        contents: int,
        largest_bytes: int,
        prefix: str,
    ) -> None:
        self.truth = Truth()
        self._dice = random.Random(seed)
        self._local = local
        self._servers = servers
        self._prefix = prefix
        self._shared: dict[str, int] = {}
        self._contents = [
            self._dice.randbytes(self._dice.randint(_SMALLEST_BYTES, largest_bytes)) for _ in range(contents)
        ]
        self._digests = [digest(content) for content in self._contents]
        for number, content in enumerate(self._contents):
            self._write_local(f"{prefix}/pool/{number}", content)
            for server in servers.values():
                server.put(f"/{prefix}/pool/{number}", content)
        for server in servers.values():
            for folder in ("in", "shared", "own", "done"):
                server.make_folder(f"/{prefix}/{folder}")

    def orders(self, count: int) -> Iterator[Order]:
        """Make so many jobs, and the sources that they need for themselves."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        for number in range(count):
            (kind,) = self._dice.choices(kinds, weights)
            remote = self._dice.choice(sorted(self._servers))
            name = f"{self._prefix}-{number}"
            order = self._copy(kind, name, remote) if kind in _COPIES else self._bad(kind, name, remote)
            self.truth.fates[name] = order.fate
            yield order

    def _copy(self, kind: str, name: str, remote: str) -> Order:
        way, _, more = kind.partition(", ")
        content = self._dice.randrange(len(self._contents))
        source, target = f"/{self._prefix}/pool/{content}", f"/{self._prefix}/in/{name}"
        key = name
        options: dict[str, str] = {}
        if more == "shared":
            made = self._shared[kind] = self._shared.get(kind, -1) + 1
            key = f"{way}-{made // _SHARED_BY}"
            target = f"/{self._prefix}/shared/{key}"
            remote = sorted(self._servers)[made // _SHARED_BY % len(self._servers)]
        elif more:
            source = f"/{self._prefix}/own/{way}/{name}"
            moved = f"/{self._prefix}/done/{way}/{name}"
            options = {"after": "delete" if more == "delete" else f"move:{moved}"}
            self._write_source(way, remote, source, content)
            its_side = remote if way == "download" else None
            self.truth.gone[self._place(source, its_side)] = name
            if more == "move":
                self.truth.moved[self._place(moved, its_side)] = name, self._digests[content]
        place = self._place(target, remote if way == "upload" else None)
        self.truth.files.setdefault(place, set()).add(self._digests[content])
        here, there = ("local", remote) if way == "upload" else (remote, "local")
        return _order(name, key, _job(name, (here, source), (there, target), options), "copied")

    def _bad(self, kind: str, name: str, remote: str) -> Order:
        here, there = ("local", f"/{self._prefix}/bad/{name}"), (remote, f"/{self._prefix}/bad/{name}")
        if kind == "dead letter":
            return Order(name, name.encode(), b'{"task_id": "' + name.encode(), "dead letter")
        if kind == "FILE_NOT_FOUND":
            source, target = (here, there) if self._dice.random() < 0.5 else (there, here)
            return _order(name, name, _job(name, source, target, {}), "FILE_NOT_FOUND")
        if kind == "INVALID_JOB":
            return _order(name, name, _job(name, here, here, {}), "INVALID_JOB")
        if kind == "UNKNOWN_REMOTE":
            return _order(name, name, _job(name, here, ("nowhere", "/x"), {}), "UNKNOWN_REMOTE")
        return _order(name, name, _job(name, there, ("local", "/../../x"), {}), "PATH_OUTSIDE_ROOT")

    def _write_source(self, way: str, remote: str, path: str, content: int) -> None:
        if way == "upload":
            self._write_local(path, self._contents[content])
        else:
            self._servers[remote].put(path, self._contents[content])

    def _write_local(self, path: str, content: bytes) -> None:
        target = self._local / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _place(self, path: str, remote: str | None) -> Path:
        """Tell where a file really is: on a server, or here."""
        root = self._local if remote is None else self._servers[remote].root
        return root / path.lstrip("/")


def digest(content: bytes) -> bytes:
    """Tell a file from all others."""
    return hashlib.sha256(content).digest()


def _job(
    name: str, source: tuple[str, str], destination: tuple[str, str], options: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "task_id": name,
        "source": {"connection_id": source[0], "path": source[1]},
        "destination": {"connection_id": destination[0], "path": destination[1]},
        **({"options": dict(options)} if options else {}),
    }


def _order(name: str, key: str, job: Mapping[str, Any], fate: Fate) -> Order:
    return Order(name, key.encode(), json.dumps(job).encode(), fate)
