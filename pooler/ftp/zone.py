"""The zone of a server's LIST, found by one file whose time MDTM tells as well (RFC 3659 §3).

Listed times are by the server's wall clock, and nothing says where that hangs. Of a listing the file is taken
that has changed longest ago of those whose time is told to the minute: it is the one least likely to change
between the listing and the question. Where the two times differ by no time zone, or the file has only just
changed, nothing is found, and a later listing may do better.

One file cannot tell summer time, so a time found by this is exact to the hour.

Neighbours: `times` compares, `browsing` has the listings.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from pooler.errors import LocalProtocolError, ReplyError
from pooler.ftp.attributes import Attributes
from pooler.ftp.commands import Commands
from pooler.ftp.learnt import Ability
from pooler.ftp.times import MINUTE, zone_offset
from pooler.transfer.session import Entry, EntryKind

_TRIALS = 3
_JUST_CHANGED = timedelta(minutes=10)
_HOUR_S = 3600.0


class ListedZone:
    """Finds the zone of listed times once for a remote, and puts it on them.

    Args:
        commands: of the session.
        attributes: of the same.
    """

    def __init__(self, commands: Commands, attributes: Attributes) -> None:
        self._commands = commands
        self._attributes = attributes
        self._learnt = commands.learnt
        self._oldest: tuple[datetime, str] | None = None

    def __repr__(self) -> str:
        return f"<ListedZone {self._learnt.zone}>"

    def begin(self) -> None:
        """A listing begins."""
        self._oldest = None

    def look(self, entry: Entry) -> Entry:
        """Give the entry its zone where that is known; else see whether it could tell."""
        if entry.modified is None or entry.modified.tzinfo is not None:
            return entry
        if self._learnt.zone is not None:
            there = timezone(self._learnt.zone)
            moment = entry.modified.replace(tzinfo=there).astimezone(UTC)
            return replace(entry, modified=moment, precision_s=max(entry.precision_s, _HOUR_S))
        to_the_minute = entry.kind is EntryKind.FILE and entry.precision_s <= MINUTE.total_seconds()
        if to_the_minute and (self._oldest is None or entry.modified < self._oldest[0]):
            self._oldest = entry.modified, entry.name
        return entry

    async def find(self, folder: str) -> bool:
        """Ask about the one entry that can tell, after its listing has ended; tell whether it has told.

        Args:
            folder: that was listed.

        Raises:
            SessionLost: the control connection failed.
        """
        oldest, learnt = self._oldest, self._learnt
        self._oldest = None
        if oldest is None or learnt.zone is not None:
            return False
        if learnt.zone_trials >= _TRIALS or learnt.works(Ability.MDTM) is False:
            return False
        learnt.zone_trials += 1
        listed, name = oldest
        try:
            where = self._commands.wire(f"{folder.rstrip('/')}/{name}")
            exact, _ = await self._attributes.modified(where, is_there=True)
            if exact is None or datetime.now(UTC) - exact < _JUST_CHANGED:
                return False
            learnt.zone = zone_offset(listed, exact)
        except (ReplyError, LocalProtocolError, ValueError):  # names may have what no command can say
            return False
        return True
