"""Where each task of this pod stands: what it waits for, told by lines of code, without any value."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

import trio

_MOST: Final = 2_000
_DEEPEST: Final = 12
"""Frames of a task that are told, the innermost ones."""


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """A task.

    Attributes:
        name: of what it runs.
        depth: how many nurseries it is inside of; one that follows and is deeper is inside of it.
        stack: where it stands, the innermost frame last.
    """

    name: str
    depth: int
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of this pod.

    Attributes:
        tasks: each before those that are inside of it.
        more: how many are not told, as there are too many.
    """

    tasks: tuple[TaskStatus, ...]
    more: int


def tasks() -> Tasks:
    """Tell where each task of this loop stands."""
    root = trio.lowlevel.current_root_task()
    told: list[TaskStatus] = []
    more = 0
    for task, depth in () if root is None else _tree(root):
        if len(told) < _MOST:
            told.append(TaskStatus(task.name, depth, _stack(task)))
        else:
            more += 1
    return Tasks(tuple(told), more)


def _tree(root: trio.lowlevel.Task) -> Iterator[tuple[trio.lowlevel.Task, int]]:
    left = [(root, 0)]
    while left:
        task, depth = left.pop()
        yield task, depth
        children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        left += sorted(((child, depth + 1) for child in children), key=lambda one: one[0].name, reverse=True)


def _stack(task: trio.lowlevel.Task) -> tuple[str, ...]:
    frames = [
        f"{'/'.join(PurePath(frame.f_code.co_filename).parts[-2:])}:{line} {frame.f_code.co_name}"
        for frame, line in task.iter_await_frames()
    ]
    return tuple(frames[-_DEEPEST:])
