"""The jobs of a demo: uploads and downloads, in both forms of record, over all servers. Pure."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pooler.model.job import Direction

LOCAL: Final = "local"
"""The section of connections.ini that is the local folder."""

_FOLDER_FILES = 100


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One file to be copied.

    Attributes:
        task_id: its name on the topics.
        remote: the server that is one of its ends.
        direction: which way.
        record: what goes onto the topic.
        source: where the original is on the disk, whichever end that is.
        destination: where the copy must be on the disk.
    """

    task_id: str
    remote: str
    direction: Direction
    record: bytes
    source: Path
    destination: Path


def plan_jobs(count: int, local: Path, remotes: Mapping[str, Path]) -> list[DemoJob]:
    """Deal out ``count`` files evenly over directions, servers and record forms.

    Args:
        count: how many.
        local: the folder of the section ``local``.
        remotes: the folder that each server serves, by the server's name.
    """
    names = list(remotes)
    jobs = []
    for number in range(count):
        direction = (Direction.UPLOAD, Direction.DOWNLOAD)[number % 2]
        remote = names[number // 2 % len(names)]
        nested = number // (2 * len(names)) % 2 == 1
        file = f"{number // _FOLDER_FILES:02}/file {number:05}.bin"
        source_path, destination_path = f"/out/{file}", f"/in/{remote}/{file}"
        if direction is Direction.UPLOAD:
            source, destination = (LOCAL, local), (remote, remotes[remote])
        else:
            source, destination = (remote, remotes[remote]), (LOCAL, local)
        task_id = f"demo-{number:05}"
        form = _nested if nested else _flat
        fields = form((source[0], source_path), (destination[0], destination_path), direction)
        jobs.append(
            DemoJob(
                task_id,
                remote,
                direction,
                json.dumps({"task_id": task_id, **fields}).encode(),
                source[1] / source_path[1:],
                destination[1] / destination_path[1:],
            )
        )
    return jobs


def in_words(jobs: Sequence[DemoJob]) -> str:
    """Say how many of which kind there are."""
    counts = Counter(job.direction for job in jobs)
    return f"{counts[Direction.UPLOAD]} uploads and {counts[Direction.DOWNLOAD]} downloads"


End = tuple[str, str]


def _flat(source: End, destination: End, direction: Direction) -> dict[str, Any]:  # noqa: ARG001 - it need not say
    return {
        "src_id": source[0],
        "src_path": source[1],
        "dst_id": destination[0],
        "dst_path": destination[1],
    }


def _nested(source: End, destination: End, direction: Direction) -> dict[str, Any]:
    return {
        "operation": direction.value,
        "source": {"connection_id": source[0], "path": source[1]},
        "destination": {"connection_id": destination[0], "path": destination[1]},
        "options": {"overwrite": True, "retry_count": 5},
    }
