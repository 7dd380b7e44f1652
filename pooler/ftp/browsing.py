"""The listing of a folder: MLSD where that works, else LIST; entries as they come, in bounded memory.

A folder that is not there and an empty one look alike in a listing: servers answer either with a 550, a 450
or an empty 226. So whether it is there is asked with CWD, before a LIST, which then needs no path (a path
with spaces, dashes or stars means something else to many servers), and after an MLSD that has given nothing.

Neighbours: `facts` and `listing` read the lines, `transfers` has them moved, `zone` knows what times in LIST
are worth.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

import trio

from pooler.errors import DataConnectionError, ErrorCode, PeerProtocolError, ReplyError
from pooler.ftp.attributes import Attributes
from pooler.ftp.commands import ABOUT_THE_ARGUMENT, UNKNOWN_COMMAND, Commands
from pooler.ftp.entries import Entry as RawEntry
from pooler.ftp.facts import FactsParser
from pooler.ftp.learnt import Ability
from pooler.ftp.listing.parser import ListParser
from pooler.ftp.transfers import Transfer, Transfers
from pooler.ftp.wire import Command
from pooler.ftp.zone import ListedZone
from pooler.transfer.session import Entry, EntryKind

_CHUNK_BYTES = 65536
_MAX_BARREN_BYTES = 1 << 18
"""So much without an entry in it is no listing, and may have no end."""
_MAX_DRAINED_BYTES = 1 << 24
_MAYBE_EMPTY = frozenset({450, 550})
_EMPTY = re.compile(rb"\bno (such )?(files?|entries|members|data sets?)\b|\bempty\b", re.IGNORECASE)
_SHOWN = 80


class _Parser(Protocol):
    """What `FactsParser` and `ListParser` have in common."""

    def feed(self, data: bytes | bytearray | memoryview) -> list[RawEntry]: ...
    def finish(self) -> list[RawEntry]: ...


class Listing:
    """The entries of one folder, as they come. Holds those of one chunk.

    Args:
        commands: of the session, for names.
        transfer: of the lines; None for a folder that is empty.
        parser: of the lines.
        zone: of the times in them.

    Attributes:
        transfer: as above.
        ended: whether all of it has come.
    """

    def __init__(
        self, commands: Commands, transfer: Transfer | None, parser: _Parser, zone: ListedZone
    ) -> None:
        self._commands = commands
        self._zone = zone
        self.transfer = transfer
        self._parser = parser
        self._buffer = memoryview(bytearray(_CHUNK_BYTES if transfer else 0))
        self._waiting: list[Entry] = []  # the next one last
        self.ended = transfer is None
        self._barren_bytes = 0

    def __repr__(self) -> str:
        return f"<Listing {self.transfer and self.transfer.command} waiting={len(self._waiting)}>"

    def __aiter__(self) -> AsyncIterator[Entry]:
        return self

    async def __anext__(self) -> Entry:
        if not await self.fill():
            raise StopAsyncIteration
        return self._waiting.pop()

    async def fill(self) -> bool:
        """Receive until there is an entry, or no more will come; tell which.

        Raises:
            PeerProtocolError: these are no lines of a listing.
            DataConnectionError: the data connection failed.
        """
        while not self._waiting and not self.ended and self.transfer is not None:
            count = await self._receive(self.transfer, _MAX_BARREN_BYTES)
            found = self._parser.feed(self._buffer[:count]) if count else self._parser.finish()
            self._waiting = [mine for entry in found if (mine := self._translate(entry))]
            self._waiting.reverse()
        if self._waiting:
            self._barren_bytes = 0
        return bool(self._waiting)

    def put_zone_on(self) -> None:
        """Give what was not given out yet the zone that has been found since."""
        self._waiting = [self._zone.look(entry) for entry in self._waiting]

    async def drain(self) -> None:
        """Receive the rest and throw it away.

        Raises:
            PeerProtocolError: there is too much of it; the transfer is still running.
            DataConnectionError: the data connection failed.
        """
        while not self.ended and self.transfer is not None:
            await self._receive(self.transfer, _MAX_DRAINED_BYTES)

    async def _receive(self, transfer: Transfer, limit_bytes: int) -> int:
        count = await transfer.data.receive_into(self._buffer)
        self.ended = not count
        self._barren_bytes += count
        if self._barren_bytes > limit_bytes:
            raise PeerProtocolError(f"{transfer.command}: {limit_bytes} bytes of a listing without an entry")
        return count

    def _translate(self, entry: RawEntry) -> Entry | None:
        """Make the entry for those who know no FTP; None where it has no name of its own."""
        # Some servers give a whole path; and nobody may take a name for a way out of the folder.
        name = self._commands.name(entry.name.rstrip(b"/").rpartition(b"/")[2])
        if name in {"", ".", ".."}:
            return None
        precision_s = entry.precision.total_seconds() if entry.precision else 0.0
        kind = EntryKind(entry.kind.value)
        mine = Entry(name, kind, entry.size_bytes, entry.modified, precision_s, entry.unique)
        return self._zone.look(mine)


class Browsing:
    """Lists folders, on one session.

    Args:
        commands: of the session.
        transfers: of the same.
        attributes: of the same.
    """

    def __init__(self, commands: Commands, transfers: Transfers, attributes: Attributes) -> None:
        self._commands = commands
        self._transfers = transfers
        self._zone = ListedZone(commands, attributes)
        self._profile = commands.profile
        self._learnt = commands.learnt

    def __repr__(self) -> str:
        return f"<Browsing mlsd={self._learnt.works(Ability.MLSD)}>"

    @asynccontextmanager
    async def listing(self, path: str) -> AsyncIterator[Listing]:
        """Open a listing, as `FtpSession.listing` does; a block that fails resets the data connection."""
        self._zone.begin()
        listing = await self._mlsd(path) or await self._list(path)
        transfer = listing.transfer
        if transfer is not None and listing.ended:  # a short one, of which nothing was given out yet
            listing.transfer = None
            await self._end(transfer)
            if await self._zone.find(path):
                listing.put_zone_on()
        if listing.transfer is None:
            yield listing
            return
        transfer = listing.transfer
        async with self._transfers.resetting(transfer):
            try:
                yield listing
            except PeerProtocolError:
                if transfer.command.verb == "MLSD":
                    self._learnt.found(Ability.MLSD, works=False)
                raise
            if not listing.ended:
                transfer.data.reset()
                return
        await self._end(transfer)
        await self._zone.find(path)

    async def _end(self, transfer: Transfer) -> None:
        transfer.data.close()
        await self._transfers.finish(transfer)

    async def _mlsd(self, path: str) -> Listing | None:
        """Begin a listing by MLSD; None where LIST must do."""
        listed = self._learnt.listed
        refused = self._profile.disable_mlsd or self._profile.force_list_hidden
        if refused or not listed.mlsd or self._learnt.works(Ability.MLSD) is False:
            return None
        where = self._commands.wire(path)
        Command("MLSD", where)  # what cannot be sent is refused before anything is
        await self._commands.select_facts()
        try:
            if self._profile.path_style == "cwd":
                await self._commands.enter(where)
                command = Command("MLSD")
            else:
                command = Command("MLSD", where)
            transfer = await self._transfers.begin(command)
            parser = FactsParser(self._profile.mdtm_timezone)
            listing = await self._prime(Listing(self._commands, transfer, parser, self._zone))
        except PeerProtocolError:
            self._learnt.found(Ability.MLSD, works=False)  # rclone#8368
            if not self._commands.control.usable:
                raise  # it is still running
            return None
        except ReplyError as error:
            if error.reply_code in UNKNOWN_COMMAND:
                if error.reply_code != ABOUT_THE_ARGUMENT:
                    self._learnt.found(Ability.MLSD, works=False)
            elif error.reply_code not in _MAYBE_EMPTY:
                raise
            return None
        if listing.transfer is None:
            await self._commands.enter(where)
        else:
            self._learnt.found(Ability.MLSD, works=True)
        return listing

    async def _list(self, path: str) -> Listing:
        """Begin a listing by LIST, in a folder that is there."""
        await self._commands.seek(path, self._commands.enter)
        parser = ListParser(datetime.now(UTC), self._profile.timezone)
        command = Command("LIST", b"-a" if self._profile.force_list_hidden else None)
        try:
            transfer = await self._transfers.begin(command)
            listing = await self._prime(Listing(self._commands, transfer, parser, self._zone))
        except ReplyError as error:
            if error.reply_code not in _MAYBE_EMPTY or error.code is ErrorCode.PERMISSION_DENIED:
                raise
            return Listing(self._commands, None, parser, self._zone)
        said = parser.first_unread
        if listing.transfer is None and said is not None and not _EMPTY.search(said):
            failure = PeerProtocolError(f"no listing that can be read: {said[:_SHOWN]!r}")
            failure.session_survives = True
            raise failure
        return listing

    async def _prime(self, listing: Listing) -> Listing:
        """Wait for the first entries, so that what is no listing shows before anybody has seen some of it.

        Returns:
            The listing, without a transfer where that has ended and there are no entries.

        Raises:
            PeerProtocolError: it is none; the transfer has ended in order.
        """
        transfer = listing.transfer
        if transfer is None:
            return listing
        unreadable: PeerProtocolError | None = None
        async with self._transfers.resetting(transfer):
            try:
                if await self._first(listing, transfer):
                    return listing
            except PeerProtocolError as error:
                unreadable = error
                await listing.drain()
        await self._end(transfer)
        if unreadable is not None:
            raise unreadable
        listing.transfer = None
        return listing

    async def _first(self, listing: Listing, transfer: Transfer) -> bool:
        """Wait for the first entries; tell whether there are any.

        A server that has said at once that it is done may never have looked at the data connection.
        """
        if transfer.final is None:
            return await listing.fill()
        try:
            with trio.move_on_after(self._profile.close_s):
                return await listing.fill()
        except DataConnectionError:
            if transfer.data.received_bytes:
                raise
        return await listing.fill() if transfer.data.received_bytes else False
