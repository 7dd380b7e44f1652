"""One attempt at a job, on a ``ServerDouble`` and a folder of the test's own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pooler.model.job import Direction, Options, Origin
from pooler.storage.root import LocalRoot
from pooler.transfer.attempt import Attempt
from pooler.transfer.memory import Memory
from pooler.transfer.names import Author
from pooler.transfer.plan import Plan
from tests.support.session_double import ServerDouble, SessionDouble

AUTHOR = Author("test", Origin("tasks", 0, 7), 1)
TEMPORARY = f".{AUTHOR.token()}.part"


@dataclass(slots=True)
class Bench:
    """Both ends of an attempt, and what was told meanwhile.

    Attributes:
        folder: the local root; the file is ``in/f`` below it.
        server: the other side; the file is ``/out/f`` there.
        newest: the newest attempt.
        session: the one of the newest attempt.
        moved: bytes told so far, one figure a call.
        left_behind: paths that were told.
        memory: of the job.
        author: of the attempts.
        plan: what a plan has besides.
        gone: processes that are provably no more.
        asks_along: whether an attempt may ask for size and time as it fetches.
    """

    folder: Path
    server: ServerDouble
    newest: Attempt = field(init=False)
    session: SessionDouble = field(init=False)
    moved: list[int] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    author: Author = AUTHOR
    plan: dict[str, Any] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asks_along: bool = False

    def __post_init__(self) -> None:
        self.session = SessionDouble(self.server)

    def attempt(self, direction: Direction, options: Options, buffer_bytes: int = 4) -> Attempt:
        """Make an attempt on a new session."""
        self.session = SessionDouble(self.server)
        moved_to: tuple[tuple[str, ...] | None, str | None] = (None, None)
        if options.move_to is not None and direction is Direction.UPLOAD:
            moved_to = tuple(options.move_to.strip("/").split("/")), None
        elif options.move_to is not None:
            moved_to = None, options.move_to
        self.newest = Attempt(
            plan=Plan(direction, "site", "/out/f", "disk", ("in", "f"), options, *moved_to, **self.plan),
            session=self.session,
            root=LocalRoot("disk", self.folder),
            author=self.author,
            buffer=memoryview(bytearray(buffer_bytes)),
            moved=self.moved.append,
            left_behind=self.left_behind.append,
            asks_along=self.asks_along,
            resume_above_bytes=8,
            memory=self.memory,
            is_gone=self.gone.__contains__,
        )
        return self.newest

    def part(self) -> Path | None:
        """Find the file on its way below the local root; None where there is none."""
        found = list(self.folder.rglob(".pooler-*.part"))
        assert len(found) <= 1, found
        return found[0] if found else None

    def local(self) -> dict[str, bytes]:
        """Read every file below the local root."""
        return {
            str(found.relative_to(self.folder)): found.read_bytes()
            for found in self.folder.rglob("*")
            if found.is_file()
        }
