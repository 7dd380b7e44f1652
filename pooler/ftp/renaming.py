"""Renaming and removing files, over what is there (RFC 959 §4.1.3).

Whether RNTO may go over a file is the server's choice. Where it may not, the old file is removed first, which
leaves a moment without any.

Neighbours: `attributes` tells whether a file is there.
"""

from pooler.errors import ErrorCode, ReplyError
from pooler.ftp.attributes import Attributes
from pooler.ftp.commands import Commands
from pooler.ftp.learnt import Ability
from pooler.ftp.replies import is_vague
from pooler.ftp.wire import Command

_MAY_EXIST = frozenset({521, 550, 553})
_OTHER_REASONS = frozenset({ErrorCode.DISK_FULL, ErrorCode.CONNECTION_ERROR})
_REFUSED = 550
_NAME_NOT_ALLOWED = 553


class Renaming:
    """Renames and removes, on one session.

    Args:
        commands: of the session.
        attributes: of the same.
    """

    def __init__(self, commands: Commands, attributes: Attributes) -> None:
        self._commands = commands
        self._attributes = attributes
        self._learnt = commands.learnt

    def __repr__(self) -> str:
        return f"<Renaming over={self._learnt.works(Ability.RENAME_OVER)}>"

    async def rename(self, old: str, new: str, *, replace: bool) -> None:
        """Rename a file, as `FtpSession.rename` does."""
        there = self._commands.wire(new, creating=True)
        Command("RNTO", there)  # what cannot be sent is refused before anything is
        if not replace and await self._attributes.is_there(there):
            shown = Command("RNTO", there).shown(self._commands.profile.charset)
            raise ReplyError(_NAME_NOT_ALLOWED, "exists", shown, code=ErrorCode.DESTINATION_EXISTS)
        source, error = await self._commands.seek(old, lambda at: self._move(at, there))
        if error is None:
            return
        if not (replace and await self._is_in_the_way(there, error)):
            raise error
        await self._require_there(source)
        if not await self._delete(there):
            raise error
        _, error = await self._move(source, there)
        if error is not None:
            raise error
        self._learnt.found(Ability.RENAME_OVER, works=False)

    async def _move(self, old: bytes, new: bytes) -> tuple[bytes, ReplyError | None]:
        """Say RNFR and RNTO; give the old name back, and how RNTO was refused, where it was.

        Nothing stands between the two: another folder can only be named by the whole path. Behind an RNFR
        that was refused an RNTO does nothing, so both can go in one write.
        """
        begin = await self._commands.about("RNFR", old)
        end = Command("RNTO", self._commands.beside(old, new))
        is_known = self._learnt.works(Ability.RENAME)
        replies = await self._commands.together(begin, end) if is_known else None
        if replies is not None:
            self._commands.check(begin, replies[0])
            reply = replies[1]
        else:
            await self._commands.require(begin)
            reply = await self._commands.exchange(end)
        try:
            self._commands.check(end, reply)
        except ReplyError as error:
            return old, error
        self._learnt.found(Ability.RENAME, works=True)
        return old, None

    async def _is_in_the_way(self, new: bytes, error: ReplyError) -> bool:
        """Whether RNTO was refused because of the file that is there already."""
        if error.reply_code not in _MAY_EXIST or error.code in _OTHER_REASONS:
            return False
        return (
            error.code is ErrorCode.DESTINATION_EXISTS
            or self._learnt.works(Ability.RENAME_OVER) is False
            or await self._attributes.is_there(new) is True
        )

    async def _require_there(self, old: bytes) -> None:
        """See that there is still something to be renamed, before what is in the way is removed for it.

        A session that was lost may have had the same file renamed only now: then what is in the way is that.

        Raises:
            ReplyError: there is not.
        """
        if await self._attributes.is_there(old) is False:
            shown = Command("RNFR", old).shown(self._commands.profile.charset)
            raise ReplyError(_REFUSED, "is gone", shown, code=ErrorCode.FILE_NOT_FOUND)

    async def _delete(self, where: bytes) -> bool:
        reply = await self._commands.exchange(await self._commands.about("DELE", where))
        return not reply.refused

    async def remove(self, path: str) -> None:
        """Remove a file, as `FtpSession.remove` does."""
        where, created = self._commands.wire(path), self._commands.wire(path, creating=True)
        for candidate in dict.fromkeys([where, created]):
            try:
                await self._commands.require(await self._commands.about("DELE", candidate))
            except ReplyError as error:
                if error.code is not ErrorCode.FILE_NOT_FOUND:
                    raise
                if is_vague(error) and await self._attributes.is_there(candidate) is not False:
                    raise
            else:
                return
