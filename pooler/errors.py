"""Every error that the pooler raises, and what each one means for a job.

The flow of jobs never reads a message to decide what to do. It reads three attributes that stand on the
class, or on the one instance that knows better:

* ``code``: what the failure record will say,
* ``remedy``: what would help,
* ``session_survives``: whether the session on which it happened may be used again.

Bugs are not in this hierarchy: they end the process, or, inside one transfer, become ``UNKNOWN_ERROR``.
"""

import enum


class ErrorCode(enum.StrEnum):
    """What a failure record gives as ``error_code``."""

    INVALID_JOB = "INVALID_JOB"
    INVALID_CONFIG = "INVALID_CONFIG"
    UNKNOWN_REMOTE = "UNKNOWN_REMOTE"
    PATH_OUTSIDE_ROOT = "PATH_OUTSIDE_ROOT"
    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    SOURCE_CHANGED = "SOURCE_CHANGED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    DESTINATION_EXISTS = "DESTINATION_EXISTS"
    DISK_FULL = "DISK_FULL"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    CONNECTION_ERROR = "CONNECTION_ERROR"
    TLS_ERROR = "TLS_ERROR"
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    TRANSFER_TIMEOUT = "TRANSFER_TIMEOUT"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    IO_ERROR = "IO_ERROR"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    BATCH_INCOMPLETE = "BATCH_INCOMPLETE"
    UNKNOWN_ERROR = "UNKNOWN_ERROR"


class Remedy(enum.Enum):
    """What would help after a failure."""

    NEVER = "never"
    """The same job will fail the same way: answer it now."""
    ANOTHER_SESSION = "another session"
    """The session died under the job: try again at once, on a new one."""
    LATER = "later"
    """The server or the disk is having a bad moment: try again after a pause."""
    MORE_ROOM = "more room"
    """The server's disk, or the account's part of it, is full: its uploads wait until one finds room."""
    FEWER_SESSIONS = "fewer sessions"
    """The server takes no more sessions: no fault of the job, which costs it no attempt."""
    REMOTE_AWAY = "remote away"
    """Nobody answers there, or TLS fails. While connecting, the breaker counts it, and no job is to blame;
    inside an attempt it is a failure like any other."""
    OTHER_LOGIN = "other login"
    """The server refuses the account: every further try may lock it, so the breaker opens at once. Inside an
    attempt it is a failure like any other."""


class PoolerError(Exception):
    """The root of the hierarchy; never raised itself."""

    code: ErrorCode = ErrorCode.UNKNOWN_ERROR
    remedy: Remedy = Remedy.NEVER
    session_survives: bool = True

    @property
    def retriable(self) -> bool:
        """Whether the same job may succeed later without anybody changing it."""
        return self.remedy is not Remedy.NEVER


class ConfigError(PoolerError):
    """The configuration cannot be used.

    Args:
        problems: one line for each mistake, with file, line and key; all of them, not just the first.
    """

    code = ErrorCode.INVALID_CONFIG

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class JobError(PoolerError):
    """A valid job cannot be done as it stands.

    Args:
        code: which of the reasons it is.
        message: for a person, with the path or the remote in it.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class JobCancelled(PoolerError):
    """An operator has cancelled the job. A session that was broken off in its midst is not used again."""

    code = ErrorCode.CANCELLED
    session_survives = False


class LocalFileError(PoolerError):
    """The local side failed: disk full, no right, a stalled mount.

    Args:
        code: which of the reasons it is.
        message: for a person, with the path in it.
        remedy: ``LATER`` where time or an operator may mend it without the job changing.
    """

    code = ErrorCode.IO_ERROR
    remedy = Remedy.LATER

    def __init__(self, code: ErrorCode, message: str, remedy: Remedy = Remedy.LATER) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class BusError(PoolerError):
    """Kafka cannot be reached, or refused what it was asked."""

    remedy = Remedy.LATER


class BrokerRefused(BusError):
    """A broker does not let us in, or is none that we trust: trying again only locks the account."""

    remedy = Remedy.NEVER


class RemoteError(PoolerError):
    """Something went wrong between us and an FTP server."""

    code = ErrorCode.CONNECTION_ERROR
    remedy = Remedy.LATER


class ConnectError(RemoteError):
    """No control connection could be made: name, route, refusal, no greeting in time."""

    remedy = Remedy.REMOTE_AWAY
    session_survives = False


class TlsError(RemoteError):
    """TLS failed, on either connection: certificate, version, resumption refused."""

    code = ErrorCode.TLS_ERROR
    remedy = Remedy.REMOTE_AWAY
    session_survives = False


class TooManySessions(RemoteError):
    """The server takes no more sessions from us now (421 or 530 "too many")."""

    remedy = Remedy.FEWER_SESSIONS
    session_survives = False


class LoginRefused(RemoteError):
    """The server refuses the account or the password (530, 532, 331 without end)."""

    code = ErrorCode.LOGIN_REFUSED
    remedy = Remedy.OTHER_LOGIN
    session_survives = False


class NoPassword(RemoteError):
    """The file with the password cannot be read, or has none: nobody was asked, and no account is at risk."""

    code = ErrorCode.LOGIN_REFUSED
    session_survives = False


class SessionLost(RemoteError):
    """The control connection ended, or said something that nobody asked for, or went silent."""

    remedy = Remedy.ANOTHER_SESSION
    session_survives = False


class DataConnectionError(RemoteError):
    """The data connection could not be opened, broke, or stalled."""

    remedy = Remedy.LATER
    session_survives = False


class TransferTimeout(RemoteError):
    """One attempt took longer than an attempt may take."""

    code = ErrorCode.TRANSFER_TIMEOUT
    remedy = Remedy.LATER
    session_survives = False


class TransferMismatch(RemoteError):
    """What arrived is not what was sent, or what was read is not what had been there.

    Args:
        code: ``SIZE_MISMATCH``, ``CHECKSUM_MISMATCH`` or ``SOURCE_CHANGED``.
        message: for a person, with both figures in it.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class PeerProtocolError(RemoteError):
    """The server broke the protocol: a reply that cannot be parsed, is too long, or has no place here."""

    code = ErrorCode.PROTOCOL_ERROR
    remedy = Remedy.ANOTHER_SESSION
    session_survives = False


class LocalProtocolError(RemoteError):
    """We were about to break the protocol: a command out of turn, or one that carries a line end."""

    code = ErrorCode.PROTOCOL_ERROR
    remedy = Remedy.NEVER


class ReplyError(RemoteError):
    """The server refused a command (RFC 959 §4.2): 4yz transient, 5yz permanent.

    Args:
        reply_code: the three digits.
        text: the server's words, without the code.
        command: the command that was refused, secrets masked.
        code: the failure's code, where the reply tells more than "refused".
        remedy: what would help, where the text tells more than the digits do.
    """

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(
        self,
        reply_code: int,
        text: str,
        command: str,
        *,
        code: ErrorCode | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(f"{command}: {reply_code} {text}")
        self.reply_code = reply_code
        self.text = text
        self.command = command
        if code is not None:
            self.code = code
        if remedy is not None:
            self.remedy = remedy
        else:
            self.remedy = Remedy.LATER if 400 <= reply_code < 500 else Remedy.NEVER  # noqa: PLR2004 - RFC 959's classes


class StoredTooSoon(ReplyError):
    """A STOR whose data went out before its first reply was refused for want of a folder.

    Nothing of the file is there. Send it again, and have the server asked first.
    """


def leaves(error: BaseException) -> list[BaseException]:
    """Tell the errors in what a nursery raises: groups of groups, even where there is only one error."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]
