"""What is shown of remotes: a line for each, over all pods, those in trouble first."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pooler.cli.admin.api import Document
from pooler.cli.text import plain

Output = Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])]

_TROUBLE = ("refused", "open", "half_open", "drain", "pause", "maintenance", "full")
"""What a remote may be in, the worst first; else it is well."""
_WIDE = 2000
"""Columns where nobody looks: there is a program that reads it, or a person with a pager."""


@dataclass(frozen=True, slots=True)
class Line:
    """A remote, over all pods.

    Attributes:
        remote: its name.
        state: one of ``refused`` (its login), ``open`` and ``half_open`` (its breaker), ``drain``, ``pause``,
            ``maintenance``, ``full`` (no room for uploads) and ``ok``: the worst of all pods.
        sessions: that are open or being opened.
        busy: those of them that work on a job.
        waiting: jobs that wait for a session.
        files_per_s: None where no pod tells.
        bytes_per_s: likewise.
        note: what an operator said of it, or the newest failure; empty where there is none.
    """

    remote: str
    state: str
    sessions: int
    busy: int
    waiting: int
    files_per_s: float | None
    bytes_per_s: int | None
    note: str


def lines(remotes: Document, pods: Document) -> list[Line]:
    """Make the lines, those in trouble first.

    Args:
        remotes: what ``/v1/remotes`` answers: the remotes as one pod sees them.
        pods: what ``/v1/pods`` answers.
    """
    together = {remote["name"]: remote for remote in pods["remotes"]} if pods["together"] else {}
    heard: dict[str, list[Document]] = {}
    for pod in pods["pods"]:
        for remote in () if pod["silent"] else pod["remotes"]:
            heard.setdefault(remote["name"], []).append(remote)
    made = [_line(one, together.get(one["name"]), heard.get(one["name"], [])) for one in remotes["remotes"]]
    return sorted(made, key=lambda line: (_rank(line.state), -line.waiting, line.remote))


def _line(one: Document, all_of_them: Document | None, heard: list[Document]) -> Line:
    wanted = {} if all_of_them is None else {wish["what"]: wish for wish in all_of_them["wanted"]}
    refused = () if all_of_them is None else all_of_them["refused"]
    work = wanted.get("work", {}).get("value", "pause" if one["paused"] else "run")
    states = {remote["state"] for remote in heard} | {one["state"]}
    if refused:
        states.add("refused")
    if work != "run":
        states.add(work)
    if one["maintenance_until"]:
        states.add("maintenance")
    if one["full_s"] is not None:
        states.add("full")
    state = min(states, key=_rank)
    counted = all_of_them or {"sessions": one["busy"] + one["idle"], **one}
    return Line(
        one["name"],
        state if state in _TROUBLE else "ok",
        counted["sessions"],
        counted["busy"],
        counted["waiting"],
        counted.get("files_per_s"),
        counted.get("bytes_per_s"),
        _note(state, one, wanted.get("work"), refused),
    )


def _note(state: str, one: Document, work: Document | None, refused: Iterable[Document]) -> str:
    if state in {"drain", "pause"} and work is not None:
        return f"by {work['by']}" + (f": {work['why']}" if work["why"] else "")
    if state == "maintenance":
        return f"until {one['maintenance_until']}"
    for login in refused:
        return f"{login['pod']}: {login['reply']}"
    return one["last_error"] or ""


def _rank(state: str) -> int:
    return _TROUBLE.index(state) if state in _TROUBLE else len(_TROUBLE)


def as_objects(found: Iterable[Line]) -> list[dict[str, Any]]:
    """Make objects for JSON."""
    return [asdict(line) for line in found]


def table(found: Iterable[Line], on: Console) -> Table:
    """Draw the lines; where a terminal is too narrow the notes are cut off."""
    drawn = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", expand=on.is_terminal)
    for title in ("REMOTE", "STATE", "SESSIONS", "BUSY", "WAITING", "FILES/S", "MB/S"):
        drawn.add_column(title, justify="left" if title in {"REMOTE", "STATE"} else "right", no_wrap=True)
    drawn.add_column("NOTE", no_wrap=True, ratio=1 if on.is_terminal else None)
    for line in found:
        rate = line.bytes_per_s
        drawn.add_row(
            _text(line.remote),
            Text(line.state, style="" if line.state == "ok" else "bold red"),
            str(line.sessions),
            str(line.busy),
            str(line.waiting),
            "-" if line.files_per_s is None else f"{line.files_per_s:.1f}",
            "-" if rate is None else f"{rate / 1e6:.1f}",
            _text(line.note),
        )
    return drawn


def transfers(jobs: Iterable[Document]) -> Table:
    """Draw the jobs that run, a line for each."""
    drawn = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for title in ("JOB", "REMOTE", "WAY", "SINCE", "MOVED", "MB/S", "SOURCE"):
        drawn.add_column(
            title, justify="right" if title in {"SINCE", "MOVED", "MB/S"} else "left", no_wrap=True
        )
    for job in jobs:
        drawn.add_row(
            _text(job["task_id"]),
            _text(job["remote"]),
            job["direction"],
            f"{job['running_s']:.1f}",
            str(job["bytes"]),
            f"{job['bytes_per_s'] / 1e6:.2f}",
            _text(job["source"]),
        )
    return drawn


def facts(document: Document) -> Table:
    """Draw an object, a line for each of its values; those below one another are indented."""
    drawn = Table(box=None, pad_edge=False, show_edge=False, show_header=False)
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    for key, value in _flat(document):
        drawn.add_row(_text(key), _text(value))
    return drawn


def _flat(value: Any, indent: str = "") -> Iterable[tuple[str, str]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value, start=1)
    for key, one in pairs:
        if isinstance(one, dict | list) and one:
            yield f"{indent}{key}", ""
            yield from _flat(one, f"{indent}  ")
        else:
            yield f"{indent}{key}", "-" if one in (None, [], {}, "") else str(one)


def print_json(document: Any) -> None:
    """Print for programs: ASCII goes through every terminal."""
    print(json.dumps(document, indent=2))


def console() -> Console:
    """Make the standard output's console; without a terminal nothing is cut off."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_WIDE)


def _text(words: str) -> Text:
    return Text(plain(words, sys.stdout.encoding))
