"""What a server knows of one file: size and time (RFC 3659 §3, §4, §7), and setting the time.

What is asked first is what costs least where it works; what was refused as unknown is not asked again, by any
session of the connector. Never a listing to learn about one file.

Neighbours: `facts` and `times` read the replies, `checksums` has sums of the bytes.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from pooler.errors import ErrorCode, LocalProtocolError, PeerProtocolError, ReplyError
from pooler.ftp.commands import ABOUT_THE_ARGUMENT, UNKNOWN_COMMAND, Commands
from pooler.ftp.entries import Entry, EntryKind
from pooler.ftp.facts import parse_mlst
from pooler.ftp.features import Trait
from pooler.ftp.learnt import Ability
from pooler.ftp.replies import classify
from pooler.ftp.times import TimeSetting, parse_mdtm, parse_mfmt, set_time
from pooler.ftp.wire import Command, Reply
from pooler.transfer.session import Stat

_SUPERFLUOUS = 202
"""RFC 959 §4.2.1: not implemented, superfluous at this site."""
_FILE_UNAVAILABLE = 550
_COARSEST = timedelta(seconds=2)
"""FAT's times, in even seconds, are the coarsest that count as set."""
_MAX_SIZE_DIGITS = 20


class Question(NamedTuple):
    """What to ask about one file in the write of something else.

    Attributes:
        commands: ones that this server has answered before.
        understand: makes of their replies what `Attributes.stat` gives, and raises what that raises.
    """

    commands: tuple[Command, ...]
    understand: Callable[[list[Reply]], Stat]


class Attributes:
    """Asks for and sets what a server knows of one file.

    Args:
        commands: of the session.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._profile = commands.profile
        self._learnt = commands.learnt

    def __repr__(self) -> str:
        return f"<Attributes {self._commands!r}>"

    async def size(self, where: bytes) -> int | None:
        """Ask for a file's size, as `FtpSession.size` does.

        Args:
            where: the path's bytes.
        """
        if self._profile.transfer_type == "ascii" or self._learnt.works(Ability.SIZE) is False:
            return None
        command = await self._commands.about("SIZE", where)
        return self._size(command, await self._ask(Ability.SIZE, command))

    def _size(self, command: Command, reply: Reply) -> int | None:
        if not self._known(Ability.SIZE, reply):
            return None
        text = self._commands.check(command, reply).text().strip()
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_SIZE_DIGITS):
            raise PeerProtocolError(f"no size in the reply to SIZE: {reply}")
        return int(text)

    async def is_there(self, where: bytes) -> bool | None:
        """Whether there is such a file; None where that cannot be told.

        Args:
            where: the path's bytes.
        """
        try:
            if await self.size(where) is not None:
                return True
            return True if await self._facts(where) is not None else None
        except ReplyError as error:
            return False if error.code is ErrorCode.FILE_NOT_FOUND else None

    async def stat(self, where: bytes) -> Stat:
        """Ask for a file's size and time: MLST where that works, else SIZE and MDTM.

        Args:
            where: the path's bytes.

        Raises:
            ReplyError: with ``FILE_NOT_FOUND`` where there is no such file, or a folder.
        """
        missing: ReplyError | None = None
        try:
            entry = await self._facts(where)
        except ReplyError as error:
            if error.code is not ErrorCode.FILE_NOT_FOUND or self._learnt.works(Ability.MLST):
                raise
            entry, missing = None, error  # or MLST has never worked there: SIZE and MDTM decide
        if entry is not None:
            return self._stat(where, entry)
        stat = await self._size_and_time(where)
        if missing is not None:
            if stat.size_bytes is None and stat.modified is None:
                raise missing
            self._learnt.found(Ability.MLST, works=False)
        return stat

    def _stat(self, where: bytes, entry: Entry) -> Stat:
        if entry.kind is EntryKind.FOLDER:
            shown = Command("MLST", where).shown(self._profile.charset)
            raise ReplyError(_FILE_UNAVAILABLE, "a folder", shown, code=ErrorCode.FILE_NOT_FOUND)
        size_bytes = None if self._profile.transfer_type == "ascii" else entry.size_bytes
        precision_s = entry.precision.total_seconds() if entry.precision else 0.0
        return Stat(size_bytes, entry.modified, precision_s)

    async def question(self, where: bytes) -> Question | None:
        """Give what `stat` would ask, for who sends it with something else; None where that is not known.

        Args:
            where: the path's bytes.

        Raises:
            ReplyError: its folder cannot be entered.
        """
        if self._has_facts:
            if not self._learnt.works(Ability.MLST):
                return None
            await self._commands.select_facts()
            facts = await self._commands.about("MLST", where)
            return Question((facts,), partial(self._stat_by_facts, where, facts))
        return await self._size_and_time_question(where) if self._are_known_together else None

    async def _size_and_time_question(self, where: bytes) -> Question:
        size = await self._commands.about("SIZE", where)
        time = await self._commands.about("MDTM", where)
        return Question((size, time), partial(self._stat_by_size_and_time, size, time))

    def _stat_by_facts(self, where: bytes, command: Command, replies: list[Reply]) -> Stat:
        entry = self._entry(command, replies[0])
        if entry is None:
            raise PeerProtocolError(f"no facts in the reply to MLST: {replies[0]}")
        return self._stat(where, entry)

    def _stat_by_size_and_time(self, size: Command, time: Command, replies: list[Reply]) -> Stat:
        size_bytes = self._size(size, replies[0])
        return Stat(size_bytes, *self._time(time, replies[1], is_there=size_bytes is not None))

    @property
    def _are_known_together(self) -> bool:
        """Whether both SIZE and MDTM have worked."""
        works = self._learnt.works
        return bool(self._profile.transfer_type != "ascii" and works(Ability.SIZE) and works(Ability.MDTM))

    async def _size_and_time(self, where: bytes) -> Stat:
        if self._are_known_together:
            question = await self._size_and_time_question(where)
            replies = await self._commands.together(*question.commands)
            if replies is not None:
                return question.understand(replies)
        size_bytes = await self.size(where)
        return Stat(size_bytes, *await self.modified(where, is_there=size_bytes is not None))

    async def _facts(self, where: bytes) -> Entry | None:
        """Ask with MLST; None where that does not work."""
        if not self._has_facts:
            return None
        await self._commands.select_facts()
        command = await self._commands.about("MLST", where)
        return self._entry(command, await self._ask(Ability.MLST, command))

    async def _ask(self, ability: Ability, command: Command) -> Reply:
        """Send a command, with what is foreseen behind it where the server has answered such a one before."""
        is_known = self._learnt.works(ability)
        return await (self._commands.ask(command) if is_known else self._commands.exchange(command))

    @property
    def _has_facts(self) -> bool:
        """Whether MLST is worth a try."""
        return self._learnt.listed.has("MLST") and self._learnt.works(Ability.MLST) is not False

    def _entry(self, command: Command, reply: Reply) -> Entry | None:
        """Read a reply to MLST; None where it is not known there."""
        if not self._known(Ability.MLST, reply):
            return None
        try:
            entry = parse_mlst(self._commands.check(command, reply).lines, self._profile.mdtm_timezone)
        except PeerProtocolError:
            self._learnt.found(Ability.MLST, works=False)
            return None
        self._learnt.found(Ability.MLST, works=True)
        return entry

    async def modified(self, where: bytes, *, is_there: bool) -> tuple[datetime | None, float]:
        """Ask for a file's time by MDTM.

        Args:
            where: the path's bytes.
            is_there: whether that is known; a refusal then says nothing about the file.

        Returns:
            The time in UTC and how exact it is, in seconds; None and 0 where it cannot be told.

        Raises:
            ReplyError: it is refused, and the file may not be there.
        """
        if self._learnt.works(Ability.MDTM) is False:
            return None, 0.0
        command = await self._commands.about("MDTM", where)
        return self._time(command, await self._commands.exchange(command), is_there=is_there)

    def _time(self, command: Command, reply: Reply, *, is_there: bool) -> tuple[datetime | None, float]:
        if not self._known(Ability.MDTM, reply):
            return None, 0.0
        if reply.refused and is_there:
            return None, 0.0
        try:
            text = self._commands.check(command, reply).text()
            moment, precision = parse_mdtm(text, self._profile.mdtm_timezone)
        except PeerProtocolError:
            return None, 0.0
        return moment, precision.total_seconds()

    def _known(self, ability: Ability, reply: Reply) -> bool:
        """Whether the server knows the command at all, going by its reply; remember it."""
        if reply.code not in UNKNOWN_COMMAND:
            if not reply.refused:
                self._learnt.found(ability, works=True)
            return True
        if reply.code != ABOUT_THE_ARGUMENT:
            self._learnt.found(ability, works=False)
        return False

    async def set_modified(self, where: bytes, moment: datetime) -> bool:
        """Set a file's time: MFMT, MDTM with a time, SITE UTIME, whichever works.

        Args:
            where: the path's bytes.
            moment: with a zone; to the second.

        Returns:
            False where the server cannot.

        Raises:
            ReplyError: it can, and refuses.
        """
        for how in self._ways():
            path = await self._commands.place(where, checked_for="MDTM")
            command = set_time(how, path, moment, self._profile.mdtm_timezone)
            reply = await self._commands.exchange(command)
            if not reply.refused and reply.code != _SUPERFLUOUS:
                if how is TimeSetting.MFMT:
                    was_set = self._says_so(reply, moment)
                    self._learnt.found(Ability.MFMT, works=was_set)
                    if not was_set:
                        self._learnt.time_settings_refused.add(how)
                        self._learnt.time_setting = None
                        continue
                self._learnt.time_setting = how
                return True
            unknown = reply.code in UNKNOWN_COMMAND or reply.code == _SUPERFLUOUS
            if not unknown and (how is TimeSetting.MFMT or how is self._learnt.time_setting):
                raise classify(reply, command, charset=self._profile.charset)
            # A server that takes the time for a part of the name knows no such file: 550. SITE answers as it
            # likes.
            if reply.code != ABOUT_THE_ARGUMENT or how is not TimeSetting.MFMT:
                self._learnt.time_settings_refused.add(how)
            if how is TimeSetting.MFMT and unknown:
                self._learnt.found(Ability.MFMT, works=False)
        return False

    def _says_so(self, reply: Reply, moment: datetime) -> bool:
        """Whether a reply to MFMT tells the time that was to be set, or none that can be read."""
        try:
            told = parse_mfmt(reply.text(self._profile.charset), self._profile.mdtm_timezone)
        except PeerProtocolError:
            return True
        return told is None or abs(told - moment) <= _COARSEST

    def _ways(self) -> Iterator[TimeSetting]:
        """Give the ways to set a time that are worth a try: the one that has worked, or all."""
        if self._learnt.time_setting is not None:
            yield self._learnt.time_setting
            return
        listed = self._learnt.listed
        for how in TimeSetting:
            may = (
                how is not TimeSetting.MDTM
                or self._profile.writing_mdtm
                or listed.mdtm_sets
                or Trait.MDTM_SETS in listed.quirks
            )
            if may and how not in self._learnt.time_settings_refused:
                yield how


def require_zone(moment: datetime) -> None:
    """See that a time can be sent.

    Raises:
        LocalProtocolError: it has no zone.
    """
    if moment.tzinfo is None:
        raise LocalProtocolError(f"a time without a zone cannot be sent: {moment}")
