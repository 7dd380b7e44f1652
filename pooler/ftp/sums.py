"""Asking a server for a file's checksum, with what it lists and what was found to work.

Neighbours: `checksums` knows the commands and reads the replies.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from pooler.errors import ErrorCode, PeerProtocolError, RemoteError, ReplyError
from pooler.ftp.attributes import Attributes
from pooler.ftp.checksums import Algorithm, Checksum, Method, choose
from pooler.ftp.commands import ABOUT_THE_ARGUMENT, UNKNOWN_COMMAND, Commands
from pooler.ftp.learnt import Ability
from pooler.ftp.replies import classify
from pooler.ftp.wire import Command, Reply

_HASH = "HASH"
_ABOUT_THE_FILE = frozenset({ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_DENIED})
_TRANSIENT = 4


class Sums:
    """Asks for checksums, on one session.

    Args:
        commands: of the session.
        attributes: of the same.
    """

    def __init__(self, commands: Commands, attributes: Attributes) -> None:
        self._commands = commands
        self._attributes = attributes
        self._learnt = commands.learnt
        self._selected = commands.learnt.listed.hash_selected

    def __repr__(self) -> str:
        return f"<Sums {self._selected}>"

    async def ask(
        self, where: bytes, algorithms: Sequence[str], *, size_bytes: int | None = None
    ) -> tuple[str, str] | None:
        """Ask for the first of these checksums that the server can compute, as `FtpSession.checksum` does.

        Args:
            where: the path's bytes.
            algorithms: names, in the order in which they are liked.
            size_bytes: the file's size where it is known; else it is asked for, if the reply tells a range.
        """
        if self._commands.profile.transfer_type == "ascii":
            return None
        for method in self._methods(algorithms):
            found = await self._try(method, where)
            if found is not None and await self._is_of(found, where, size_bytes):
                return found.algorithm.value, found.hexadecimal
        return None

    def _methods(self, algorithms: Iterable[str]) -> Iterator[Method]:
        for algorithm in _known(algorithms):
            method = choose(self._learnt.listed, [algorithm])
            if method is not None and _key(method) not in self._learnt.checksums_refused:
                yield method

    async def _try(self, method: Method, where: bytes) -> Checksum | None:
        if not await self._select(method):
            return None
        path = await self._commands.place(where, checked_for=method.verb)
        try:
            command = method.ask(path)
        except ValueError:  # this name cannot be said in quotes
            return None
        reply = await self._commands.exchange(command, within_s=self._commands.profile.checksum_s)
        if reply.refused:
            if reply.code in UNKNOWN_COMMAND:
                self._refuse(method, for_good=reply.code != ABOUT_THE_ARGUMENT)
                return None
            error: RemoteError = classify(reply, command, charset=self._commands.profile.charset)
            if error.code in _ABOUT_THE_FILE or reply.kind == _TRANSIENT:
                raise error
            return None
        found = self._read(method, reply, path)
        if found is None:
            self._refuse(method, for_good=True)
            return None
        if method.verb == _HASH:
            self._learnt.found(Ability.HASH, works=True)
        return found

    async def _is_of(self, found: Checksum, where: bytes, size_bytes: int | None) -> bool:
        """Whether the sum is of the whole of this file, and not of a part of it, or of another."""
        if found.end is not None and size_bytes is None:
            with suppress(
                ReplyError
            ):  # it has read the file: whatever this is about, the sum is none the worse
                size_bytes = await self._attributes.size(where)
        return found.is_of(where.decode(self._commands.profile.charset, "backslashreplace"), size_bytes)

    def _read(self, method: Method, reply: Reply, path: bytes) -> Checksum | None:
        """Read the reply; None where there is no checksum in it.

        That to HASH has its form within one line, and proftpd says "Computing SHA-256 digest" in one before.
        """
        charset = self._commands.profile.charset
        shown = path.decode(charset, "backslashreplace")
        texts = [reply.text(charset)]
        if method.verb == _HASH:
            texts = [line.decode(charset, "backslashreplace") for line in reversed(reply.lines)]
        for text in texts:
            with suppress(PeerProtocolError):
                return method.read(text, shown)
        return None

    async def _select(self, method: Method) -> bool:
        """Have HASH use the algorithm; tell whether it does."""
        name = method.hash_name
        if name is None or name == self._selected:
            return True
        reply = await self._commands.exchange(Command("OPTS", f"HASH {name}".encode("ascii")))
        if reply.refused:
            self._refuse(method, for_good=True)
            return False
        self._selected = name
        return True

    def _refuse(self, method: Method, *, for_good: bool) -> None:
        if for_good:
            self._learnt.checksums_refused.add(_key(method))
            if method.verb == _HASH and self._learnt.works(Ability.HASH) is None:
                self._learnt.found(Ability.HASH, works=False)


def _key(method: Method) -> tuple[str, str | None]:
    return method.verb, method.hash_name


def _known(names: Iterable[str]) -> Iterator[Algorithm]:
    """Give the algorithms of these names; what is none of ours no server is asked for."""
    ours = {algorithm.value: algorithm for algorithm in Algorithm}
    return (ours[name] for name in names if name in ours)
