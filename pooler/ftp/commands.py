"""Commands about paths on one session: a path's bytes, the folder we are in, refusals as errors.

With the path style ``absolute`` a command has the whole path, whatever folder we are in. With ``cwd`` it has
the bare name, and CWD goes into its folder first, where we are not there already. Where we are is known by
the last CWD alone; after any refusal it counts as unknown, and the next command goes by CWD again.

Neighbours: `control` exchanges, `names` makes the bytes, `whereabouts` goes into folders; `transfers`,
`attributes`, `browsing` and `renaming` say what they want by this.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pooler.errors import ErrorCode, LocalProtocolError, ReplyError
from pooler.ftp.control import ControlConnection
from pooler.ftp.learnt import Learnt
from pooler.ftp.names import NameCodec
from pooler.ftp.profile import Profile
from pooler.ftp.replies import classify
from pooler.ftp.together import Together
from pooler.ftp.whereabouts import Whereabouts
from pooler.ftp.wire import Command, Reply

T = TypeVar("T")

UNKNOWN_COMMAND = frozenset({500, 501, 502, 504})
"""The command, or the form of its argument, is not known there."""
ABOUT_THE_ARGUMENT = 501


class Commands:
    """What one session says of paths.

    Args:
        control: logged in.
        profile: how the server is to be spoken to.
        learnt: shared by the sessions on this remote.
    """

    def __init__(self, control: ControlConnection, profile: Profile, learnt: Learnt) -> None:
        self.control = control
        self.profile = profile
        self.learnt = learnt
        self.ahead = Together(control, profile, learnt)
        self._names = NameCodec(profile.charset, profile.form, profile.encoding)
        self._whereabouts = Whereabouts(self.exchange, learnt, steps=profile.path_style == "cwd")
        self._facts_selected = False

    def __repr__(self) -> str:
        return f"<Commands {self.profile.path_style} {self.control!r}>"

    def wire(self, path: str, *, creating: bool = False) -> bytes:
        """Make the bytes of an absolute path.

        Args:
            path: on the server, as text.
            creating: whether we make what it names, and so choose its Unicode form.

        Raises:
            LocalProtocolError: it has characters that the charset lacks.
        """
        try:
            return self._names.to_wire(path, creating=creating)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error

    def fit(self, stem: str, *, before: str, after: str) -> str:
        """Make a name of three parts, its middle cut where the whole is too long for one name.

        Raises:
            LocalProtocolError: as for ``wire``, or what cannot be cut is too long.
        """
        try:
            return self._names.fit(stem, before=before, after=after)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error

    def name(self, raw: bytes) -> str:
        """Make text of a name that came from the server; `wire` makes the same bytes of it."""
        return self._names.from_wire(raw)

    def check(self, command: Command, reply: Reply) -> Reply:
        """Give the reply back where it is good.

        Raises:
            RemoteError: it is a refusal, and this is what it means.
        """
        if reply.refused:
            raise classify(reply, command, charset=self.profile.charset)
        return reply

    async def exchange(self, command: Command, *, within_s: float | None = None) -> Reply:
        """Send a command and wait for its final reply, whatever it says; see `ControlConnection.exchange`.

        Args:
            command: what to send.
            within_s: limit for the reply, in seconds; None for the profile's ``exchange_s``.

        Raises:
            RemoteError: the refusal ends the session (421).
        """
        await self.control.send(command)
        reply = await self.control.final(within_s=within_s)
        if reply.refused:
            self._whereabouts.doubt()
            if not self.control.alive:
                self.check(command, reply)
        return reply

    async def together(self, *commands: Command) -> list[Reply] | None:
        """Send commands in one write, and a foreseen transfer's EPSV behind them: see `Together.exchange`.

        Returns:
            Their replies, whatever they say; None where they are to be sent one at a time.

        Raises:
            RemoteError: the session is over.
        """
        return self._minded(await self.ahead.exchange(*commands))

    async def hear(self, commands: Sequence[Command]) -> list[Reply] | None:
        """Wait for the replies to commands that went in one write: see `Together.hear`."""
        return self._minded(await self.ahead.hear(commands))

    def _minded(self, replies: list[Reply] | None) -> list[Reply] | None:
        if replies is not None and any(reply.refused for reply in replies):
            self._whereabouts.doubt()
        return replies

    async def ask(self, command: Command) -> Reply:
        """Do what `exchange` does, and ask for the port of a foreseen transfer with it.

        For commands that this server has answered before.
        """
        replies = await self.together(command)
        return await self.exchange(command) if replies is None else replies[0]

    async def require(self, command: Command) -> Reply:
        """Send a command and wait for a good reply.

        Raises:
            RemoteError: it was refused.
        """
        return self.check(command, await self.exchange(command))

    async def about(self, verb: str, where: bytes) -> Command:
        """Make a command about a file or folder, having gone to its folder where the path style wants that.

        Args:
            verb: of the command.
            where: the absolute path, from `wire`.

        Raises:
            ReplyError: its folder cannot be entered.
        """
        return Command(verb, await self.place(where, checked_for=verb))

    async def place(self, where: bytes, *, checked_for: str) -> bytes:
        """Give the argument that means this path, as `about` does, for commands with more around it.

        Args:
            where: the absolute path, from `wire`.
            checked_for: the verb; a path that cannot be sent with it is refused before anything is sent.
        """
        Command(checked_for, where)
        if self.profile.path_style == "absolute":
            return where
        folder, name = _split(where)
        if name and folder != self._whereabouts.here:
            await self.enter(folder)
        return name or folder

    def beside(self, at: bytes, where: bytes) -> bytes:
        """Give the argument that means ``where`` right behind a command about ``at``."""
        if self.profile.path_style == "cwd" and _split(at)[0] == _split(where)[0]:
            return _split(where)[1]
        return where

    async def enter(self, folder: bytes) -> None:
        """Go into a folder, which tells whether it is there.

        Raises:
            ReplyError: it is not, or may not be entered.
        """
        self.check(*await self._whereabouts.go(folder))

    async def say_folder(self, verb: str, folder: str) -> tuple[Command, Reply]:
        """Say MKD or CWD of a folder, for `folders.make_folder`; a refusal is given back."""
        where = self.wire(folder, creating=True)
        if verb == "CWD":
            return await self._whereabouts.go(where)
        if self.profile.path_style == "cwd":
            above, _ = _split(where)
            gone = await self._whereabouts.go(above)
            if gone[1].refused:
                return gone
        command = await self.about(verb, where)
        return command, await self.exchange(command)

    async def seek(self, path: str, ask: Callable[[bytes], Awaitable[T]]) -> T:
        """Ask about a file that should be there; where it is missing, once more by its other Unicode form.

        Args:
            path: of the file.
            ask: is given the path's bytes.

        Raises:
            ReplyError: as ``ask`` has raised it the first time.
        """
        try:
            return await ask(self.wire(path))
        except ReplyError as error:
            created = self.wire(path, creating=True)
            other = created if created != self.wire(path) else self._names.other_form(path)
            if other is None or error.code is not ErrorCode.FILE_NOT_FOUND:
                raise
            try:
                return await ask(other)
            except ReplyError as again:
                if again.code is not ErrorCode.FILE_NOT_FOUND:
                    raise
                raise error from None

    async def select_facts(self) -> None:
        """Have MLST and MLSD tell kind, size and time: once a session, where they would not otherwise."""
        listed = self.learnt.listed
        wanted = [fact for fact in ("type", "size", "modify") if fact in listed.mlst_facts]
        if self._facts_selected or set(wanted) <= set(listed.mlst_selected):
            return
        self._facts_selected = True
        await self.exchange(Command("OPTS", b"MLST " + b"".join(f"{fact};".encode() for fact in wanted)))


def _split(where: bytes) -> tuple[bytes, bytes]:
    """Give the folder and the bare name of a path; the root has no name. No charset hides a slash."""
    folder, _, name = where.rstrip(b"/").rpartition(b"/")
    return folder or b"/", name
