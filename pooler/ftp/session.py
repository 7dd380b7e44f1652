"""An FTP session: what `pooler.transfer.session.Session` asks for, said in commands and replies.

There is no look at a folder, and none is made before a STOR was refused.

This module says who may use the session, when it is over, and when a file is whole. What it takes for that it
has from its neighbours: `transfers` begins and ends a transfer, through `ports`; `attributes` and `sums` ask
about files, `browsing` lists folders, `renaming` renames and removes, `folders` makes parents, `commands`
knows how a path is said. `control` and `data` are its two kinds of connection, `connector` logs in and makes
it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from pooler.errors import (
    DataConnectionError,
    ErrorCode,
    LocalProtocolError,
    RemoteError,
    ReplyError,
    SessionLost,
    StoredTooSoon,
)
from pooler.ftp.attributes import Attributes, Question, require_zone
from pooler.ftp.browsing import Browsing
from pooler.ftp.certificate import Certificate
from pooler.ftp.commands import Commands
from pooler.ftp.control import ControlConnection
from pooler.ftp.data import DataConnection
from pooler.ftp.folders import make_folder, parent_of
from pooler.ftp.handshakes import Handshakes
from pooler.ftp.learnt import Ability, Learnt, Plain
from pooler.ftp.ports import Ports
from pooler.ftp.profile import Profile
from pooler.ftp.renaming import Renaming
from pooler.ftp.replies import is_vague
from pooler.ftp.sums import Sums
from pooler.ftp.transfers import Transfer, Transfers
from pooler.ftp.wire import Command
from pooler.model.outcome import Peer
from pooler.transfer.session import Entry, Stat

T = TypeVar("T")

_NO_FOLDER = frozenset({451, 550, 553})
_NOT_SO = frozenset({425, 426, 500, 502, 503})
"""How a server may say that it does not bear data which it has not agreed to yet."""


class FtpSession:
    """A logged-in session, for one task at a time; see `pooler.transfer.session.Session`.

    Args:
        control: logged in, TYPE I set; owned by this object from now on.
        profile: how the server is to be spoken to.
        learnt: shared by the sessions on this remote.
    """

    def __init__(self, control: ControlConnection, profile: Profile, learnt: Learnt) -> None:
        self._control = control
        self._profile = profile
        self._learnt = learnt
        self._peer = control.peer
        self._certificate = control.connection.certificate
        self._tls_cipher = control.connection.tls_cipher
        self._in_use = False
        self._commands = Commands(control, profile, learnt)
        self._ports = Ports(self._commands)
        self._handshakes = Handshakes(self._commands)
        self._transfers = Transfers(self._commands, self._ports, self._handshakes)
        self._attributes = Attributes(self._commands)
        self._renaming = Renaming(self._commands, self._attributes)
        self._browsing = Browsing(self._commands, self._transfers, self._attributes)
        self._sums = Sums(self._commands, self._attributes)
        self._asked_size: tuple[str, int] | None = None
        """The file whose size was asked for last, and the answer: it tells a whole download without a 226."""

    def __repr__(self) -> str:
        return f"<FtpSession {self._peer.address} {'usable' if self.usable else 'ended'}>"

    @property
    def usable(self) -> bool:
        """Whether the session may be given another command."""
        return not self._in_use and self._control.usable

    @property
    def lifetime_s(self) -> float:
        """How long after the login transfers can count on the TLS session, in seconds; or infinity."""
        return self._handshakes.resumable_for_s

    @property
    def peer(self) -> Peer:
        """Whom we are connected to."""
        return self._peer

    @property
    def certificate(self) -> Certificate | None:
        """The server's certificate, checked or not, with its fingerprint and the end of its time."""
        return self._certificate

    @property
    def tls_version(self) -> str | None:
        """Such as ``TLSv1.3``, of the control connection; None without TLS."""
        return self._peer.tls_version

    @property
    def tls_cipher(self) -> str | None:
        """OpenSSL's name of the control connection's cipher; None without TLS."""
        return self._tls_cipher

    @property
    def last_reply(self) -> str | None:
        """The newest reply of the server, code and text."""
        reply = self._control.last_reply
        return reply.shown(self._profile.charset) if reply else None

    @property
    def transcript(self) -> tuple[str, ...]:
        """The last lines of the dialogue, oldest first, passwords masked."""
        return self._control.transcript

    def turn_page(self) -> None:
        """Begin the dialogue of another job: ``transcript`` tells no more of what was said before."""
        self._control.forget_transcript()

    @property
    def learnt(self) -> dict[str, Plain]:
        """What is known of the server, by all sessions of the connector: plain values, for the operator."""
        return self._learnt.snapshot()

    @asynccontextmanager
    async def retrieving(
        self, path: str, *, offset: int = 0, asking: bool = False
    ) -> AsyncIterator[DataConnection]:
        """Open the file at ``path`` for reading, from byte ``offset`` on; the body reads to the end.

        With ``asking``, from the beginning of the file, ``told`` of what is given has what `stat` gives. It
        is asked in the write that opens the file, where the server is known to bear that: a round trip less.
        Where a server is known to have commands wait behind a transfer, it is asked again while the final
        reply is waited for, and ``told_again`` has the answer.

        A transfer is whole when the data has ended and the final reply is there. Where that reply never
        comes, because something between forgot the quiet control connection, a download that ends at just the
        size that `size` or `stat` was told before is whole too; the session is dead then.

        Raises:
            ReplyError: the server refuses, at the beginning or at the end, or cannot begin at an offset; the
                session survives.
            DataConnectionError: the data connection failed or stalled, or its end cannot be trusted.
            SessionLost: the control connection did.
            TlsError: the data connection's handshake failed.
            LocalProtocolError: the path has a line end in it, or the body left before the end.

        Cancellation: data and control connection are reset.
        """
        with self._using() as asked:
            told_size: tuple[str, int | None] | None = asked
            question = None
            if asking:
                told, transfer, question = await self._ask_and_retrieve(path)
                transfer.data.told = told
                told_size = (path, told.size_bytes)
            else:
                transfer = await self._begin_retrieve(path, offset)
            data = transfer.data
            data.gather()
            async with self._transfers.resetting(transfer):
                yield data
                if not data.ended:
                    raise LocalProtocolError(f"{transfer.command}: left before the end of the file")
            data.close()
            end = offset + data.received_bytes
            try:
                if question is not None and transfer.final is None and self._transfers.may_ask_behind:
                    await self._ask_behind(transfer, question)
                else:
                    await self._transfers.finish(transfer)
            except SessionLost:
                if told_size != (path, end):
                    raise
                return
            if not data.ended_in_order and await self._commands.seek(path, self._attributes.size) != end:
                raise DataConnectionError(f"{transfer.command}: no close_notify, and not its size")

    @asynccontextmanager
    async def storing(
        self, path: str, *, offset: int = 0, ahead: bool = False
    ) -> AsyncIterator[DataConnection]:
        """Open a file at ``path`` for writing, emptying what was there and making its parents where missing.

        With an ``offset`` what is there is kept up to that byte, and written over from it on (REST, STOR).

        Leaving the block normally ends the data in order and waits for the final reply. Where none comes the
        error is `SessionLost` and the end is unknown: ask for the size on a new session.

        With ``ahead``, for who can send it all again, data goes out before the server has agreed, where it is
        known to bear that and a file was stored in that folder before: a round trip less.

        Raises:
            StoredTooSoon: with ``ahead``: the folder is there no more; the session survives.
            ReplyError: the server refuses, at the beginning or at the end (``DISK_FULL`` for 452 and 552),
                also where our sending broke and its reply says why; the session survives.
            DataConnectionError: the data connection failed or stalled.
            SessionLost: the control connection did.
            TlsError: the data connection's handshake failed.
            LocalProtocolError: the path has a line end in it.

        Cancellation: the data connection is reset, so that the server cannot take the part for the whole; the
        control connection too.
        """
        with self._using():
            is_known = parent_of(path) in self._learnt.folders
            transfer = await self._begin_store(path, offset, ahead=ahead and is_known and not offset)
            with nullcontext() if transfer.agreed else self._sending_ahead(transfer, path):
                async with self._transfers.resetting(transfer):
                    yield transfer.data
                    await transfer.data.end_sending()
                    # Data that nobody read, TLS tickets say, would make a close before this reply a reset.
                    await self._transfers.finish(transfer)
            transfer.data.close()
            self._learnt.folders.add(parent_of(path))

    @asynccontextmanager
    async def listing(self, path: str) -> AsyncIterator[AsyncIterator[Entry]]:
        """Open a listing of the folder at ``path``: MLSD where that works, else LIST.

        Entries come as the server sends them, as many as there are; no more than one chunk of them is held.
        Leaving the block before the end of the listing ends the session.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such folder; the session survives.
            PeerProtocolError: what came is no listing. Another try may go by LIST.
            DataConnectionError: the data connection failed or stalled.
            SessionLost: the control connection did.

        Cancellation: data and control connection are reset.
        """
        with self._using():
            async with self._browsing.listing(path) as listing:
                yield listing

    def fit(self, stem: str, *, before: str, after: str) -> str:
        """Make a name of three parts, its middle cut where the whole has more bytes than a name may have.

        Raises:
            LocalProtocolError: what cannot be cut is too long, or has characters that the charset lacks.
        """
        return self._commands.fit(stem, before=before, after=after)

    async def size(self, path: str) -> int | None:
        """Ask for the size of a file in bytes (RFC 3659 §4).

        Returns:
            The size, or None where this server cannot tell sizes at all, or none that can be compared.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such file; the session survives.
            SessionLost: the control connection failed.
        """
        with self._using():
            size_bytes = await self._commands.seek(path, self._attributes.size)
        self._asked_size = (path, size_bytes) if size_bytes is not None else None
        return size_bytes

    async def stat(self, path: str) -> Stat:
        """Ask for the size and time of a file: MLST where that works, else SIZE and MDTM (RFC 3659).

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such file; the session survives.
            SessionLost: the control connection failed.
        """
        with self._using():
            stat = await self._commands.seek(path, self._attributes.stat)
        self._asked_size = (path, stat.size_bytes) if stat.size_bytes is not None else None
        return stat

    async def set_modified(self, path: str, moment: datetime) -> bool:
        """Set a file's time: by MFMT, by MDTM where that is known to set one, by SITE UTIME.

        Args:
            path: of the file.
            moment: with a zone; to the second.

        Returns:
            Whether it was set; False where this server cannot.

        Raises:
            ReplyError: the server can and refuses; the session survives.
            SessionLost: the control connection failed.
            LocalProtocolError: the time has no zone.
        """
        require_zone(moment)
        with self._using():
            return await self._commands.seek(path, lambda at: self._attributes.set_modified(at, moment))

    async def checksum(self, path: str, algorithms: Sequence[str]) -> tuple[str, str] | None:
        """Have the server compute a checksum of a whole file, within ``checksum_s``.

        Args:
            path: of the file.
            algorithms: ``sha512``, ``sha256``, ``sha1``, ``md5``, ``crc32``, in the order in which they are
                liked; other names are passed over.

        Returns:
            The algorithm's name and the sum in hexadecimal small letters; None where this server lists none
            of them, or says what cannot be read.

        Raises:
            ReplyError: the file cannot be read, or not now; the session survives.
            SessionLost: the control connection failed, or it took too long.
        """
        with self._using() as asked:
            size_bytes = asked[1] if asked is not None and asked[0] == path else None
            return await self._commands.seek(
                path, lambda at: self._sums.ask(at, algorithms, size_bytes=size_bytes)
            )

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Rename a file (RNFR, RNTO).

        Args:
            old: the file.
            new: its new path; its folder is made where it is missing.
            replace: True: over a file that is there. Where the server refuses that, the file is removed, and
                for a moment, or if the second try fails for good, there is none. False: never, as far as the
                server tells what is there; nothing keeps another client from being faster.

        Raises:
            ReplyError: the server refuses (``DESTINATION_EXISTS``); the session survives.
            SessionLost: the control connection failed. Whether the file was renamed is then unknown.
        """
        with self._using():
            await self._with_parent(new, lambda: self._renaming.rename(old, new, replace=replace))

    async def remove(self, path: str) -> None:
        """Remove a file; no error where there is none.

        Raises:
            ReplyError: the server refuses, and the file may well be there; the session survives.
            SessionLost: the control connection failed.
        """
        with self._using():
            await self._renaming.remove(path)

    def foresee(self) -> None:
        """A transfer follows, behind what is asked next: do ahead what of it can be done. Never fails."""
        self._ports.foresee()

    async def keep_alive(self) -> None:
        """Exchange a NOOP. Raises ``SessionLost`` where the control connection failed."""
        with self._using():
            self._ports.forget()  # whoever was to come has not
            await self._commands.exchange(Command("NOOP"))  # a server without it may say 500

    async def aclose(self) -> None:
        """Say QUIT within ``close_s`` and close. Never raises an error of the network's."""
        self._ports.forget()
        if self._in_use:
            self._control.kill()
        await self._control.aclose()

    def _using(self) -> "_Using":
        """Hold the session for one task, and end it where it cannot be used again.

        Gives the file whose size was asked for last, and the answer.
        """
        return _Using(self._take, self._give_back)

    def _take(self) -> tuple[str, int] | None:
        if self._in_use:
            raise LocalProtocolError("the session is in use by another task")
        self._control.look()
        self._in_use = True
        return self._asked_size

    def _give_back(self, error: BaseException | None) -> None:
        if error is not None and not (isinstance(error, RemoteError) and error.session_survives):
            self._control.kill()
        self._in_use = False
        self._asked_size = None
        if not self._control.usable:
            self._ports.forget()
            self._control.kill()

    async def _begin_retrieve(self, path: str, offset: int) -> Transfer:
        """Begin a RETR."""
        return await self._commands.seek(path, lambda at: self._retrieve(at, offset))

    async def _retrieve(self, where: bytes, offset: int) -> Transfer:
        command = await self._commands.about("RETR", where)
        return await self._explained(where, self._transfers.begin(command, offset=offset))

    async def _explained(self, where: bytes, beginning: Awaitable[T]) -> T:
        """Await the beginning of a RETR; where a refusal says nothing, find out what was meant."""
        try:
            return await beginning
        except ReplyError as error:
            if not (is_vague(error) and await self._attributes.is_there(where)):
                raise
            code = ErrorCode.PERMISSION_DENIED
            raise ReplyError(error.reply_code, error.text, error.command, code=code) from None

    async def _ask_and_retrieve(self, path: str) -> tuple[Stat, Transfer, Question | None]:
        """Ask about a file and begin its RETR: in one write where that goes, or one after the other.

        Gives the question, too, where it went in one write.
        """

        async def begin(where: bytes) -> tuple[Stat, Transfer, Question | None]:
            question = await self._attributes.question(where) if self._transfers.may_ask_along else None
            if question is None or not self._transfers.may_ask_along:
                return await self._attributes.stat(where), await self._retrieve(where, 0), None
            command = await self._commands.about("RETR", where)
            beginning = self._transfers.begin_along(question.commands, command, question.understand)
            return *await self._explained(where, beginning), question

        return await self._commands.seek(path, begin)

    async def _ask_behind(self, transfer: Transfer, question: Question) -> None:
        """Wait for the end of a download, and ask about its file again meanwhile."""
        replies = await self._transfers.finish_asking(transfer, question.commands)
        if replies is not None:
            with suppress(ReplyError):  # it may be gone: whoever wants to know asks
                transfer.data.told_again = question.understand(replies)

    async def _begin_store(self, path: str, offset: int, *, ahead: bool) -> Transfer:
        """Begin a STOR, in a folder that may have to be made."""
        return await self._with_parent(path, lambda: self._store(path, offset, ahead=ahead))

    @contextmanager
    def _sending_ahead(self, transfer: Transfer, path: str) -> Iterator[None]:
        """Learn from a STOR whose data did not wait for the server to agree.

        Raises:
            StoredTooSoon: it was refused in words that may mean that the folder is gone.
        """
        works = self._learnt.works(Ability.DATA_AHEAD)
        try:
            yield
        except ReplyError as error:
            if error.reply_code in _NOT_SO:
                self._learnt.found(Ability.DATA_AHEAD, works=False)
            if transfer.agreed or not _may_lack_folder(error):
                raise
            self._learnt.folders.forget(parent_of(path))
            raise StoredTooSoon(error.reply_code, error.text, error.command, code=error.code) from error
        except RemoteError:
            # A network that breaks says nothing about a server that has borne it.
            if works is None:
                self._learnt.found(Ability.DATA_AHEAD, works=False)
            raise
        if works is None:
            self._learnt.found(Ability.DATA_AHEAD, works=True)

    async def _with_parent(self, path: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do what makes a file; where it may be refused for want of a folder, make that and do it again."""
        # Looked at before: another session may make the folder while we are being refused.
        was_known = parent_of(path) in self._learnt.folders
        try:
            return await work()
        except ReplyError as error:
            if not _may_lack_folder(error):
                raise
            if not await self._make_parent(path, was_known=was_known):
                raise
        return await work()

    async def _store(self, path: str, offset: int, *, ahead: bool) -> Transfer:
        command = await self._commands.about("STOR", self._commands.wire(path, creating=True))
        for line in self._profile.before_store:
            await self._commands.require(self._profile.command(line))
        return await self._transfers.begin(command, offset=offset, ahead=ahead)

    async def _make_parent(self, path: str, *, was_known: bool) -> bool:
        """Make a file's folder; tell whether that changes anything for what was refused."""
        folder, known = parent_of(path), self._learnt.folders
        if folder == "/":
            return False
        known.forget(folder)
        made = await make_folder(folder, known, self._commands.say_folder, self._profile.charset)
        return made or not was_known


def _may_lack_folder(error: ReplyError) -> bool:
    """Whether what makes a file may have been refused for want of its folder."""
    missing = error.code is ErrorCode.FILE_NOT_FOUND
    unclear = error.code is ErrorCode.PERMISSION_DENIED and is_vague(error)
    of_the_old_name = error.command.startswith("RNFR")
    return error.reply_code in _NO_FOLDER and (missing or unclear) and not of_the_old_name


class _Using:
    """The block in which one task has a session. A class, since a generator costs several times as much."""

    __slots__ = ("_give_back", "_take")

    def __init__(
        self, take: Callable[[], tuple[str, int] | None], give_back: Callable[[BaseException | None], None]
    ) -> None:
        self._take = take
        self._give_back = give_back

    def __enter__(self) -> tuple[str, int] | None:
        return self._take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back(error)
