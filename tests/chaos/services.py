"""One process of the service, to be killed, frozen, sent away and started again, and what it has logged."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEAVING_S = 40.0
"""How long a process may take to leave: its drain, its last transaction, and closing everything."""


@dataclass(slots=True)
class Service:
    """A process of the service; it has the same name after each start, like the pod of a StatefulSet.

    Attributes:
        number: which one.
        log: what it logs, one start after the other.
        command: what is run.
        environment: its variables, beside ours.
        folder: where it is run.
        alone: whether it has none of our variables.
        busy: whether something is being done to it.
        most_bytes: the most memory that it was seen with.
        falls: exit statuses of those of its lives that it ended by itself.
        late: how often it did not leave in time.
    """

    number: int
    log: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    alone: bool = False
    busy: bool = False
    most_bytes: int = 0
    falls: list[int] = field(default_factory=list)
    late: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={
                    **({} if self.alone else os.environ),
                    "POD_NAME": f"pooler-{self.number}",
                    **self.environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it fall silent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, unaware."""
        self._signal(signal.SIGCONT)

    def leave(self, within_s: float = LEAVING_S) -> float:
        """Ask it to go, wait, and end it if it does not; return how many seconds it took."""
        process, began = self._process, time.monotonic()
        if process is None:
            return 0.0
        self._signal(signal.SIGTERM)
        try:
            status = process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.late += 1
            self.kill()
        else:
            self._process = None
            if status not in {0, -signal.SIGTERM}:  # before it listens to signals it dies of them
                self.falls.append(status)
        return time.monotonic() - began

    def look(self) -> bool:
        """Measure its memory; tell whether it has ended by itself."""
        if self._process is None:
            return False
        status = self._process.poll()
        if status is not None:
            self.falls.append(status)
            self._process = None
            return True
        with contextlib.suppress(OSError):  # it ended while we looked
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    self.most_bytes = max(self.most_bytes, int(line.split()[1]) * 1024)
        return False

    @property
    def lives(self) -> bool:
        """Whether it runs, or stands still."""
        return self._process is not None and self._process.poll() is None

    def events(self) -> Iterator[dict[str, Any]]:
        """Read its log; a line that a kill has cut off, or that Python wrote, counts as ``stray``."""
        with self.log.open(errors="replace") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"event": "stray", "line": line.rstrip()}

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
