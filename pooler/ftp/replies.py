"""What a refusal means: a table from reply code, command and text to an error of `pooler.errors`. Pure.

The codes alone say too little. 550 is a missing file, a missing right, a full table of open files or a broken
pipe; 530 is a wrong password or a full server. So each row looks at the code, the verb and the words, the
first row that fits counts, and the last ones fit everything. The words are those of vsftpd, proftpd,
pure-ftpd, pyftpdlib, FileZilla Server, IIS and Serv-U.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pooler.errors import (
    ConnectError,
    ErrorCode,
    LoginRefused,
    Remedy,
    RemoteError,
    ReplyError,
    SessionLost,
    TlsError,
    TooManySessions,
)
from pooler.ftp.wire import Command, Reply

_LOGIN = ("", "USER", "PASS", "ACCT")
"""The greeting (which answers no verb) and what leads to a login."""
_PASSWORD = ("USER", "PASS", "ACCT")
_TLS = ("AUTH", "PBSZ", "PROT")
_WRITES = ("STOR", "STOU", "APPE", "MKD", "RNTO")

_BAD_PASSWORDS = (
    r"(login|password|auth\w*)\W+(failures?|attempts?|incorrect)|too many .*(fail|attempt|tries|bad|wrong)"
)
_FULL = (
    r"too many|maximum (allowed |number|\w*\W*(clients|users|connections|sessions|logins))|the maximum\b"
    r"|try again later|try later|already (connected|logged in)"
    r"|(connection|session|user|client)s? limit|limit (is |was |has been )?(reached|exceeded)"
)
_WANTS_TLS = (
    r"(ssl|tls)\b.*\brequired|(must|requires?|use|need) .*(encrypt|tls|ssl)"
    r"|encryption required|cleartext sessions"
)
_NO_RESUMPTION = r"session reuse|unable to build data connection: operation not permitted"
_NO_SPACE = (
    r"no space|disk (is )?full|quota|(insufficient|exceeded) .*(storage|space|allocation)|not enough space"
)
_PASSING = r"broken pipe|timed? ?out|too many|try again|temporar|busy|in use|being used|locked|interrupted"
_MISSING = (
    r"no such|not found|(does ?n.t|does not|do not) exist|(can ?not|can.t|could ?n.t|could not) find"
    r"|not an? (plain|regular) file|is a directory|non.?existent"
)
_EXISTS = r"exists|already"
_DENIED = (
    r"permission|denied|not (allowed|permitted|authori[sz]ed)|forbidden"
    r"|read.?only|no access|privilege|prohibited"
)

_ABOUT_THE_FILE = frozenset({550, 553})
# A reply may have 64 KiB. Nobody hides a reason behind so much or wants it in a log, and the patterns take
# its square in time.
_SEARCHED = 1000

Make = Callable[[Reply, str, str], RemoteError]
"""From the reply, its text and the command for people."""


def _error(kind: type[RemoteError], remedy: Remedy | None = None) -> Make:
    def make(reply: Reply, text: str, command: str) -> RemoteError:
        error = kind(f"{command}: {reply.code} {text}")
        if remedy is not None:
            error.remedy = remedy
        return error

    return make


def _refusal(code: ErrorCode | None = None, remedy: Remedy | None = None) -> Make:
    def make(reply: Reply, text: str, command: str) -> RemoteError:
        return ReplyError(reply.code, text, command, code=code, remedy=remedy)

    return make


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: a reply that fits all three columns means what `make` makes.

    Attributes:
        codes: beginnings of reply codes; an empty one for any.
        verbs: commands; None for any. The greeting is the empty verb.
        words: searched for in the text, case ignored; None for any text.
        make: makes the error.
    """

    codes: tuple[str, ...]
    verbs: tuple[str, ...] | None
    words: re.Pattern[str] | None
    make: Make

    def fits(self, code: str, verb: str, text: str) -> bool:
        """Whether a reply falls under this row."""
        return (
            code.startswith(self.codes)
            and (self.verbs is None or verb in self.verbs)
            and (self.words is None or self.words.search(text) is not None)
        )


def _rule(codes: str, verbs: tuple[str, ...] | None, words: str | None, make: Make) -> Rule:
    pattern = re.compile(words, re.IGNORECASE) if words is not None else None
    return Rule(tuple(codes.split()) or ("",), verbs, pattern, make)


RULES: tuple[Rule, ...] = (
    # Logging in. Wrong passwords before full servers: "too many failed attempts" has words of both.
    _rule("421 4 5", _LOGIN, _BAD_PASSWORDS, _error(LoginRefused)),
    _rule("421 4 5", _LOGIN, _FULL, _error(TooManySessions)),
    _rule("421 4 5", _LOGIN, _WANTS_TLS, _error(TlsError)),
    _rule("331 332 430 530 532", _PASSWORD, None, _error(LoginRefused)),
    # 421 and the rest of 4yz, vsftpd's "500 OOPS": the server's trouble, not the account's.
    _rule("4 500", _LOGIN, None, _error(ConnectError)),
    _rule("", _PASSWORD, None, _error(LoginRefused)),
    _rule("", ("",), None, _error(ConnectError)),
    # A session that is no more.
    _rule("421", None, _FULL, _error(TooManySessions)),
    _rule("421", None, None, _error(SessionLost)),
    # vsftpd's last words, whatever has killed it.
    _rule("500", None, "^OOPS:", _error(SessionLost)),
    _rule("530", None, _FULL, _error(TooManySessions)),
    _rule("", _TLS, None, _error(TlsError)),
    # A new session may resume where this one could not: tickets age out (proftpd#1931).
    _rule("522", None, None, _error(TlsError, Remedy.ANOTHER_SESSION)),
    _rule("425 435", None, _NO_RESUMPTION, _error(TlsError, Remedy.ANOTHER_SESSION)),
    _rule("532", None, None, _error(LoginRefused)),
    # The disk.
    _rule("452 552", None, None, _refusal(ErrorCode.DISK_FULL, Remedy.MORE_ROOM)),
    _rule("4 5", _WRITES, _NO_SPACE, _refusal(ErrorCode.DISK_FULL, Remedy.MORE_ROOM)),
    # Data connections.
    _rule("425 426", None, None, _refusal(ErrorCode.CONNECTION_ERROR)),
    _rule("5", None, _PASSING, _refusal(ErrorCode.CONNECTION_ERROR, Remedy.LATER)),
    # The file itself. On the words first, then on what a 550 without any is about in most cases.
    _rule("550 551 553 530", None, _DENIED, _refusal(ErrorCode.PERMISSION_DENIED)),
    _rule("450", None, _DENIED, _refusal(ErrorCode.PERMISSION_DENIED)),
    _rule("450 550 551 553", None, _MISSING, _refusal(ErrorCode.FILE_NOT_FOUND)),
    # pure-ftpd, of a folder that is not there.
    _rule("451", ("RNTO",), _MISSING, _refusal(ErrorCode.FILE_NOT_FOUND, Remedy.NEVER)),
    _rule("521 550 553", ("RNTO", "MKD"), _EXISTS, _refusal(ErrorCode.DESTINATION_EXISTS)),
    # Not logged in, on a session that was: the server has forgotten us.
    _rule("530", None, None, _error(SessionLost)),
    _rule("550 553", _WRITES, None, _refusal(ErrorCode.PERMISSION_DENIED)),
    _rule("550", None, None, _refusal(ErrorCode.FILE_NOT_FOUND)),
    _rule("553", None, None, _refusal(ErrorCode.PERMISSION_DENIED)),
    _rule("450 451", None, None, _refusal(ErrorCode.IO_ERROR)),
    _rule("", None, None, _refusal()),
)


def classify(reply: Reply, command: Command | None, *, charset: str = "utf-8") -> RemoteError:
    """Make the error that a refusal means.

    Args:
        reply: a 4yz or 5yz, or a reply that came where it cannot help.
        command: what it answers; None for the greeting, or where nothing was asked.
        charset: of the names in text and command.
    """
    text = reply.text(charset)[:_SEARCHED]
    verb = command.verb if command else ""
    shown = command.shown(charset) if command else "greeting"
    code = str(reply.code)
    return next(rule.make(reply, text, shown) for rule in RULES if rule.fits(code, verb, text))


def farewell(reply: Reply) -> RemoteError:
    """Make the error that a 421 means to a session that stood idle."""
    text = reply.text()[:_SEARCHED]
    if re.search(_FULL, text, re.IGNORECASE):
        return TooManySessions(f"the server closed an idle session: {reply.code} {text}")
    return SessionLost(f"the server closed an idle session: {reply.code} {text}")


def is_vague(error: ReplyError) -> bool:
    """Whether a 550 or 553 leaves open if the file is missing or may not be touched.

    vsftpd says "Failed to open file", "Delete operation failed" and "Could not create file" to both.
    """
    said = re.search(f"{_DENIED}|{_MISSING}", error.text, re.IGNORECASE)
    return error.reply_code in _ABOUT_THE_FILE and said is None
