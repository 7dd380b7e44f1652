"""Commands to bytes and bytes to replies (RFC 959 §4.2, §5.3): pure, and bounded whatever the server sends.

Neighbours: `state` decides which commands and replies have a place in the dialogue; `control` moves the
bytes.

A reply is one line, ``226 Done``, or several, from ``226-`` to the line that begins with ``226`` and a space.
Servers break the second form: one opens with ``553-`` and closes with ``150 ``. To the letter such a line is
text within the reply, and the reply has no end. So the parser goes by the letter, says that it is `in_doubt`,
and takes the odd line for the end only when it is told that nothing follows (`settle`). What it has parsed
never depends on how the bytes were cut.
"""

import re

from msgspec import Struct

from pooler.errors import LocalProtocolError, PeerProtocolError

MAX_LINE_BYTES = 8192
"""A reply's line: more than PATH_MAX twice over."""
MAX_REPLY_BYTES = 65536
MAX_REPLY_LINES = 1024

_IAC = 0xFF
# What RFC 854 puts behind IAC: a second one for the byte itself, an option's negotiation (WILL to DONT and
# its option), or a command. A single 0xFF before anything else is part of a name.
_TELNET = re.compile(rb"\xff(?:(\xff)|[\xfb-\xfe].|[\xf0-\xfa])", re.DOTALL)
_FIRST_LINE = re.compile(rb"([1-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENDS_A_LINE = re.compile(rb"[\r\n\0]")
_VERB = re.compile(r"[A-Z][A-Z0-9]{2,15}")
_SECRET_VERBS = frozenset({"PASS", "ACCT"})
_MASK = b"****"
_SHOWN = 1000
_CODE_BYTES = 4


class Reply(Struct, frozen=True):
    """What the server says to a command.

    Attributes:
        code: the three digits.
        lines: the text of each line, without code and line end, as it came.
        malformed: whether it was closed by a line of another code; the session is not to be trusted further.
    """

    code: int
    lines: tuple[bytes, ...]
    malformed: bool = False

    @property
    def kind(self) -> int:
        """The first digit: 1 preliminary, 2 done, 3 go on, 4 transient refusal, 5 permanent refusal."""
        return self.code // 100

    @property
    def refused(self) -> bool:
        """Whether it is a 4yz or a 5yz."""
        return self.kind in {4, 5}

    def text(self, charset: str = "utf-8") -> str:
        """Give the server's words as text, lines joined by spaces; bytes that are no text are escaped."""
        return b" ".join(line.strip() for line in self.lines).decode(charset, "backslashreplace").strip()

    def shown(self, charset: str = "utf-8") -> str:
        """Give code and words for people, no more of them than anybody reads."""
        return f"{self.code} {self.text(charset)}".rstrip()[:_SHOWN]

    def __str__(self) -> str:
        return self.shown()


class Command(Struct, frozen=True):
    """A verb and its argument, checked when made.

    Attributes:
        verb: in capitals.
        argument: the bytes behind the one space, spaces of their own at either end included; None for none.

    Raises:
        LocalProtocolError: CR, LF or NUL in the argument, which would end the line early, or no verb.
    """

    verb: str
    argument: bytes | None = None

    def __post_init__(self) -> None:
        if not _VERB.fullmatch(self.verb):
            raise LocalProtocolError(f"not an FTP verb: {self.verb!r}")
        if self.argument is not None and _ENDS_A_LINE.search(self.argument):
            raise LocalProtocolError(f"{self.verb}: CR, LF or NUL in an argument, nothing was sent")

    def encode(self, *, double_iac: bool = False) -> bytes:
        """Make the line that is sent.

        Args:
            double_iac: write the byte 0xFF twice, as Telnet wants and few servers expect.
        """
        line = self.verb.encode("ascii")
        if self.argument is not None:
            line += b" " + self.argument
        if double_iac:
            line = line.replace(b"\xff", b"\xff\xff")
        return line + b"\r\n"

    @property
    def secret(self) -> bytes | None:
        """The argument, where nobody may see it; None where there is nothing to hide."""
        return self.argument if self.verb in _SECRET_VERBS else None

    def shown(self, charset: str = "utf-8") -> str:
        """Give the line for people, without secrets."""
        if self.argument is None:
            return self.verb
        if self.secret is not None:
            return f"{self.verb} {_MASK.decode()}"
        return f"{self.verb} {self.argument.decode(charset, 'backslashreplace')}"

    def __str__(self) -> str:
        return self.shown()

    def __repr__(self) -> str:
        return f"<Command {self.shown()!r}>"


class ReplyParser:
    """Makes replies of bytes, in whatever pieces they come.

    `feed` takes bytes, `next_reply` gives what is whole. Between two calls of `feed` ask until it gives None:
    then what is held is bounded by the three limits above and the size of one piece.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._secret: re.Pattern[bytes] | None = None
        self._forget_reply()

    def _forget_reply(self) -> None:
        self._code = b""
        self._lines: list[bytes] = []
        self._size_bytes = 0
        self._odd_code = b""

    def __repr__(self) -> str:
        return f"<ReplyParser buffered={len(self._buffer)} lines={len(self._lines)}>"

    def hide(self, secret: bytes | None) -> None:
        """Mask a secret in the words of all lines from now on: some servers repeat what they refuse.

        Args:
            secret: in capitals or small letters; None for none any more.
        """
        self._secret = re.compile(re.escape(secret), re.IGNORECASE) if secret else None

    @property
    def in_doubt(self) -> bool:
        """Whether a reply of several lines is open and its newest line would close one of another code."""
        return bool(self._odd_code) and not self._buffer

    @property
    def empty(self) -> bool:
        """Whether nothing of a further reply has come."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes."""
        self._buffer += data

    def clear(self) -> None:
        """Throw away all that has come and was not given out."""
        self._buffer.clear()
        self._scanned = 0
        self._forget_reply()

    def next_reply(self) -> Reply | None:
        """Give the next whole reply, None where there is none yet.

        Raises:
            PeerProtocolError: what came is no reply, or larger than any reply may be.
        """
        while (line := self._next_line()) is not None:
            reply = self._take(line)
            if reply is not None:
                return reply
        return None

    def settle(self) -> Reply:
        """Take the odd line for the end, because nothing follows it. Only while `in_doubt`.

        Of the two codes the higher one counts: a server that says both yes and no has said no.
        """
        if not self.in_doubt:
            raise LocalProtocolError("no reply is in doubt")
        reply = Reply(max(int(self._code), int(self._odd_code)), tuple(self._lines), malformed=True)
        self._forget_reply()
        return reply

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if (len(self._buffer) if end < 0 else end) > MAX_LINE_BYTES:
            raise PeerProtocolError(f"a reply's line is longer than {MAX_LINE_BYTES} bytes")
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._scanned = 0
        if _IAC in line:
            line = _TELNET.sub(rb"\1", line)
        if self._secret is not None:
            words = _CODE_BYTES if _FIRST_LINE.fullmatch(line) else 0  # "230" may be a password, too
            line = line[:words] + self._secret.sub(_MASK, line[words:])
        return line

    def _take(self, line: bytes) -> Reply | None:
        self._size_bytes += len(line)
        if self._size_bytes > MAX_REPLY_BYTES:
            raise PeerProtocolError(f"a reply is longer than {MAX_REPLY_BYTES} bytes")
        match = _FIRST_LINE.fullmatch(line)
        if not self._code:
            return self._take_first(line, match)
        if len(self._lines) == MAX_REPLY_LINES:
            raise PeerProtocolError(f"a reply has more than {MAX_REPLY_LINES} lines")
        self._odd_code = b""
        if match is None:
            self._lines.append(line)
        elif match[1] == self._code:
            self._lines.append(match[3] or b"")
            if match[2] != b"-":
                reply = Reply(int(self._code), tuple(self._lines))
                self._forget_reply()
                return reply
        else:
            self._lines.append(line)
            if match[2] != b"-":
                self._odd_code = match[1]
        return None

    def _take_first(self, line: bytes, match: re.Match[bytes] | None) -> Reply | None:
        if match is None:
            raise PeerProtocolError(f"not an FTP reply: {line[:80]!r}")
        text = match[3] or b""
        if match[2] == b"-":
            self._code = match[1]
            self._lines.append(text)
            return None
        self._forget_reply()
        return Reply(int(match[1]), (text,))
