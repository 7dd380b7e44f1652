"""A foreign program under test: started, waited for, stopped, frozen, and ended together with all it forked.

Used by ``servers`` and ``kafka``. What a program forked is found in ``/proc``, by parent and by session: a
process group would not do, since vsftpd gives each of its clients a session of its own.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_PAUSE_S = 0.02
_ATTEMPTS = 200


class DaemonFailedError(Exception):
    """The program ended before it was ready, or was not ready in time; the message ends with its log."""


class Daemon:
    """One program that runs until it is told to stop, and may be started again.

    Attributes:
        log: where its output goes, one start after the other.

    Args:
        argv: the program and its arguments.
        folder: its working folder.
        log: as above.
        ready: what must hold before a start is complete, looked at one after the other.
        environment: added to our own.
        ready_within_s: seconds that a start may take.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        folder: Path,
        log: Path,
        ready: Sequence[Callable[[], bool]],
        environment: Mapping[str, str] | None = None,
        ready_within_s: float = 30.0,
    ) -> None:
        self.log = log
        self._argv = [str(word) for word in argv]
        self._folder = folder
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._ready_within_s = ready_within_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started.

        Raises:
            RuntimeError: it does not run.
        """
        if self._process is None:
            raise RuntimeError(f"{self._argv[0]} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the program and wait until it is ready.

        Raises:
            RuntimeError: it runs already.
            DaemonFailedError: it ended, or did not become ready in time; nothing of it is left.
        """
        if self._process is not None:
            raise RuntimeError(f"{self._argv[0]} is running already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd=self._folder,
                env=self._environment,
                stdin=log,  # where vsftpd complains, taking it for a client
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(self._process, time.monotonic() + self._ready_within_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, within_s: float = 5.0) -> None:
        """End the program politely, then for sure; it and all it forked are gone on return."""
        if self._process is None:
            return
        self.thaw()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        self.kill()

    def kill(self) -> None:
        """End the program as a crash of its machine would; it and all it forked are gone on return."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)  # or it might fork behind our back
        rest = family(process.pid)
        deadline = time.monotonic() + 10.0
        while rest:
            for pid in rest:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PAUSE_S)
            rest = [pid for pid in {*rest, *family(process.pid)} if is_alive(pid)]
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes {rest} of {self._argv[0]} survive SIGKILL")
        process.wait()

    def freeze(self) -> None:
        """Stop the clock for the program and all it forked: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen program go on."""
        self._signal(signal.SIGCONT)

    def children(self) -> int:
        """How many processes it has forked itself and not yet taken leave of."""
        return sum(entry.parent == self.pid for entry in _processes())

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        for sign in self._ready:
            while not sign():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    # Waiting for its death is the pause between two looks.
                    code = process.wait(_PAUSE_S)
                    raise DaemonFailedError(self._complaint(f"ended with exit status {code}"))
                if time.monotonic() > deadline:
                    raise DaemonFailedError(self._complaint(f"was not ready in {self._ready_within_s:g} s"))

    def _signal(self, number: signal.Signals) -> None:
        for pid in family(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _complaint(self, what: str) -> str:
        tail = self.log.read_text(errors="replace")[-4000:]
        return f"{' '.join(self._argv)}\n{what}; the end of {self.log}:\n{tail or '(nothing)'}"


class _Entry(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int


def _processes() -> Iterator[_Entry]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                # The name stands in brackets and may hold anything, so count from the last one.
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                yield _Entry(int(folder.name), fields[0], int(fields[1]), int(fields[3]))


def family(ancestor: int) -> list[int]:
    """Return the living processes that descend from one that leads a session, itself included."""
    alive = [entry for entry in _processes() if entry.state not in "ZX"]
    found: set[int] = set()
    more = {ancestor}
    while more:
        found |= more
        more = {entry.pid for entry in alive if entry.parent in found or entry.session in found} - found
    return sorted(found & {entry.pid for entry in alive})


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, or stands still; a zombie does neither."""
    return any(entry.pid == pid and entry.state not in "ZX" for entry in _processes())


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens, below those that the kernel hands to outgoing connections.

    A server can so be stopped and started again on its port while clients connect elsewhere.

    Raises:
        OSError: the address cannot be used on this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dice = random.SystemRandom()
    for attempt in range(_ATTEMPTS):
        port = dice.randrange(20_000, 32_000)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            return port
    raise AssertionError("unreachable")


def free_ports(count: int, host: str = "127.0.0.1") -> int:
    """Return the first of as many ports beside each other, each as `free_port` finds one.

    Raises:
        OSError: there are none.
    """
    for _ in range(_ATTEMPTS):
        first = free_port(host)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.create_server((host, port)))
            return first
    raise OSError(f"no {count} free ports beside each other")


def answers(host: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
