"""What a transfer asks of a session.

`flow` and `transfer` know a server only through these protocols. `pooler.ftp` is one implementation; a second
protocol is a new folder that passes the same contract tests, and one line in app.py.
"""

import enum
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from pooler.model.outcome import Peer


class Stat(NamedTuple):
    """What a server knows of one file.

    Attributes:
        size_bytes: None where it cannot tell.
        modified: when it changed last, in UTC; None where it cannot tell.
        precision_s: how exact that is, in seconds; 0 without it.
    """

    size_bytes: int | None
    modified: datetime | None
    precision_s: float


class EntryKind(enum.StrEnum):
    """What a name in a folder stands for."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder.

    Attributes:
        name: without its folder, spaces at either end included.
        kind: what it is.
        size_bytes: of a file; None where it was not told.
        modified: when it changed last: in UTC, or without a zone, by the server's wall clock, where nobody
            knows its zone. None where it was not told.
        precision_s: how exact that is, in seconds; 0 without it.
        unique: what is equal for two names of one file; None where it was not told.
    """

    name: str
    kind: EntryKind
    size_bytes: int | None = None
    modified: datetime | None = None
    precision_s: float = 0.0
    unique: str | None = None


class DataStream(Protocol):
    """The bytes of one file on their way, in one direction.

    Every call has a stall limit of its own: when nothing moves for that long it raises
    ``DataConnectionError``.
    """

    async def receive_into(self, buffer: memoryview) -> int:
        """Receive up to ``len(buffer)`` bytes; return how many, 0 at the end of the file."""
        ...

    async def send_all(self, data: memoryview) -> None:
        """Send all of ``data``."""
        ...


class SourceStream(DataStream, Protocol):
    """The bytes of a file that a server sends.

    Attributes:
        told: what it said of the file as it opened it; None where nobody asked.
        told_again: what it said of it once all was sent, behind the block; None where that is still to be
            asked.
    """

    @property
    def told(self) -> Stat | None:
        """What it said at first."""
        ...

    @property
    def told_again(self) -> Stat | None:
        """What it said at last."""
        ...


@runtime_checkable
class PlainStream(DataStream, Protocol):
    """A stream whose bytes the kernel can move without giving them to us.

    Attributes:
        plain: whether it can indeed: not where they are encrypted.
    """

    @property
    def plain(self) -> bool:
        """Whether the kernel can move them."""
        ...

    async def splice_into(self, pipe: int, room: int) -> int | None:
        """Receive up to ``room`` bytes into a pipe's writing end.

        Returns:
            How many; 0 at the end of the file; None where the pipe has no room for what is there.
        """
        ...

    async def splice_from(self, pipe: int, size_bytes: int) -> None:
        """Send so many bytes that a pipe holds, from its reading end."""
        ...


class Session(Protocol):
    """One logged-in connection to a server, used by one task at a time.

    Paths are absolute on the server, as text. Errors are those of ``pooler.errors``. After any error whose
    ``session_survives`` is False, and after a cancellation in the middle of an exchange, the session is dead:
    ``usable`` is False, the sockets are closed, and every further call raises ``SessionLost``.
    """

    @property
    def usable(self) -> bool:
        """Whether the session may be given another command."""
        ...

    @property
    def lifetime_s(self) -> float:
        """How long after its login it should be given jobs, in seconds; infinity where nothing says."""
        ...

    @property
    def peer(self) -> Peer:
        """Whom we are connected to."""
        ...

    @property
    def last_reply(self) -> str | None:
        """The newest reply of the server, code and text; None before the first."""
        ...

    @property
    def transcript(self) -> tuple[str, ...]:
        """The last lines of the dialogue with the server, oldest first, secrets masked."""
        ...

    def turn_page(self) -> None:
        """Begin the dialogue of another job: ``transcript`` tells no more of what was said before."""
        ...

    def retrieving(
        self, path: str, *, offset: int = 0, asking: bool = False
    ) -> AbstractAsyncContextManager[SourceStream]:
        """Open the file at ``path`` for reading, from byte ``offset`` on.

        With ``asking``, which is for the whole file, ``told`` of the stream has what `stat` gives, and
        ``told_again``, where that takes no longer, what it would give behind the block.

        The body reads the stream to its end. Leaving the block normally waits for the server's final reply:
        only then is the file whole. Leaving it by an exception kills the session.

        Raises:
            ReplyError: the server refuses (``FILE_NOT_FOUND``, ``PERMISSION_DENIED``), or cannot begin at an
                offset; the session survives.
            DataConnectionError: the data connection failed or stalled.
            SessionLost: the control connection did.
        """
        ...

    def storing(
        self, path: str, *, offset: int = 0, ahead: bool = False
    ) -> AbstractAsyncContextManager[DataStream]:
        """Open a file at ``path`` for writing, emptying what was there, or from byte ``offset`` on.

        Missing parent folders are made. With ``ahead`` the bytes may leave before the server has agreed, so
        that they may have to be sent again. Leaving the block normally ends the data connection in order and
        waits for the final reply. Leaving it by an exception resets the data connection, so that the server
        cannot take the part for the whole, and kills the session.

        Raises: as ``retrieving``; ``DISK_FULL`` for 452 and 552; with ``ahead`` `StoredTooSoon`.
        """
        ...

    def fit(self, stem: str, *, before: str, after: str) -> str:
        """Make a name of three parts that is short enough for one name on this server.

        Args:
            stem: is cut at its end as far as it must be, between two characters.
            before: goes in front, uncut.
            after: goes behind, uncut.

        Raises:
            LocalProtocolError: what cannot be cut is too long, or has characters that cannot be said there.
        """
        ...

    async def size(self, path: str) -> int | None:
        """Ask for the size of a file in bytes.

        Returns:
            The size, or None where this server cannot tell sizes at all.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such file.
        """
        ...

    async def stat(self, path: str) -> Stat:
        """Ask for the size and time of a file.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such file.
        """
        ...

    async def set_modified(self, path: str, moment: datetime) -> bool:
        """Set a file's time, to the second.

        Args:
            path: of the file.
            moment: with a zone.

        Returns:
            Whether it was set; False where this server cannot.
        """
        ...

    async def checksum(self, path: str, algorithms: Sequence[str]) -> tuple[str, str] | None:
        """Have the server compute a checksum of a whole file.

        Args:
            path: of the file.
            algorithms: names such as ``sha256``, in the order in which they are liked.

        Returns:
            The algorithm's name and the sum in hexadecimal small letters; None where this server has none.
        """
        ...

    def listing(self, path: str) -> AbstractAsyncContextManager[AsyncIterator[Entry]]:
        """Open a listing of a folder: names as they come, without the folder itself and its parent.

        Leaving the block before the end of the listing ends the session.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such folder.
        """
        ...

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Rename a file.

        Args:
            old: the file.
            new: its new path; its folder is made where it is missing.
            replace: whether it may go over a file that is there. Where that is True and the server does not,
                the file that is there is removed first. Where it is False no file is replaced, as far as
                the server tells what is there.

        Where the reply is lost the error is ``SessionLost``, and the end is unknown.
        """
        ...

    async def remove(self, path: str) -> None:
        """Remove a file; no error where there is none."""
        ...

    def foresee(self) -> None:
        """Say that a transfer follows, behind what is asked next: some of it can be done ahead. Never fails.

        It is no promise: a transfer may follow or not, with or without this.
        """
        ...

    async def keep_alive(self) -> None:
        """Exchange one harmless command and its reply."""
        ...

    async def aclose(self) -> None:
        """Say goodbye, within a second or so, and close. Never raises an error of the network's."""
        ...


class Connector(Protocol):
    """Opens sessions on one remote."""

    async def connect(self) -> Session:
        """Connect and log in.

        Raises:
            ConnectError: nobody answers.
            TlsError: TLS failed.
            TooManySessions: the server takes no more of us now.
            LoginRefused: the account or password is wrong.
            NoPassword: the password could not be had; the server was not asked.

        Cancellation: nothing is left open.
        """
        ...
